//! An incoming webhook of Slack: the address is the secret. A taken message is answered with the
//! word `ok`; refusals are words, too (`no_service`, `channel_is_archived`).

use crate::error::{Class, Error, Result};
use crate::{Receipt, Secret, judge, post, shown, target};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use mainspring_outbound::Client;
use serde_json::{Value, json};

/// A message. Plain text throughout: what Slack would take for markup is escaped here.
#[derive(Clone, Debug, Default)]
pub struct Post {
    /// One line.
    pub title: String,
    /// More of it.
    pub text: String,
    /// Named values.
    pub facts: Vec<(String, String)>,
    /// Where to read on, and in which words.
    pub link: Option<(String, String)>,
    /// A line below: who sent it, when.
    pub footer: String,
    /// The bar at the side, `#rrggbb`.
    pub colour: &'static str,
}

/// Text made fit for Slack's markup; mentions and links in it stay text.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

impl Post {
    fn body(&self) -> Value {
        // Escaping makes text longer: cut before, with room for it.
        let mut blocks = vec![json!({
            "type": "section",
            "text": {"type": "mrkdwn", "text": format!("*{}*", escape(&cut(&self.title, 500)))},
        })];
        if !self.text.is_empty() {
            let text = escape(&cut(&self.text, 600));
            blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
        }
        let fields: Vec<Value> = self
            .facts
            .iter()
            .take(10)
            .map(|(name, value)| {
                let text = format!("*{}*\n{}", escape(&cut(name, 100)), escape(&cut(value, 300)));
                json!({"type": "mrkdwn", "text": text})
            })
            .collect();
        if !fields.is_empty() {
            blocks.push(json!({"type": "section", "fields": fields}));
        }
        if let Some((url, words)) = &self.link {
            let url = url.replace('<', "%3C").replace('>', "%3E").replace('|', "%7C");
            let text = format!("<{url}|{}>", escape(words));
            blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
        }
        let footer = json!([{"type": "plain_text", "text": cut(&self.footer, 300)}]);
        if !self.footer.is_empty() {
            blocks.push(json!({"type": "context", "elements": footer}));
        }
        // The text outside is what notifications on a phone show.
        json!({"text": escape(&cut(&self.title, 500)), "attachments": [{"color": self.colour, "blocks": blocks}]})
    }
}

/// Sends it.
pub async fn send(client: &Client, url: &Secret, message: &Post, now: Timestamp) -> Result<Receipt> {
    let target = target(url.expose())?;
    let body = message.body().to_string().into_bytes();
    let response = post(client, target, HeaderMap::new(), body).await?;
    let word = shown(&response);
    if response.status == StatusCode::OK && word != "ok" {
        return Err(Error::new(Class::Unknown, format!("Slack answered 200 with {word:?} instead of ok")));
    }
    // The hook was removed, or what it led to: nothing will ever arrive there again.
    if matches!(word.as_str(), "no_service" | "channel_is_archived" | "channel_not_found" | "no_active_hooks")
    {
        return Err(Error::new(Class::Gone, format!("Slack answered {}: {word}", response.status)));
    }
    judge("Slack", &response, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_no_markup() {
        let post = Post {
            title: "<!channel> & <https://evil.example|click>".into(),
            text: "x".repeat(10_000),
            facts: vec![("a<b".into(), "<@U1>".into()); 30],
            link: Some(("https://m.example/a|b".into(), "Open >".into())),
            footer: "Mainspring".into(),
            colour: "#d33",
        };
        let body = post.body();
        let text = body.to_string();
        assert!(
            !text.contains("<!channel>") && !text.contains("<https://evil") && !text.contains("<@U1>"),
            "{text}"
        );
        assert!(
            text.contains("&lt;!channel&gt; &amp;") && text.contains("<https://m.example/a%7Cb|Open &gt;>")
        );
        let blocks = body["attachments"][0]["blocks"].as_array().unwrap();
        assert_eq!(blocks[2]["fields"].as_array().unwrap().len(), 10);
        assert!(blocks.iter().all(|b| b["text"]["text"].as_str().is_none_or(|t| t.len() <= 3000)));
    }
}

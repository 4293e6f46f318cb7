//! A webhook of Discord: the address is the secret. With `wait=true` it answers with the message it
//! made; nobody is mentioned, whatever the text says.

use crate::error::{Class, Error, Result};
use crate::{AFTER, Receipt, Secret, judge, post, target};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use mainspring_outbound::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// A message.
#[derive(Clone, Debug, Default)]
pub struct Post {
    /// One line.
    pub title: String,
    /// More of it.
    pub text: String,
    /// Named values.
    pub facts: Vec<(String, String)>,
    /// Where the title leads.
    pub link: Option<String>,
    /// A line below.
    pub footer: String,
    /// The bar at the side, 0xrrggbb.
    pub colour: u32,
    /// When it happened.
    pub at: Timestamp,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    message: String,
    #[serde(default)]
    code: i64,
    retry_after: Option<f64>,
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// Text in which Discord's markup stays text.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '[' | ']' | '(' | ')' | '#' | '@') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl Post {
    /// Within the service's limits: 256, 4096, 25 fields of 256 and 1024, 6000 characters in all.
    fn body(&self) -> Value {
        let fields: Vec<Value> = (self.facts.iter().take(12))
            .map(|(name, value)| {
                let value = if value.is_empty() { "–".to_owned() } else { escape(&cut(value, 120)) };
                json!({"name": escape(&cut(name, 40)), "value": value, "inline": value.len() < 40})
            })
            .collect();
        let mut embed = json!({
            "title": cut(&escape(&cut(&self.title, 120)), 256),
            "description": cut(&escape(&cut(&self.text, 800)), 1600),
            "color": self.colour, "fields": fields, "timestamp": self.at.to_string(),
            "footer": {"text": cut(&self.footer, 200)},
        });
        if let Some(link) = &self.link {
            embed["url"] = link.as_str().into();
        }
        json!({"embeds": [embed], "allowed_mentions": {"parse": []}})
    }
}

/// Sends it.
pub async fn send(client: &Client, url: &Secret, message: &Post, now: Timestamp) -> Result<Receipt> {
    let joint = if url.expose().contains('?') { '&' } else { '?' };
    let target = target(&format!("{}{joint}wait=true", url.expose()))?;
    let body = message.body().to_string().into_bytes();
    let response = post(client, target, HeaderMap::new(), body).await?;
    if response.status.is_success() {
        // 204 is what it answers when something in between lost the question for the message.
        let id = serde_json::from_slice::<Made>(&response.body).ok().map(|made| made.id);
        if id.is_none() && response.status == StatusCode::OK {
            return Err(Error::new(Class::Unknown, "Discord answered 200 without a message"));
        }
        return Ok(Receipt { text: response.status.to_string(), id });
    }
    let mut error = match judge("Discord", &response, now) {
        Ok(receipt) => return Ok(receipt),
        Err(error) => error,
    };
    if let Ok(refused) = serde_json::from_slice::<Refused>(&response.body) {
        error.text =
            format!("Discord answered {} {}: {}", response.status.as_u16(), refused.code, refused.message);
        if let (Class::Retry(_), Some(wait)) =
            (error.class, refused.retry_after.filter(|w| w.is_finite() && *w >= 0.0))
        {
            error.class = Class::Retry(Some(Duration::from_secs_f64(wait.min(1e6)).min(AFTER)));
        }
        // Unknown webhook, invalid webhook token: it was deleted.
        if matches!(refused.code, 10_015 | 50_027) {
            error.class = Class::Gone;
        }
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_limits_and_mentions_nobody() {
        let post = Post {
            title: "@everyone ".repeat(100),
            text: "*".repeat(5000),
            facts: vec![("name".repeat(50), "_".repeat(5000)); 40],
            footer: "f".repeat(500),
            ..Post::default()
        };
        let body = post.body();
        let embed = &body["embeds"][0];
        let chars = |v: &Value| v.as_str().unwrap_or("").chars().count();
        assert!(chars(&embed["title"]) <= 256 && chars(&embed["description"]) <= 4096);
        let fields = embed["fields"].as_array().unwrap();
        let each = fields.iter().map(|f| chars(&f["name"]) + chars(&f["value"]));
        let total = chars(&embed["title"]) + chars(&embed["description"]) + each.sum::<usize>() + 200;
        assert!(fields.len() <= 25 && total <= 6000, "{total}");
        assert_eq!(body["allowed_mentions"], json!({"parse": []}));
        assert!(embed["title"].as_str().unwrap().starts_with("\\@everyone"));
    }
}

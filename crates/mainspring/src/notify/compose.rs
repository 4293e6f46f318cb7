//! What a message says, for each kind of channel: from one notice, or from several that were gathered.
//! Texts of notices are taken as text everywhere: nothing in them becomes markup, a mention or a header.

use super::notice::{NoticeState, Severity, line};
use jiff::Timestamp;
use mainspring_connect::{discord, escape_html, slack};
use mainspring_core::tables::{AsJson, At};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A notice as it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct NoticeRecord {
    /// Its number.
    pub id: i64,
    /// Its key of its own.
    pub uid: String,
    /// What it is about.
    pub key: String,
    /// How bad.
    pub severity: Severity,
    /// What it tells.
    pub state: NoticeState,
    /// What happened.
    pub title: String,
    /// More of it.
    pub text: String,
    /// Named values.
    pub facts: AsJson<Vec<(String, String)>>,
    /// The page that shows more, under the project's address.
    pub path: String,
    /// When.
    pub at: At,
    /// Whether it may break quiet hours.
    pub urgent: bool,
}

impl NoticeRecord {
    /// The word before the title: how bad, or that it is over.
    pub fn word(&self) -> &'static str {
        match (self.state, self.severity) {
            (NoticeState::Recovered, _) => "Recovered",
            (NoticeState::Test, _) => "Test",
            (NoticeState::Message, _) => "",
            (NoticeState::Firing, Severity::Critical) => "Critical",
            (NoticeState::Firing, Severity::Warning) => "Warning",
            (NoticeState::Firing, Severity::Info) => "Info",
        }
    }

    fn headline(&self) -> String {
        match self.word() {
            "" => self.title.clone(),
            word => format!("{word}: {}", self.title),
        }
    }

    /// Bar and badge in messages: red, amber, green, violet.
    fn colour(&self) -> &'static str {
        match self.word() {
            "Critical" => "#c4314b",
            "Warning" => "#b7791f",
            "Recovered" => "#2f855a",
            _ => "#6d4aff",
        }
    }
}

/// What is sent: one or more notices, the oldest first.
pub struct Message<'a> {
    /// Never empty.
    pub notices: &'a [NoticeRecord],
    /// The project's name.
    pub project: &'a str,
    /// The address of the project's pages, without a slash at the end; empty: nobody knows it.
    pub home: &'a str,
}

impl Message<'_> {
    fn first(&self) -> Option<&NoticeRecord> {
        self.notices.first()
    }

    /// Where to read on.
    fn link(&self) -> Option<String> {
        let path = match self.notices {
            [one] => one.path.as_str(),
            _ => "/notifications",
        };
        (!self.home.is_empty()).then(|| format!("{}{path}", self.home))
    }

    /// What happened, in one line.
    pub fn subject(&self) -> String {
        let first = self.first().map(NoticeRecord::headline).unwrap_or_default();
        let text = match self.notices.len() {
            0 | 1 => first,
            n => format!("{n} notices, the first: {first}"),
        };
        line(&format!("{text} · {}", self.project), 200)
    }

    fn footer(&self) -> String {
        format!("Mainspring · project {}", self.project)
    }

    /// For readers of plain text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for notice in self.notices {
            let _ = writeln!(out, "{}\n{}\n", notice.headline(), utc(notice.at.0));
            if !notice.text.is_empty() {
                let _ = writeln!(out, "{}\n", notice.text);
            }
            for (name, value) in &notice.facts.0 {
                let _ = writeln!(out, "{name}: {value}");
            }
            if !self.home.is_empty() && !notice.path.is_empty() {
                let _ = writeln!(out, "\n{}{}", self.home, notice.path);
            }
            out.push('\n');
        }
        let _ = write!(out, "-- \n{}", self.footer());
        out
    }

    /// For all others: a page that fits a phone and follows the reader's light or dark.
    pub fn html(&self) -> String {
        let cards: String = self.notices.iter().map(|notice| self.card(notice)).collect();
        let subject = escape_html(&self.subject());
        let footer = escape_html(&self.footer());
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\"><meta name=\"supported-color-schemes\" content=\"light dark\">\n\
             <title>{subject}</title>\n<style>{STYLE}</style></head>\n\
             <body class=\"ms-body\" style=\"margin:0;padding:0;background:#f4f2fb;\">\n\
             <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\"><tr><td align=\"center\" style=\"padding:24px 12px;\">\n\
             <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" style=\"max-width:600px;\">{cards}\
             <tr><td class=\"ms-foot\" style=\"padding:8px 4px;{FONT}font-size:12px;color:#5d5773;\">{footer}</td></tr>\n\
             </table></td></tr></table></body></html>\n"
        )
    }

    fn card(&self, notice: &NoticeRecord) -> String {
        let mut rows = String::new();
        for (name, value) in &notice.facts.0 {
            let (name, value) = (escape_html(name), escape_html(value));
            let _ = write!(
                rows,
                "<tr><td class=\"ms-sub\" style=\"padding:3px 12px 3px 0;color:#5d5773;vertical-align:top;\">{name}</td>\
                 <td class=\"ms-text\" style=\"padding:3px 0;color:#1d1830;word-break:break-word;\">{value}</td></tr>"
            );
        }
        let facts = match rows.is_empty() {
            true => String::new(),
            false => format!(
                "<table role=\"presentation\" style=\"{FONT}font-size:14px;margin:12px 0 0;\">{rows}</table>"
            ),
        };
        let button = match self.home.is_empty() || notice.path.is_empty() {
            true => String::new(),
            false => format!(
                "<p style=\"margin:20px 0 0;\"><a class=\"ms-button\" href=\"{}\" style=\"display:inline-block;padding:10px 18px;\
                 border-radius:8px;background:#5b3df5;color:#ffffff;text-decoration:none;{FONT}font-size:14px;\">Open in Mainspring</a></p>",
                escape_html(&format!("{}{}", self.home, notice.path))
            ),
        };
        let word = match notice.word() {
            "" => String::new(),
            word => format!(
                "<p style=\"margin:0 0 6px;{FONT}font-size:12px;font-weight:600;letter-spacing:.04em;color:{};\" class=\"ms-word\">{word}</p>",
                notice.colour()
            ),
        };
        format!(
            "<tr><td class=\"ms-card\" style=\"background:#ffffff;border-radius:12px;border-top:4px solid {};padding:20px 24px;\">{word}\
             <h1 class=\"ms-text\" style=\"margin:0;{FONT}font-size:18px;line-height:1.35;color:#1d1830;\">{}</h1>\
             <p class=\"ms-sub\" style=\"margin:4px 0 0;{FONT}font-size:13px;color:#5d5773;\">{}</p>\
             <p class=\"ms-text\" style=\"margin:12px 0 0;{FONT}font-size:14px;line-height:1.5;color:#1d1830;white-space:pre-line;\">{}</p>\
             {facts}{button}</td></tr><tr><td style=\"height:12px;\"></td></tr>\n",
            notice.colour(),
            escape_html(&notice.title),
            utc(notice.at.0),
            escape_html(&notice.text),
        )
    }

    /// For Slack.
    pub fn slack(&self) -> slack::Post {
        let (title, text, facts) = self.short();
        slack::Post {
            title,
            text,
            facts,
            link: self.link().map(|url| (url, "Open in Mainspring".to_owned())),
            footer: self.footer(),
            colour: self.first().map_or("#6d4aff", NoticeRecord::colour),
        }
    }

    /// For Discord.
    pub fn discord(&self) -> discord::Post {
        let (title, text, facts) = self.short();
        let colour = self.first().map_or("#6d4aff", NoticeRecord::colour);
        discord::Post {
            title,
            text,
            facts,
            link: self.link(),
            footer: self.footer(),
            colour: u32::from_str_radix(colour.trim_start_matches('#'), 16).unwrap_or(0),
            at: self.first().map_or(Timestamp::UNIX_EPOCH, |notice| notice.at.0),
        }
    }

    fn short(&self) -> (String, String, Vec<(String, String)>) {
        match self.notices {
            [one] => (one.headline(), one.text.clone(), one.facts.0.clone()),
            many => {
                let lines: Vec<String> = many.iter().map(|n| format!("• {}", n.headline())).collect();
                (format!("{} notices of {}", many.len(), self.project), lines.join("\n"), vec![])
            }
        }
    }

    /// For a signed webhook: what Standard Webhooks wants (type, timestamp, data), the first notice's
    /// moment, all notices.
    pub fn json(&self) -> Value {
        let notices: Vec<Value> = (self.notices.iter())
            .map(|n| {
                let facts: serde_json::Map<String, Value> =
                    n.facts.0.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
                let link =
                    (!self.home.is_empty() && !n.path.is_empty()).then(|| format!("{}{}", self.home, n.path));
                json!({
                    "id": n.uid, "key": n.key, "severity": n.severity, "state": n.state, "title": n.title,
                    "text": n.text, "facts": facts, "url": link, "at": n.at.0.to_string(),
                })
            })
            .collect();
        let state = self.first().map_or("message", |n| n.state.as_str());
        let at = self.first().map_or(Timestamp::UNIX_EPOCH, |n| n.at.0);
        json!({"type": format!("notice.{state}"), "timestamp": at.to_string(), "data": {"project": self.project, "notices": notices}})
    }
}

const FONT: &str = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;";
const STYLE: &str = ":root{color-scheme:light dark;supported-color-schemes:light dark}\
    @media (prefers-color-scheme:dark){.ms-body{background:#12101c!important}.ms-card{background:#1e1a2e!important}\
    .ms-text{color:#efecfa!important}.ms-sub,.ms-foot{color:#aaa3c4!important}.ms-word{filter:brightness(1.5)}}\
    @media (max-width:480px){.ms-card{padding:16px!important}.ms-button{display:block!important;text-align:center}}";

/// To the second.
fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> NoticeRecord {
        NoticeRecord {
            id: 1,
            uid: "ntc_1".into(),
            key: "rule/7".into(),
            severity: Severity::Critical,
            state: NoticeState::Firing,
            title: "Import <b>failed</b>".into(),
            text: "</p><script>alert(1)</script>".into(),
            facts: AsJson(vec![("\"queue\"".into(), "<mail>".into())]),
            path: "/jobs/12?a=\"x\"".into(),
            at: At(Timestamp::UNIX_EPOCH),
            urgent: false,
        }
    }

    #[test]
    fn the_subject_says_what_happened() {
        let one = [notice()];
        let message = Message { notices: &one, project: "billing", home: "" };
        assert_eq!(message.subject(), "Critical: Import <b>failed</b> · billing");
        let over = [NoticeRecord { state: NoticeState::Recovered, ..notice() }, notice()];
        let message = Message { notices: &over, project: "billing", home: "" };
        assert_eq!(message.subject(), "2 notices, the first: Recovered: Import <b>failed</b> · billing");
        let evil = [NoticeRecord { title: "a\r\nBcc: x@example.com".into(), ..notice() }];
        assert!(!Message { notices: &evil, project: "b", home: "" }.subject().contains(['\r', '\n']));
    }

    #[test]
    fn what_people_wrote_stays_text_in_html() {
        let one = [notice()];
        let html = Message { notices: &one, project: "<p>", home: "https://m.example/p/a" }.html();
        assert!(
            !html.contains("<script>") && !html.contains("<b>failed") && !html.contains("<mail>"),
            "{html}"
        );
        assert!(
            html.contains("href=\"https://m.example/p/a/jobs/12?a=&quot;x&quot;\"")
                && html.contains("&lt;p&gt;")
        );
        assert!(html.contains("prefers-color-scheme:dark") && html.contains("width=device-width"));
        assert!(html.lines().all(|line| line.len() < 4000));
        let text = Message { notices: &one, project: "p", home: "https://m.example/p/a" }.text();
        assert!(
            text.contains("https://m.example/p/a/jobs/12") && text.contains("\"queue\": <mail>"),
            "{text}"
        );
    }

    #[test]
    fn a_webhook_gets_all_of_it() {
        let both = [notice(), NoticeRecord { uid: "ntc_2".into(), path: String::new(), ..notice() }];
        let body = Message { notices: &both, project: "billing", home: "https://m.example/p/billing" }.json();
        assert_eq!(
            (body["type"].as_str(), body["timestamp"].as_str()),
            (Some("notice.firing"), Some("1970-01-01T00:00:00Z"))
        );
        assert_eq!(body["data"]["notices"][0]["facts"]["\"queue\""], "<mail>");
        assert_eq!(body["data"]["notices"][1]["url"], Value::Null);
    }
}

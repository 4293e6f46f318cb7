//! A mail, whoever carries it, and what may stand in its headers.

use crate::error::{Error, Result};
use jiff::Timestamp;
use lettre::message::{Mailbox, MultiPart};

/// A mail with two faces.
#[derive(Clone, Debug)]
pub struct Mail {
    /// `Ada <ada@example.com>` or the address alone.
    pub from: String,
    /// The same, one or more.
    pub to: Vec<String>,
    /// Where answers go, if elsewhere.
    pub reply_to: Option<String>,
    /// What happened, in one line.
    pub subject: String,
    /// For readers of plain text.
    pub text: String,
    /// For all others.
    pub html: String,
    /// The message's own name, the same for every try: letters, digits, `_` and `-`.
    pub id: String,
    /// When it was written.
    pub at: Timestamp,
}

/// Reads an address, with or without a name. Line breaks and other control characters, which would
/// begin a header of somebody else's, are refused.
pub fn check_address(text: &str) -> Result<()> {
    mailbox(text).map(drop)
}

fn one_line(what: &str, text: &str) -> Result<()> {
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(Error::fatal(format!("{what} holds {c:?}; it must be one line of text"))),
        None => Ok(()),
    }
}

fn mailbox(text: &str) -> Result<Mailbox> {
    one_line("an address", text)?;
    text.trim().parse().map_err(|e| {
        Error::fatal(format!(
            "{text:?} is not an address such as ada@example.com or Ada <ada@example.com>: {e}"
        ))
    })
}

impl Mail {
    /// The message as it goes over the wire, with its envelope.
    pub fn build(&self) -> Result<lettre::Message> {
        let from = mailbox(&self.from)?;
        one_line("the subject", &self.subject)?;
        let named = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if self.id.is_empty() || !self.id.bytes().all(named) {
            return Err(Error::fatal("the message's id must be letters, digits, _ and -"));
        }
        if self.to.is_empty() {
            return Err(Error::fatal("nobody to send it to"));
        }
        let domain = from.email.domain().to_owned();
        let mut builder = lettre::Message::builder()
            .from(from)
            .subject(self.subject.as_str())
            .date(self.at.into())
            .message_id(Some(format!("<{}@{domain}>", self.id)));
        for to in &self.to {
            builder = builder.to(mailbox(to)?);
        }
        if let Some(reply) = &self.reply_to {
            builder = builder.reply_to(mailbox(reply)?);
        }
        let both = MultiPart::alternative_plain_html(self.text.clone(), self.html.clone());
        let mut message = builder.multipart(both).map_err(|e| Error::fatal(e.to_string()))?;
        // So that absence notes and mailing lists do not answer a machine.
        for (name, value) in [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")] {
            let name = lettre::message::header::HeaderName::new_from_ascii_str(name);
            message.headers_mut().insert_raw(lettre::message::header::HeaderValue::new(name, value.into()));
        }
        Ok(message)
    }
}

/// Text made fit to stand in HTML, in an attribute too.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            from: "Mainspring <engine@example.com>".into(),
            to: vec!["Ada Lovelace <ada@example.com>".into(), "b@example.org".into()],
            reply_to: None,
            subject: "Import failed — 3 in a row".into(),
            text: "plain äöü".into(),
            html: "<p>html</p>".into(),
            id: "ntc_1_2".into(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_mail_has_two_faces_and_a_name_that_stays() {
        let built = mail().build().unwrap();
        let text = String::from_utf8(built.formatted()).unwrap();
        for part in [
            "Message-ID: <ntc_1_2@example.com>",
            "Auto-Submitted: auto-generated",
            "multipart/alternative",
            "text/plain",
            "text/html",
            "Date: Thu, 01 Jan 1970 00:00:00 +0000",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(built.envelope().to().len(), 2);
    }

    #[test]
    fn nothing_can_begin_a_header_of_its_own() {
        let evil = ["a\r\nBcc: x@example.com", "a\nb", "a\rb", "a\u{0}b"];
        for bad in evil {
            let subject = Mail { subject: bad.into(), ..mail() };
            let from = Mail { from: format!("{bad} <a@example.com>"), ..mail() };
            let to = Mail { to: vec![format!("a@example.com{bad}")], ..mail() };
            let reply = Mail { reply_to: Some(format!("{bad}@example.com")), ..mail() };
            let id = Mail { id: bad.into(), ..mail() };
            for wrong in [subject, from, to, reply, id] {
                let error = wrong.build().unwrap_err();
                assert_eq!(error.class, crate::Class::Fatal, "{error}");
            }
        }
        assert!(check_address("ada@example.com").is_ok() && check_address("Ada <ada@example.com>").is_ok());
        for bad in ["", "ada", "ada@", "a@b@c", "<>", "a b@example.com"] {
            assert!(check_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escape_html(r#"<a href="x">&'"#), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}

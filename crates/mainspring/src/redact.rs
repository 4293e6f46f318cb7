//! Keeps known secrets out of what attempts leave behind: log lines and their fields, errors,
//! reasons, outputs and progress pass through here on their way to the store, whatever kind said them.
//!
//! A server that echoes a request, a command that prints its configuration: the value becomes
//! [`MARK`]. Known are the secrets that requests are signed with and what else the program names by
//! `Registry::secrets`, and the secrets of a project that this process has opened, these also as
//! base64, as a part of an address, and line by line (see [`crate::secrets`]). Payloads and step
//! results are not touched: they are the job's own words, which it needs back as they were. What a
//! limit has cut off before it came here begins or ends with a part of a secret, or has it before the
//! mark of the cut: where there is a mark a part of [`PART`] bytes is enough, otherwise it takes
//! [`SHORTEST`], as a text may well begin or end so by itself. Not found is a value that was encoded
//! in another way.

use crate::secrets::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use mainspring_core::Json;
use mainspring_core::decide::Outcome;
use mainspring_core::job::ErrorRecord;
use serde_json::Value;
use std::borrow::Cow;

/// What stands in place of a secret.
pub const MARK: &str = "[redacted]";
/// Shorter values are not looked for: they would be found everywhere.
pub const SHORTEST: usize = 8;
/// Bytes of a secret that are looked for before the mark of a cut.
pub const PART: usize = 4;
/// How every cut text goes on: see [`mainspring_core::limits::cut`].
const CUT: &str = "… [";

/// See the module's text.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that one which holds another goes as a whole.
    values: Vec<String>,
}

impl Redactor {
    /// Looks for these, too.
    pub fn add(&mut self, secrets: impl IntoIterator<Item = Secret>) {
        let long = secrets.into_iter().map(|s| s.expose().to_owned()).filter(|v| v.len() >= SHORTEST);
        for value in long {
            // As it stands inside JSON that is kept as text, with and without the slashes escaped.
            let quoted = Value::String(value.clone()).to_string();
            let quoted = quoted[1..quoted.len() - 1].to_owned();
            self.values.extend([quoted.replace('/', "\\/"), quoted, value]);
        }
        self.values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.values.dedup();
    }

    /// Whether this value is looked for.
    pub fn knows(&self, secret: &Secret) -> bool {
        self.values.iter().any(|value| value == secret.expose())
    }

    /// Looks for this one in every form in which a job may say it again.
    pub fn add_every_form(&mut self, secret: &Secret) {
        let value = secret.expose();
        let mut forms = vec![value.to_owned(), value.trim().to_owned()];
        forms.extend(value.lines().map(|line| line.trim().to_owned()));
        forms.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|form| form.encode(value)));
        forms.push(url::form_urlencoded::byte_serialize(value.as_bytes()).collect());
        forms.push(forms.last().map(|form: &String| form.replace('+', "%20")).unwrap_or_default());
        self.add(forms.into_iter().map(Secret::new));
    }

    /// `text` without secrets, and without parts of them where it was cut.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let whole = self.whole(text);
        match self.edges(&whole) {
            Some(clean) => Cow::Owned(clean),
            None => whole,
        }
    }

    /// `text` without whole secrets.
    fn whole<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for value in &self.values {
            if clean.contains(value.as_str()) {
                clean = Cow::Owned(clean.replace(value.as_str(), MARK));
            }
        }
        clean
    }

    /// `text` without the end of a secret at its beginning and the beginnings of secrets where it
    /// ends or was cut; None when there are none.
    fn edges(&self, text: &str) -> Option<String> {
        let head = self.values.iter().filter_map(|v| tail_of(v).find(|part| text.starts_with(part)));
        let head = head.map(str::len).max().unwrap_or(0);
        let ends: Vec<usize> = text.match_indices(CUT).map(|(at, _)| at).chain([text.len()]).collect();
        let mut clean = String::new();
        let mut from = head;
        for end in ends.into_iter().filter(|end| *end >= head) {
            let least = if end < text.len() { PART } else { SHORTEST };
            // A character that was cut, too, became a mark of its own.
            let upto = text[from..end].trim_end_matches('\u{fffd}');
            let part = self.values.iter().filter_map(|v| head_of(v, least).find(|part| upto.ends_with(part)));
            if let Some(part) = part.map(str::len).max() {
                clean.push_str(&upto[..upto.len() - part]);
                clean.push_str(MARK);
                from = end;
            }
        }
        if head == 0 && from == 0 {
            return None;
        }
        clean.push_str(&text[from..]);
        Some(if head > 0 { format!("{MARK}{clean}") } else { clean })
    }

    /// Whether `text` may hold a secret or a part of one.
    fn may_hold(&self, text: &str) -> bool {
        let ends = |v: &str| {
            [head_of(v, PART).last(), tail_of(v).last()].into_iter().flatten().any(|p| text.contains(p))
        };
        self.values.iter().any(|v| ends(v))
    }

    fn owned(&self, text: String) -> String {
        match self.text(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(clean) => clean,
        }
    }

    /// `json` without secrets, in whatever way its text is escaped.
    pub fn json(&self, json: Json) -> Json {
        let text = json.as_str();
        if self.values.is_empty() || !text.contains('\\') && !self.may_hold(text) {
            return json;
        }
        let plain = self.values.iter().any(|v| text.contains(v.as_str()));
        let mut value = json.value();
        if !self.walk(&mut value) && !plain {
            return json;
        }
        let clean = value.to_string();
        match self.whole(&clean) {
            Cow::Borrowed(_) => Json::trusted(clean),
            // Found across several values: nothing of it is worth keeping.
            Cow::Owned(_) => Json::trusted(format!("\"{MARK}\"")),
        }
    }

    /// Whether anything was found.
    fn walk(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => match self.text(text) {
                Cow::Borrowed(_) => false,
                Cow::Owned(clean) => {
                    *text = clean;
                    true
                }
            },
            // Every part is looked at: `any` would stop at the first that holds one.
            Value::Array(list) => list.iter_mut().filter_map(|v| self.walk(v).then_some(())).count() > 0,
            Value::Object(map) => {
                let mut found = false;
                for (name, mut value) in std::mem::take(map) {
                    found |= self.walk(&mut value);
                    let clean = self.text(&name).into_owned();
                    found |= clean != name;
                    map.insert(clean, value);
                }
                found
            }
            _ => false,
        }
    }

    fn error(&self, error: ErrorRecord) -> ErrorRecord {
        ErrorRecord {
            class: self.owned(error.class),
            message: self.owned(error.message),
            chain: error.chain.into_iter().map(|c| self.owned(c)).collect(),
        }
    }

    /// What an attempt came to, without secrets.
    pub(crate) fn outcome(&self, outcome: Outcome) -> Outcome {
        if self.values.is_empty() {
            return outcome;
        }
        match outcome {
            Outcome::Succeeded { output } => Outcome::Succeeded { output: output.map(|o| self.json(o)) },
            Outcome::Partial { output, failures } => {
                Outcome::Partial { output: output.map(|o| self.json(o)), failures }
            }
            Outcome::Skipped { reason } => Outcome::Skipped { reason: self.owned(reason) },
            Outcome::Failed { error, retryable, after } => {
                Outcome::Failed { error: self.error(error), retryable, after }
            }
            Outcome::TimedOut { error } => Outcome::TimedOut { error: self.error(error) },
            Outcome::Cancelled { reason } => Outcome::Cancelled { reason: self.owned(reason) },
            Outcome::Interrupted { reason } => Outcome::Interrupted { reason: self.owned(reason) },
            other @ (Outcome::Snoozed { .. } | Outcome::LeaseExpired) => other,
        }
    }
}

/// The beginnings of a secret, the longest first, that are enough where a text ends.
fn head_of(value: &str, least: usize) -> impl Iterator<Item = &str> {
    (least..value.len()).rev().filter_map(|n| value.get(..n))
}

/// The ends of a secret, the longest first, that are enough where a text begins.
fn tail_of(value: &str) -> impl Iterator<Item = &str> {
    (SHORTEST..value.len()).rev().filter_map(|n| value.get(value.len() - n..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        let mut redactor = Redactor::default();
        redactor.add(["hunter2/secret", "hunter2/secret-and-more", "short"].map(Secret::new));
        redactor
    }

    #[test]
    fn text_loses_what_is_secret_and_nothing_else() {
        let r = redactor();
        assert_eq!(r.text("a hunter2/secret, hunter2/secret!"), "a [redacted], [redacted]!");
        assert_eq!(r.text("hunter2/secret-and-more"), "[redacted]", "the longer one goes as a whole");
        assert_eq!(r.text("short hunter2"), "short hunter2");
        assert_eq!(Redactor::default().text("hunter2/secret"), "hunter2/secret");
    }

    #[test]
    fn a_projects_secret_is_found_in_the_forms_jobs_make_of_it() {
        let mut r = Redactor::default();
        let secret = Secret::new("pass word/with+signs\nsecond line of it");
        assert!(!r.knows(&secret));
        r.add_every_form(&secret);
        assert!(r.knows(&secret));
        for said in [
            "cGFzcyB3b3JkL3dpdGgrc2lnbnMKc2Vjb25kIGxpbmUgb2YgaXQ=",
            "pass+word%2Fwith%2Bsigns%0Asecond+line+of+it",
            "pass%20word%2Fwith%2Bsigns%0Asecond%20line%20of%20it",
            "pass word/with+signs",
            "second line of it",
        ] {
            assert_eq!(r.text(&format!("<{said}>")), "<[redacted]>");
        }
    }

    #[test]
    fn a_part_is_enough_where_a_text_was_cut() {
        let r = redactor();
        for (cut, clean) in [
            ("the key is hunter2/sec", "the key is [redacted]"),
            ("hunter2/", "[redacted]"),
            ("key hunter2/sec\u{fffd}", "key [redacted]"),
            ("key hunter2… [12 more bytes]", "key [redacted]… [12 more bytes]"),
            (
                "a hunt… [3 more bytes] and b hunt… [cut, 9 bytes in all]",
                "a [redacted]… [3 more bytes] and b [redacted]… [cut, 9 bytes in all]",
            ),
            ("secret-and-more, it was", "[redacted], it was"),
            ("2/secret and hunter2/se", "[redacted] and [redacted]"),
            // Too little to tell, and not at a cut.
            ("the key is hunter2", "the key is hunter2"),
            ("the key is hun… [2 more bytes]", "the key is hun… [2 more bytes]"),
            ("secret to all", "secret to all"),
            ("the hunter2/s was here", "the hunter2/s was here"),
        ] {
            assert_eq!(r.text(cut), clean, "{cut:?}");
        }
        assert_eq!(
            r.json(Json::trusted(r#"{"body":"x hunter2/s","cut":true}"#)).as_str(),
            r#"{"body":"x [redacted]","cut":true}"#
        );
        let long = "é".repeat(500) + "hunter2/secret" + &"x".repeat(100);
        for at in 990..1_020 {
            let cut = mainspring_core::limits::cut(&long, at + 30);
            let clean = r.text(&cut).into_owned();
            assert!(!clean.contains("hunt"), "{at}: {clean}");
        }
    }

    #[test]
    fn text_that_is_json_loses_it_as_it_is_escaped_there() {
        let mut r = Redactor::default();
        r.add([Secret::new("quo\"te/and/slash")]);
        let clean = |text: &str| r.text(text).into_owned();
        assert_eq!(clean(r#"{"k":"quo\"te/and/slash"#), r#"{"k":"[redacted]"#);
        assert_eq!(clean(r#"{"k":"quo\"te\/and\/slash"#), r#"{"k":"[redacted]"#);
        assert_eq!(clean("quo\"te/and/slash"), "[redacted]");
    }

    #[test]
    fn json_loses_it_however_it_is_escaped() {
        let r = redactor();
        let clean = |text: &str| r.json(Json::trusted(text)).as_str().to_owned();
        assert_eq!(clean(r#"{"a":["hunter2/secret",1]}"#), r#"{"a":["[redacted]",1]}"#);
        assert_eq!(
            clean(r#"{"a":"x","b":"hunter2\/secret","c":"hunter2\/secret"}"#),
            r#"{"a":"x","b":"[redacted]","c":"[redacted]"}"#
        );
        assert_eq!(clean(r#"["\u0068unter2/secret","hunter2/secret"]"#), r#"["[redacted]","[redacted]"]"#);
        assert_eq!(clean(r#"{"hunter2/secret":1}"#), r#"{"[redacted]":1}"#);
        // What holds none stays as it was written.
        assert_eq!(clean(r#"{"n": 1.000, "t":"a\/b"}"#), r#"{"n": 1.000, "t":"a\/b"}"#);
    }
}

//! The log of an attempt: levels, structured fields, and a cap that says when it was reached.

use super::Context;
use mainspring_core::job::{LogLevel, LogLine};
use mainspring_core::{Json, limits};
use serde::Serialize;
use std::sync::atomic::{AtomicU32, Ordering};

/// Lines written so far in this attempt.
#[derive(Debug, Default)]
pub(super) struct State {
    next: AtomicU32,
}

/// One line being made: `cx.log(LogLevel::Info, "sent").field("to", 17)`; written when dropped.
pub struct Log<'a> {
    cx: &'a Context,
    level: LogLevel,
    message: String,
    fields: serde_json::Map<String, serde_json::Value>,
}

impl Log<'_> {
    /// Adds a structured field. A value that JSON cannot hold is written as the reason why.
    pub fn field(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or_else(|e| e.to_string().into());
        self.fields.insert(name.into(), value);
        self
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        let fields = std::mem::take(&mut self.fields);
        let fields =
            (!fields.is_empty()).then(|| Json::trusted(serde_json::Value::Object(fields).to_string()));
        self.cx.write(self.level, &self.message, fields);
    }
}

impl Context {
    /// Begins a line; see [`Log`].
    pub fn log(&self, level: LogLevel, message: impl Into<String>) -> Log<'_> {
        Log { cx: self, level, message: message.into(), fields: serde_json::Map::new() }
    }

    /// A line for the author.
    pub fn debug(&self, message: impl Into<String>) {
        drop(self.log(LogLevel::Debug, message));
    }

    /// A line for the record.
    pub fn info(&self, message: impl Into<String>) {
        drop(self.log(LogLevel::Info, message));
    }

    /// A line somebody should look at some day.
    pub fn warn(&self, message: impl Into<String>) {
        drop(self.log(LogLevel::Warn, message));
    }

    /// A line about a failure.
    pub fn error(&self, message: impl Into<String>) {
        drop(self.log(LogLevel::Error, message));
    }

    fn write(&self, level: LogLevel, message: &str, fields: Option<Json>) {
        let state = &self.inner.log.next;
        let cap = limits::LOG_LINES as u32;
        // Counts one beyond the cap and stays there: that line says that the rest was dropped.
        let taken = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n <= cap).then_some(n + 1));
        let Ok(seq) = taken else { return };
        let (level, message, fields) = if seq == cap {
            (
                LogLevel::Warn,
                format!("more than {cap} lines: the rest of this attempt's log was dropped"),
                None,
            )
        } else {
            let redactor = self.redactor();
            let message = redactor.text(message).replace('\0', "\u{fffd}");
            let message = limits::cut(&message, limits::LOG_LINE);
            let fields = fields.map(|f| redactor.json(f)).map(|f| {
                if f.as_str().len() <= limits::LOG_LINE {
                    f
                } else {
                    Json::trusted(format!("{{\"dropped\":\"{} bytes of fields\"}}", f.as_str().len()))
                }
            });
            (level, message, fields)
        };
        let facts = &self.inner.claimed.facts;
        let line =
            LogLine { job: facts.job, attempt: facts.attempt, seq, at: self.now(), level, message, fields };
        self.inner.services.inbox.line(line);
    }
}

//! A notice: something people are told, and how it becomes rows and jobs.
//!
//! [`Notice::announce`] is pure: whoever has something to say (an alert rule, a pack, a test of a
//! channel) adds its statements and jobs to the write that decided it, so that a rule that fired and
//! what is said of it are one transaction. What a delivery needs besides (quiet hours, the channel's
//! settings) is read when its job runs, see [`super::deliver`].

use super::{KIND, QUEUE};
use jiff::Timestamp;
use mainspring_core::ids::ProjectId;
use mainspring_core::job::{NewJob, Unique, UniqueStates};
use mainspring_core::limits::cut;
use mainspring_core::retry::{Backoff, RetryPolicy};
use mainspring_core::tables::{AsJson, Statement, Write};
use mainspring_core::{Json, time, words};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Characters of a notice's title.
pub const TITLE: usize = 200;
/// Characters of its text.
pub const TEXT: usize = 4000;
/// Facts of a notice, and characters of each name and value.
pub const FACTS: usize = 20;
const FACT: usize = 300;
/// Channels that one notice may go to: what a write holds, with room for the caller's statements.
pub const CHANNELS: usize = 40;

/// How often a delivery is tried, and the seconds between: for about half a day.
const TRIES: u32 = 17;
const WAITS: [u64; 7] = [5, 15, 60, 300, 900, 1800, 3600];

words! {
    /// How bad it is.
    Severity {
        /// Worth knowing.
        Info = "info",
        /// Somebody should look.
        Warning = "warning",
        /// Somebody must look now.
        Critical = "critical",
    }
}

words! {
    /// What a notice tells.
    NoticeState {
        /// Something began to be wrong.
        Firing = "firing",
        /// It is well again.
        Recovered = "recovered",
        /// A person tries a channel.
        Test = "test",
        /// Something that has no end: a report is ready.
        Message = "message",
    }
}

/// Something people are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Whose it is.
    pub project: ProjectId,
    /// What it is about, the same from firing to recovered: `rule/7`, `rule/7/queue/mail`.
    pub key: String,
    /// How bad.
    pub severity: Severity,
    /// Firing, recovered, a test, a message.
    pub state: NoticeState,
    /// What happened, in one line: the subject of a mail.
    pub title: String,
    /// More of it, in plain text; lines are kept.
    pub text: String,
    /// Named values worth a line each: queue, attempts, error.
    pub facts: Vec<(String, String)>,
    /// The page that shows more, under the project's address: `/jobs/12`; empty: none.
    pub path: String,
    /// When it happened.
    pub at: Timestamp,
    /// Whether it may break quiet hours and does not wait for a digest.
    pub urgent: bool,
}

/// What a notice is written as. Add it to the write that decided it: [`Announcement::into_write`].
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The rows.
    pub statements: Vec<Statement>,
    /// A job for each channel.
    pub jobs: Vec<NewJob>,
    /// The notice's own key: telling the same thing twice is telling it once.
    pub uid: String,
}

impl Announcement {
    /// Adds it to a write, to be committed with whatever is in there.
    pub fn into_write(self, write: Write, now: Timestamp, project: ProjectId) -> Write {
        let write = self.statements.into_iter().fold(write, Write::then);
        if self.jobs.is_empty() { write } else { write.enqueue(now, project, self.jobs) }
    }
}

impl Notice {
    /// The notice's own key: of what it is about, what it tells and when.
    pub fn uid(&self) -> String {
        let mut hash = Sha256::new();
        for part in
            [&self.project.to_string(), &self.key, self.state.as_str(), &time::micros(self.at).to_string()]
        {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let hex = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("ntc_{hex}")
    }

    /// What is to be written so that people see it in the dashboard (always) and in the channels
    /// (each a delivery with its job). Channels of other projects, and channels that are gone by
    /// then, are left out by the statements themselves. At most [`CHANNELS`] channels; texts are cut
    /// to their limits.
    pub fn announce(&self, channels: &[i64]) -> Announcement {
        let uid = self.uid();
        let mut statements = vec![self.insert(&uid)];
        let mut jobs = Vec::new();
        for channel in channels.iter().take(CHANNELS) {
            let delivery = format!("{uid}_{channel}");
            statements.push(insert_delivery(&delivery, self.project, &uid, *channel, self.at));
            jobs.push(job(&delivery, *channel));
        }
        Announcement { statements, jobs, uid }
    }

    fn insert(&self, uid: &str) -> Statement {
        let facts = self.facts.iter().take(FACTS);
        let facts: Vec<(String, String)> =
            facts.map(|(name, value)| (line(name, FACT), line(value, FACT))).collect();
        Statement::new(
            "INSERT INTO notify_notices (uid, project, key, severity, state, title, text, facts, path, at, urgent)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (uid) DO NOTHING",
        )
        .bind(uid)
        .bind(self.project)
        .bind(line(&self.key, TITLE))
        .bind(self.severity.as_str())
        .bind(self.state.as_str())
        .bind(line(&self.title, TITLE))
        .bind(cut(&self.text.replace('\0', "\u{fffd}"), TEXT))
        .bind(AsJson(facts))
        .bind(if self.path.starts_with('/') { line(&self.path, TITLE) } else { String::new() })
        .bind(self.at)
        .bind(self.urgent)
    }
}

/// One line of text within its limit: what is put into headers, titles and lists.
pub(super) fn line(text: &str, most: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(text.trim(), most)
}

/// The row of a delivery, if the channel is there.
pub(super) fn insert_delivery(
    uid: &str,
    project: ProjectId,
    notice: &str,
    channel: i64,
    now: Timestamp,
) -> Statement {
    Statement::new(
        "INSERT INTO notify_deliveries
            (uid, project, notice, channel, channel_name, channel_kind, created, changed)
         SELECT ?1, CAST(?2 AS INTEGER), ?3, c.id, c.name, c.kind, CAST(?5 AS INTEGER), CAST(?5 AS INTEGER)
         FROM notify_channels c WHERE c.id = ?4 AND c.project = ?2
         ON CONFLICT (uid) DO NOTHING",
    )
    .bind(uid)
    .bind(project)
    .bind(notice)
    .bind(channel)
    .bind(now)
}

/// The job of a delivery: one at a time for each channel, tried for about half a day.
pub(super) fn job(delivery: &str, channel: i64) -> NewJob {
    let payload = Json::trusted(format!("{{\"delivery\":\"{delivery}\"}}"));
    NewJob {
        queue: QUEUE.into(),
        priority: 1,
        timeout: Some(Duration::from_secs(120)),
        retry: RetryPolicy {
            max_attempts: TRIES,
            backoff: Backoff::Steps(WAITS.iter().copied().map(Duration::from_secs).collect()),
            ..RetryPolicy::default()
        },
        key: Some(format!("channel/{channel}").into()),
        key_limit: Some(1),
        unique: Some(Unique { key: delivery.to_owned(), period: None, states: UniqueStates::ANY }),
        ..NewJob::new(KIND, payload)
    }
}

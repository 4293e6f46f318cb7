//! Events in words.

use super::brief;
use super::mark::{Mark, mark};
use crate::events::EventView;
use crate::frame::segment;
use jiff::Timestamp;
use serde_json::Value;

/// An event as one line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number.
    pub id: i64,
    /// Its name: `job.failed`.
    pub name: String,
    /// What sort of news it is.
    pub mark: Mark,
    /// What it is about.
    pub subject: String,
    /// The page about that, within the project.
    pub path: String,
    /// What happened.
    pub text: String,
    /// Who did it.
    pub actor: Option<String>,
    /// From which address.
    pub from: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// An event as a line. Who may not open the page of nodes is not sent there.
pub fn line(event: &EventView, nodes: bool) -> Line {
    let name = event.name.as_str();
    let data = event.data.value();
    let (what, whose) = event.subject.split_once('/').unwrap_or(("", &event.subject));
    let text = |key: &str| data.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let subject = match what {
        "job" => format!("{} {whose}", text("kind").unwrap_or("job")),
        "queue" if whose == "*" => "all queues".into(),
        "batch" => format!("batch {}", text("name").unwrap_or(whose)),
        "queue" | "node" | "heartbeat" | "channel" | "delivery" | "key" | "secret" | "project" => {
            format!("{what} {whose}")
        }
        "invitation" => format!("an invitation for {whose}"),
        "rule" => format!("alert rule {whose}"),
        "alert" => format!("alert {}", text("name").or(text("rule")).unwrap_or(whose)),
        _ => whose.to_owned(),
    };
    let from = text("from").map(str::to_owned);
    let (mark, text) = told(name, &data);
    Line {
        id: event.id,
        name: name.to_owned(),
        mark,
        subject,
        path: path(what, whose, nodes),
        text,
        actor: event.actor.clone(),
        from,
        at: event.at,
    }
}

fn path(what: &str, whose: &str, nodes: bool) -> String {
    match what {
        "job" => format!("jobs/{}", segment(whose)),
        "schedule" => format!("schedules/{}", segment(whose)),
        "queue" => format!("queues/{}", segment(whose)),
        "batch" => format!("batches/{}", segment(whose)),
        "node" if nodes => "nodes".into(),
        "key" | "member" | "secret" | "project" | "invitation" => "settings".into(),
        "alert" => format!("alerts/{}", segment(whose)),
        "rule" => "alert-rules".into(),
        "heartbeat" => "heartbeats".into(),
        "channel" => "channels".into(),
        "delivery" => format!("deliveries/{}", segment(whose)),
        _ => "audit?show=all".into(),
    }
}

/// What happened, in words.
fn told(name: &str, data: &Value) -> (Mark, String) {
    let text = |key: &str| data.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let because = |key| text(key).map(|t| format!(": {}", brief(t, 160))).unwrap_or_default();
    let fires = || match data.get("count").and_then(Value::as_u64).unwrap_or(1) {
        1 => "a fire".to_owned(),
        n => format!("{n} fires"),
    };
    match name {
        "job.failed" => (mark("is-bad", "bad", "Failed"), format!("failed{}", because("error"))),
        "job.retrying" => {
            (mark("is-warn", "retry", "Retrying"), format!("failed, will retry{}", because("error")))
        }
        "job.partial" => (mark("is-warn", "part", "Partial"), "succeeded in part".into()),
        "job.interrupted" => (mark("is-warn", "warn", "Interrupted"), "was interrupted".into()),
        "job.cancelled" => {
            (mark("is-idle", "cancel", "Cancelled"), format!("was cancelled{}", because("reason")))
        }
        "job.retried" => (mark("is-run", "retry", "Again"), "runs again".into()),
        "schedule.missed" => {
            (mark("is-warn", "late", "Missed"), format!("missed {}{}", fires(), because("reason")))
        }
        "schedule.skipped" => {
            (mark("is-idle", "skip", "Skipped"), format!("skipped {}{}", fires(), because("reason")))
        }
        "schedule.coalesced" => (
            mark("is-idle", "skip", "Joined"),
            format!("joined {} into one run{}", fires(), because("reason")),
        ),
        "alert.firing" => (mark("is-bad", "bell", "Firing"), text("title").unwrap_or("fires").to_owned()),
        "alert.recovered" => (mark("is-ok", "bell", "Recovered"), "recovered".into()),
        "alert.acknowledged" => {
            (mark("is-run", "ok", "Acknowledged"), format!("was acknowledged{}", because("note")))
        }
        "schedule.broken" => (mark("is-bad", "bad", "Broken"), "has a rule that cannot be read".into()),
        "batch.complete" => (mark("is-ok", "ok", "Complete"), "is complete".into()),
        "batch.partial" => (mark("is-warn", "part", "Partial"), "ended in part".into()),
        "person.refused" => (mark("is-warn", "lock", "Refused"), "gave a wrong password".into()),
        "person.signed_in" => (mark("is-ok", "lock", "Signed in"), "signed in".into()),
        "person.signed_out" => (mark("is-idle", "lock", "Signed out"), "signed out".into()),
        "person.first_account" => (mark("is-ok", "lock", "Made"), "made the first account".into()),
        "batch.failed" => (mark("is-bad", "bad", "Failed"), "failed".into()),
        other => {
            let verb = other.rsplit('.').next().unwrap_or(other).replace('_', " ");
            let found = match verb.as_str() {
                "paused" => mark("is-warn", "pause", "Paused"),
                "resumed" => mark("is-ok", "play", "Resumed"),
                "lost" => mark("is-bad", "warn", "Lost"),
                "joined" => mark("is-ok", "node", "Joined"),
                "deleted" => mark("is-idle", "x", "Deleted"),
                "made" | "set" | "restored" => mark("is-ok", "plus", "Made"),
                "removed" | "left" | "withdrawn" | "revoked" => mark("is-idle", "x", "Gone"),
                "archived" => mark("is-warn", "pause", "Archived"),
                "moved" => mark("is-warn", "globe", "Moved"),
                _ => mark("is-idle", "pen", "Changed"),
            };
            (found, verb)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_core::Json;

    fn said(name: &str, subject: &str, data: Value) -> (String, String, String) {
        let (name, subject, data) = (name.into(), subject.into(), Json::of(&data).unwrap());
        let at = "2026-11-22T10:00:00Z".parse().unwrap();
        let line = line(&EventView { id: 1, at, name, subject, actor: None, data }, false);
        (line.subject, line.text, line.path)
    }

    #[test]
    fn events_are_said_in_words_and_lead_to_their_page() {
        let data = serde_json::json!({"kind": "mail", "error": "refused\nby peer"});
        let own = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(said("job.failed", "job/17", data), own("mail 17", "failed: refused…", "jobs/17"));
        let data = serde_json::json!({"count": 3, "reason": "no node"});
        let path = "schedules/a%2Fb%20c";
        assert_eq!(
            said("schedule.missed", "schedule/a/b c", data),
            own("a/b c", "missed 3 fires: no node", path)
        );
        assert_eq!(said("queue.paused", "queue/*", Value::Null), own("all queues", "paused", "queues/%2A"));
    }
}

//! The job that delivers: reads its delivery, its channel and its notice, asks the service, and writes
//! down what became of it.
//!
//! | what happened | the row | the job |
//! |---|---|---|
//! | the service took it | `sent`, with its receipt | done |
//! | not taken, worth another try | `queued`, with the error | fails, tried again |
//! | nobody knows (cut off while the answer was awaited) | `queued`, with the error | tried again under the same id |
//! | out of tries | `failed`, or `unknown` after the case above | failed |
//! | refused, gone, switched off | `failed` | failed |
//! | quiet hours, digest, gathering | `queued`, held until then | snoozed: costs no try |
//!
//! `sent` is written only after the service's word. Whoever is killed between the two sends again,
//! with the same id for services that know one: a message may come twice, it is never believed to be
//! sent when it was not. Before each try the row says that one has begun, so that [`super::upkeep`]
//! can tell `unknown` from `failed` when the job itself was given up.

use super::channel::{Channel, Setup, find};
use super::compose::{Message, NoticeRecord};
use super::error::NotifyError;
use super::timing::Timing;
use super::{KIND, NoticeState, migrate};
use crate::context::Context;
use crate::job::JobError;
use crate::projects;
use crate::registry::{Handler, KindSpec, Registry};
use crate::secrets::Secret;
use async_trait::async_trait;
use jiff::Timestamp;
use mainspring_connect::smtp::Server;
use mainspring_connect::webhook::Event;
use mainspring_connect::{Class, Error, Mail, Receipt, discord, resend, slack, smtp, webhook};
use mainspring_core::tables::{Statement, Tables, TablesError, Write};
use mainspring_core::{Json, StoreError, limits};
use mainspring_outbound::Client as Outbound;
use serde::Deserialize;
use std::sync::Arc;

/// Notices that one message may hold.
const TOGETHER: u32 = 30;

/// Adds the kind that delivers. `home` is the address people use for the dashboard; without one,
/// messages hold no links.
pub fn register(registry: Registry, outbound: Outbound, home: Option<String>) -> Registry {
    registry.handler(KIND, KindSpec::default(), Deliver { outbound, home })
}

struct Deliver {
    outbound: Outbound,
    home: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    delivery: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Row {
    uid: String,
    notice: String,
    channel: i64,
    state: String,
    open: bool,
    created: mainspring_core::tables::At,
}

fn read(payload: &Json) -> Result<Payload, (String, String)> {
    serde_json::from_str(payload.as_str()).map_err(|e| ("payload".into(), e.to_string()))
}

#[async_trait]
impl Handler for Deliver {
    fn check(&self, payload: &Json) -> Result<(), (String, String)> {
        read(payload).map(drop)
    }

    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError> {
        let uid = read(cx.payload()).map_err(|(_, e)| JobError::fatal(e).class("bad_payload"))?.delivery;
        let store = cx.client().store().clone();
        let tables = store.tables().ok_or_else(|| JobError::fatal("this store has no tables"))?;
        migrate(&*tables).await?;
        Work { cx: &cx, tables, deliver: self }.run(&uid).await
    }
}

/// One attempt at one delivery.
struct Work<'a> {
    cx: &'a Context,
    tables: Arc<dyn Tables>,
    deliver: &'a Deliver,
}

impl Work<'_> {
    async fn run(&self, uid: &str) -> Result<Option<Json>, JobError> {
        let Some(row) = self.row(uid).await? else {
            return Err(JobError::Skip(
                "the channel was gone when this was said, or its delivery was deleted".into(),
            ));
        };
        if row.state != "queued" {
            return Ok(Json::of(&serde_json::json!({"delivery": uid, "state": row.state})).ok());
        }
        let found = find(&*self.tables, self.cx.project(), row.channel).await.map_err(trouble)?;
        let Some(channel) = found else { return Err(self.give_up(&row, "the channel was deleted").await?) };
        let Some(notice) = self.notices(std::slice::from_ref(&row)).await?.pop() else {
            return Err(self.give_up(&row, "its notice was deleted").await?);
        };
        let test = notice.state == NoticeState::Test;
        match (&channel.stopped, channel.enabled) {
            _ if test => {}
            (Some(why), _) => {
                return Err(self.give_up(&row, &format!("the channel was stopped: {why}")).await?);
            }
            (None, false) => return Err(self.give_up(&row, "the channel is switched off").await?),
            (None, true) => {}
        }
        let now = self.cx.now();
        let timing = if notice.urgent || test { Timing::default() } else { channel.timing.0.clone() };
        if let Some(until) = timing.hold(row.created.0, now) {
            let held = Statement::new(
                "UPDATE notify_deliveries SET held_until = ?2, job = ?3, changed = ?4 WHERE uid = ?1 AND state = 'queued'",
            );
            let held = held.bind(uid).bind(until).bind(self.cx.job_id()).bind(now);
            self.tables.write(held.into()).await?;
            self.cx.info(format!("held until {until}"));
            return Err(JobError::Snooze(until));
        }
        let rows = if timing.gathers() { self.gathered(&row, now).await? } else { vec![row] };
        self.send(&channel, &rows).await
    }

    async fn row(&self, uid: &str) -> Result<Option<Row>, TablesError> {
        let statement = Statement::new(
            "SELECT uid, notice, channel, state, open, created FROM notify_deliveries WHERE uid = ?1 AND project = ?2",
        );
        self.tables.read(statement.bind(uid).bind(self.cx.project())).await?.optional()
    }

    /// This delivery and what else waits for the same channel, the oldest first. Urgent ones go alone.
    async fn gathered(&self, own: &Row, now: Timestamp) -> Result<Vec<Row>, TablesError> {
        let statement = Statement::new(
            "SELECT d.uid, d.notice, d.channel, d.state, d.open, d.created FROM notify_deliveries d
             JOIN notify_notices n ON n.uid = d.notice
             WHERE d.channel = ?1 AND d.state = 'queued' AND n.urgent = 0 AND n.state <> 'test'
                 AND (d.uid = ?2 OR d.created <= ?3)
             ORDER BY d.id LIMIT ?4",
        );
        let statement = statement.bind(own.channel).bind(own.uid.as_str()).bind(now).bind(TOGETHER);
        let mut rows: Vec<Row> = self.tables.read(statement).await?.into_typed()?;
        // Beyond the limit, this one goes with a later message; but its own job must send something.
        if !rows.iter().any(|row| row.uid == own.uid) {
            rows.truncate(TOGETHER as usize - 1);
            rows.push(own.clone());
        }
        Ok(rows)
    }

    async fn notices(&self, rows: &[Row]) -> Result<Vec<NoticeRecord>, TablesError> {
        let places: Vec<String> = (1..=rows.len()).map(|n| format!("?{n}")).collect();
        let mut statement = Statement::built(format!(
            "SELECT id, uid, key, severity, state, title, text, facts, path, at, urgent FROM notify_notices
             WHERE uid IN ({}) ORDER BY id",
            places.join(", ")
        ));
        for row in rows {
            statement = statement.bind(row.notice.as_str());
        }
        self.tables.read(statement).await?.into_typed()
    }

    async fn send(&self, channel: &Channel, rows: &[Row]) -> Result<Option<Json>, JobError> {
        let notices = self.notices(rows).await?;
        let project = self.project().await?;
        let home = self.deliver.home.as_deref().map_or_else(String::new, |home| {
            format!("{}/p/{}", home.trim_end_matches('/'), percent(&project))
        });
        let message = Message { notices: &notices, project: &project, home: &home };
        self.begin(rows).await?;
        if rows.iter().any(|row| row.open) {
            self.cx.warn(
                "an earlier try was cut off and nobody knows how it ended: sending again under the same id",
            );
        }
        let secret = match &channel.secret {
            None => None,
            Some(place) => match self.cx.vault().get(self.cx.project(), place).await {
                Ok(secret) => Some(secret),
                Err(e) => {
                    let error = Error::new(
                        if e.is_transient() { Class::Retry(None) } else { Class::Fatal },
                        e.to_string(),
                    );
                    return Err(self.failed(channel, rows, error).await?);
                }
            },
        };
        let first = rows.first().map_or("", |row| row.notice.as_str());
        let id = format!("{first}_{}", channel.id);
        let sent = tokio::select! {
            sent = hand_over(&self.deliver.outbound, channel, secret.as_ref(), &message, &id, self.cx.now()) => sent,
            _ = self.cx.cancelled() => Err(Error::new(Class::Unknown, "stopped while the service's answer was awaited")),
        };
        match sent {
            Ok(receipt) => self.sent(channel, rows, &id, receipt).await,
            Err(error) => Err(self.failed(channel, rows, error).await?),
        }
    }

    async fn project(&self) -> Result<String, StoreError> {
        let name = projects::name_of(&**self.cx.client().store(), self.cx.project()).await?;
        Ok(name.unwrap_or_default())
    }

    /// The same change of every row that still waits.
    fn each(&self, rows: &[Row], sql: &'static str, bind: impl Fn(Statement) -> Statement) -> Write {
        rows.iter().fold(Write::new(), |write, row| {
            write.then(bind(Statement::new(sql).bind(row.uid.as_str()).bind(self.cx.now())))
        })
    }

    async fn begin(&self, rows: &[Row]) -> Result<(), TablesError> {
        let sql = "UPDATE notify_deliveries SET open = 1, tries = tries + 1, job = ?3, held_until = NULL, changed = ?2
                   WHERE uid = ?1 AND state = 'queued'";
        self.tables.write(self.each(rows, sql, |s| s.bind(self.cx.job_id()))).await.map(drop)
    }

    async fn sent(
        &self,
        channel: &Channel,
        rows: &[Row],
        id: &str,
        receipt: Receipt,
    ) -> Result<Option<Json>, JobError> {
        let text = receipt.id.as_ref().map_or(receipt.text.clone(), |id| format!("{} ({id})", receipt.text));
        let carrier = rows.first().map(|row| row.uid.as_str()).unwrap_or_default();
        let sql =
            "UPDATE notify_deliveries SET state = 'sent', open = 0, sent = ?2, changed = ?2, error = NULL,
                       receipt = ?3, carried_by = CASE WHEN uid = ?4 THEN NULL ELSE ?4 END
                   WHERE uid = ?1 AND state = 'queued'";
        let well = Statement::new(
            "UPDATE notify_channels SET failing = 0, last_error = NULL, stopped = NULL, last_sent = ?2 WHERE id = ?1",
        );
        let write = self.each(rows, sql, |s| s.bind(limits::cut(&text, limits::NOTE)).bind(carrier));
        self.tables.write(write.then(well.bind(channel.id).bind(self.cx.now()))).await?;
        self.cx.info(format!("{} took it: {text}", channel.kind()));
        let done = serde_json::json!({"id": id, "receipt": text, "notices": rows.len()});
        Ok(Json::of(&done).ok())
    }

    /// Writes down that a try failed; the job's error.
    async fn failed(&self, channel: &Channel, rows: &[Row], error: Error) -> Result<JobError, TablesError> {
        let last = self.cx.is_last_attempt();
        let state = match error.class {
            Class::Fatal | Class::Gone => "failed",
            Class::Retry(_) if last => "failed",
            Class::Unknown if last => "unknown",
            _ => "queued",
        };
        let open = error.is_unknown() && state == "queued";
        let text = limits::cut(&error.text, limits::NOTE);
        let sql = "UPDATE notify_deliveries SET state = ?3, open = ?4, error = ?5, changed = ?2
                   WHERE uid = ?1 AND state = 'queued'";
        let write = self.each(rows, sql, |s| s.bind(state).bind(open).bind(text.as_str()));
        let stopped = (error.class == Class::Gone).then(|| text.clone());
        let ill = Statement::new(
            "UPDATE notify_channels SET failing = failing + 1, last_error = ?2, last_failed = ?3,
                 stopped = coalesce(CAST(?4 AS TEXT), stopped)
             WHERE id = ?1",
        );
        self.tables
            .write(write.then(ill.bind(channel.id).bind(text).bind(self.cx.now()).bind(stopped)))
            .await?;
        Ok(match error.class {
            Class::Retry(Some(after)) => JobError::retry_after(error.text, after).class("later"),
            Class::Retry(None) => JobError::retry(error.text).class("not_taken"),
            Class::Unknown => JobError::retry(error.text).class("unknown"),
            Class::Fatal => JobError::fatal(error.text).class("refused"),
            Class::Gone => JobError::fatal(error.text).class("gone"),
        })
    }

    /// Nothing can be sent: no service was asked.
    async fn give_up(&self, row: &Row, why: &str) -> Result<JobError, TablesError> {
        let sql =
            "UPDATE notify_deliveries SET state = 'failed', open = 0, error = ?3, job = ?4, changed = ?2
                   WHERE uid = ?1 AND state = 'queued'";
        let rows = std::slice::from_ref(row);
        self.tables.write(self.each(rows, sql, |s| s.bind(why).bind(self.cx.job_id()))).await?;
        Ok(JobError::fatal(why).class("channel"))
    }
}

fn trouble(error: NotifyError) -> JobError {
    JobError::retry(error)
}

/// A project's name as a part of an address.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// Asks the channel's service.
async fn hand_over(
    outbound: &Outbound,
    channel: &Channel,
    secret: Option<&Secret>,
    message: &Message<'_>,
    id: &str,
    now: Timestamp,
) -> Result<Receipt, Error> {
    let secret = mainspring_connect::Secret::new(secret.map_or("", Secret::expose));
    let mail = |from: &str, to: &[String], reply_to: &Option<String>| Mail {
        from: from.to_owned(),
        to: to.to_vec(),
        reply_to: reply_to.clone(),
        subject: message.subject(),
        text: message.text(),
        html: message.html(),
        id: id.to_owned(),
        at: message.notices.first().map_or(now, |notice| notice.at.0),
    };
    match &channel.settings.0 {
        Setup::Email { host, port, security, user, from, to, reply_to } => {
            let login = user.clone().map(|user| (user, secret));
            let server = Server { host: host.clone(), port: *port, security: *security, login };
            smtp::send(outbound, &server, &mail(from, to, reply_to)).await
        }
        Setup::Resend { from, to, reply_to, api } => {
            let api = api.as_deref().unwrap_or(resend::API);
            resend::send(outbound, api, &secret, &mail(from, to, reply_to), now).await
        }
        Setup::Slack {} => slack::send(outbound, &secret, &message.slack(), now).await,
        Setup::Discord {} => discord::send(outbound, &secret, &message.discord(), now).await,
        Setup::Webhook { url } => {
            let body = message.json().to_string().into_bytes();
            webhook::send(outbound, Event { url, secret: &secret, id, now, body }).await
        }
    }
}

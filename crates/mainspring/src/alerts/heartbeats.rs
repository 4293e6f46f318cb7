//! Heartbeats: the dead man's switch of jobs that run elsewhere and only ping.
//!
//! A ping is a point of the series `heartbeat.due`: until when the next one must come. The rule
//! `silent` judges that like every other series, so a heartbeat that was never pinged, one that
//! stopped, and one that says it failed are the same thing. Its address holds a token of its own,
//! which can do nothing else; it is shown to those who may change heartbeats.

use super::records::check_name;
use super::{refused, series, tables};
use crate::client::{Client, ClientError, Result};
use jiff::Timestamp;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::ProjectId;
use mainspring_core::tables::{At, Statement, Tables, TablesError, Write};
use mainspring_core::{StoreError, duration, limits, time};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// Pings nearer than this to the one before are answered and not written.
const GAP: Duration = Duration::from_secs(5);
/// The family of series.
const FAMILY: &str = "heartbeat.due";

/// What a person sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatSpec {
    /// A ping must come this often.
    #[serde(with = "duration::human")]
    pub period: Duration,
    /// It may be late by this much.
    #[serde(default = "five_minutes", with = "duration::human")]
    pub grace: Duration,
    /// Whether it is not watched for now.
    #[serde(default)]
    pub paused: bool,
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

impl HeartbeatSpec {
    fn check(&self) -> Result<()> {
        let (short, long) = (Duration::from_secs(60), Duration::from_secs(366 * 86_400));
        for (field, d, least) in [("period", self.period, short), ("grace", self.grace, Duration::ZERO)] {
            if d < least || d > long {
                let text = format!("{} is not in {} to 366d", duration::format(d), duration::format(least));
                return Err(ClientError::invalid(field, text));
            }
        }
        Ok(())
    }
}

/// A heartbeat as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its name, once per project.
    pub name: String,
    /// The part of its address that only who pings should know.
    pub token: String,
    /// What is set.
    pub spec: HeartbeatSpec,
    /// When it last pinged.
    pub last_ping: Option<Timestamp>,
    /// Whether it said that it failed.
    pub last_failed: bool,
    /// How often it pinged.
    pub pings: u64,
    /// Since when it is.
    pub created_at: Timestamp,
    /// When it was last set.
    pub changed_at: Timestamp,
}

impl Heartbeat {
    /// Until when the next ping must come; None while it is paused.
    pub fn due(&self) -> Option<Timestamp> {
        if self.spec.paused {
            return None;
        }
        Some(match self.last_ping {
            Some(at) if self.last_failed => at,
            at => {
                // Whoever sets it anew has a full period for the next ping.
                let from = at.unwrap_or(self.created_at).max(self.changed_at);
                time::plus(time::plus(from, self.spec.period), self.spec.grace)
            }
        })
    }

    /// Whether it is silent for too long.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.due().is_some_and(|due| due < now)
    }

    fn point(&self, project: ProjectId, at: Timestamp) -> series::Written {
        let due = self.due().map_or(0.0, |due| time::micros(due) as f64 / time::SECOND as f64);
        series::point(project, &series::name(FAMILY, &self.name), at, due)
    }
}

#[derive(Deserialize)]
struct Row {
    project: i64,
    name: String,
    token: String,
    period: i64,
    grace: i64,
    paused: bool,
    last_ping: Option<At>,
    last_failed: bool,
    pings: u64,
    created_at: At,
    changed_at: At,
}

const COLUMNS: &str = "project, name, token, period, grace, paused, last_ping, last_failed, pings, created_at, \
     changed_at FROM alerts_heartbeats";

impl Row {
    fn record(self) -> Heartbeat {
        let length = |us: i64| Duration::from_micros(us.max(0) as u64);
        Heartbeat {
            name: self.name,
            token: self.token,
            spec: HeartbeatSpec {
                period: length(self.period),
                grace: length(self.grace),
                paused: self.paused,
            },
            last_ping: self.last_ping.map(|at| at.0),
            last_failed: self.last_failed,
            pings: self.pings,
            created_at: self.created_at.0,
            changed_at: self.changed_at.0,
        }
    }
}

/// The heartbeats of a project by name.
pub async fn heartbeats(client: &Client) -> Result<Vec<Heartbeat>> {
    let all = Statement::built(format!("SELECT {COLUMNS} WHERE project = ?1 ORDER BY name LIMIT ?2"));
    let rows =
        tables(client)?.read(all.bind(client.project()).bind(limits::HEARTBEATS)).await.map_err(refused)?;
    Ok(rows.into_typed::<Row>().map_err(refused)?.into_iter().map(Row::record).collect())
}

/// One heartbeat.
pub async fn heartbeat(client: &Client, name: &str) -> Result<Heartbeat> {
    let one = Statement::built(format!("SELECT {COLUMNS} WHERE project = ?1 AND name = ?2"));
    let rows = tables(client)?.read(one.bind(client.project()).bind(name)).await.map_err(refused)?;
    let row = rows.optional::<Row>().map_err(refused)?;
    row.map(Row::record).ok_or_else(|| ClientError::not_found("heartbeat", name))
}

fn event(client: &Client, what: &str, name: &str) -> NewEvent {
    NewEvent::new(&format!("heartbeat.{what}"), format!("heartbeat/{name}"), json!({}))
        .by(&client.signature())
}

fn and_point(write: Write, written: series::Written) -> Write {
    written.0.into_iter().fold(write, Write::then)
}

/// Makes a heartbeat. `token` is random, by the caller, who has the machine's chance at hand.
pub async fn make_heartbeat(
    client: &Client,
    name: &str,
    spec: &HeartbeatSpec,
    token: &str,
) -> Result<Heartbeat> {
    check_name(name)?;
    spec.check()?;
    let now = client.now();
    let made = Heartbeat {
        name: name.to_owned(),
        token: token.to_owned(),
        spec: spec.clone(),
        last_ping: None,
        last_failed: false,
        pings: 0,
        created_at: now,
        changed_at: now,
    };
    let insert = Statement::new(
        "INSERT INTO alerts_heartbeats (project, name, token, period, grace, paused, created_at, changed_at)
         SELECT CAST(?1 AS INTEGER), ?2, ?3, CAST(?4 AS INTEGER), CAST(?5 AS INTEGER), CAST(?6 AS INTEGER), CAST(?7 AS INTEGER),
             CAST(?7 AS INTEGER)
         WHERE (SELECT count(*) FROM alerts_heartbeats WHERE project = ?1) < ?8",
    );
    let insert = insert
        .bind(client.project())
        .bind(name)
        .bind(token)
        .bind(spec.period.as_micros() as i64)
        .bind(spec.grace.as_micros() as i64)
        .bind(spec.paused)
        .bind(now)
        .bind(limits::HEARTBEATS);
    let write = Write::new().then(insert.expect_rows(1));
    let write = and_point(write, made.point(client.project(), now));
    match tables(client)?.write(write.tell(now, client.project(), event(client, "created", name))).await {
        Ok(_) => Ok(made),
        Err(TablesError::Unexpected { .. }) => {
            let text = format!("a project has at most {} heartbeats; delete one first", limits::HEARTBEATS);
            Err(ClientError::invalid("heartbeat", text))
        }
        Err(e) if e.is_taken("alerts_heartbeats", &["project", "name"]) => {
            Err(StoreError::Conflict(format!("there is a heartbeat {name:?} already; change that one"))
                .into())
        }
        Err(e) => Err(refused(e)),
    }
}

/// Changes a heartbeat; its address stays, and the next ping has a full period from now on.
pub async fn set_heartbeat(client: &Client, name: &str, spec: &HeartbeatSpec) -> Result<Heartbeat> {
    spec.check()?;
    let now = client.now();
    let before = heartbeat(client, name).await?;
    let made = Heartbeat { spec: spec.clone(), changed_at: now, ..before };
    let update = Statement::new(
        "UPDATE alerts_heartbeats SET period = ?3, grace = ?4, paused = ?5, changed_at = ?6
         WHERE project = ?1 AND name = ?2",
    );
    let update = update
        .bind(client.project())
        .bind(name)
        .bind(spec.period.as_micros() as i64)
        .bind(spec.grace.as_micros() as i64)
        .bind(spec.paused)
        .bind(now);
    let write = and_point(Write::new().then(update.expect_rows(1)), made.point(client.project(), now));
    let write = write.tell(now, client.project(), event(client, "changed", name));
    tables(client)?.write(write).await.map_err(refused)?;
    Ok(made)
}

/// Deletes a heartbeat; its address is nobody's from now on.
pub async fn delete_heartbeat(client: &Client, name: &str) -> Result<()> {
    let now = client.now();
    let before = heartbeat(client, name).await?;
    let delete = Statement::new("DELETE FROM alerts_heartbeats WHERE project = ?1 AND name = ?2");
    let write = Write::new().then(delete.bind(client.project()).bind(name).expect_rows(1));
    let unwatched = Heartbeat { spec: HeartbeatSpec { paused: true, ..before.spec.clone() }, ..before };
    let write = and_point(write, unwatched.point(client.project(), now));
    tables(client)?
        .write(write.tell(now, client.project(), event(client, "deleted", name)))
        .await
        .map(drop)
        .map_err(refused)
}

/// A ping by its token; false when nobody has it. `failed`: what it stands for did not work.
pub async fn ping(tables: &dyn Tables, now: Timestamp, token: &str, failed: bool) -> Result<bool> {
    let find = Statement::built(format!("SELECT {COLUMNS} WHERE token = ?1")).bind(token);
    let Some(row) = tables.read(find).await.and_then(|rows| rows.optional::<Row>()).map_err(refused)? else {
        return Ok(false);
    };
    let project = ProjectId(row.project);
    let before = row.record();
    let again = before.last_ping.is_some_and(|at| time::since(at, now) < GAP) && before.last_failed == failed;
    if again {
        return Ok(true);
    }
    let update = Statement::new(
        "UPDATE alerts_heartbeats SET last_ping = ?2, last_failed = ?3, pings = pings + 1 WHERE token = ?1",
    );
    let pinged = Heartbeat { last_ping: Some(now), last_failed: failed, ..before };
    let write = Write::new().then(update.bind(token).bind(now).bind(failed));
    tables.write(and_point(write, pinged.point(project, now))).await.map_err(refused)?;
    Ok(true)
}

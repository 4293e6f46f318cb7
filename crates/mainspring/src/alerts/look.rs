//! One look at one project: sample, read, judge, and write what came of it, once however many nodes
//! look.
//!
//! Looks are whole minutes and are judged one after the other: after a pause of all nodes those that
//! were left out are judged from history first, as a backtest would ([`BACK`] at most). What no
//! history tells (queues, events) is sampled by the newest look alone.

use super::gather::{Names, Sampler, Seen};
use super::records::{ALERT, AlertRecord, AlertRow, RULE, RuleRecord, RuleRow};
use super::{books, migrate, refused, rules, series, words};
use crate::client::{Client, Result};
use crate::notify::{Notice, NoticeState};
use jiff::Timestamp;
use mainspring_core::alert::{Change, Rule, RuleState, Window, family, judge, read, windows};
use mainspring_core::duration;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::ProjectId;
use mainspring_core::tables::{AsJson, Statement, Tables, TablesError, Write};
use mainspring_core::{limits, time};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// A minute is judged this long after its end: what ended in it has been written by then.
pub const LAG: Duration = Duration::from_secs(3);
/// Looks that were left out and are judged afterwards.
const BACK: i64 = 60;
/// Statements of one write; what is more goes into a further one.
const STATEMENTS: usize = limits::TABLE_STATEMENTS - 5;
/// Minutes between two looks for new projects.
const SEED: i64 = 5;
/// Minutes between two sweeps of alerts that are long over.
const SWEEP: i64 = 5;

/// Looks at all projects.
pub struct Looker {
    client: Client,
    tables: Arc<dyn Tables>,
    names: Names,
    ready: AtomicBool,
    /// The minute at which new projects were last looked for.
    seeded: AtomicI64,
}

#[derive(Clone, Copy, Deserialize)]
struct Due {
    project: i64,
    look: i64,
    after: i64,
    cursor: i64,
}

/// What a look gathers to be written.
struct Draft {
    write: Write,
    statements: usize,
    /// Rules up to this one are in it.
    after: i64,
}

impl Looker {
    /// A looker by a client's store, clock and registry; None when the store has no tables.
    pub fn new(client: &Client) -> Option<Looker> {
        let tables = client.tables()?;
        let client = client.clone().acting_as("alerts");
        let (ready, seeded) = (AtomicBool::new(false), AtomicI64::new(i64::MIN));
        Some(Looker { client, tables, names: Names::default(), ready, seeded })
    }

    /// Judges what is due at `now`; whether there is more to do at once.
    pub async fn look(&self, now: Timestamp) -> Result<bool> {
        if !self.ready.load(Ordering::Relaxed) {
            crate::notify::migrate(&*self.tables).await.map_err(refused)?;
            migrate(&*self.tables).await.map_err(refused)?;
            self.ready.store(true, Ordering::Relaxed);
        }
        let newest = time::minute(time::minus(now, LAG));
        if newest.saturating_sub(self.seeded.load(Ordering::Relaxed)) >= SEED {
            for (project, _) in self.client.store().projects().await? {
                rules::seed(&self.client.clone().in_project(project)).await?;
            }
            self.seeded.store(newest, Ordering::Relaxed);
        }
        let due = Statement::new(
            "SELECT l.project, l.look, l.after, l.cursor FROM alerts_looks l
             WHERE l.look < ?1 AND EXISTS (
                 SELECT 1 FROM alerts_rules r WHERE r.project = l.project AND r.enabled = 1)
             ORDER BY l.look, l.project LIMIT 1000",
        );
        let due: Vec<Due> =
            self.tables.read(due.bind(newest)).await.and_then(|rows| rows.into_typed()).map_err(refused)?;
        let mut more = false;
        for due in due {
            let look = (due.look + 1).max(newest - BACK);
            more |= !self.judge(now, due, look, look == newest).await? || look < newest;
        }
        Ok(more)
    }

    async fn rules(&self, project: ProjectId, after: i64) -> Result<Vec<RuleRecord>> {
        let all = Statement::built(format!(
            "SELECT {RULE} WHERE project = ?1 AND enabled = 1 AND id > ?2 ORDER BY id LIMIT 1000"
        ));
        let rows = self.tables.read(all.bind(project).bind(after)).await.map_err(refused)?;
        Ok(rows.into_typed::<RuleRow>().map_err(refused)?.into_iter().map(RuleRow::record).collect())
    }

    /// About whom alerts of a rule are open. Those that somebody closed by hand are not.
    async fn open(&self, project: ProjectId, rule: i64) -> Result<BTreeSet<String>> {
        let all = Statement::new(
            "SELECT subject FROM alerts_alerts WHERE rule = ?2 AND project = ?1 AND ended_at IS NULL LIMIT 1000",
        );
        let rows = self.tables.read(all.bind(project).bind(rule)).await.map_err(refused)?;
        Ok(rows.into_typed::<String>().map_err(refused)?.into_iter().collect())
    }

    /// One look at one project; whether all its rules are judged.
    async fn judge(&self, now: Timestamp, due: Due, look: i64, newest: bool) -> Result<bool> {
        let project = ProjectId(due.project);
        let at = time::from_micros(look * time::MINUTE);
        let rules = self.rules(project, due.after).await?;
        let families: BTreeSet<&'static str> =
            rules.iter().filter_map(|r| family(&r.spec.rule.condition)).collect();
        let mut seen = Seen::default();
        let (mut changed, mut cursor) = (vec![], due.cursor);
        if !families.is_empty() {
            seen = Seen::with(series::newest(&*self.tables, project, at).await.map_err(refused)?);
            // The first part of a look samples; the others see what it wrote.
            if newest && due.after == 0 {
                let reader = self.client.store().as_ref();
                let sampler = Sampler { reader, project, at, families: &families, names: &self.names };
                let samples;
                (samples, cursor) = sampler.sample(&seen, due.cursor).await?;
                changed = seen.take(at, samples);
            }
        }
        let judged: Vec<&RuleRecord> = rules.iter().filter(|r| r.spec.rule.looks_at(look)).collect();
        let needed: BTreeSet<Window> = judged.iter().flat_map(|r| windows(&r.spec.rule, look)).collect();
        seen.read(self.client.store().as_ref(), &self.names, project, needed).await?;
        let samples = series::points(project, at, &changed);
        let mut draft = Draft { statements: samples.len(), write: Write::new(), after: due.after };
        draft.write = samples.into_iter().fold(draft.write, Write::then);
        let mut done = true;
        for rule in judged {
            let mut state = rule.state.clone();
            let readings = read(&rule.spec.rule, &seen, &state, look);
            let changes = judge(&rule.spec.rule, &mut state, &readings, look);
            let over = changes.iter().any(|change| matches!(change, Change::Recovered { .. }));
            let open = if over { self.open(project, rule.id).await? } else { BTreeSet::new() };
            let told = Told { project, rule, at, look, now, open };
            let (statements, write) = told.add(draft.write.clone(), &state, &changes);
            if draft.statements + statements > STATEMENTS && draft.statements > 0 {
                done = false;
                break;
            }
            draft = Draft { write, statements: draft.statements + statements, after: rule.id };
        }
        if newest
            && done
            && draft.statements < STATEMENTS / 2
            && rules.iter().any(|r| !r.state.firing.is_empty())
        {
            draft.write = self.wake(draft.write, project, &rules, now).await?;
        }
        if newest && done && look.rem_euclid(60) == 0 {
            draft.write = draft.write.then(series::sweep(now));
        }
        if newest && done && look.rem_euclid(SWEEP) == 0 {
            draft.write = books::sweep(now).into_iter().fold(draft.write, Write::then);
        }
        let (to, after) = if done { (look, 0) } else { (due.look, draft.after) };
        let swap = Statement::new(
            "UPDATE alerts_looks SET look = ?2, after = ?3, cursor = ?4
             WHERE project = ?1 AND look = ?5 AND after = ?6",
        );
        let swap = swap.bind(project).bind(to).bind(after).bind(cursor).bind(due.look).bind(due.after);
        match self.tables.write(draft.write.then(swap.expect_rows(1))).await {
            Ok(_) => Ok(done),
            // Another node was first, or somebody changed a rule meanwhile: the next step sees it.
            Err(TablesError::Unexpected { .. }) => Ok(true),
            Err(e) => Err(refused(e)),
        }
    }

    /// Alerts whose snooze is over while they still fire are told anew.
    async fn wake(
        &self,
        write: Write,
        project: ProjectId,
        rules: &[RuleRecord],
        now: Timestamp,
    ) -> Result<Write> {
        let over = Statement::built(format!(
            "SELECT {ALERT} WHERE project = ?1 AND ended_at IS NULL AND snoozed_until <= ?2 LIMIT 2"
        ));
        let rows = self.tables.read(over.bind(project).bind(now)).await.map_err(refused)?;
        let mut write = write;
        for alert in rows.into_typed::<AlertRow>().map_err(refused)?.into_iter().map(AlertRow::record) {
            let Some(rule) = rules.iter().find(|r| r.id == alert.rule) else { continue };
            let done = Statement::new("UPDATE alerts_alerts SET snoozed_until = NULL WHERE uid = ?1");
            write = write.then(done.bind(&alert.uid));
            write =
                write.then(books::entry(project, &alert.uid, now, "woke", None, Some("the snooze is over")));
            let open = BTreeSet::new();
            let told = Told { project, rule, at: now, look: time::minute(now), now, open };
            if !told.silent() {
                write = told.say(write, NoticeState::Firing, &[&alert], &alert.title);
            }
        }
        Ok(write)
    }
}

/// One rule at one look, and what is written of it.
struct Told<'a> {
    project: ProjectId,
    rule: &'a RuleRecord,
    at: Timestamp,
    look: i64,
    now: Timestamp,
    /// About whom alerts of the rule are open; read when something is over.
    open: BTreeSet<String>,
}

impl Told<'_> {
    fn silent(&self) -> bool {
        self.rule.snoozed_until.is_some_and(|until| until > self.now)
    }

    fn spec(&self) -> &Rule {
        &self.rule.spec.rule
    }

    /// Adds what changed to a write; gives how many statements that took.
    fn add(&self, write: Write, state: &RuleState, changes: &[Change]) -> (usize, Write) {
        if *state == self.rule.state {
            return (0, write);
        }
        let keep = Statement::new("UPDATE alerts_rules SET state = ?2 WHERE id = ?1 AND version = ?3");
        let keep = keep.bind(self.rule.id).bind(AsJson(state)).bind(self.rule.version);
        // A person changed it meanwhile: the whole look is judged again.
        let mut write = write.then(keep.expect_rows(1));
        let mut statements = 1;
        let (mut fired, mut over) = (vec![], vec![]);
        for change in changes {
            match change {
                Change::Fired { subject, breached } => {
                    let alert = self.alert(subject, breached);
                    write = write.then(books::open(self.project, &alert));
                    write = write.then(books::entry(
                        self.project,
                        &alert.uid,
                        self.at,
                        "fired",
                        None,
                        Some(&alert.title),
                    ));
                    fired.push(alert);
                }
                // Somebody closed it by hand: it was over for people then, and they are not told again.
                Change::Recovered { subject } if !self.open.contains(subject) => {}
                Change::Recovered { subject } => {
                    for statement in books::recovered(self.project, self.rule.id, subject, self.at) {
                        write = write.then(statement);
                    }
                    over.push(self.alert(subject, &[(subject.clone(), 0.0)]));
                }
            }
            statements += 2;
        }
        for (name, alerts) in [("alert.firing", &fired), ("alert.recovered", &over)] {
            for alert in alerts {
                let data = json!({
                    "rule": self.rule.id, "name": self.rule.name, "subject": alert.subject,
                    "severity": alert.severity, "title": alert.title,
                });
                let known = if name == "alert.firing" {
                    format!("alert/{}", alert.uid)
                } else {
                    format!("rule/{}", self.rule.name)
                };
                write = write.tell(self.at, self.project, NewEvent::new(name, known, data));
            }
        }
        if self.silent() {
            return (statements, write);
        }
        if let Some(first) = fired.first() {
            let title = many(&first.title, fired.len());
            write = self.say(write, NoticeState::Firing, &fired.iter().collect::<Vec<_>>(), &title);
            statements += 1 + self.rule.spec.channels.len();
        }
        if let Some(first) = over.first().filter(|_| self.rule.spec.recovery) {
            let whom = if first.subject.is_empty() { String::new() } else { format!(": {}", first.subject) };
            let title = many(&format!("Recovered: {}{whom}", self.rule.name), over.len());
            write = self.say(write, NoticeState::Recovered, &over.iter().collect::<Vec<_>>(), &title);
            statements += 1 + self.rule.spec.channels.len();
        }
        (statements, write)
    }

    fn alert(&self, subject: &str, breached: &[(String, f64)]) -> AlertRecord {
        let mut breached = breached.to_vec();
        breached.sort_by(|a, b| b.1.total_cmp(&a.1));
        AlertRecord {
            uid: books::uid(self.rule.id, subject, self.look),
            rule: self.rule.id,
            rule_name: self.rule.name.clone(),
            subject: subject.to_owned(),
            severity: self.rule.spec.severity,
            title: limits::cut(&words::headline(self.spec(), &breached), limits::NOTE),
            breached: breached.into_iter().take(limits::PAGE / 10).collect(),
            fired_at: self.at,
            ended_at: None,
            ended_why: None,
            snoozed_until: None,
            acked_at: None,
            acked_by: None,
        }
    }

    /// Adds what people are told of these alerts, which changed at the same look.
    fn say(&self, write: Write, state: NoticeState, alerts: &[&AlertRecord], title: &str) -> Write {
        let spec = self.spec();
        let mut facts =
            vec![("Rule".to_owned(), self.rule.name.clone()), ("Fires when".to_owned(), spec.words())];
        if state == NoticeState::Firing {
            let seen = alerts.iter().flat_map(|a| &a.breached).take(10);
            facts.extend(seen.map(|(subject, value)| {
                let name = if subject.is_empty() { "Seen".to_owned() } else { subject.clone() };
                (name, words::value(&spec.condition, *value))
            }));
        } else {
            facts.extend(
                alerts
                    .iter()
                    .take(10)
                    .filter(|a| !a.subject.is_empty())
                    .map(|a| ("Recovered".to_owned(), a.subject.clone())),
            );
        }
        if !spec.cool_down.is_zero() {
            facts.push(("Not again within".to_owned(), duration::format(spec.cool_down)));
        }
        let one = alerts.first().filter(|_| alerts.len() == 1);
        let path = match (one, state) {
            (Some(alert), NoticeState::Firing) => format!("/alerts/{}", alert.uid),
            _ => format!("/alerts?rule={}", self.rule.id),
        };
        let key = match one {
            Some(alert) if !alert.subject.is_empty() => format!("rule/{}/{}", self.rule.id, alert.subject),
            _ => format!("rule/{}", self.rule.id),
        };
        let notice = Notice {
            project: self.project,
            key,
            severity: self.rule.spec.severity,
            urgent: self.rule.spec.urgent,
            state,
            title: title.to_owned(),
            text: self.rule.spec.note.clone(),
            facts,
            path,
            at: self.at,
        };
        notice.announce(&self.rule.spec.channels).into_write(write, self.now, self.project)
    }
}

/// A title that stands for several alerts.
fn many(title: &str, n: usize) -> String {
    match n {
        0 | 1 => title.to_owned(),
        2 => format!("{title}, and one more alert"),
        n => format!("{title}, and {} more alerts", n - 1),
    }
}

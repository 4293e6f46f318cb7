//! The outside checker: reads the history alone and says everything that is wrong with it.
//!
//! | invariant | looked at |
//! |---|---|
//! | I1, I2 | every nominal fire, recomputed from the rule, has one job or one ledger row, and no other fire has; every job has a fire or an enqueue |
//! | I3 | every acknowledged token is one job, and that job is final |
//! | I4 | attempts that a dead node held ended within the lease and two seconds |
//! | I5 | attempts are numbered from 1 without a gap, and end in that order |
//! | I6 | every attempt has one end; no job was being delivered twice at the same moment |
//! | I7 | every delivery carries its job's id; every job that succeeded was delivered |
//! | I8 | of no queue and no key more was being delivered at once than may run |
//! | I9 | the store's own recount agrees with its counters |
//! | I10 | every lost node and every interrupted attempt has an event |

use crate::load::{KEYED, Memory, NARROW, NARROW_MAX};
use crate::machine::SLACK;
use crate::receiver::Delivery;
use jiff::Timestamp;
use mainspring_core::event::Event;
use mainspring_core::ids::{JobId, NodeId, ProjectId};
use mainspring_core::job::{Attempt, AttemptOutcome, JobRecord, JobState, Origin};
use mainspring_core::reader::JobDetail;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::{FireOutcome, LedgerRow, ScheduleRecord};
use mainspring_core::store::{JobFilter, Store};
use mainspring_core::{limits, time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

/// A node that was ended or frozen so long that its lease ran out.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Who it was for the store.
    pub nodes: Vec<NodeId>,
    /// From when the promise of the lease counts: its loss, or, where it was the only node, the
    /// coming of the one after it that lived long enough to judge.
    pub at: Timestamp,
}

/// What the checker is told.
pub struct Evidence<'a> {
    /// The history.
    pub store: &'a dyn Store,
    /// What the callers remember.
    pub memory: &'a Memory,
    /// What the outside world saw.
    pub deliveries: &'a [Delivery],
    /// What was done to the nodes.
    pub losses: &'a [Loss],
    /// The lease.
    pub lease: Duration,
}

/// What was counted on the way.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Figures {
    /// Jobs in the store.
    pub jobs: usize,
    /// Acknowledged enqueues.
    pub acknowledged: usize,
    /// Of those: without a job, or not final.
    pub lost: usize,
    /// Enqueues that were repeated because no answer came.
    pub repeated: u64,
    /// Tokens and fires with more than one job.
    pub doubled: usize,
    /// Nominal fires, recomputed.
    pub fires: usize,
    /// Of those: with a job.
    pub fired: usize,
    /// Of those: coalesced, skipped or missed, with a reason.
    pub ledger: u64,
    /// Attempts.
    pub attempts: usize,
    /// Of those: taken from dead nodes.
    pub rescued: usize,
    /// Of those: taken from nodes that had not died, only fallen silent for longer than the lease.
    pub taken_from_the_living: usize,
    /// Of those: given back in good order.
    pub given_back: usize,
    /// Jobs parked as poison after three deaths.
    pub poison: usize,
    /// Deliveries seen by the outside world.
    pub deliveries: usize,
    /// Jobs that were delivered more than once (which is allowed: at least once).
    pub delivered_again: usize,
    /// From the loss of a node to the end of each attempt it held, in milliseconds, sorted.
    pub recovery_ms: Vec<u64>,
    /// From the loss of a node to the next start of each of its jobs, in milliseconds, sorted.
    pub restart_ms: Vec<u64>,
    /// The longest time between two fires of the schedule that fires every second, in milliseconds.
    pub firing_gap_ms: u64,
}

/// The q-quantile of sorted figures.
pub fn quantile(sorted: &[u64], q: f64) -> u64 {
    let at = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(0)
}

struct Checker<'a> {
    evidence: &'a Evidence<'a>,
    jobs: Vec<JobDetail>,
    wrong: Vec<String>,
    figures: Figures,
}

/// Checks everything; Err holds all that is wrong.
pub async fn check(evidence: &Evidence<'_>) -> Result<Figures, Vec<String>> {
    let jobs = all_jobs(evidence.store).await;
    let figures = Figures {
        jobs: jobs.len(),
        acknowledged: evidence.memory.acknowledged.len(),
        repeated: evidence.memory.repeated,
        deliveries: evidence.deliveries.len(),
        ..Figures::default()
    };
    let mut checker = Checker { evidence, jobs, wrong: evidence.memory.wrong.clone(), figures };
    checker.enqueues();
    checker.fires().await;
    checker.attempts();
    checker.deliveries();
    checker.limits();
    checker.events().await;
    checker.recoveries();
    let differences = evidence.store.audit().await.expect("an audit");
    checker.wrong.extend(differences.into_iter().map(|d| format!("figures and rows differ: {d}")));
    if checker.wrong.is_empty() { Ok(checker.figures) } else { Err(checker.wrong) }
}

/// Every job with its attempts.
pub async fn all_jobs(store: &dyn Store) -> Vec<JobDetail> {
    let (mut jobs, mut before) = (Vec::new(), None);
    loop {
        let page = store.jobs(P, &JobFilter::default(), before, limits::PAGE as u32).await.expect("jobs");
        for job in page.rows {
            jobs.push(store.job(P, job.id).await.expect("a job").expect("it is there"));
        }
        before = page.next;
        if before.is_none() {
            return jobs;
        }
    }
}

fn rescued(attempt: &Attempt) -> bool {
    attempt.outcome == Some(AttemptOutcome::Interrupted)
        && attempt.error.as_ref().is_some_and(|e| e.class == "lease_expired")
}

impl Checker<'_> {
    fn say(&mut self, text: String) {
        self.wrong.push(text);
    }

    /// I2 and I3 for what callers enqueued.
    fn enqueues(&mut self) {
        let memory = self.evidence.memory;
        let mut by_token: BTreeMap<String, Vec<(JobId, JobState)>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for JobDetail { job, attempts, .. } in &self.jobs {
            match (job.origin, &job.unique) {
                (Origin::Enqueue, Some(token)) if memory.tried.contains(token) => {
                    by_token.entry(token.clone()).or_default().push((job.id, job.state));
                }
                (Origin::Fire, _) if job.schedule.is_some() && job.scheduled_for.is_some() => {}
                _ => wrong.push(format!("job {} has no cause: {job:?}", job.id)),
            }
            if !job.state.is_final() {
                wrong.push(format!(
                    "job {} is {} after everything has come to rest: {job:?}",
                    job.id, job.state
                ));
            }
            let poison = job.reason.as_deref().is_some_and(|r| r.starts_with("poison"));
            let deaths = attempts.iter().filter(|a| rescued(a)).count();
            if poison && deaths < limits::DEATHS as usize {
                wrong.push(format!("job {} is parked as poison after {deaths} deaths", job.id));
            }
            self.figures.poison += usize::from(poison);
            if matches!(job.state, JobState::Failed | JobState::Cancelled) && !poison {
                wrong
                    .push(format!("job {} is {}, though nothing asked for that: {job:?}", job.id, job.state));
            }
        }
        self.wrong.extend(wrong);
        for (token, id) in &memory.acknowledged {
            match by_token.get(token).map(Vec::as_slice) {
                None => {
                    self.figures.lost += 1;
                    self.say(format!("{token} was acknowledged as job {id}, and there is none"));
                }
                Some([(found, state)]) => {
                    self.figures.lost += usize::from(!state.is_final());
                    if found != id {
                        self.say(format!("{token} was acknowledged as job {id} and is job {found}"));
                    }
                }
                Some(_) => {}
            }
        }
        for (token, made) in by_token.iter().filter(|(_, made)| made.len() > 1) {
            self.figures.doubled += 1;
            self.say(format!("{token} is more than one job: {made:?}"));
        }
    }

    /// I1 and I2 for schedules.
    async fn fires(&mut self) {
        for record in self.evidence.store.all_schedules(None, limits::PAGE as u32).await.expect("schedules") {
            self.fires_of(&record).await;
        }
    }

    async fn fires_of(&mut self, record: &ScheduleRecord) {
        let spec: ScheduleSpec = record.spec.to().expect("a rule");
        let until = record.next_fire.expect("it goes on for ever");
        let store = self.evidence.store;
        let mut jobs: BTreeMap<Timestamp, Vec<JobId>> = BTreeMap::new();
        for JobDetail { job, .. } in &self.jobs {
            if let (Some(id), Some(at)) = (job.schedule, job.scheduled_for)
                && id == record.id
                && at < until
            {
                jobs.entry(at).or_default().push(job.id);
            }
        }
        let ledger = all_ledger(store, record, until).await;
        let mut nominal = BTreeSet::new();
        let series = spec.series();
        let mut next = series.next_after(record.created_at);
        while let Some(item) = next.filter(|item| item.due < until) {
            nominal.insert(item.due);
            next = series.next_after(item.due);
        }
        let (mut told, mut wrong) = (vec![0u64; ledger.len()], Vec::new());
        for at in &nominal {
            let made = jobs.get(at).map_or(0, Vec::len);
            let rows: Vec<usize> =
                (0..ledger.len()).filter(|i| ledger[*i].first <= *at && *at <= ledger[*i].last).collect();
            rows.iter().for_each(|i| told[*i] += 1);
            match (made, rows.len()) {
                (1, 0) => self.figures.fired += 1,
                (0, 1) => self.figures.ledger += 1,
                (0, 0) => wrong.push(format!("{}: the fire of {at} is lost", record.name)),
                (n, m) => {
                    self.figures.doubled += usize::from(n > 1);
                    wrong.push(format!("{}: the fire of {at} has {n} jobs and {m} ledger rows", record.name));
                }
            }
        }
        for (row, told) in ledger.iter().zip(&told) {
            if row.count != *told || row.reason.is_empty() {
                wrong.push(format!("{}: {row:?} stands for {told} fires", record.name));
            }
            let all = matches!(spec.misfire, mainspring_core::schedule::Misfire::All { .. });
            if all && row.outcome != FireOutcome::Skipped {
                wrong.push(format!("{}: every fire should run, yet {row:?}", record.name));
            }
        }
        for at in jobs.keys().filter(|at| !nominal.contains(at)) {
            wrong.push(format!("{}: {at} is none of its fires and has a job", record.name));
        }
        let fired = jobs.len() as u64;
        if record.fires != fired {
            wrong.push(format!("{} says {} fires and has {fired} jobs", record.name, record.fires));
        }
        self.figures.fires += nominal.len();
        self.wrong.extend(wrong);
    }

    /// I5 and I6.
    fn attempts(&mut self) {
        let mut wrong = Vec::new();
        for JobDetail { job, attempts, .. } in &self.jobs {
            let id = job.id;
            self.figures.attempts += attempts.len();
            let numbers: Vec<u32> = attempts.iter().map(|a| a.number).collect();
            if numbers != (1..=job.attempt).collect::<Vec<_>>() {
                wrong.push(format!(
                    "job {id} has had {} attempts, its history tells {numbers:?}",
                    job.attempt
                ));
            }
            for pair in attempts.windows(2) {
                if pair[0].finished_at.is_none() || pair[0].finished_at > pair[1].finished_at {
                    wrong.push(format!("job {id}: an attempt ended before the one ahead of it: {pair:?}"));
                }
            }
            if attempts.iter().any(|a| a.outcome.is_none()) {
                wrong.push(format!("job {id} is {} with an open attempt: {attempts:?}", job.state));
            }
            let deaths = attempts.iter().filter(|a| rescued(a)).count();
            let given_back =
                attempts.iter().filter(|a| a.outcome == Some(AttemptOutcome::Interrupted)).count();
            self.figures.rescued += deaths;
            self.figures.given_back += given_back - deaths;
            if !parked(job) && (job.deaths as usize != deaths || job.raised as usize != given_back) {
                wrong.push(format!(
                    "job {id} counts {} deaths and {} given back: {attempts:?}",
                    job.deaths, job.raised
                ));
            }
        }
        self.wrong.extend(wrong);
    }

    /// I7.
    fn deliveries(&mut self) {
        let mut by_id: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
        for delivery in self.evidence.deliveries {
            by_id.entry(&delivery.id).or_default().push(delivery);
        }
        self.figures.delivered_again =
            by_id.values().filter(|all| all.iter().filter(|d| d.good).count() > 1).count();
        let mut wrong = Vec::new();
        for JobDetail { job, .. } in self.jobs.iter().filter(|d| &*d.job.kind == "http") {
            let all = by_id.remove(job.id.delivery_id().as_str()).unwrap_or_default();
            if job.state == JobState::Completed && !all.iter().any(|d| d.good) {
                wrong.push(format!("job {} succeeded and was never delivered", job.id));
            }
            if let Some(token) = &job.unique
                && let Some(other) = all.iter().find(|d| d.token != *token)
            {
                wrong.push(format!("job {} is {token} and was delivered as {other:?}", job.id));
            }
        }
        wrong.extend(
            by_id.into_iter().map(|(id, all)| format!("{} deliveries of {id:?}, which is no job", all.len())),
        );
        self.wrong.extend(wrong);
    }

    /// I8, and I6 as the outside world sees it: what ran at once is what was being answered at once.
    ///
    /// The instants of the history do not serve here. A claim is stamped before it waits for its
    /// turn at the database, so that on a busy machine an attempt may seem to have begun before the
    /// one that made room for it had ended. Jobs that were taken from a lost node or given back are
    /// left out: their server does not hear that nobody waits for the answer any more, and what a
    /// lost node still sends when it wakes is not the engine's to keep back.
    fn limits(&mut self) {
        let mut lanes: BTreeMap<String, (usize, Vec<&Delivery>)> = BTreeMap::new();
        let mut by_id: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
        for delivery in self.evidence.deliveries {
            by_id.entry(&delivery.id).or_default().push(delivery);
        }
        for JobDetail { job, attempts, .. } in &self.jobs {
            if attempts.iter().any(|a| a.outcome == Some(AttemptOutcome::Interrupted)) {
                continue;
            }
            let own = by_id.remove(job.id.delivery_id().as_str()).unwrap_or_default();
            let (lane, limit) = match (&*job.queue, &job.key) {
                (NARROW, _) => (NARROW.to_owned(), NARROW_MAX),
                (KEYED, Some(key)) => (format!("{KEYED}, {key}"), 1),
                _ => (format!("job {}", job.id), 1),
            };
            lanes.entry(lane).or_insert((limit, Vec::new())).1.extend(own);
        }
        let mut wrong = Vec::new();
        for (lane, (limit, mut all)) in lanes {
            all.sort_unstable_by_key(|d| d.from);
            let mut running: Vec<&Delivery> = Vec::new();
            for delivery in all {
                running.retain(|d| d.until.is_none_or(|until| until > delivery.from));
                running.push(delivery);
                if running.len() > limit {
                    wrong.push(format!("{lane}: {} ran at once, {limit} may: {running:?}", running.len()));
                }
            }
        }
        self.wrong.extend(wrong);
    }

    /// I10.
    async fn events(&mut self) {
        let events = all_events(self.evidence.store).await;
        let mut told: BTreeSet<(&str, u64)> = BTreeSet::new();
        let mut lost: BTreeMap<&str, usize> = BTreeMap::new();
        for Event { event, .. } in &events {
            match event.name.as_str() {
                "job.interrupted" | "job.failed" | "job.cancelled" => {
                    told.insert((&event.subject, event.data.value()["attempt"].as_u64().unwrap_or(0)));
                }
                "node.lost" => *lost.entry(&event.subject).or_default() += 1,
                _ => {}
            }
        }
        let mut wrong = Vec::new();
        for JobDetail { job, attempts, .. } in &self.jobs {
            for a in attempts.iter().filter(|a| a.outcome == Some(AttemptOutcome::Interrupted)) {
                let subject = format!("job/{}", job.id);
                if !told.contains(&(subject.as_str(), u64::from(a.number))) {
                    wrong.push(format!("no event tells that {subject} lost attempt {}", a.number));
                }
            }
        }
        for node in self.evidence.losses.iter().flat_map(|loss| &loss.nodes) {
            let subject = format!("node/{node}");
            match lost.get(subject.as_str()) {
                Some(1) => {}
                n => wrong.push(format!("the loss of {subject} is told {} times", n.unwrap_or(&0))),
            }
        }
        self.wrong.extend(wrong);
    }

    /// I4, and how quick it was.
    fn recoveries(&mut self) {
        let (mut wrong, mut fired) = (Vec::new(), Vec::new());
        let bound = self.evidence.lease + Duration::from_secs(2) + SLACK;
        for JobDetail { job, attempts, .. } in &self.jobs {
            for (i, a) in attempts.iter().enumerate().filter(|(_, a)| rescued(a)) {
                let loss = self.evidence.losses.iter().find(|l| a.node.is_some_and(|n| l.nodes.contains(&n)));
                let Some(loss) = loss else {
                    self.figures.taken_from_the_living += 1;
                    continue;
                };
                let took = a.finished_at.map_or(Duration::MAX, |end| time::since(loss.at, end));
                if took > bound {
                    wrong.push(format!("job {} was taken over {took:?} after its node's end", job.id));
                }
                self.figures.recovery_ms.push(took.as_millis() as u64);
                let again = attempts.get(i + 1).map(|next| time::since(loss.at, next.started_at));
                self.figures.restart_ms.extend(again.map(|d| d.as_millis() as u64));
            }
            if job.origin == Origin::Fire {
                fired.push(job.created_at);
            }
        }
        fired.sort_unstable();
        self.figures.recovery_ms.sort_unstable();
        self.figures.restart_ms.sort_unstable();
        let gaps = fired.windows(2).map(|w| time::since(w[0], w[1]).as_millis() as u64);
        self.figures.firing_gap_ms = gaps.max().unwrap_or(0);
        self.wrong.extend(wrong);
    }
}

fn parked(job: &JobRecord) -> bool {
    job.state == JobState::Failed
}

async fn all_ledger(store: &dyn Store, record: &ScheduleRecord, until: Timestamp) -> Vec<LedgerRow> {
    let (mut rows, mut from) = (Vec::new(), Timestamp::UNIX_EPOCH);
    loop {
        let page = store.ledger(P, record.id, from, until, limits::PAGE as u32).await.expect("a ledger");
        let Some(last) = page.last().map(|row| row.last) else { return rows };
        rows.extend(page);
        from = time::plus(last, Duration::from_micros(1));
    }
}

/// Every event of the project.
pub async fn all_events(store: &dyn Store) -> Vec<Event> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let page = store.events(P, after, limits::PAGE as u32).await.expect("events");
        let Some(last) = page.last().map(|e| e.id) else { return events };
        events.extend(page);
        after = last;
    }
}

//! What must be true after a run, read from the history alone: the store's rows, and the log of what
//! it committed. Nothing here knows how a node works.

use super::run::{Finished, Planned};
use super::scenario::RATE;
use super::world::Entry;
use jiff::Timestamp;
use mainspring_core::batch::{BatchRecord, BatchState};
use mainspring_core::ids::{JobId, ProjectId, ScheduleId};
use mainspring_core::job::{AttemptOutcome, JobState, Origin};
use mainspring_core::reader::{GroupBy, JobDetail};
use mainspring_core::schedule_record::ScheduleRecord;
use mainspring_core::store::JobFilter;
use mainspring_core::trigger::Trigger;
use mainspring_core::{limits, time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

/// Everything that is wrong, in words.
pub async fn check(run: &Finished) -> Vec<String> {
    let mut wrong = run.world.accusations();
    let log = run.world.log();
    let jobs = all_jobs(run).await;
    attempts(&log, &mut wrong);
    for detail in jobs.values() {
        job(detail, &log, &mut wrong);
    }
    promises(&log, &jobs, &mut wrong);
    if run.scenario.clocks_agree() {
        rates(&log, &mut wrong);
    }
    for (id, planned) in &run.schedules {
        let name = &planned.spec.name;
        match run.base.schedule(P, name).await.expect("a schedule") {
            Some(record) => schedule(run, *id, planned, &record, &mut wrong).await,
            None => wrong.push(format!("{name} is gone")),
        }
    }
    let mut before = None;
    loop {
        let page = run.base.batches(P, before, 1000).await.expect("batches");
        page.rows.iter().for_each(|b| batch(b, &jobs, &mut wrong));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    for difference in super::run::recount(&*run.base).await {
        wrong.push(format!("figures and rows differ: {difference}"));
    }
    let rollups = run.base.rollups(P, 0, i64::MAX / 2, GroupBy::Nothing, false).await.expect("roll-ups");
    let counted: u64 = rollups.iter().map(|row| row.sum.count).sum();
    let ended = log.iter().filter(|e| matches!(e, Entry::Ended(..))).count() as u64;
    if counted != ended {
        wrong.push(format!("roll-ups tell of {counted} attempts, {ended} ended"));
    }
    wrong
}

async fn all_jobs(run: &Finished) -> BTreeMap<JobId, JobDetail> {
    let mut jobs = BTreeMap::new();
    let mut before = None;
    loop {
        let page = run.base.jobs(P, &JobFilter::default(), before, 1000).await.expect("jobs");
        for r in page.rows {
            let detail = run.base.job(P, r.id).await.expect("a job").expect("the job of a listing");
            jobs.insert(r.id, detail);
        }
        before = page.next;
        if before.is_none() {
            return jobs;
        }
    }
}

/// Attempts rise by one, one at a time; each ends once; nothing follows the end but a person's retry.
fn attempts(log: &[Entry], wrong: &mut Vec<String>) {
    #[derive(Default)]
    struct Seen {
        attempt: u32,
        open: bool,
        over: bool,
        began: BTreeSet<u32>,
    }
    let mut jobs = BTreeMap::<JobId, Seen>::new();
    for entry in log {
        match *entry {
            Entry::Claimed { job, attempt, node, .. } => {
                let seen = jobs.entry(job).or_default();
                if attempt != seen.attempt + 1 {
                    wrong.push(format!("job {job}: attempt {attempt} follows {}", seen.attempt));
                }
                if seen.open {
                    wrong.push(format!(
                        "job {job}: node {node} claimed {attempt} while {} was open",
                        seen.attempt
                    ));
                }
                if seen.over {
                    wrong.push(format!("job {job}: attempt {attempt} was claimed after its end"));
                }
                (seen.attempt, seen.open) = (attempt, true);
            }
            Entry::Began(job, attempt) => {
                let seen = jobs.entry(job).or_default();
                if attempt > seen.attempt || !seen.began.insert(attempt) {
                    wrong.push(format!("job {job}: a handler began attempt {attempt} twice or unclaimed"));
                }
            }
            Entry::Ended(job, attempt, state) => {
                let seen = jobs.entry(job).or_default();
                if !seen.open || seen.attempt != attempt {
                    wrong.push(format!("job {job}: attempt {attempt} ended twice or was not open"));
                }
                seen.open = false;
                seen.over = state.is_some();
            }
            Entry::Retried(job) => jobs.entry(job).or_default().over = false,
            Entry::Promised(_) => {}
        }
    }
    for (job, seen) in jobs {
        if seen.open {
            wrong.push(format!("job {job}: attempt {} is still open", seen.attempt));
        }
    }
}

/// One final state, a whole history, attempts within the budget.
fn job(detail: &JobDetail, log: &[Entry], wrong: &mut Vec<String>) {
    let r = &detail.job;
    if !r.state.is_final() {
        wrong.push(format!("job {} is {} at the end (held: {}, run_at {})", r.id, r.state, r.held, r.run_at));
        return;
    }
    if r.finished_at.is_none() || r.held {
        wrong.push(format!("job {} is {} without an end, or held", r.id, r.state));
    }
    let numbers: Vec<u32> = detail.attempts.iter().map(|a| a.number).collect();
    if numbers != (1..=r.attempt).collect::<Vec<_>>() {
        wrong.push(format!("job {}: its history has attempts {numbers:?}, it had {}", r.id, r.attempt));
    }
    if detail.attempts.iter().any(|a| a.finished_at.is_none() || a.outcome.is_none()) {
        wrong.push(format!("job {}: an attempt in its history has no end", r.id));
    }
    // Failures since the last time a person gave it a new budget.
    let mut attempt = 0;
    let mut fresh_after = 0;
    for entry in log {
        match *entry {
            Entry::Claimed { job, attempt: n, .. } if job == r.id => attempt = n,
            Entry::Retried(job) if job == r.id => fresh_after = attempt,
            _ => {}
        }
    }
    let failed =
        |o: Option<AttemptOutcome>| matches!(o, Some(AttemptOutcome::Failed | AttemptOutcome::TimedOut));
    let failures =
        detail.attempts.iter().filter(|a| a.number > fresh_after && failed(a.outcome)).count() as u32;
    if failures > r.max_attempts {
        wrong.push(format!("job {} failed {failures} times, {} were allowed", r.id, r.max_attempts));
    }
    if r.deaths >= limits::DEATHS && r.state != JobState::Failed {
        wrong.push(format!("job {} took {} workers down and is {}", r.id, r.deaths, r.state));
    }
    if r.attempt > 0 && r.state == JobState::Completed && detail.attempts.last().is_none() {
        wrong.push(format!("job {} is completed and nobody ran it", r.id));
    }
}

/// What a client was told to be enqueued is there.
fn promises(log: &[Entry], jobs: &BTreeMap<JobId, JobDetail>, wrong: &mut Vec<String>) {
    for entry in log {
        if let Entry::Promised(job) = entry
            && !jobs.contains_key(job)
        {
            wrong.push(format!("job {job} was acknowledged and is not there"));
        }
    }
}

/// No window holds more starts than the rate allows.
fn rates(log: &[Entry], wrong: &mut Vec<String>) {
    let starts = log.iter().filter_map(|entry| match entry {
        Entry::Claimed { at, rated: true, .. } => Some(*at),
        _ => None,
    });
    let mut starts: Vec<Timestamp> = starts.collect();
    starts.sort_unstable();
    for (n, first) in starts.iter().enumerate() {
        let end = time::plus(*first, RATE.per);
        let within = starts[n..].iter().take_while(|at| **at < end).count();
        if within > RATE.count as usize {
            wrong.push(format!("{within} starts within {:?} from {first}, {RATE} are allowed", RATE.per));
            return;
        }
    }
}

/// One outcome for each nominal fire: a job, or one place in the ledger.
async fn schedule(
    run: &Finished,
    id: ScheduleId,
    planned: &Planned,
    record: &ScheduleRecord,
    wrong: &mut Vec<String>,
) {
    let name = &planned.spec.name;
    let (from, until) = (Timestamp::UNIX_EPOCH, time::plus(run.world.now(), Duration::from_secs(86_400)));
    let mut outcomes = BTreeMap::<Timestamp, u64>::new();
    let mut made = 0;
    for (at, job, _, backfill) in run.base.fires(P, id, from, until, 1000).await.expect("fires") {
        let outcome = outcomes.entry(at).or_default();
        *outcome += 1;
        made += 1;
        if *outcome > 1 || backfill {
            wrong.push(format!("{name}: job {job} is another one for its fire at {at}"));
        }
    }
    if record.fires != made {
        wrong.push(format!("{name}: it tells of {} fires with a job, {made} are there", record.fires));
    }
    if planned.changed || matches!(planned.spec.trigger, Trigger::AfterCompletion { .. }) {
        return;
    }
    let series = planned.spec.series();
    let just_before = |at: Timestamp| time::minus(at, Duration::from_micros(1));
    for row in run.base.ledger(P, id, from, until, 1000).await.expect("a ledger") {
        let mut count = 0;
        let mut next = series.next_after(just_before(row.first));
        while let Some(item) = next.filter(|item| item.nominal <= row.last) {
            *outcomes.entry(item.nominal).or_default() += 1;
            count += 1;
            next = series.next_after(item.due);
        }
        if count != row.count {
            wrong.push(format!("{name}: a ledger row counts {} fires, its range has {count}", row.count));
        }
    }
    let Some(first) = planned.first else { return };
    let last = outcomes.last_key_value().map(|(at, _)| *at);
    let mut next = series.next_after(just_before(first));
    while let Some(item) = next {
        let open = record.next_fire.map_or(Some(item.due) > last, |next_fire| item.due >= next_fire);
        if open {
            break;
        }
        match outcomes.remove(&item.nominal) {
            Some(1) => {}
            Some(n) => wrong.push(format!("{name}: the fire at {} has {n} outcomes", item.nominal)),
            None => wrong.push(format!("{name}: the fire at {} has no outcome", item.nominal)),
        }
        next = series.next_after(item.due);
    }
    for at in outcomes.keys() {
        wrong.push(format!("{name}: there is an outcome for {at}, which is no fire of it"));
    }
}

/// Over when its jobs are, with one follow-up.
fn batch(b: &BatchRecord, jobs: &BTreeMap<JobId, JobDetail>, wrong: &mut Vec<String>) {
    let id = b.id;
    let of_batch = || jobs.values().map(|d| &d.job).filter(|j| j.batch == Some(id));
    let counted = of_batch().filter(|j| j.origin != Origin::FollowUp).count() as u64;
    if counted != b.counts.total {
        wrong.push(format!("batch {id} counts {} jobs, {counted} are there", b.counts.total));
    }
    let parent = b.parent.and_then(|parent| jobs.get(&parent)).map(|d| d.job.state);
    // What a parent that failed left unsealed is given up.
    let given_up = !b.sealed && matches!(parent, Some(JobState::Failed | JobState::Cancelled));
    let due = if given_up { b.counts.state_given_up() } else { b.counts.state(b.sealed) };
    if due != b.state {
        wrong.push(format!("batch {id} is {} with {:?}", b.state, b.counts));
    }
    if b.counts.pending() > 0 {
        wrong.push(format!("batch {id} waits for {} jobs", b.counts.pending()));
    }
    let follow_ups: Vec<JobId> = of_batch().filter(|j| j.origin == Origin::FollowUp).map(|j| j.id).collect();
    let expected: Vec<JobId> =
        if b.state == BatchState::Open { vec![] } else { b.follow_up.into_iter().collect() };
    if follow_ups != expected {
        wrong
            .push(format!("batch {id} is {} with follow-ups {follow_ups:?}, it tells {expected:?}", b.state));
    }
    // One that was opened and whose reply was lost stays empty; one that has jobs was completed by
    // its parent, unless that ended before.
    if b.state == BatchState::Open && b.counts.total > 0 && parent == Some(JobState::Completed) {
        wrong.push(format!("batch {id} is open though its parent has completed"));
    }
}

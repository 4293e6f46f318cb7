//! Every call runs on a fresh file and on one with a little of everything: so every statement is
//! prepared, and every index that a statement names is one that it may use.

use jiff::Timestamp;
use mainspring_core::batch::NewBatch;
use mainspring_core::decide::{Outcome, decide};
use mainspring_core::event::NewEvent;
use mainspring_core::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use mainspring_core::job::{JobState, LogLevel, LogLine, NewJob, Origin, Progress, Unique, UniqueStates};
use mainspring_core::json::Json;
use mainspring_core::node::NodeInfo;
use mainspring_core::queue::{Pause, QueueSettings};
use mainspring_core::reader::{GroupBy, Reader};
use mainspring_core::schedule_record::{FireOutcome, FireWrite, Fired, LedgerRow, PutSchedule};
use mainspring_core::store::{Bulk, ClaimRequest, Finished, JobFilter, Store, SweepPolicy};
use mainspring_core::time;
use mainspring_store_sqlite::{Options, SqliteStore};
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;
const LEASE: Duration = Duration::from_secs(15);

fn at(second: i64) -> Timestamp {
    time::from_micros(1_800_000_000_000_000 + second * time::SECOND)
}

fn node(id: i64) -> NodeInfo {
    NodeInfo {
        id: NodeId(id),
        name: "n".into(),
        pid: 1,
        version: "0".into(),
        slots: 1,
        queues: vec![],
        kinds: vec![],
        tz_version: "t".into(),
    }
}

fn filters() -> Vec<JobFilter> {
    let none = JobFilter::default;
    vec![
        none(),
        JobFilter { ids: vec![JobId(1), JobId(2)], ..none() },
        JobFilter { states: vec![JobState::Running], ..none() },
        JobFilter { states: vec![JobState::Failed, JobState::Cancelled], ..none() },
        JobFilter { states: vec![JobState::Available, JobState::Scheduled], ..none() },
        JobFilter { kind: Some("k".into()), ..none() },
        JobFilter { queue: Some("nowhere".into()), ..none() },
        JobFilter { queue: Some("default".into()), kind: Some("k".into()), ..none() },
        JobFilter { schedule: Some(ScheduleId(1)), ..none() },
        JobFilter { batch: Some(BatchId(1)), ..none() },
        JobFilter { key: Some("key".into()), error_class: Some("fatal".into()), ..none() },
        JobFilter { created_from: Some(at(0)), created_until: Some(at(9)), ..none() },
    ]
}

async fn read_everything(s: &SqliteStore) {
    for filter in filters() {
        s.jobs(P, &filter, Some(JobId(1 << 40)), 10).await.unwrap();
        s.jobs(P, &filter, None, 1).await.unwrap();
    }
    s.projects().await.unwrap();
    for id in 0..12 {
        s.job(P, JobId(id)).await.unwrap();
        s.logs(P, JobId(id), None, 10).await.unwrap();
        s.steps(JobId(id)).await.unwrap();
    }
    s.schedules(P, None, 10).await.unwrap();
    s.all_schedules(None, 10).await.unwrap();
    s.schedule(P, "nightly").await.unwrap();
    s.ledger(P, ScheduleId(1), at(-99), at(99), 10).await.unwrap();
    s.fires(P, ScheduleId(1), at(-99), at(99), 10).await.unwrap();
    s.queues(P).await.unwrap();
    s.nodes().await.unwrap();
    s.batches(P, None, 10).await.unwrap();
    s.batch(P, BatchId(1)).await.unwrap();
    s.counts(P).await.unwrap();
    for group in [GroupBy::Kind, GroupBy::Queue, GroupBy::Schedule, GroupBy::Nothing] {
        s.rollups(P, 0, i64::MAX, group, true).await.unwrap();
        s.rollups(P, 0, i64::MAX, group, false).await.unwrap();
    }
    s.recents(P).await.unwrap();
    s.running(P, 10).await.unwrap();
    s.events(P, 0, 10).await.unwrap();
    s.last_event(P).await.unwrap();
    s.meta("a").await.unwrap();
    let facts = s.facts(at(0)).await.unwrap();
    assert!(facts.iter().all(|f| f.problem.is_none()), "{facts:?}");
    assert_eq!(s.audit().await.unwrap(), Vec::<String>::new());
}

fn request(limit: u32) -> ClaimRequest {
    ClaimRequest { node: NodeId(7), limit, kinds: vec!["k".into()], queues: vec![], project: None }
}

fn put(name: &str) -> PutSchedule {
    PutSchedule {
        name: name.into(),
        spec: Json::null(),
        zone: "UTC".into(),
        next_fire: Some(at(0)),
        after_completion: Some(Duration::from_secs(5)),
        source: "cli".into(),
    }
}

async fn some_jobs(s: &SqliteStore) {
    let plain = || NewJob::new("k", Json::null());
    let jobs = vec![
        plain(),
        NewJob { run_at: Some(at(100)), ..plain() },
        NewJob { key: Some("key".into()), key_limit: Some(1), ..plain() },
        NewJob { key: Some("key".into()), key_limit: Some(1), ..plain() },
        NewJob {
            unique: Some(Unique { key: "u".into(), period: None, states: UniqueStates::LIVE }),
            ..plain()
        },
        NewJob { expires_at: Some(at(1)), ..plain() },
    ];
    assert_eq!(s.enqueue(at(0), P, jobs).await.unwrap().len(), 6);
    let follow_up = Some(plain());
    let batch = NewBatch { name: "b".into(), follow_up, parent: Some(JobId(1)), sealed: false };
    let (batch, _) = s.open_batch(at(0), P, batch, vec![plain(), plain()]).await.unwrap();
    s.seal_batch(at(0), P, batch).await.unwrap();
}

async fn a_schedule(s: &SqliteStore) {
    let id = s.put_schedule(at(0), P, put("nightly"), "me").await.unwrap();
    let pause = Pause { at: at(0), by: "me".into(), until: None, note: None };
    s.pause_schedule(at(0), P, "nightly", Some(pause), "me").await.unwrap();
    let (due, next) = s.due_schedules(at(0), 10).await.unwrap();
    assert_eq!((due.len(), next), (1, None));
    let mut job = NewJob::new("k", Json::null());
    job.origin = Origin::Fire;
    job.schedule = Some((id, Some(at(0))));
    let row = |first| LedgerRow {
        first,
        last: first,
        count: 1,
        outcome: FireOutcome::Skipped,
        reason: "paused".into(),
    };
    let write = FireWrite {
        schedule: id,
        version: due[0].record.version,
        expected_fire: at(0),
        next_fire: Some(at(60)),
        jobs: vec![job],
        ledger: vec![row(at(-2)), row(at(-1))],
        replace: vec![JobId(2)],
    };
    let fired = s.fire(at(0), vec![write.clone(), write]).await.unwrap();
    assert!(matches!(fired[0], Fired::Written(_)) && fired[1] == Fired::Lost, "{fired:?}");
    let rows = s.ledger(P, id, at(-9), at(9), 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].count), (1, 2));
    assert!(s.reschedule(at(0), id, 2, Some(at(60)), Some(at(61)), None).await.unwrap());
}

#[tokio::test]
async fn every_call_works() {
    let dir = tempfile::tempdir().unwrap();
    let s = SqliteStore::open(dir.path().join("a.db"), Options::default()).unwrap();
    read_everything(&s).await;
    s.join(at(0), node(7)).await.unwrap();
    assert_eq!(s.ensure_project(at(0), "default").await.unwrap(), P);
    some_jobs(&s).await;
    a_schedule(&s).await;
    read_everything(&s).await;
    s.promote(at(0), 10).await.unwrap();
    let got = s.claim(at(2), request(20)).await.unwrap();
    assert!(got.more && got.jobs.len() == 6, "{} jobs", got.jobs.len());
    read_everything(&s).await;
    let first = got.jobs[0].facts.job;
    assert_eq!(s.save_step(at(2), first, 1, "one", Json::null()).await.unwrap(), Finished::Applied);
    let progress = Progress { done: 1, total: None, note: None };
    s.set_progress(at(2), first, 1, progress).await.unwrap();
    let line = LogLine {
        job: first,
        attempt: 1,
        seq: 0,
        at: at(2),
        level: LogLevel::Info,
        message: "m".into(),
        fields: None,
    };
    s.append_logs(at(2), vec![line]).await.unwrap();
    for filter in filters() {
        let bulk = Bulk { filter: &filter, after: None, limit: 3 };
        s.cancel_jobs(at(3), P, bulk, "no more", "me").await.unwrap();
    }
    let (beat, _) = s.heartbeat(at(3), NodeId(7), LEASE).await.unwrap();
    assert!(beat.known && !beat.cancel.is_empty(), "{beat:?}");
    assert_eq!(s.orphans(at(99), LEASE, None, 3).await.unwrap().len(), 3);
    let ends = got.jobs.iter().map(|c| decide(&c.facts, Outcome::Succeeded { output: None }, at(4), 0.0));
    let done = s.finish(at(4), ends.collect()).await.unwrap();
    assert!(done.iter().all(|d| *d == Finished::Applied));
    for filter in filters() {
        let bulk = Bulk { filter: &filter, after: None, limit: 3 };
        s.retry_jobs(at(5), P, bulk, "me").await.unwrap();
    }
    let settings = QueueSettings { max_running_per_key: Some(3), fair: true, ..Default::default() };
    s.set_queue(at(5), P, "default", settings, "me").await.unwrap();
    s.set_queue(at(5), P, "default", QueueSettings::default(), "me").await.unwrap();
    s.record(at(5), P, NewEvent::new("tour.done", "tour".into(), serde_json::json!({}))).await.unwrap();
    s.set_meta(at(5), "a", Some("b")).await.unwrap();
    s.leave(at(5), NodeId(7)).await.unwrap();
    read_everything(&s).await;
    let policy = SweepPolicy { max_bytes: Some(0), ..Default::default() };
    s.sweep(at(400 * 86_400), &policy, 100).await.unwrap();
    s.delete_schedule(at(5), P, "nightly", "me").await.unwrap();
    read_everything(&s).await;
    s.close().await;
}

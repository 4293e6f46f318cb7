//! Schedules are written, looked at and fired.

use super::bench::*;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::{JobId, ScheduleId};
use mainspring_core::job::{JobState, NewJob, Origin};
use mainspring_core::json::Json;
use mainspring_core::queue::Pause;
use mainspring_core::schedule_record::{
    FireOutcome, FireWrite, Fired, LedgerRow, PutSchedule, ScheduleRecord,
};
use mainspring_core::{StoreError, limits};

async fn put(b: &Bench, seconds: i64, name: &str, next: Option<i64>) -> ScheduleId {
    b.store.put_schedule(at(seconds), P, put_schedule(name, next), "ann").await.unwrap()
}

async fn record(b: &Bench, name: &str) -> ScheduleRecord {
    b.store.schedule(P, name).await.unwrap().unwrap()
}

/// The job of a nominal fire.
fn job_of(schedule: ScheduleId, fire: i64) -> NewJob {
    NewJob { origin: Origin::Fire, schedule: Some((schedule, Some(at(fire)))), ..job() }
}

/// What a look at an unpaused schedule that is due at `fire` writes.
fn write(s: &ScheduleRecord, fire: i64, next: Option<i64>) -> FireWrite {
    FireWrite {
        schedule: s.id,
        version: s.version,
        expected_fire: at(fire),
        next_fire: next.map(at),
        jobs: vec![],
        ledger: vec![],
        replace: vec![],
    }
}

fn row(first: i64, last: i64, count: u64, outcome: FireOutcome, reason: &str) -> LedgerRow {
    LedgerRow { first: at(first), last: at(last), count, outcome, reason: reason.into() }
}

async fn ledger(b: &Bench, id: ScheduleId) -> Vec<LedgerRow> {
    b.store.ledger(P, id, at(-1_000_000), at(1_000_000), 1000).await.unwrap()
}

async fn fire(b: &Bench, seconds: i64, write: FireWrite) -> Fired {
    b.store.fire(at(seconds), vec![write]).await.unwrap().remove(0)
}

async fn fired(b: &Bench, seconds: i64, write: FireWrite) -> Vec<JobId> {
    match fire(b, seconds, write).await {
        Fired::Written(jobs) => jobs.into_iter().map(|e| e.id).collect(),
        Fired::Lost => panic!("the fire was lost"),
    }
}

/// Every field; listings by name and by number.
pub async fn a_schedule_comes_back_as_it_was_put(b: &Bench) {
    let full = PutSchedule {
        name: "nächtlich 🌙".into(),
        spec: Json::parse("{ \"b\": 1, \"a\":[1.0] }").unwrap(),
        zone: "Pacific/Chatham".into(),
        next_fire: Some(at(60)),
        after_completion: Some(std::time::Duration::from_micros(1_000_001)),
        source: "import".into(),
    };
    let id = b.store.put_schedule(at(1), P, full.clone(), "ann").await.unwrap();
    let r = record(b, &full.name).await;
    assert_eq!((r.id, r.project, &r.name, &r.spec, &r.zone), (id, P, &full.name, &full.spec, &full.zone));
    assert_eq!(
        (r.next_fire, r.after_completion, &r.source),
        (Some(at(60)), full.after_completion, &full.source)
    );
    assert_eq!((r.fires, r.last_fire, r.paused, r.version), (0, None, None, 1));
    assert_eq!((r.created_at, r.updated_at), (at(1), at(1)));
    for name in ["c", "a", "b"] {
        put(b, 2, name, None).await;
    }
    let page = b.store.schedules(P, None, 2).await.unwrap();
    assert_eq!(page.rows.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(page.next.as_deref(), Some("b"));
    let page = b.store.schedules(P, page.next.as_deref(), 2).await.unwrap();
    assert_eq!((page.rows[0].name.as_str(), page.rows[1].id, page.next), ("c", id, None));
    let all = b.store.all_schedules(Some(id), 10).await.unwrap();
    assert_eq!(all.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
    assert_eq!(b.store.all_schedules(None, 1).await.unwrap()[0].id, id);
    assert!(b.store.schedule(P, "nothing").await.unwrap().is_none());
    let refused = b.store.put_schedule(at(3), P, put_schedule("*", None), "ann").await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}

/// The same again writes nothing, not even the next fire; a change keeps what history needs.
pub async fn putting_the_same_again_changes_nothing(b: &Bench) {
    let id = put(b, 0, "s", Some(60)).await;
    let s = record(b, "s").await;
    let jobs = vec![job_of(id, 60)];
    fired(b, 60, FireWrite { jobs, ..write(&s, 60, Some(120)) }).await;
    let pause = Pause { at: at(61), by: "ann".into(), until: Some(at(90)), note: None };
    b.store.pause_schedule(at(61), P, "s", Some(pause.clone()), "ann").await.unwrap();
    let before = record(b, "s").await;
    let told = b.told().await;
    assert_eq!(put(b, 70, "s", Some(999)).await, id);
    assert_eq!(record(b, "s").await, before);
    assert_eq!(b.told().await, told);

    let changed = PutSchedule { zone: "UTC".into(), ..put_schedule("s", Some(200)) };
    assert_eq!(b.store.put_schedule(at(80), P, changed, "bob").await.unwrap(), id);
    let after = record(b, "s").await;
    assert_eq!((after.fires, after.last_fire, after.paused), (1, Some(at(60)), Some(pause)));
    assert_eq!((after.version, after.next_fire, &*after.zone), (before.version + 1, Some(at(200)), "UTC"));
    assert_eq!((after.created_at, after.updated_at), (at(0), at(80)));
    for changed in [
        PutSchedule { spec: Json::null(), zone: "UTC".into(), ..put_schedule("s", None) },
        PutSchedule {
            after_completion: Some(secs(1)),
            spec: Json::null(),
            zone: "UTC".into(),
            ..put_schedule("s", None)
        },
    ] {
        let version = record(b, "s").await.version;
        b.store.put_schedule(at(81), P, changed, "bob").await.unwrap();
        assert_eq!(record(b, "s").await.version, version + 1);
    }
    let last = b.events().await.pop().unwrap().event;
    assert_eq!((last.name.as_str(), last.subject.as_str()), ("schedule.changed", "schedule/s"));
    assert_eq!(last.actor.as_deref(), Some("bob"));
}

/// The next fire stays where it is; each change is told.
pub async fn a_schedule_is_paused_resumed_and_deleted(b: &Bench) {
    put(b, 0, "s", Some(60)).await;
    let pause = Pause { at: at(1), by: "ann".into(), until: None, note: Some("holiday".into()) };
    b.store.pause_schedule(at(1), P, "s", Some(pause.clone()), "ann").await.unwrap();
    let r = record(b, "s").await;
    assert_eq!((r.paused, r.version, r.next_fire, r.updated_at), (Some(pause), 2, Some(at(60)), at(1)));
    b.store.pause_schedule(at(2), P, "s", None, "ann").await.unwrap();
    let r = record(b, "s").await;
    assert_eq!((r.paused, r.version, r.next_fire), (None, 3, Some(at(60))));
    b.store.delete_schedule(at(3), P, "s", "ann").await.unwrap();
    assert!(b.store.schedule(P, "s").await.unwrap().is_none());
    let expected =
        ["created", "paused", "resumed", "deleted"].map(|what| format!("schedule.{what} schedule/s"));
    assert_eq!(b.told().await, expected);
    let missing = b.store.delete_schedule(at(4), P, "s", "ann").await;
    assert!(matches!(missing, Err(StoreError::NotFound { what: "schedule", .. })), "{missing:?}");
    let missing = b.store.pause_schedule(at(4), P, "s", None, "ann").await;
    assert!(matches!(missing, Err(StoreError::NotFound { what: "schedule", .. })), "{missing:?}");
}

/// By time, then number; paused ones too; and when the next one is due.
pub async fn due_schedules_come_in_order_with_the_next_instant(b: &Bench) {
    let other = b.ensure("other").await;
    let (c, a, late) =
        (put(b, 0, "c", Some(30)).await, put(b, 0, "a", Some(10)).await, put(b, 0, "l", Some(99)).await);
    put(b, 0, "never", None).await;
    let d = b.store.put_schedule(at(0), other, put_schedule("d", Some(30)), "ann").await.unwrap();
    let pause = Pause { at: at(1), by: "ann".into(), until: None, note: None };
    b.store.pause_schedule(at(1), P, "a", Some(pause), "ann").await.unwrap();
    let due = async |now, limit| {
        let (rows, next) = b.store.due_schedules(at(now), limit).await.unwrap();
        (rows.into_iter().map(|d| d.record.id).collect::<Vec<_>>(), next)
    };
    assert_eq!(due(9, 10).await, (vec![], Some(at(10))));
    assert_eq!(due(30, 10).await, (vec![a, c, d], Some(at(99))));
    assert_eq!(due(30, 2).await, (vec![a, c], Some(at(30))));
    assert_eq!(due(99, 10).await, (vec![a, c, d, late], None));
    let (rows, _) = b.store.due_schedules(at(10), 1).await.unwrap();
    assert_eq!(rows[0].record, record(b, "a").await);
}

/// Those of fires, oldest first; what is over, manual or backfilled does not count.
pub async fn a_due_schedule_shows_its_live_jobs(b: &Bench) {
    let node = b.join(0).await;
    let id = put(b, 0, "s", Some(10)).await;
    let s = record(b, "s").await;
    let jobs = (0..4).map(|n| job_of(id, n)).collect();
    let made = fired(b, 10, FireWrite { jobs, ..write(&s, 10, Some(20)) }).await;
    b.put(10, NewJob { origin: Origin::Manual, schedule: Some((id, None)), ..job_in("m") }).await;
    b.put(10, NewJob { origin: Origin::Backfill, schedule: Some((id, Some(at(-9)))), ..job_in("m") }).await;
    let c = b.claim(10, node, 3).await;
    b.ended(11, &c[0], succeeded()).await;
    let retrying = b.claim(11, node, 10).await;
    assert!(!retrying.is_empty());
    let of_fire = c.iter().find(|c| c.facts.job == made[1]);
    if let Some(c) = of_fire {
        b.ended(12, c, failed()).await;
    }
    let (due, _) = b.store.due_schedules(at(20), 10).await.unwrap();
    let live: Vec<JobId> = due[0].live.iter().map(|(id, _)| *id).collect();
    let mut expected = Vec::new();
    for id in &made {
        if !b.state(*id).await.is_final() {
            expected.push(*id);
        }
    }
    assert_eq!(live, expected);
    for (id, state) in &due[0].live {
        assert_eq!(b.state(*id).await, *state);
    }
}

/// Job, ledger, next fire and figures of the schedule, in one go.
pub async fn a_fire_writes_everything_it_decided(b: &Bench) {
    let id = put(b, 0, "s", Some(60)).await;
    let s = record(b, "s").await;
    let w = FireWrite {
        jobs: vec![job_of(id, 240)],
        ledger: vec![row(60, 180, 3, FireOutcome::Coalesced, "misfire: once")],
        ..write(&s, 60, Some(300))
    };
    let made = fired(b, 250, w).await;
    let r = record(b, "s").await;
    assert_eq!((r.next_fire, r.fires, r.last_fire, r.version), (Some(at(300)), 1, Some(at(240)), s.version));
    let job = b.record(made[0]).await;
    assert_eq!((job.schedule, job.scheduled_for, job.origin), (Some(id), Some(at(240)), Origin::Fire));
    assert_eq!((job.state, job.created_at, job.run_at), (JobState::Available, at(250), at(250)));
    assert_eq!(ledger(b, id).await, [row(60, 180, 3, FireOutcome::Coalesced, "misfire: once")]);
    let fires = b.store.fires(P, id, at(0), at(1000), 10).await.unwrap();
    assert_eq!(fires, [(at(240), made[0], JobState::Available, false)]);
    assert_eq!(b.told().await.last().unwrap(), "schedule.coalesced schedule/s");
    let data = b.events().await.pop().unwrap().event.data.value();
    assert_eq!((&data["count"], &data["reason"]), (&3.into(), &"misfire: once".into()));
}

/// Two nodes saw the same fire: one writes, the other nothing at all.
pub async fn only_the_first_of_two_nodes_fires(b: &Bench) {
    let id = put(b, 0, "s", Some(60)).await;
    let s = record(b, "s").await;
    let w = FireWrite {
        jobs: vec![job_of(id, 60)],
        ledger: vec![row(0, 0, 1, FireOutcome::Missed, "late")],
        ..write(&s, 60, Some(120))
    };
    let again = FireWrite { jobs: vec![job_of(id, 61)], ..w.clone() };
    fired(b, 60, w.clone()).await;
    for w in [w, again] {
        assert_eq!(fire(b, 61, w).await, Fired::Lost);
    }
    assert_eq!((b.how_many().await, ledger(b, id).await.len(), record(b, "s").await.fires), (1, 1, 1));
    // Or the schedule was changed, paused or deleted meanwhile.
    let w = |s: &ScheduleRecord| FireWrite { jobs: vec![job_of(id, 120)], ..write(s, 120, Some(180)) };
    let stale = record(b, "s").await;
    let pause = Pause { at: at(1), by: "ann".into(), until: None, note: None };
    b.store.pause_schedule(at(62), P, "s", Some(pause), "ann").await.unwrap();
    assert_eq!(fire(b, 120, w(&stale)).await, Fired::Lost);
    let stale = record(b, "s").await;
    b.store.delete_schedule(at(121), P, "s", "ann").await.unwrap();
    assert_eq!(fire(b, 122, w(&stale)).await, Fired::Lost);
    assert_eq!(b.how_many().await, 1);
}

/// Many fires, two handles: exactly one job each.
pub async fn handles_that_fire_at_once_make_one_job_per_fire(b: &Bench) {
    let other = b.second().await;
    let id = put(b, 0, "s", Some(0)).await;
    for n in 0..15 {
        let s = record(b, "s").await;
        let w = FireWrite { jobs: vec![job_of(id, n * 60)], ..write(&s, n * 60, Some((n + 1) * 60)) };
        let call = |store: std::sync::Arc<dyn mainspring_core::store::Store>| {
            let w = w.clone();
            tokio::spawn(async move { store.fire(at(n * 60), vec![w]).await.unwrap().remove(0) })
        };
        let calls = [call(b.store.clone()), call(other.clone()), call(other.clone())];
        let mut written = 0;
        for call in calls {
            written += usize::from(call.await.unwrap() != Fired::Lost);
        }
        assert_eq!(written, 1);
    }
    let r = record(b, "s").await;
    assert_eq!((r.fires, r.last_fire, r.next_fire), (15, Some(at(14 * 60)), Some(at(15 * 60))));
    assert_eq!(b.store.fires(P, id, at(0), at(10_000), 100).await.unwrap().len(), 15);
}

/// The schedule was set back: the fire has its job already.
pub async fn a_fire_that_has_its_job_makes_no_other(b: &Bench) {
    let id = put(b, 0, "s", Some(60)).await;
    let s = record(b, "s").await;
    let first = fired(b, 60, FireWrite { jobs: vec![job_of(id, 60)], ..write(&s, 60, Some(120)) }).await;
    assert!(b.store.reschedule(at(61), id, s.version, Some(at(120)), Some(at(60)), None).await.unwrap());
    let w = FireWrite { jobs: vec![job_of(id, 60), job_of(id, 120)], ..write(&s, 60, Some(180)) };
    let Fired::Written(again) = fire(b, 120, w).await else { panic!("the fire was lost") };
    assert_eq!((again[0].id, again[0].duplicate, again[1].duplicate), (first[0], true, false));
    let r = record(b, "s").await;
    assert_eq!((r.fires, r.last_fire), (2, Some(at(120))));
}

/// Several writes of one call, each for itself.
pub async fn writes_of_one_call_stand_or_fall_alone(b: &Bench) {
    let (a, c) = (put(b, 0, "a", Some(60)).await, put(b, 0, "c", Some(60)).await);
    let (ra, rc) = (record(b, "a").await, record(b, "c").await);
    let w = |s: &ScheduleRecord, id| FireWrite { jobs: vec![job_of(id, 60)], ..write(s, 60, Some(120)) };
    let stale = FireWrite { version: 99, ..w(&ra, a) };
    let told = b.store.fire(at(60), vec![stale, w(&rc, c), w(&ra, a), w(&rc, c)]).await.unwrap();
    let lost: Vec<bool> = told.iter().map(|f| *f == Fired::Lost).collect();
    assert_eq!(lost, [true, false, false, true]);
    assert_eq!(b.how_many().await, 2);
    let too_many = vec![w(&ra, a); limits::BATCH + 1];
    let refused = b.store.fire(at(60), too_many).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}

/// The same outcome and reason in a row are one row; a job or another reason in between parts them.
pub async fn ledger_rows_in_a_row_are_folded(b: &Bench) {
    use FireOutcome::{Missed, Skipped};
    let id = put(b, 0, "s", Some(10)).await;
    let step = async |fire_at: i64, jobs: Vec<NewJob>, ledger: Vec<LedgerRow>| {
        let s = record(b, "s").await;
        fired(b, fire_at, FireWrite { jobs, ledger, ..write(&s, fire_at, Some(fire_at + 10)) }).await;
    };
    step(10, vec![], vec![row(10, 10, 1, Skipped, "overlap")]).await;
    step(20, vec![], vec![row(20, 20, 1, Skipped, "overlap")]).await;
    step(30, vec![], vec![row(30, 34, 5, Skipped, "overlap")]).await;
    assert_eq!(ledger(b, id).await, [row(10, 34, 7, Skipped, "overlap")]);
    step(40, vec![], vec![row(40, 40, 1, Skipped, "paused by ann")]).await;
    step(50, vec![], vec![row(50, 50, 1, Missed, "paused by ann")]).await;
    step(60, vec![job_of(id, 60)], vec![]).await;
    step(70, vec![], vec![row(70, 70, 1, Missed, "paused by ann")]).await;
    // A job in the middle of one write.
    step(
        80,
        vec![job_of(id, 84)],
        vec![row(80, 83, 4, Missed, "paused by ann"), row(85, 86, 2, Missed, "paused by ann")],
    )
    .await;
    let expected = [
        row(10, 34, 7, Skipped, "overlap"),
        row(40, 40, 1, Skipped, "paused by ann"),
        row(50, 50, 1, Missed, "paused by ann"),
        row(70, 83, 5, Missed, "paused by ann"),
        row(85, 86, 2, Missed, "paused by ann"),
    ];
    assert_eq!(ledger(b, id).await, expected);
    let part = b.store.ledger(P, id, at(34), at(70), 10).await.unwrap();
    assert_eq!(part, expected[..3]);
    assert_eq!(b.store.ledger(P, id, at(0), at(100), 2).await.unwrap(), expected[..2]);
    // Each write is told, folded or not.
    let told = b.told().await;
    assert_eq!(told.iter().filter(|t| t.starts_with("schedule.skipped")).count(), 4);
    assert_eq!(told.iter().filter(|t| t.starts_with("schedule.missed")).count(), 4);
}

/// Overlap policy `replace`: waiting ones end, running ones are asked to.
pub async fn a_fire_may_replace_earlier_jobs(b: &Bench) {
    let node = b.join(0).await;
    let id = put(b, 0, "s", Some(10)).await;
    let s = record(b, "s").await;
    let jobs = (1..=3).map(|n| job_of(id, n)).collect();
    let made = fired(b, 10, FireWrite { jobs, ..write(&s, 10, Some(20)) }).await;
    let c = b.claim(10, node, 2).await;
    b.ended(11, &c[0], succeeded()).await;
    let replace = vec![made[0], made[1], made[2], JobId(987_654)];
    fired(b, 20, FireWrite { jobs: vec![job_of(id, 20)], replace, ..write(&s, 20, Some(30)) }).await;
    let expected = [JobState::Completed, JobState::Running, JobState::Cancelled];
    assert_eq!(b.states(&made).await, expected);
    let r = b.record(made[2]).await;
    assert_eq!((r.reason.as_deref(), r.finished_at), (Some("replaced by a later fire"), Some(at(20))));
    let (beat, _) = b.store.heartbeat(at(20), node, LEASE).await.unwrap();
    assert_eq!(beat.cancel, [(made[1], 1)]);
    assert_eq!(b.told().await.last().unwrap(), &format!("job.cancelled job/{}", made[2]));
}

/// Counted from the end, whatever the end was.
pub async fn a_fixed_delay_counts_from_the_end_of_the_job(b: &Bench) {
    let node = b.join(0).await;
    let delayed = PutSchedule { after_completion: Some(secs(30)), ..put_schedule("s", Some(10)) };
    let id = b.store.put_schedule(at(0), P, delayed, "ann").await.unwrap();
    let go = async |fire_at: i64| {
        let s = record(b, "s").await;
        fired(b, fire_at, FireWrite { jobs: vec![job_of(id, fire_at)], ..write(&s, fire_at, None) }).await[0]
    };
    go(10).await;
    assert_eq!(record(b, "s").await.next_fire, None);
    let c = b.claim_one(12, node).await;
    b.ended(15, &c, failed()).await;
    assert_eq!(record(b, "s").await.next_fire, None, "a retry is to come");
    b.promote(20).await;
    let c = b.claim_one(20, node).await;
    b.ended(25, &c, succeeded()).await;
    assert_eq!(record(b, "s").await.next_fire, Some(at(55)));
    let waiting = go(55).await;
    b.store.cancel_jobs(at(60), P, bulk(&these(&[waiting])), "no", "ann").await.unwrap();
    assert_eq!(record(b, "s").await.next_fire, Some(at(90)));
    assert_eq!(record(b, "s").await.version, 1);
}

/// Only of an unchanged schedule.
pub async fn a_reschedule_is_a_compare_and_swap(b: &Bench) {
    let id = put(b, 0, "s", Some(60)).await;
    let go = async |version, from: Option<i64>, to: Option<i64>| {
        let event = NewEvent::new("schedule.moved", "schedule/s".into(), serde_json::json!({}));
        b.store.reschedule(at(1), id, version, from.map(at), to.map(at), Some(event)).await.unwrap()
    };
    let moves = async || b.told().await.iter().filter(|told| *told == "schedule.moved schedule/s").count();
    assert!(!go(2, Some(60), Some(70)).await);
    assert!(!go(1, Some(61), Some(70)).await);
    assert!(!go(1, None, Some(70)).await);
    assert_eq!(moves().await, 0, "what was not moved is not told");
    assert!(go(1, Some(60), Some(70)).await);
    assert_eq!(moves().await, 1, "the move and its event come together");
    let r = record(b, "s").await;
    assert_eq!((r.next_fire, r.version), (Some(at(70)), 1));
    assert!(go(1, Some(70), None).await);
    assert!(go(1, None, Some(80)).await);
    assert_eq!(record(b, "s").await.next_fire, Some(at(80)));
    assert!(!b.store.reschedule(at(1), ScheduleId(id.0 + 99), 1, None, None, None).await.unwrap());
}

/// A thousand due in the same second are one call.
pub async fn a_thousand_schedules_fire_in_one_call(b: &Bench) {
    for n in 0..1000 {
        put(b, 0, &format!("s{n:04}"), Some(60)).await;
    }
    let (due, next) = b.store.due_schedules(at(60), u32::MAX).await.unwrap();
    assert_eq!((due.len(), next), (1000, None));
    let writes = due
        .iter()
        .map(|d| FireWrite { jobs: vec![job_of(d.record.id, 60)], ..write(&d.record, 60, Some(120)) });
    let told = b.store.fire(at(60), writes.collect()).await.unwrap();
    assert!(told.iter().all(|f| matches!(f, Fired::Written(jobs) if jobs.len() == 1)));
    assert_eq!(b.how_many().await, 1000);
    assert!(b.store.due_schedules(at(60), 10).await.unwrap().0.is_empty());
}

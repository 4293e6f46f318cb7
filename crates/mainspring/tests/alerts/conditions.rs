//! Each sort of rule: what makes it fire, and what makes it recover.

use crate::scene::{NODE, Scene, info, minutes, on_both, one};
use mainspring::alerts::{self, HeartbeatSpec, RuleSpec};
use mainspring::core::alert::{Condition, Over, Rule, Target};
use mainspring::core::ids::{JobId, NodeId};
use mainspring::core::job::NewJob;
use mainspring::core::queue::{Pause, QueueSettings};
use mainspring::core::schedule::{Misfire, ScheduleSpec};
use mainspring::core::store::{Bulk, JobFilter};
use mainspring::core::tables::Write;
use mainspring::core::trigger::Trigger;
use std::time::Duration;

fn of(text: &str) -> Target {
    Target::parse(text).expect("a target")
}

#[tokio::test]
async fn failures_in_a_row_fire_once_and_a_success_ends_it() {
    on_both(|s| async move {
        s.rule("Mail is failing", Condition::Failures { of: of("kind/mail"), in_a_row: 3 }).await;
        s.bad("mail").await;
        s.bad("other").await;
        s.minute().await;
        s.bad("mail").await;
        s.minute().await;
        assert_eq!(s.told().await, []);
        s.bad("mail").await;
        s.minutes(3).await;
        assert_eq!(s.told().await, one("Kind mail failed 3 times in a row", true));
        s.good("mail").await;
        s.minutes(2).await;
        assert_eq!(s.told().await, one("Kind mail failed 3 times in a row", false));
        let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let notices = s.notices().await;
        assert_eq!(
            notices,
            [
                own("firing", "Kind mail failed 3 times in a row"),
                own("recovered", "Recovered: Mail is failing: mail")
            ],
            "two nodes looked, people are told once"
        );
        assert_eq!(s.events("alert.").await, ["alert.firing", "alert.recovered"]);
        let log = alerts::log(&s.client, &s.alerts().await[0].uid).await.unwrap();
        assert_eq!(log.iter().map(|l| l.what.as_str()).collect::<Vec<_>>(), ["fired", "recovered"]);
    })
    .await;
}

#[tokio::test]
async fn failures_are_told_apart_by_schedule_queue_and_all_together() {
    on_both(|s| async move {
        let spec = ScheduleSpec::new("nightly", Trigger::parse("every 1h").unwrap(), "work");
        s.client.put_schedule(&spec, "test").await.unwrap();
        let id = s.client.schedule("nightly").await.unwrap().0.id;
        for target in ["schedules", "queues", "everything"] {
            s.rule(target, Condition::Failures { of: of(target), in_a_row: 1 }).await;
        }
        let job = NewJob { schedule: Some((id, None)), queue: "lane".into(), ..s.job("work") };
        s.run(job, false, Duration::from_secs(1)).await;
        s.minute().await;
        let mut told: Vec<String> = s.told().await.into_iter().map(|(title, _)| title).collect();
        told.sort();
        assert_eq!(told, ["All jobs together failed", "Queue lane failed", "Schedule nightly failed"]);
    })
    .await;
}

#[tokio::test]
async fn a_failure_rate_fires_over_its_window() {
    on_both(|s| async move {
        let condition = Condition::FailureRate {
            of: Target::each(Over::Kinds),
            above: 30.0,
            over: minutes(5),
            at_least: 4,
        };
        s.rule("Too many failures", condition).await;
        s.bad("mail").await;
        s.bad("mail").await;
        s.good("mail").await;
        s.minute().await;
        assert_eq!(s.told().await, [], "three are too few to say");
        s.good("mail").await;
        s.minute().await;
        assert_eq!(s.told().await, one("Kind mail: 50.0 % failed in 5m", true));
        for _ in 0..4 {
            s.good("mail").await;
        }
        s.minutes(2).await;
        assert_eq!(s.told().await, one("Kind mail: 50.0 % failed in 5m", false));
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_takes_long_is_told_by_a_limit_and_by_what_is_usual() {
    on_both(|s| async move {
        for n in 0..24 {
            s.run(s.job("export"), true, Duration::from_millis(2000 + n * 20)).await;
        }
        // What is usual reaches up to the last full hour.
        s.clock.set("2026-11-22T11:10:30Z".parse().unwrap());
        s.look().await;
        let slow = Condition::Slow { of: of("kinds"), longer_than: Duration::from_secs(60) };
        s.rule("Slow", slow).await;
        let unusual = Condition::Unusual {
            of: of("kind/export"),
            deviations: 3.5,
            against: minutes(120),
            at_least: 20,
            ignore_below: Duration::from_secs(1),
        };
        s.rule("Unusual", unusual).await;
        s.run(s.job("export"), true, Duration::from_secs(3)).await;
        s.minute().await;
        assert_eq!(s.told().await, []);
        s.run(s.job("export"), true, Duration::from_secs(20)).await;
        s.minute().await;
        let told = s.told().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0.starts_with("Kind export: an attempt took unusually long ("), "{told:?}");
        s.run(s.job("export"), true, Duration::from_secs(100)).await;
        s.minute().await;
        let told = s.told().await;
        assert!(
            told[1].0.starts_with("Kind export: an attempt took 1m4") && told[1].0.ends_with("limit 1m"),
            "{told:?}"
        );
        s.run(s.job("export"), true, Duration::from_secs(2)).await;
        s.minute().await;
        assert!(s.told().await.iter().all(|(_, open)| !open));
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_told_while_it_still_runs() {
    on_both(|s| async move {
        for n in 0..24 {
            s.run(s.job("export"), true, Duration::from_millis(2000 + n * 20)).await;
        }
        s.clock.set("2026-11-22T11:10:30Z".parse().unwrap());
        s.look().await;
        let spec = ScheduleSpec::new("nightly", Trigger::parse("every 9h").unwrap(), "work");
        s.client.put_schedule(&spec, "test").await.unwrap();
        let id = s.client.schedule("nightly").await.unwrap().0.id;
        for target in ["schedule/nightly", "kinds", "queue/lane", "everything"] {
            let condition = Condition::Slow { of: of(target), longer_than: minutes(3) };
            s.rule(&format!("Slow {target}"), condition).await;
        }
        let unusual = Condition::Unusual {
            of: of("kind/export"),
            deviations: 3.5,
            against: minutes(120),
            at_least: 20,
            ignore_below: Duration::from_secs(1),
        };
        s.rule("Unusual", unusual).await;
        let job = NewJob { schedule: Some((id, None)), queue: "lane".into(), ..s.job("export") };
        let open = s.start(job, minutes(1)).await;
        s.minute().await;
        let told = s.told().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0.starts_with("Kind export: an attempt took unusually long ("), "{told:?}");
        // What ends quickly beside it does not make it well.
        s.good("export").await;
        s.minutes(2).await;
        let mut told = s.told().await;
        assert!(told.iter().all(|(_, open)| *open), "{told:?}");
        told.sort();
        let titles: Vec<&str> = told.iter().map(|(title, _)| title.as_str()).collect();
        assert_eq!(titles.len(), 5, "{told:?}");
        assert_eq!(titles[0], "All jobs together: an attempt took 3m30s, limit 3m");
        assert_eq!(titles[1], "Kind export: an attempt took 3m30s, limit 3m");
        assert_eq!(titles[3], "Queue lane: an attempt took 3m30s, limit 3m");
        assert_eq!(titles[4], "Schedule nightly: an attempt took 3m30s, limit 3m");
        s.end(open, true).await;
        s.minutes(2).await;
        assert!(s.told().await.iter().all(|(_, open)| *open), "the last one that ended was slow");
        let quick = NewJob { schedule: Some((id, None)), queue: "lane".into(), ..s.job("export") };
        s.run(quick, true, Duration::from_secs(2)).await;
        s.minute().await;
        assert_eq!(s.told().await.len(), 5, "each was told once");
        assert!(s.told().await.iter().all(|(_, open)| !open), "{:?}", s.told().await);
    })
    .await;
}

#[tokio::test]
async fn a_schedule_that_missed_its_fire_is_late_until_it_runs() {
    on_both(|s| async move {
        s.rule("Late", Condition::Late { schedule: None, by: minutes(5) }).await;
        let trigger = Trigger::parse("every 1h").unwrap();
        let spec = ScheduleSpec {
            misfire: Misfire::Skip,
            starts_at: Some("2026-11-22T10:00:00Z".parse().unwrap()),
            ..ScheduleSpec::new("hourly", trigger, "work")
        };
        s.client.put_schedule(&spec, "test").await.unwrap();
        s.minute().await;
        // All nodes were away for two hours: the fires of 11 and 12 are noticed too late.
        s.clock.set("2026-11-22T12:20:30Z".parse().unwrap());
        fire(&s).await;
        s.minutes(2).await;
        let told = s.told().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].0.starts_with("Schedule hourly did not start in time, late by ") && told[0].1,
            "{told:?}"
        );
        s.clock.set("2026-11-22T13:00:01Z".parse().unwrap());
        fire(&s).await;
        s.clock.set("2026-11-22T13:00:30Z".parse().unwrap());
        let jobs = s.store.jobs(s.client.project(), &JobFilter::default(), None, 10).await.unwrap().rows;
        assert_eq!(jobs.len(), 1);
        s.minutes(2).await;
        assert!(!s.told().await[0].1, "it ran again");
        // Its job waits: nobody takes it. That is not starting either.
        s.minutes(4).await;
        assert_eq!(s.told().await.len(), 2, "{:?}", s.told().await);
        cancel(&s, vec![jobs[0].id]).await;
        s.minutes(2).await;
        assert!(s.told().await.iter().all(|(_, open)| !open), "{:?}", s.told().await);
    })
    .await;
}

/// What the scheduler of a node does.
async fn fire(s: &Scene) {
    use mainspring::core::plan::{LiveJobs, ScheduleState, plan};
    use mainspring::core::schedule_record::FireWrite;
    let (due, _) = s.store.due_schedules(s.now(), 10).await.unwrap();
    for due in due {
        let spec: ScheduleSpec = due.record.spec.to().unwrap();
        let planned = plan(&spec, &ScheduleState::of(&due.record), LiveJobs::count(&[]), s.now());
        let job =
            |f: &mainspring::core::plan::PlannedFire| spec.job.job(due.record.id, f.scheduled_for, f.run_at);
        let write = FireWrite {
            schedule: due.record.id,
            version: due.record.version,
            expected_fire: due.record.next_fire.unwrap(),
            next_fire: planned.next_fire,
            jobs: planned.fires.iter().map(job).collect(),
            replace: vec![],
            ledger: planned.ledger,
        };
        s.store.fire(s.now(), vec![write]).await.unwrap();
    }
}

async fn cancel(s: &Scene, ids: Vec<JobId>) {
    let filter = JobFilter { ids, ..JobFilter::default() };
    let bulk = Bulk { filter: &filter, after: None, limit: 100 };
    s.store.cancel_jobs(s.now(), s.client.project(), bulk, "test", "test").await.unwrap();
}

#[tokio::test]
async fn queues_that_fill_and_jobs_that_wait_are_told() {
    on_both(|s| async move {
        s.rule("Waiting", Condition::Waiting { queue: None, longer_than: minutes(3) }).await;
        s.rule("Backlog", Condition::Backlog { queue: Some("lane".into()), more_than: 2 }).await;
        let lane = |s: &Scene| NewJob { queue: "lane".into(), ..s.job("work") };
        let ids = s.store.enqueue(s.now(), s.client.project(), vec![lane(&s); 3]).await.unwrap();
        s.minute().await;
        assert_eq!(s.told().await, one("Queue lane: 3 jobs wait", true));
        s.minutes(3).await;
        let told = s.told().await;
        assert_eq!(told[1], ("Queue lane: a job waits for 3m30s".to_owned(), true), "{told:?}");
        // Who paused a queue knows that its jobs wait; that they are many stays true.
        let pause = Pause { by: "ada".into(), at: s.now(), until: None, note: None };
        let settings = QueueSettings { paused: Some(pause), ..QueueSettings::default() };
        s.store.set_queue(s.now(), s.client.project(), "lane", settings, "ada").await.unwrap();
        s.minute().await;
        assert_eq!(s.told().await.iter().map(|t| t.1).collect::<Vec<_>>(), [true, false]);
        cancel(&s, ids.iter().map(|e| e.id).collect()).await;
        s.minute().await;
        assert!(s.told().await.iter().all(|(_, open)| !open));
    })
    .await;
}

#[tokio::test]
async fn a_lost_node_is_told_by_its_name_until_it_is_back() {
    on_both(|s| async move {
        s.rule("Lost", Condition::NodeLost { node: None }).await;
        s.store.join(s.now(), info(NodeId(7), "web-1")).await.unwrap();
        s.minutes(2).await;
        s.store.heartbeat(s.now(), NODE, minutes(1)).await.unwrap();
        s.store.orphans(s.now(), Duration::from_secs(15), None, 10).await.unwrap();
        s.minutes(2).await;
        assert_eq!(s.told().await, one("Node web-1 went silent", true));
        s.store.join(s.now(), info(NodeId(8), "web-1")).await.unwrap();
        s.minute().await;
        assert_eq!(s.told().await, one("Node web-1 went silent", false));
        // In another project too: nodes belong to none.
        let other = s.client.clone().in_project_named("other").await.unwrap();
        let spec = RuleSpec::new(Rule::new(Condition::NodeLost { node: Some("worker".into()) }));
        alerts::make_rule(&other, "Lost", &spec).await.unwrap();
        s.minute().await;
        s.store.orphans(s.now(), Duration::from_secs(15), None, 10).await.unwrap();
        s.minutes(1).await;
        let (there, _) = alerts::alerts(&other, &Default::default(), 10).await.unwrap();
        assert_eq!(there.iter().map(|a| a.title.as_str()).collect::<Vec<_>>(), ["Node worker went silent"]);
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_that_is_silent_or_says_that_it_failed_is_told() {
    on_both(|s| async move {
        s.rule("Silent", Condition::Silent { heartbeat: None }).await;
        let spec = HeartbeatSpec { period: minutes(10), grace: minutes(2), paused: false };
        alerts::make_heartbeat(&s.client, "backup", &spec, "token-1").await.unwrap();
        let tables = s.client.tables().unwrap();
        let ping = |failed| alerts::ping(&*tables, s.now(), "token-1", failed);
        s.minutes(11).await;
        assert!(ping(false).await.unwrap());
        s.minutes(12).await;
        assert_eq!(s.told().await, []);
        s.minute().await;
        assert_eq!(s.told().await, one("Heartbeat backup did not ping in time, late by 30s", true));
        assert!(alerts::heartbeat(&s.client, "backup").await.unwrap().is_late(s.now()));
        ping(false).await.unwrap();
        s.minute().await;
        assert_eq!(s.told().await, one("Heartbeat backup did not ping in time, late by 30s", false));
        ping(true).await.unwrap();
        s.minute().await;
        assert_eq!(s.told().await.len(), 2, "it said that it failed");
        alerts::set_heartbeat(&s.client, "backup", &HeartbeatSpec { paused: true, ..spec.clone() })
            .await
            .unwrap();
        s.minute().await;
        assert!(s.told().await.iter().all(|(_, open)| !open));
        assert!(!alerts::ping(&*tables, s.now(), "token-2", false).await.unwrap());
        let again = alerts::make_heartbeat(&s.client, "backup", &spec, "token-3").await.unwrap_err();
        assert!(again.to_string().contains("there is a heartbeat \"backup\" already"), "{again}");
        alerts::delete_heartbeat(&s.client, "backup").await.unwrap();
        assert!(!ping(false).await.unwrap(), "its address is nobody's any more");
    })
    .await;
}

#[tokio::test]
async fn a_metric_beyond_its_threshold_for_a_while_is_told() {
    on_both(|s| async move {
        let condition = Condition::Metric {
            series: "leads.new".into(),
            above: None,
            below: Some(5.0),
            no_older_than: minutes(60),
        };
        let rule = Rule { breaches: 3, of_looks: 3, ..Rule::new(condition) };
        s.rule_of("Few leads", RuleSpec::new(rule)).await;
        let project = s.client.project();
        let tables = s.client.tables().unwrap();
        let write = |value: f64| {
            let point = alerts::record(project, "leads.new", s.now(), value).unwrap();
            tables.write(point.0.into_iter().fold(Write::new(), Write::then))
        };
        write(3.0).await.unwrap();
        s.minutes(2).await;
        assert_eq!(s.told().await, []);
        s.minute().await;
        assert_eq!(s.told().await, one("leads.new is 3, below 5", true));
        write(8.5).await.unwrap();
        s.minute().await;
        assert_eq!(s.told().await, one("leads.new is 3, below 5", false));
        assert!(alerts::record(project, "leads.new", s.now(), f64::NAN).is_err());
    })
    .await;
}

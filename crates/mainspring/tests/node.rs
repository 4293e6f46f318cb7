//! What a real node survives: its own shutdown, a database that goes away, handlers that block, a
//! lease that is lost.

mod common;

use common::faulty::{Faulty, StoreErrorKind};
use common::{builder, nap, once, run, stand, start, start_with, thrice};
use mainspring::core::job::{AttemptOutcome as A, JobState as S};
use mainspring::core::reader::Reader;
use mainspring::core::store::Store;
use mainspring::core::{ProjectId, time};
use mainspring::{Json, KindSpec, Node, NodeError, NodeEvent, Registry};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A kind that sleeps for as many milliseconds as its payload says.
fn sleeper(registry: Registry) -> Registry {
    registry.function("sleep", thrice(), |cx| async move {
        nap(cx.payload().to().unwrap_or(0)).await;
        Ok(None)
    })
}

fn faulty(registry: Registry) -> (Faulty, common::Running) {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let node = builder(faulty.store(), registry).lease(ms(900)).build().unwrap();
    (faulty, run(store, node))
}

#[tokio::test]
async fn a_drain_waits_for_what_runs_and_gives_back_what_does_not_end() {
    let registry = sleeper(Registry::new().function("endless", thrice(), |_| std::future::pending()));
    let node = start_with(MemoryStore::new(), registry, |b| b.slots(2).grace(ms(600)));
    let quick = node.enqueue_with("sleep", |j| j.payload = Json::trusted("250")).await;
    let endless = node.enqueue("endless").await;
    for id in [quick, endless] {
        node.until(id, |d| d.job.state == S::Running).await;
    }
    let third = node.enqueue("sleep").await;
    let store = node.store.clone();
    let clock = mainspring::clock::SteadyClock::new();
    let start = mainspring::clock::Clock::now(&clock);
    let summary = node.stop().await;
    let took = time::since(start, mainspring::clock::Clock::now(&clock));
    assert!(took >= ms(600) && took < ms(1600), "{took:?}");
    assert_eq!((summary.interrupted, summary.unwritten), (1, 0));
    let get = async |id| stand(&store.job(ProjectId::DEFAULT, id).await.unwrap().unwrap());
    assert_eq!(get(quick).await, (S::Completed, Some(A::Succeeded), 1));
    assert_eq!(get(endless).await, (S::Available, Some(A::Interrupted), 1));
    assert_eq!(get(third).await.0, S::Available);
    // It left in good order: nothing is held.
    assert!(store.nodes().await.unwrap().iter().all(|n| n.running == 0));
    assert!(store.audit().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_handler_that_heeds_a_shutdown_is_not_blamed_for_it() {
    let registry = Registry::new().function("heeds", once(), |cx| async move {
        cx.cancelled().await;
        Err(mainspring::JobError::retry("the connection was closed"))
    });
    let node = start_with(MemoryStore::new(), registry, |b| b.grace(ms(50)));
    let id = node.enqueue("heeds").await;
    node.until(id, |d| d.job.state == S::Running).await;
    let store = node.store.clone();
    node.stop().await;
    let detail = store.job(ProjectId::DEFAULT, id).await.unwrap().unwrap();
    assert_eq!((stand(&detail), detail.job.raised), ((S::Available, Some(A::Interrupted), 1), 1));
}

#[tokio::test]
async fn results_outlive_a_database_that_goes_away() {
    let (faulty, mut node) = faulty(sleeper(Registry::new()));
    let id = node.enqueue_with("sleep", |j| j.payload = Json::trusted("200")).await;
    node.until(id, |d| d.job.state == S::Running).await;
    faulty.set(|f| f.down = true);
    node.event(|e| matches!(e, NodeEvent::StoreLost(_)).then_some(())).await;
    nap(500).await;
    assert_eq!(faulty.inner.job(ProjectId::DEFAULT, id).await.unwrap().unwrap().job.state, S::Running);
    faulty.set(|f| f.down = false);
    node.event(|e| matches!(e, NodeEvent::StoreBack).then_some(())).await;
    assert_eq!(stand(&node.finished(id).await), (S::Completed, Some(A::Succeeded), 1));
    // And it goes on with new work.
    assert_eq!(stand(&node.finished(node.enqueue("sleep").await).await).0, S::Completed);
    node.stop().await;
}

#[tokio::test]
async fn a_node_waits_for_a_database_that_is_not_there_yet() {
    let store = MemoryStore::new();
    let away = Faulty::new(store.clone());
    away.set(|f| f.down = true);
    let node = builder(away.store(), sleeper(Registry::new())).build().unwrap();
    let mut node = run(store, node);
    node.event(|e| matches!(e, NodeEvent::StoreLost(_)).then_some(())).await;
    away.set(|f| f.down = false);
    assert_eq!(stand(&node.finished(node.enqueue("sleep").await).await).0, S::Completed);
    node.stop().await;
    // A refusal is another matter: waiting would not help.
    let store = Faulty::new(MemoryStore::new());
    store.set(|f| f.fail = Some(("join", StoreErrorKind::Refusal)));
    let node = builder(store.store(), sleeper(Registry::new())).build().unwrap();
    let error = node.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(error, NodeError::Store(_)), "{error}");
}

#[tokio::test]
async fn a_lost_answer_to_a_finish_neither_doubles_nor_loses_it() {
    let (faulty, mut node) = faulty(sleeper(Registry::new()));
    faulty.set(|f| f.lose_reply = Some(("finish", 1)));
    let id = node.enqueue("sleep").await;
    let stale = node.event(|e| matches!(e, NodeEvent::Stale { .. }).then(|| e.clone())).await;
    assert_eq!(stale, NodeEvent::Stale { job: id, attempt: 1 });
    assert_eq!(stand(&node.finished(id).await), (S::Completed, Some(A::Succeeded), 1));
    assert!(faulty.inner.audit().await.unwrap().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_was_forgotten_drops_everything_and_comes_back_as_another() {
    let runs = Arc::new(AtomicU32::new(0));
    let seen = runs.clone();
    let registry = Registry::new().function("long", thrice(), move |cx| {
        let seen = seen.clone();
        async move {
            if seen.fetch_add(1, Ordering::SeqCst) == 0 {
                cx.cancelled().await;
                std::future::pending::<()>().await;
            }
            Ok(None)
        }
    });
    let (faulty, mut node) = faulty(registry);
    let first = node.event(|e| if let NodeEvent::Joined(id) = e { Some(*id) } else { None }).await;
    let id = node.enqueue("long").await;
    node.until(id, |d| d.job.state == S::Running).await;
    // No sign of life gets through; another node takes it for dead.
    faulty.set(|f| f.fail = Some(("heartbeat", StoreErrorKind::Transient)));
    nap(1200).await;
    let now = node.client.now();
    let orphans = faulty.inner.orphans(now, ms(900), None, 10).await.unwrap();
    assert_eq!(orphans.len(), 1);
    faulty.set(|f| f.fail = None);
    let gone = node.event(|e| if let NodeEvent::Forgotten(id) = e { Some(*id) } else { None }).await;
    let second = node.event(|e| if let NodeEvent::Joined(id) = e { Some(*id) } else { None }).await;
    assert!(gone == first && second != first);
    let detail = node.finished(id).await;
    assert_eq!(stand(&detail), (S::Completed, Some(A::Succeeded), 2));
    assert_eq!(detail.job.deaths, 1);
    node.stop().await;
}

#[tokio::test]
async fn handlers_that_block_for_ever_cost_their_slots_and_nothing_else() {
    let release = Arc::new(AtomicBool::new(false));
    let flag = release.clone();
    let registry = sleeper(Registry::new()).function("blocks", once().timeout(ms(300)), move |_| {
        let flag = flag.clone();
        async move {
            while !flag.load(Ordering::SeqCst) {
                #[allow(clippy::disallowed_methods, reason = "a handler that behaves badly")]
                std::thread::sleep(ms(20));
            }
            Ok(None)
        }
    });
    // Both threads will be blocked; two slots are left.
    let node =
        start_with(MemoryStore::new(), registry, |b| b.threads(2).slots(4).lease(ms(900)).grace(ms(100)));
    let mut events = node.events.resubscribe();
    let bad = [node.enqueue("blocks").await, node.enqueue("blocks").await];
    for id in bad {
        node.until(id, |d| d.job.state == S::Running).await;
    }
    let good = node.enqueue("sleep").await;
    assert_eq!(stand(&node.finished(good).await), (S::Completed, Some(A::Succeeded), 1));
    // Their time-outs are told although they cannot be ended.
    for id in bad {
        assert_eq!(stand(&node.finished(id).await), (S::Failed, Some(A::TimedOut), 1));
    }
    nap(1000).await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, NodeEvent::Forgotten(_)), "it lost its lease");
    }
    release.store(true, Ordering::SeqCst);
    node.stop().await;
}

#[tokio::test]
async fn a_blocking_kind_runs_on_threads_of_its_own() {
    let registry = sleeper(Registry::new()).function("computes", once().blocking(), |_| async {
        #[allow(clippy::disallowed_methods, reason = "a handler that blocks, as registered")]
        std::thread::sleep(ms(400));
        Ok(Some(Json::trusted("1")))
    });
    let node = start_with(MemoryStore::new(), registry, |b| b.threads(1).slots(4));
    let computes = [node.enqueue("computes").await, node.enqueue("computes").await];
    let quick = node.finished(node.enqueue("sleep").await).await;
    let slow = node.finished(computes[0]).await;
    assert!(quick.job.finished_at < slow.job.finished_at, "the only other thread was not blocked");
    assert_eq!(slow.job.output, Some(Json::trusted("1")));
    node.finished(computes[1]).await;
    node.stop().await;
}

#[tokio::test]
async fn an_outcome_the_store_refuses_fails_alone_and_says_why() {
    let (faulty, node) = faulty(sleeper(Registry::new()));
    faulty.set(|f| f.fail = Some(("finish", StoreErrorKind::Refusal)));
    let id = node.enqueue("sleep").await;
    nap(300).await;
    assert!(faulty.calls("finish") >= 3, "whole, alone, and as a failure");
    assert_eq!(faulty.inner.job(ProjectId::DEFAULT, id).await.unwrap().unwrap().job.state, S::Running);
    faulty.set(|f| f.fail = None);
    let detail = node.finished(id).await;
    assert_eq!(
        (stand(&detail), common::error(&detail).0.as_str()),
        ((S::Failed, Some(A::Failed), 1), "store_refused")
    );
    node.stop().await;
}

#[tokio::test]
async fn two_nodes_share_the_work_and_each_job_runs_once() {
    let runs = Arc::new(AtomicU32::new(0));
    let registry = || {
        let runs = runs.clone();
        Registry::new().function("count", KindSpec::default(), move |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            async { Ok(None) }
        })
    };
    let store = MemoryStore::new();
    let (a, b) = (start_with(store.clone(), registry(), |b| b), start_with(store.clone(), registry(), |b| b));
    let jobs = (0..500).map(|_| a.client.new_job_of("count", Json::null())).collect();
    let made = a.client.enqueue_many(jobs).await.unwrap();
    for job in &made {
        a.finished(job.id).await;
    }
    let (a, b) = (a.stop().await, b.stop().await);
    assert_eq!((runs.load(Ordering::Relaxed), a.finished + b.finished), (500, 500));
    assert!(store.audit().await.unwrap().is_empty());
}

#[tokio::test]
async fn limits_let_the_next_one_run_as_soon_as_one_ends() {
    let node = start(sleeper(Registry::new()));
    node.client.change_queue("default", |q| q.max_running = Some(1)).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(node.enqueue_with("sleep", |j| j.payload = Json::trusted("20")).await);
    }
    let last = node.finished(ids[4]).await.job;
    let first = node.finished(ids[0]).await.job;
    let apart = time::since(first.finished_at.unwrap(), last.finished_at.unwrap());
    assert!(apart >= ms(80) && apart < ms(1500), "one after the other without pauses: {apart:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_node_says_what_it_does_as_it_happens() {
    let mut node = start(sleeper(Registry::new()));
    let id = node.enqueue("sleep").await;
    let started = node
        .event(
            |e| if let NodeEvent::Started { job, attempt, .. } = e { Some((*job, *attempt)) } else { None },
        )
        .await;
    assert_eq!(started, (id, 1));
    let finished = node
        .event(
            |e| if let NodeEvent::Finished { job, outcome, .. } = e { Some((*job, *outcome)) } else { None },
        )
        .await;
    assert_eq!(finished, (id, A::Succeeded));
    node.stop().await;
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let build = |registry: Registry, change: fn(mainspring::NodeBuilder) -> mainspring::NodeBuilder| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        change(Node::builder(store, registry)).build().err().expect("it is refused").to_string()
    };
    let twice = sleeper(sleeper(Registry::new()));
    assert!(build(twice, |b| b).contains("\"sleep\" is registered twice"));
    assert!(build(Registry::new(), |b| b.slots(0)).starts_with("slots:"));
    assert!(build(Registry::new(), |b| b.lease(Duration::from_millis(1))).starts_with("lease:"));
    assert!(build(Registry::new(), |b| b.queues(["*"])).starts_with("queues:"));
}

#[tokio::test]
async fn schedules_of_the_registry_are_written_at_the_start_and_fire() {
    use mainspring::core::schedule::ScheduleSpec;
    use mainspring::core::trigger::Trigger;
    let every = Trigger::Every { interval: Duration::from_secs(1), from: None };
    let registry = || sleeper(Registry::new()).schedule(ScheduleSpec::new("often", every.clone(), "sleep"));
    assert!(registry().schedule(ScheduleSpec::new("often", every.clone(), "sleep")).check().is_err());
    let store = MemoryStore::new();
    let mut node = start_with(store.clone(), registry(), |b| b);
    let (name, jobs) = node
        .event(|e| {
            if let NodeEvent::Fired { schedule, jobs, .. } = e {
                Some((schedule.clone(), jobs.clone()))
            } else {
                None
            }
        })
        .await;
    assert_eq!((&*name, jobs.len()), ("often", 1));
    let detail = node.finished(jobs[0]).await;
    let late = time::since(detail.job.scheduled_for.unwrap(), detail.job.started_at.unwrap());
    assert!(late < ms(700), "it started {late:?} late");
    let version = node.client.schedule("often").await.unwrap().0.version;
    node.stop().await;
    let again = start_with(store, registry(), |b| b);
    again.finished(again.enqueue("sleep").await).await;
    assert_eq!(
        again.client.schedule("often").await.unwrap().0.version,
        version,
        "writing the same changes nothing"
    );
    again.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_too_far_off_stops_claims_and_is_told() {
    let (faulty, mut node) = {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        faulty.set(|f| f.server_ahead = Some(Duration::from_secs(3600)));
        let node = builder(faulty.store(), sleeper(Registry::new())).build().unwrap();
        (faulty, run(store, node))
    };
    let by = node.event(|e| if let NodeEvent::Skewed(by) = e { Some(*by) } else { None }).await;
    assert!(by.is_some_and(|by| by > Duration::from_secs(3590)), "{by:?}");
    let id = node.enqueue("sleep").await;
    nap(300).await;
    assert_eq!(stand(&node.until(id, |_| true).await).0, S::Available);
    // A small offset is followed: rows carry the database's time.
    faulty.set(|f| f.server_ahead = Some(Duration::from_secs(30)));
    let by = node.event(|e| if let NodeEvent::Skewed(by) = e { Some(*by) } else { None }).await;
    assert_eq!(by, None);
    let job = node.finished(id).await.job;
    let ahead = time::since(mainspring::clock::SystemClock::machine_time(), job.finished_at.unwrap());
    assert!(ahead > Duration::from_secs(25) && ahead < Duration::from_secs(31), "{ahead:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_lost_answer_to_a_claim_strands_nothing() {
    let (faulty, node) = faulty(sleeper(Registry::new()));
    node.client.pause_queue("default", None, None).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(node.enqueue("sleep").await);
    }
    let long = node.enqueue_with("sleep", |j| {
        j.queue = "other".into();
        j.payload = Json::trusted("1500");
    });
    let long = long.await;
    node.until(long, |d| d.job.state == S::Running).await;
    faulty.set(|f| f.lose_reply = Some(("claim", 1)));
    node.client.resume_queue("default").await.unwrap();
    for id in &ids {
        let detail = node.finished(*id).await;
        assert_eq!((stand(&detail), detail.job.deaths), ((S::Completed, Some(A::Succeeded), 2), 0));
    }
    // What was in its hand all the while is not touched.
    assert_eq!(stand(&node.finished(long).await), (S::Completed, Some(A::Succeeded), 1));
    node.stop().await;
}

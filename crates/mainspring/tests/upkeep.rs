//! What a node does beside running jobs: it cleans up, polls as often as it must, and looks at
//! everything again when the machine's clock jumps.

mod common;

use common::faulty::Faulty;
use common::{nap, once, start_with, until};
use jiff::Timestamp;
use mainspring::clock::{Clock, ManualClock, Seeded, SystemClock};
use mainspring::context::Services;
use mainspring::core::job::JobState;
use mainspring::core::queue::Retention;
use mainspring::core::reader::Reader;
use mainspring::core::store::{JobFilter, SweepPolicy};
use mainspring::core::{ProjectId, time};
use mainspring::engine::{Engine, Settings};
use mainspring::step::{Heartbeat, Step, Wake};
use mainspring::{Json, NewJob, Registry};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn registry() -> Registry {
    Registry::new().function("good", once(), |_| async { Ok(None) })
}

#[tokio::test]
async fn a_node_lets_go_what_its_policy_lets_go() {
    let keep = SweepPolicy { jobs: Retention { count: 2, ..Retention::default() }, ..SweepPolicy::default() };
    let often = |s: &mut Settings| s.sweep_every = Duration::from_millis(100);
    let node = start_with(MemoryStore::new(), registry(), |b| b.keep(keep).settings(often));
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(node.enqueue("good").await);
        let last = ids[ids.len() - 1];
        // It may have gone already when it is looked at.
        for _ in 0..500 {
            match node.store.job(P, last).await.unwrap() {
                Some(d) if !d.job.state.is_final() => nap(10).await,
                _ => break,
            }
        }
    }
    let mut left = Vec::new();
    for _ in 0..500 {
        let rows = node.store.jobs(P, &JobFilter::default(), None, 100).await.unwrap().rows;
        left = rows.iter().map(|j| j.id).collect();
        if left.len() == 2 {
            break;
        }
        nap(10).await;
    }
    assert_eq!(left, [ids[5], ids[4]], "the newest two stay");
    assert_eq!(node.store.audit().await.unwrap(), Vec::<String>::new());
    node.stop().await;
}

/// The machine's clock, as somebody sets it.
#[derive(Default)]
struct Shifted {
    machine: SystemClock,
    by: AtomicI64,
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        time::from_micros(time::micros(self.machine.now()) + self.by.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_clock_that_jumps_wakes_what_sleeps() {
    let clock = Arc::new(Shifted::default());
    let own = clock.clone();
    // Nothing else would look for an hour: neither the poll nor the heartbeat.
    let node = start_with(MemoryStore::new(), registry(), |b| {
        b.clock(own).lease(secs(3 * 3600)).settings(|s| (s.poll, s.poll_blind) = (secs(3600), secs(3600)))
    });
    let soon = node.enqueue("good").await;
    node.finished(soon).await;
    let later =
        NewJob { run_at: Some(time::plus(clock.now(), secs(600))), ..NewJob::new("good", Json::null()) };
    let later = node.client.enqueue_raw(later).await.unwrap().id;
    nap(1500).await;
    assert_eq!(node.store.job(P, later).await.unwrap().unwrap().job.state, JobState::Scheduled);
    clock.by.store(601_000_000, Ordering::SeqCst);
    until(&node.store, later, |d| d.job.state == JobState::Completed).await;
    node.stop().await;
}

#[tokio::test]
async fn polling_is_quick_while_hints_are_not_proved_to_arrive() {
    let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
    let faulty = Faulty::new(MemoryStore::new());
    let services = Services::new(faulty.store(), Arc::new(registry()), clock.clone());
    let engine = Engine::new(services, clock.clone(), Arc::new(Seeded::new(1)), Settings::default());
    let heartbeat = Heartbeat::new(engine);
    let now = clock.now();
    for (blind, every) in [(false, 5), (true, 1), (false, 5)] {
        faulty.set(|f| f.blind = blind);
        assert_eq!(heartbeat.step(now).await.unwrap(), Wake::At(time::plus(now, secs(every))), "{blind}");
    }
    // A lease that is shorter asks for more.
    let short = Settings { lease: Duration::from_millis(1500), ..Settings::default() };
    assert_eq!(short.heartbeat_every(true), Duration::from_millis(500));
}

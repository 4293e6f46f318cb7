//! Nodes and their leases.

use super::bench::*;
use mainspring_core::StoreError;
use mainspring_core::decide::Outcome;
use mainspring_core::ids::{JobId, NodeId};
use mainspring_core::job::{JobState, NewJob};
use mainspring_core::store::{Finished, Survey};
use std::collections::BTreeSet;

async fn node_events(b: &Bench) -> Vec<String> {
    let events = b.events().await.into_iter().map(|e| e.event.name);
    events.filter(|name| name.starts_with("node.")).collect()
}

/// Oldest first, with what it told and what it holds.
pub async fn a_node_comes_back_as_it_joined(b: &Bench) {
    let (first, second) = (b.join(10).await, b.join(20).await);
    let nodes = b.store.nodes().await.unwrap();
    assert_eq!(nodes.iter().map(|n| n.info.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!(nodes[1].info, node_info(second));
    assert_eq!((nodes[1].joined_at, nodes[1].heartbeat_at, nodes[1].running), (at(20), at(20), 0));
    b.put_all(20, vec![job(); 3]).await;
    assert_eq!(b.claim(20, second, 2).await.len(), 2);
    b.store.heartbeat(at(25), second, LEASE).await.unwrap();
    let nodes = b.store.nodes().await.unwrap();
    assert_eq!((nodes[1].heartbeat_at, nodes[1].running, nodes[0].running), (at(25), 2, 0));
    let again = b.store.join(at(30), node_info(first)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    assert_eq!(node_events(b).await, ["node.joined", "node.joined"]);
}

/// Nothing to do, then each of the four things.
pub async fn a_heartbeat_sees_what_a_poll_would_look_for(b: &Bench) {
    let node = b.join(0).await;
    let survey = async |now| b.store.heartbeat(at(now), node, LEASE).await.unwrap().1;
    assert_eq!(survey(1).await, Survey::default());
    b.put_all(1, vec![NewJob { run_at: Some(at(90)), ..job() }, NewJob { run_at: Some(at(50)), ..job() }])
        .await;
    assert_eq!(survey(2).await, Survey { next_run_at: Some(at(50)), ..Survey::default() });
    let waiting = b.put(3, job()).await;
    assert!(survey(3).await.waiting);
    assert_eq!(ids(&b.claim(3, node, 10).await), [waiting]);
    assert!(!survey(3).await.waiting);
    b.store.put_schedule(at(3), P, put_schedule("s", Some(70)), "ann").await.unwrap();
    b.store.put_schedule(at(3), P, put_schedule("t", Some(60)), "ann").await.unwrap();
    assert_eq!(survey(4).await.next_fire, Some(at(60)));
    assert!(!survey(4).await.lost_nodes);
    let doomed = b.join(4).await;
    b.put(4, job()).await;
    let held = b.claim_one(4, doomed).await;
    assert!(!survey(19).await.lost_nodes);
    assert!(survey(20).await.lost_nodes);
    b.store.orphans(at(20), LEASE, None, 10).await.unwrap();
    b.ended(20, &held, Outcome::LeaseExpired).await;
    assert!(!survey(21).await.lost_nodes, "nothing is left to do for it");
}

/// Its first node may die; its new one may not.
pub async fn an_attempt_lives_by_the_node_it_was_handed_to(b: &Bench) {
    let (first, second) = (b.join(0).await, b.join(0).await);
    let job = b.put(0, job()).await;
    let held = b.claim_one(0, first).await;
    let to = async |attempt, node| b.store.hand_over(at(1), job, attempt, node).await.unwrap();
    assert_eq!(to(2, second).await, Finished::Stale);
    assert_eq!(to(1, second).await, Finished::Applied);
    let shown = b.store.job(P, job).await.unwrap().unwrap();
    assert_eq!((shown.job.node, shown.job.attempt, shown.job.state), (Some(second), 1, JobState::Running));
    b.store.heartbeat(at(30), second, LEASE).await.unwrap();
    assert!(
        b.store.orphans(at(30), LEASE, None, 10).await.unwrap().is_empty(),
        "the first is dead, not this"
    );
    b.store.cancel_jobs(at(31), P, bulk(&these(&[job])), "x", "ann").await.unwrap();
    assert_eq!(b.store.heartbeat(at(31), second, LEASE).await.unwrap().0.cancel, [(job, 1)]);
    let orphans = b.store.orphans(at(60), LEASE, None, 10).await.unwrap();
    assert_eq!(orphans.iter().map(|o| (o.node, o.facts.attempt)).collect::<Vec<_>>(), [(second, 1)]);
    b.ended(61, &held, Outcome::Succeeded { output: None }).await;
    assert_eq!(to(1, first).await, Finished::Stale);
}

/// Held jobs do not wait for a node.
pub async fn held_jobs_are_not_told_as_waiting(b: &Bench) {
    let node = b.join(0).await;
    b.put_all(0, vec![NewJob { key_limit: Some(1), ..keyed("x") }; 2]).await;
    assert_eq!(b.claim(0, node, 10).await.len(), 1);
    let (_, survey) = b.store.heartbeat(at(1), node, LEASE).await.unwrap();
    assert!(!survey.waiting);
}

/// Of this node's attempts only, as long as they run.
pub async fn a_heartbeat_brings_the_marks_to_end(b: &Bench) {
    let (one, two) = (b.join(0).await, b.join(0).await);
    b.put_all(0, vec![job(); 3]).await;
    let mine = b.claim(0, one, 2).await;
    let theirs = b.claim(0, two, 1).await;
    let beat = async |node| b.store.heartbeat(at(1), node, LEASE).await.unwrap().0;
    assert!(beat(one).await.known && beat(one).await.cancel.is_empty());
    let all = [mine[1].facts.job, theirs[0].facts.job];
    b.store.cancel_jobs(at(1), P, bulk(&these(&all)), "x", "ann").await.unwrap();
    assert_eq!(beat(one).await.cancel, [(mine[1].facts.job, 1)]);
    assert_eq!(beat(two).await.cancel, [(theirs[0].facts.job, 1)]);
    b.ended(2, &mine[1], Outcome::Cancelled { reason: "asked".into() }).await;
    assert!(beat(one).await.cancel.is_empty());
}

/// A wait written without knowledge of the mark does not lose it.
pub async fn a_mark_to_end_survives_a_retry(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    b.store.cancel_jobs(at(1), P, bulk(&these(&[id])), "x", "ann").await.unwrap();
    assert!(b.record(id).await.cancel_requested);
    b.ended(2, &c, failed()).await;
    b.promote(7).await;
    let c = b.claim_one(7, node).await;
    assert!(c.facts.cancel_requested);
    b.ended(8, &c, failed()).await;
    assert_eq!(b.state(id).await, JobState::Cancelled);
}

/// Older than the lease, to the microsecond; attempts of the living are left alone.
pub async fn attempts_of_a_dead_node_are_orphans(b: &Bench) {
    let (dead, alive) = (b.join(0).await, b.join(0).await);
    let made = b.put_all(0, vec![job(); 4]).await;
    let lost = b.claim(0, dead, 2).await;
    assert_eq!(b.claim(0, alive, 2).await.len(), 2);
    b.store.heartbeat(at(10), alive, LEASE).await.unwrap();
    assert!(b.store.orphans(at(15), LEASE, None, 10).await.unwrap().is_empty());
    let late = mainspring_core::time::plus(at(15), std::time::Duration::from_micros(1));
    let orphans = b.store.orphans(late, LEASE, None, 10).await.unwrap();
    assert_eq!(orphans.iter().map(|o| o.facts.job).collect::<Vec<_>>(), made[..2]);
    assert!(orphans.iter().all(|o| o.node == dead));
    assert_eq!(orphans[1].facts, lost[1].facts);
    assert_eq!(b.states(&made).await, [JobState::Running; 4], "looking changes no job");
}

/// With ten thousand of them, and ten thousand that cannot be rescued before the others.
pub async fn orphans_are_paged(b: &Bench) {
    let (dead, alive) = (b.join(0).await, b.join(0).await);
    let mut made = Vec::new();
    for _ in 0..10 {
        made.extend(b.put_all(0, vec![job(); 1000]).await);
        assert_eq!(b.claim(0, dead, 1000).await.len(), 1000);
    }
    b.put_all(1, vec![job(); 3]).await;
    assert_eq!(b.claim(1, alive, 3).await.len(), 3);
    b.store.heartbeat(at(90), alive, LEASE).await.unwrap();
    let mut seen = Vec::<JobId>::new();
    loop {
        let page = b.store.orphans(at(100), LEASE, seen.last().copied(), 700).await.unwrap();
        assert!(page.len() <= 700);
        if page.is_empty() {
            break;
        }
        seen.extend(page.iter().map(|o| o.facts.job));
    }
    assert_eq!(seen, made);
    assert_eq!(b.store.orphans(at(100), LEASE, None, u32::MAX).await.unwrap().len(), 1000);
}

/// Once, however many look; it does not come back under its old name.
pub async fn a_lost_node_is_told_once_and_not_brought_back(b: &Bench) {
    let dead = b.join(0).await;
    b.put(0, job()).await;
    let c = b.claim_one(0, dead).await;
    let other = b.second().await;
    for store in [&b.store, &other, &b.store] {
        assert_eq!(store.orphans(at(100), LEASE, None, 10).await.unwrap().len(), 1);
    }
    assert_eq!(node_events(b).await, ["node.joined", "node.lost"]);
    let told = b.events().await.into_iter().find(|e| e.event.name == "node.lost").unwrap().event;
    assert_eq!(told.data.value()["name"], node_info(dead).name, "people know a node by its name");
    // It was only paused. It must drop what it holds, though nobody took it yet.
    let (beat, _) = b.store.heartbeat(at(101), dead, LEASE).await.unwrap();
    assert!(!beat.known && beat.cancel.is_empty());
    assert_eq!(b.store.orphans(at(102), LEASE, None, 10).await.unwrap().len(), 1);
    // What it still finishes before a reaper does counts: the fence alone decides.
    assert_eq!(b.end(103, &c, succeeded()).await, Finished::Applied);
    assert!(b.store.orphans(at(104), LEASE, None, 10).await.unwrap().is_empty());
}

/// Nothing was taken from it yet, so it goes on.
pub async fn a_late_heartbeat_before_anyone_looked_keeps_the_node(b: &Bench) {
    let node = b.join(0).await;
    b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    let (beat, survey) = b.store.heartbeat(at(100), node, LEASE).await.unwrap();
    assert!(beat.known && !survey.lost_nodes);
    assert!(b.store.orphans(at(101), LEASE, None, 10).await.unwrap().is_empty());
    b.ended(102, &c, succeeded()).await;
    let (beat, _) = b.store.heartbeat(at(103), NodeId(555_555), LEASE).await.unwrap();
    assert!(!beat.known);
}

/// At once, whatever its heartbeat was.
pub async fn what_a_leaving_node_still_holds_is_due_at_once(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    b.claim_one(1, node).await;
    b.store.leave(at(2), node).await.unwrap();
    let orphans = b.store.orphans(at(2), LEASE, None, 10).await.unwrap();
    assert_eq!(orphans.iter().map(|o| o.facts.job).collect::<Vec<_>>(), [id]);
    let (beat, _) = b.store.heartbeat(at(3), node, LEASE).await.unwrap();
    assert!(!beat.known);
    assert_eq!(node_events(b).await, ["node.joined", "node.left"]);
    let t = decided(&orphans[0].facts, Outcome::LeaseExpired, 3);
    b.store.finish(at(3), vec![t]).await.unwrap();
    assert!(b.store.orphans(at(4), LEASE, None, 10).await.unwrap().is_empty());
}

/// Two reapers race for every attempt: each is taken once.
pub async fn reapers_race_and_one_wins(b: &Bench) {
    let dead = b.join(0).await;
    let made: BTreeSet<JobId> = b.put_all(0, vec![job(); 100]).await.into_iter().collect();
    assert_eq!(b.claim(0, dead, 100).await.len(), 100);
    let mut tasks = Vec::new();
    for store in [b.store.clone(), b.second().await] {
        tasks.push(tokio::spawn(async move {
            let (mut won, mut after) = (Vec::new(), None);
            loop {
                let page = store.orphans(at(60), LEASE, after, 9).await.unwrap();
                let Some(last) = page.last() else { return won };
                after = Some(last.facts.job);
                let all = page.iter().map(|o| decided(&o.facts, Outcome::LeaseExpired, 60)).collect();
                let told = store.finish(at(60), all).await.unwrap();
                let applied = page.iter().zip(told).filter(|(_, f)| *f == Finished::Applied);
                won.extend(applied.map(|(o, _)| o.facts.job));
            }
        }));
    }
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.unwrap());
    }
    assert_eq!(won.len(), 100);
    assert_eq!(won.into_iter().collect::<BTreeSet<_>>(), made);
    assert_eq!(node_events(b).await, ["node.joined", "node.lost"]);
}

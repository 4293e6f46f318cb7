//! Several nodes on a PostgreSQL of their own.

use crate::machine::{PATIENCE, SLACK, look_for, start, wait};
use crate::world::{GRACE, LEASE, World};
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::reader::JobDetail;
use mainspring_testkit::pg::PrivateCluster;
use mainspring_testkit::proxy::Proxy;
use rustix::process::Signal;
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

async fn detail(world: &World, id: JobId) -> JobDetail {
    world.store.job(P, id).await.expect("a job").expect("it is there")
}

async fn ends(world: &World, id: JobId) -> JobDetail {
    let found = look_for(PATIENCE, async || {
        let detail = world.store.job(P, id).await.ok()??;
        detail.job.state.is_final().then_some(detail)
    });
    found.await.expect("the job ends")
}

/// How long until a job enqueued now has been delivered.
async fn pick_up(world: &World) -> Duration {
    let begin = start();
    let id = world.load.one(&world.client, &world.receiver.url(""), "/ok").await;
    ends(world, id).await;
    begin.elapsed()
}

/// F1, F3: what a killed node held is another's within the lease and two seconds, and schedules go
/// on firing. F5 beside it: a node that is asked to end gives back what it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_kill9_of_a_node_is_made_good_by_the_others() {
    let server = PrivateCluster::start(true);
    let mut world = World::on_postgres(&server.url()).await;
    for name in ["a", "b", "c"] {
        world.up(name).await;
    }
    world.begin().await;
    for _ in 0..2 {
        let (id, victim) = world.running_job(1500).await;
        world.kill9(victim).await;
        let taken_over = ends(&world, id).await;
        assert_eq!(taken_over.attempts[0].outcome, Some(AttemptOutcome::Interrupted));
        world.up_again(victim).await;
        world.acknowledged(10).await;
    }
    let (id, leaver) = world.running_job(4000).await;
    world.nodes[leaver].signal(Signal::TERM);
    let (code, took) = world.nodes[leaver].end(PATIENCE).await.expect("it ends");
    assert!(code == 0 && took < GRACE + Duration::from_secs(1) + SLACK, "{code} after {took:?}");
    let given_back = ends(&world, id).await;
    assert_eq!((given_back.job.raised, given_back.job.deaths), (1, 0));
    world.up_again(leaver).await;
    let figures = world.check().await;
    assert!(figures.rescued >= 2 && figures.fired > 0, "{figures:?}");
}

/// F2, F4: a node that slept longer than its lease finds its work taken; what it writes then changes
/// nothing, and it goes on under a new id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_frozen_node_changes_nothing_when_it_wakes() {
    let server = PrivateCluster::start(true);
    let mut world = World::on_postgres(&server.url()).await;
    for name in ["a", "b"] {
        world.up(name).await;
    }
    world.begin().await;
    let (id, sleeper) = world.running_job(1200).await;
    world.freeze_begin(sleeper).await;
    let (old, begin) = (world.losses[0].nodes.clone(), start());
    let taken_over = ends(&world, id).await;
    // More than two when the machine is so busy that the one who took over is late with a heartbeat too.
    assert_eq!(taken_over.job.state, JobState::Completed);
    let ended: Vec<_> = taken_over.attempts.iter().filter_map(|a| a.outcome).collect();
    let (last, before) = ended.split_last().expect("attempts");
    assert!(*last == AttemptOutcome::Succeeded && !before.is_empty(), "{ended:?}");
    assert!(before.iter().all(|o| *o == AttemptOutcome::Interrupted), "{ended:?}");
    assert!(old == taken_over.attempts[0].node.into_iter().collect::<Vec<_>>());
    wait((LEASE + Duration::from_secs(2)).saturating_sub(begin.elapsed())).await;
    world.nodes[sleeper].signal(Signal::CONT);
    let woken = look_for(PATIENCE, async || {
        let now = world.id_of(sleeper).await;
        (!old.contains(&now)).then_some(now)
    });
    assert!(woken.await.is_some(), "it did not join anew: {}", world.nodes[sleeper].said());
    wait(Duration::from_millis(500)).await;
    assert_eq!(detail(&world, id).await, taken_over, "the sleeper changed what was final");
    world.acknowledged(10).await;
    world.all_live();
    let figures = world.check().await;
    assert!(figures.rescued > 0, "{figures:?}");
}

/// F8, F10: a database that crashes, is killed or stands still is waited for; nobody ends, nobody is
/// judged for a silence that was the database's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_database_that_goes_away_is_waited_for() {
    let server = PrivateCluster::start(true);
    let mut world = World::on_postgres(&server.url()).await;
    for name in ["a", "b"] {
        world.up(name).await;
    }
    world.begin().await;
    type Away = fn(&PrivateCluster);
    let (crash, kill): (Away, Away) = (PrivateCluster::stop_immediate, PrivateCluster::kill9);
    for (what, away) in [("a crash", crash), ("kill -9", kill)] {
        away(&server);
        wait(Duration::from_millis(1500)).await;
        server.restart();
        let took = pick_up(&world).await;
        assert!(took < Duration::from_secs(8), "after {what} the first job ran after {took:?}");
        world.all_live();
    }
    server.pause();
    wait(LEASE + Duration::from_secs(3)).await;
    server.resume();
    let took = pick_up(&world).await;
    assert!(took < Duration::from_secs(8), "after a pause the first job ran after {took:?}");
    world.acknowledged(10).await;
    world.all_live();
    let figures = world.check().await;
    assert!(figures.repeated > 0 && figures.fired > 0, "{figures:?}");
    assert_eq!(figures.taken_from_the_living, 0, "{figures:?}");
}

/// F11, F12: between one node and the database the network is cut, slow, torn (so that replies to
/// commits are lost) and half open; the other node does its work meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_bad_network_to_one_node_loses_and_doubles_nothing() {
    let server = PrivateCluster::start(true);
    let mut world = World::on_postgres(&server.url()).await;
    let upstream = ([127, 0, 0, 1], server.port()).into();
    let proxy = Proxy::start(upstream).expect("a proxy");
    let by_proxy = server.url().replace(&format!(":{}", server.port()), &format!(":{}", proxy.addr().port()));
    assert_ne!(by_proxy, server.url());
    let far = world.up_by_way_of("far", &by_proxy).await;
    world.up("near").await;
    world.begin().await;
    for round in 0u32..12 {
        // Some bytes into an answer, so that now and then it is the one to a commit.
        proxy.tear_after(round * round * 37 % 2000);
        wait(Duration::from_millis(150)).await;
    }
    proxy.heal();
    proxy.delay(Duration::from_millis(100));
    wait(Duration::from_secs(2)).await;
    proxy.heal();
    proxy.cut();
    wait(Duration::from_secs(1)).await;
    proxy.heal();
    world.acknowledged(10).await;
    let before = proxy.accepted();
    world.loss_of(far).await;
    proxy.freeze();
    wait(LEASE + Duration::from_secs(3)).await;
    proxy.heal();
    let back = look_for(PATIENCE, async || {
        let nodes = world.ids_of(far).await;
        (nodes.iter().any(|n| !world.losses[0].nodes.contains(n)) && proxy.accepted() > before).then_some(())
    });
    assert!(back.await.is_some(), "it did not come back: {}", world.nodes[far].said());
    world.acknowledged(10).await;
    world.all_live();
    let figures = world.check().await;
    assert!(figures.fired > 0, "{figures:?}");
}

/// F13: the session that hears of new work dies without a sign. Polling is the net, and the session is
/// made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_listener_that_hears_nothing_more_is_replaced() {
    let server = PrivateCluster::start(true);
    let mut world = World::on_postgres(&server.url()).await;
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).expect("a proxy");
    proxy.watch("LISTEN");
    let by_proxy = server.url().replace(&format!(":{}", server.port()), &format!(":{}", proxy.addr().port()));
    world.up_by_way_of("only", &by_proxy).await;
    let quick = pick_up(&world).await;
    assert_eq!(proxy.mute(), 1, "one session listens");
    let before = proxy.accepted();
    let blind = pick_up(&world).await;
    assert!(blind < Duration::from_secs(10), "without hints it took {blind:?}, with them {quick:?}");
    let renewed = look_for(Duration::from_secs(30), async || (proxy.accepted() > before).then_some(()));
    assert!(renewed.await.is_some(), "nobody noticed within 30 s");
    wait(Duration::from_secs(1)).await;
    let mut again = Vec::new();
    for _ in 0..5 {
        again.push(pick_up(&world).await);
        wait(Duration::from_millis(200)).await;
    }
    again.sort_unstable();
    assert!(again[0] < Duration::from_millis(700), "with hints again it took {again:?}");
    world.check().await;
}

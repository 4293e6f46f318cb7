//! The long form: the same worlds for as many faults as one likes, with progress and figures.
//!
//! ```text
//! MAINSPRING_FAULTS=1000 cargo test -p mainspring-cli --test faults -- --ignored --nocapture long_sqlite
//! MAINSPRING_FAULTS=1000 cargo test -p mainspring-cli --test faults -- --ignored --nocapture long_postgres
//! MAINSPRING_FAULTS=20 cargo test -p mainspring-cli --test faults -- --ignored --nocapture long_million
//! ```
//!
//! `MAINSPRING_FAULTS_SEED` repeats the choice of faults (not their moments: those are real), and
//! `MAINSPRING_FAULTS_ONLY=kill9` leaves out all but one. The figures are left in
//! `target/faults/<name>.json` and `.md`.

use crate::checker::{Figures, quantile};
use crate::load::NARROW;
use crate::machine::{PATIENCE, SLACK, look_for, now, start, wait};
use crate::sqlite::assert_whole;
use crate::world::{GRACE, LEASE, READY, World};
use mainspring_core::clock::{Entropy, Seeded};
use mainspring_core::ids::ProjectId;
use mainspring_testkit::pg::PrivateCluster;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What one long run did and found.
struct Run {
    name: &'static str,
    faults: u64,
    only: Option<String>,
    seed: u64,
    chance: Seeded,
    done: BTreeMap<&'static str, u64>,
    begun: Instant,
}

impl Run {
    fn new(name: &'static str) -> Run {
        let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
        let seed = number("MAINSPRING_FAULTS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        let faults = number("MAINSPRING_FAULTS").unwrap_or(100);
        let only = std::env::var("MAINSPRING_FAULTS_ONLY").ok();
        println!("{name}: {faults} faults, seed {seed}");
        Run { name, faults, only, seed, chance: Seeded::new(seed), done: BTreeMap::new(), begun: start() }
    }

    /// One of the faults, by weight.
    fn choose(&self, faults: &[(&'static str, u64)]) -> &'static str {
        let allowed = |f: &&(&str, u64)| self.only.as_deref().is_none_or(|only| only == f.0);
        let faults: Vec<_> = faults.iter().filter(allowed).collect();
        let mut at = self.chance.bits() % faults.iter().map(|f| f.1).sum::<u64>().max(1);
        for (name, weight) in faults {
            if at < *weight {
                return name;
            }
            at -= weight;
        }
        panic!("{:?} is none of the faults", self.only)
    }

    async fn pause(&self, from_ms: u64, to_ms: u64) {
        wait(Duration::from_millis(from_ms + self.chance.bits() % (to_ms - from_ms))).await;
    }

    fn did(&mut self, what: &'static str, world: &World) {
        *self.done.entry(what).or_default() += 1;
        let n: u64 = self.done.values().sum();
        if n.is_multiple_of(10) || n == self.faults {
            let acknowledged = world.load.acknowledged();
            println!(
                "{:>5} s  {n} of {} faults, {acknowledged} jobs acknowledged",
                self.begun.elapsed().as_secs(),
                self.faults
            );
        }
    }

    /// Writes the figures down and prints them.
    fn tell(&self, world: &mut World, figures: &Figures) {
        world.ready_ms.sort_unstable();
        let mut text = String::new();
        let mut line = |what: &str, value: String| writeln!(text, "| {what} | {value} |").expect("a string");
        let three = |all: &[u64]| {
            let q = |q| quantile(all, q);
            format!("p50 {} ms, p99 {} ms, max {} ms of {}", q(0.5), q(0.99), q(1.0), all.len())
        };
        line(
            "run",
            format!(
                "{}, seed {}, {} s, lease {} s",
                self.name,
                self.seed,
                self.begun.elapsed().as_secs(),
                LEASE.as_secs()
            ),
        );
        for (what, n) in &self.done {
            line(what, n.to_string());
        }
        line("acknowledged enqueues", figures.acknowledged.to_string());
        line("of those lost", figures.lost.to_string());
        line("enqueues repeated for want of an answer", figures.repeated.to_string());
        line("tokens and fires with two jobs", figures.doubled.to_string());
        line("nominal fires", figures.fires.to_string());
        line("with a job / with a reason", format!("{} / {}", figures.fired, figures.ledger));
        line("longest time between two fires", format!("{} ms", figures.firing_gap_ms));
        line("attempts", figures.attempts.to_string());
        line("rescued from dead nodes", figures.rescued.to_string());
        line("of those from nodes that were only silent", figures.taken_from_the_living.to_string());
        line("given back in good order", figures.given_back.to_string());
        line("parked as poison", figures.poison.to_string());
        line("deliveries", figures.deliveries.to_string());
        line("jobs delivered more than once", figures.delivered_again.to_string());
        line("loss of a node to the end of its attempts", three(&figures.recovery_ms));
        line("loss of a node to the next start", three(&figures.restart_ms));
        line("start of a process to a joined node", three(&world.ready_ms));
        println!("| | |\n|---|---|\n{text}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/faults");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{}.md", self.name)), text).expect("a file");
        let json = serde_json::json!({
            "run": self.name, "seed": self.seed, "seconds": self.begun.elapsed().as_secs(),
            "faults": self.done, "ready_ms": world.ready_ms, "figures": figures,
        });
        std::fs::write(folder.join(format!("{}.json", self.name)), json.to_string()).expect("a file");
    }
}

/// One node on a file: kill -9 over and over, now and then a SIGTERM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes to hours: see the module's text"]
async fn long_sqlite() {
    let mut run = Run::new("long_sqlite");
    let mut world = World::on_sqlite(None);
    world.up("only").await;
    world.begin().await;
    for _ in 0..run.faults {
        run.pause(200, 2500).await;
        let fault = run.choose(&[("kill9", 9), ("sigterm", 1)]);
        match fault {
            "kill9" => world.kill9(0).await,
            _ => terminate(&mut world, 0).await,
        }
        world.up_again(0).await;
        run.did(fault, &world);
    }
    assert_whole(&world).await;
    let figures = world.check().await;
    run.tell(&mut world, &figures);
}

/// Three nodes on PostgreSQL: any of them killed, frozen or ended, and the database crashed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes to hours: see the module's text"]
async fn long_postgres() {
    let mut run = Run::new("long_postgres");
    let server = PrivateCluster::start(true);
    let mut world = World::on_postgres(&server.url()).await;
    for name in ["a", "b", "c"] {
        world.up(name).await;
    }
    world.begin().await;
    for _ in 0..run.faults {
        run.pause(200, 2500).await;
        let victim = (run.chance.bits() % 3) as usize;
        let fault = run.choose(&[
            ("kill9", 14),
            ("freeze", 2),
            ("sigterm", 2),
            ("database_crash", 1),
            ("database_kill9", 1),
        ]);
        match fault {
            "kill9" => {
                world.kill9(victim).await;
                run.pause(1, 1500).await;
                world.up_again(victim).await;
            }
            "freeze" => freeze(&mut world, victim).await,
            "sigterm" => {
                terminate(&mut world, victim).await;
                world.up_again(victim).await;
            }
            _ => {
                let gone = now();
                if fault == "database_crash" {
                    server.stop_immediate()
                } else {
                    server.kill9()
                }
                run.pause(1, 2000).await;
                server.restart();
                world.acknowledged(5).await;
                world.database_back(gone);
            }
        }
        run.did(fault, &world);
    }
    world.all_live();
    let figures = world.check().await;
    run.tell(&mut world, &figures);
}

/// Jobs that wait in the file of [`long_million`].
const MILLION: usize = 1_000_000;

/// F6 with a million jobs waiting: the only node is killed again and again, and is back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes to hours: see the module's text"]
async fn long_million() {
    let mut run = Run::new("long_million");
    let mut world = World::on_sqlite(None);
    let url = world.receiver.url("/ok/waiting");
    let job = || {
        let payload = serde_json::json!({ "url": url, "sign": { "secret": "faults" } });
        let payload = mainspring_core::Json::trusted(payload.to_string());
        mainspring::NewJob { queue: NARROW.into(), ..mainspring::NewJob::new("http", payload) }
    };
    for _ in 0..MILLION / 10_000 {
        world.client.enqueue_many((0..10_000).map(|_| job()).collect()).await.expect("they are taken");
    }
    println!("{:>5} s  {MILLION} jobs wait", run.begun.elapsed().as_secs());
    world.up("only").await;
    world.begin().await;
    for _ in 0..run.faults {
        run.pause(500, 2500).await;
        world.kill9(0).await;
        world.up_again(0).await;
        world.acknowledged(5).await;
        run.did("kill9", &world);
    }
    assert_whole(&world).await;
    let memory = world.load.end().await;
    let mut there = 0;
    for id in memory.acknowledged.values() {
        there += usize::from(world.store.job(ProjectId::DEFAULT, *id).await.expect("a look").is_some());
    }
    assert_eq!(there, memory.acknowledged.len(), "acknowledged enqueues are gone");
    let counts = world.store.counts(ProjectId::DEFAULT).await.expect("counts");
    let all: u64 = counts.iter().map(|c| c.3).sum();
    assert!(all >= (MILLION + there) as u64, "{all} jobs of {MILLION} and {there}");
    let wrong = world.store.audit().await.expect("an audit");
    assert!(wrong.is_empty(), "{wrong:?}");
    world.ready_ms.sort_unstable();
    let slowest = quantile(&world.ready_ms, 1.0);
    let waiting: u64 = counts.iter().filter(|c| !c.2.is_final()).map(|c| c.3).sum();
    println!("{:?}: {waiting} wait, ready after {:?} ms", run.done, world.ready_ms);
    assert!(u128::from(slowest) < READY.as_millis(), "ready after {:?} ms", world.ready_ms);
}

/// SIGTERM; it must end in time.
async fn terminate(world: &mut World, at: usize) {
    world.nodes[at].signal(Signal::TERM);
    let (code, took) = world.nodes[at].end(PATIENCE).await.expect("it ends");
    let in_time = took < GRACE + Duration::from_secs(1) + SLACK;
    assert!(code == 0 && in_time, "{code} after {took:?}: {}", world.nodes[at].said());
}

/// Frozen for two seconds longer than its lease; it must join anew.
async fn freeze(world: &mut World, at: usize) {
    world.freeze_begin(at).await;
    wait(LEASE + Duration::from_secs(2)).await;
    world.nodes[at].signal(Signal::CONT);
    let old = world.losses.last().expect("it was noted").nodes.clone();
    let woken = look_for(PATIENCE, async || (!old.contains(&world.id_of(at).await)).then_some(()));
    assert!(woken.await.is_some(), "it did not join anew: {}", world.nodes[at].said());
}

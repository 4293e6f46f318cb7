//! Ten times the load: callers that ask the server for far more than it takes, and never wait.
//!
//! What is beyond its share is refused at once and told when to come again; what was acknowledged is
//! done; schedules fire in time, the question for health is answered, memory stays where it was; and
//! when the callers leave, everything is as before. The long form does so for a minute, against the
//! usual share and with everything this machine can send:
//!
//! ```text
//! MAINSPRING_SECONDS=60 cargo test -p mainspring-cli --test faults -- --ignored --nocapture long_flood
//! ```

use crate::checker::{all_jobs, quantile};
use crate::load::Memory;
use crate::machine::{PATIENCE, look_for, start, wait};
use crate::server::{Answer, Line, Served};
use crate::world::World;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::time;
use mainspring_testkit::pg::fresh_database;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a node may weigh in a debug build while it is flooded, and what the flood may add.
const MOST_MIB: u64 = 256;
const MORE_MIB: u64 = 64;

/// What the callers saw.
#[derive(Debug, Default)]
struct Seen {
    sent: u64,
    refused: BTreeMap<u16, u64>,
    /// Answers that should never come, and broken connections.
    wrong: Vec<String>,
    answer_ms: Vec<u64>,
}

/// Callers that never wait.
struct Flood {
    at: SocketAddr,
    key: String,
    target: String,
    memory: Arc<Mutex<Memory>>,
    seen: Mutex<Seen>,
    next: AtomicU64,
    stop: AtomicBool,
}

impl Flood {
    /// Asks for one job and writes down what was said. Whether it was acknowledged.
    fn once(&self, line: &mut Line) -> bool {
        let token = format!("f{}", self.next.fetch_add(1, Ordering::SeqCst));
        self.memory.lock().expect("no panic").tried.insert(token.clone());
        let body = serde_json::json!({
            "kind": "http", "queue": "flood", "unique": { "key": token, "for": "1h" },
            "payload": { "url": format!("{}/{token}", self.target), "sign": { "secret": "faults" } },
        })
        .to_string();
        let begun = start();
        let answer = line.ask("POST", "/api/v1/projects/default/jobs", &self.key, &body);
        let mut seen = self.seen.lock().expect("no panic");
        seen.sent += 1;
        seen.answer_ms.push(begun.elapsed().as_millis() as u64);
        match answer {
            Ok(Answer { status: 200 | 201, body, .. }) => {
                let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                match said["id"].as_i64() {
                    Some(id) => {
                        self.memory.lock().expect("no panic").acknowledged.insert(token, JobId(id));
                        return true;
                    }
                    None => seen.wrong.push(format!("{token}: {said}")),
                }
            }
            Ok(Answer { status: status @ (429 | 503), after: Some(_), .. }) => {
                *seen.refused.entry(status).or_default() += 1;
            }
            Ok(answer) => {
                let said = String::from_utf8_lossy(&answer.body);
                seen.wrong.push(format!("{token}: {} {:?} {said}", answer.status, answer.after));
            }
            Err(e) => seen.wrong.push(format!("{token}: {e}")),
        }
        false
    }

    fn begin(self: &Arc<Self>, callers: usize) -> Vec<JoinHandle<()>> {
        let one = || {
            let flood = self.clone();
            std::thread::spawn(move || {
                let mut line = Line::new(flood.at);
                while !flood.stop.load(Ordering::SeqCst) {
                    flood.once(&mut line);
                }
            })
        };
        (0..callers).map(|_| one()).collect()
    }

    fn sent(&self) -> u64 {
        self.seen.lock().expect("no panic").sent
    }
}

/// The resident memory of a process in MiB.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: Option<u64> = line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse().ok());
    kib.expect("Linux tells the memory of a process that lives") / 1024
}

/// A world with a server, and who floods it.
async fn flooded(mut world: World, settings: &str) -> (World, Arc<Flood>) {
    let Served { at, key } = world.serve(settings, "[queue.flood]\nmax_running = 4\n").await;
    let flood = Arc::new(Flood {
        at,
        key,
        target: world.receiver.url("/ok"),
        memory: world.load.shared(),
        seen: Mutex::default(),
        next: AtomicU64::default(),
        stop: AtomicBool::default(),
    });
    // It answers, and has done what a first request costs.
    let answers = async || flood.once(&mut Line::new(at)).then_some(());
    assert!(look_for(PATIENCE, answers).await.is_some(), "no answer: {}", world.nodes[0].said());
    *flood.seen.lock().expect("no panic") = Seen::default();
    (world, flood)
}

/// What a flood did to the node.
#[derive(Debug, Default)]
struct Effect {
    before_mib: u64,
    most_mib: u64,
    health_ms: Vec<u64>,
    seconds: f64,
    calm_ms: u64,
}

/// Floods until `enough`, looking at health and memory all the time; then waits for the calm.
async fn run(
    world: &World,
    flood: &Arc<Flood>,
    callers: usize,
    enough: impl Fn(Duration, u64) -> bool,
) -> Effect {
    let pid = world.nodes[0].pid();
    let mut effect = Effect { before_mib: resident(pid), ..Effect::default() };
    let (begun, threads) = (start(), flood.begin(callers));
    while !enough(begun.elapsed(), flood.sent()) {
        let (at, asked) = (flood.at, start());
        let health = tokio::task::spawn_blocking(move || Line::new(at).ask("GET", "/health/ready", "", ""));
        let answer = health.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        effect.health_ms.push(asked.elapsed().as_millis() as u64);
        effect.most_mib = effect.most_mib.max(resident(pid));
        wait(Duration::from_millis(50)).await;
    }
    flood.stop.store(true, Ordering::SeqCst);
    effect.seconds = begun.elapsed().as_secs_f64();
    for thread in threads {
        thread.join().expect("a caller does not panic");
    }
    effect.health_ms.sort_unstable();
    let calm = start();
    let mut line = Line::new(flood.at);
    let taken = look_for(PATIENCE, async || flood.once(&mut line).then_some(())).await;
    effect.calm_ms = calm.elapsed().as_millis() as u64;
    assert!(taken.is_some(), "nothing is taken after the flood");
    for _ in 0..10 {
        wait(Duration::from_millis(100)).await;
        let taken = flood.once(&mut line);
        let seen = flood.seen.lock().expect("no panic");
        assert!(taken, "refused in the calm: {:?} {:?}", seen.refused, seen.wrong);
    }
    effect
}

/// How late the rows of fires were written, in milliseconds, sorted.
async fn lateness(world: &World) -> Vec<u64> {
    let jobs = all_jobs(&*world.store).await;
    let late = |at, made| time::since(at, made).as_millis() as u64;
    let all = jobs.iter().filter_map(|d| d.job.scheduled_for.map(|at| late(at, d.job.created_at)));
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable();
    all
}

/// Everything that must hold, whatever the length; the figures as lines of a table.
async fn judge(mut world: World, flood: &Flood, effect: &Effect) -> String {
    world.all_live();
    let rest = look_for(Duration::from_secs(900), async || {
        let counts = world.store.counts(ProjectId::DEFAULT).await.ok()?;
        let waits: u64 = counts.iter().filter(|c| c.0 == "flood" && !c.2.is_final()).map(|c| c.3).sum();
        (waits == 0).then_some(())
    });
    assert!(rest.await.is_some(), "what was acknowledged is not done");
    let figures = world.check().await;
    let late = lateness(&world).await;
    let seen = flood.seen.lock().expect("no panic");
    let mut answers = seen.answer_ms.clone();
    answers.sort_unstable();
    assert!(seen.wrong.is_empty(), "{:?}", &seen.wrong[..seen.wrong.len().min(10)]);
    assert!(seen.refused.values().sum::<u64>() > 0, "nothing was refused: this was no flood");
    assert!(figures.acknowledged > 0 && figures.lost == 0 && figures.rescued == 0, "{figures:?}");
    assert!(late.len() > 3 && quantile(&late, 0.99) < 2_000, "fires were late: {late:?} ms");
    let Effect { before_mib, most_mib, .. } = *effect;
    assert!(most_mib < MOST_MIB && most_mib < before_mib + MORE_MIB, "{before_mib} MiB became {most_mib}");
    let (half, all) = (quantile(&effect.health_ms, 0.5), quantile(&effect.health_ms, 1.0));
    assert!(half < 1_000 && all < 5_000, "health answered after {:?} ms", effect.health_ms);
    let three = |all: &[u64]| {
        format!(
            "p50 {} ms, p99 {} ms, longest {} ms",
            quantile(all, 0.5),
            quantile(all, 0.99),
            quantile(all, 1.0)
        )
    };
    format!(
        "| asked | {} in {:.0} s |\n| acknowledged, of those lost | {}, {} |\n| refused, by status | {:?} |\n\
         | answers | {} |\n| the question for health | {} of {} |\n| rows of fires, late | {} of {} |\n\
         | memory before and at most | {before_mib} MiB, {most_mib} MiB |\n| taken again after the flood | {} ms |\n",
        seen.sent,
        effect.seconds,
        figures.acknowledged,
        figures.lost,
        seen.refused,
        three(&answers),
        three(&effect.health_ms),
        effect.health_ms.len(),
        three(&late),
        late.len(),
        effect.calm_ms,
    )
}

/// F21: ten times what the server takes of a project, from callers that never wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_ten_times_the_load_is_refused_and_costs_nothing() {
    const TAKEN: u64 = 20;
    let settings = format!("requests.per_second = {TAKEN}\nrequests.at_once = 6\n");
    let (world, flood) = flooded(World::on_sqlite(None), &settings).await;
    let enough = |passed: Duration, sent: u64| {
        let asked = sent >= 10 * TAKEN * (passed.as_secs() + 1);
        assert!(passed < PATIENCE, "only {sent} were sent in {passed:?}");
        passed > Duration::from_secs(5) && asked
    };
    let effect = run(&world, &flood, 8, enough).await;
    let figures = judge(world, &flood, &effect).await;
    println!("{figures}");
    // Twice its share may come at once; beyond that, its share.
    let most = TAKEN * (effect.seconds as u64 + 2) + 2 * TAKEN + 12;
    let taken = flood.memory.lock().expect("no panic").acknowledged.len() as u64;
    assert!((TAKEN..most).contains(&taken), "{taken} of at most {most} were taken");
}

async fn long(world: World, name: &str) {
    let seconds = std::env::var("MAINSPRING_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let (world, flood) = flooded(world, "").await;
    let told = AtomicU64::new(0);
    let enough = |passed: Duration, sent: u64| {
        if told.fetch_max(passed.as_secs() / 10, Ordering::SeqCst) < passed.as_secs() / 10 {
            println!("{:>5} s  {sent} asked", passed.as_secs());
        }
        passed > Duration::from_secs(seconds)
    };
    let effect = run(&world, &flood, 300, enough).await;
    let figures = judge(world, &flood, &effect).await;
    println!("{figures}");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/faults");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(format!("{name}.md")), figures).expect("a file");
}

/// The same for a minute against the usual share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: see the module's text"]
async fn long_flood() {
    long(World::on_sqlite(None), "long_flood").await;
}

/// The same on PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: see the module's text"]
async fn long_flood_postgres() {
    let db = fresh_database();
    long(World::on_postgres(&db.url()).await, "long_flood_postgres").await;
}

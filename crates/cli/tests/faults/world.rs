//! A store, nodes on it, work for them, and the outside world: what every scenario begins with and
//! how each ends, with everything at rest and looked at by the [`crate::checker`].

use crate::checker::{self, Evidence, Figures, Loss};
use crate::load::{KEYED, Load, NARROW, NARROW_MAX};
use crate::machine::{PATIENCE, Process, look_for, now, start, wait};
use crate::receiver::Receiver;
use crate::server::{Line, Served};
use mainspring::Client;
use mainspring_core::ids::{NodeId, ProjectId};
use mainspring_core::job::JobState;
use mainspring_core::store::Store;
use mainspring_core::time;
use mainspring_store_postgres::PostgresStore;
use mainspring_store_sqlite::SqliteStore;
use mainspring_web::access::Right;
use mainspring_web::accounts::{self, NewKey};
use mainspring_web::{Config, Web};
use rustix::process::Signal;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;
/// The lease of every node here: short, so that many losses fit into a test.
pub const LEASE: Duration = Duration::from_secs(3);
/// The grace time of every node here.
pub const GRACE: Duration = Duration::from_secs(2);
/// What a node may take to be there, beyond which it counts as not quick.
pub const READY: Duration = Duration::from_secs(2);

/// See the module's text. Nodes end with it.
pub struct World {
    /// The nodes; before the folder, so that they are killed first.
    pub nodes: Vec<Process>,
    /// The load.
    pub load: Load,
    /// The outside world.
    pub receiver: Receiver,
    /// The test's own handle on the store, past every proxy.
    pub store: Arc<dyn Store>,
    /// Its client.
    pub client: Client,
    /// What was done to the nodes.
    pub losses: Vec<Loss>,
    /// How long each node took to be there.
    pub ready_ms: Vec<u64>,
    /// The store's address as a node is given it.
    pub address: String,
    dir: tempfile::TempDir,
}

/// The schedules: one that coalesces what is late, one that runs every fire however late, one whose
/// job takes longer than its interval, so that fires are skipped.
fn config(receiver: &Receiver) -> String {
    let url = |path: &str| receiver.url(path);
    format!(
        r#"
lease = "{lease}s"
grace = "{grace}s"
slots = 8
[commands]
enabled = true
[outbound]
allow = ["127.0.0.0/8"]
[queue.{NARROW}]
max_running = {NARROW_MAX}
[queue.{KEYED}]
max_running_per_key = 1
[[schedule]]
name = "every second"
every = "1s"
overlap = "allow"
grace = "2s"
http = {{ url = "{ok}", sign = {{ secret = "faults" }} }}
[[schedule]]
name = "every fire, however late"
every = "2s"
overlap = "allow"
misfire = "all"
grace = "2s"
http = {{ url = "{ok}", sign = {{ secret = "faults" }} }}
[[schedule]]
name = "longer than its interval"
cron = "*/2 * * * * *"
grace = "2s"
http = {{ url = "{slow}", sign = {{ secret = "faults" }} }}
"#,
        lease = LEASE.as_secs(),
        grace = GRACE.as_secs(),
        ok = url("/ok/schedule"),
        slow = url("/wait/2500/schedule"),
    )
}

impl World {
    /// A world around a SQLite file in a folder of its own, or in `at`.
    pub fn on_sqlite(at: Option<&Path>) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let file = at.unwrap_or(dir.path()).join("jobs.db");
        let options = mainspring_store_sqlite::Options { run_jobs: false, ..Default::default() };
        let store = Arc::new(SqliteStore::open(&file, options).expect("a store"));
        World::around(dir, store, file.display().to_string())
    }

    /// A world around a PostgreSQL database.
    pub async fn on_postgres(address: &str) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let store = PostgresStore::connect(address, Default::default()).await.expect("a store");
        World::around(dir, Arc::new(store), address.to_owned())
    }

    fn around(dir: tempfile::TempDir, store: Arc<dyn Store>, address: String) -> World {
        let receiver = Receiver::start();
        std::fs::write(dir.path().join("mainspring.toml"), config(&receiver)).expect("a file");
        World {
            nodes: Vec::new(),
            load: Load::new(),
            receiver,
            client: Client::new(store.clone()),
            store,
            losses: Vec::new(),
            ready_ms: Vec::new(),
            address,
            dir,
        }
    }

    /// Starts a node that serves, with more of a configuration: settings before its tables, and
    /// tables after them.
    pub async fn serve(&mut self, settings: &str, tables: &str) -> Served {
        let at = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let file = self.dir().join("mainspring.toml");
        let rest = std::fs::read_to_string(&file).expect("its configuration");
        std::fs::write(&file, format!("listen = \"{at}\"\n{settings}{rest}{tables}")).expect("a file");
        let web = Web::open(self.client.clone(), Config::default()).await.expect("tables");
        let new = NewKey { name: "test".into(), rights: Right::ALL.into(), queues: vec![], expires_at: None };
        let (_, key) = accounts::make_key(&web, P, "test", &new).await.expect("a key");
        drop(web);
        self.up("only").await;
        let lives = async || {
            let answer = Line::new(at).ask("GET", "/health/ready", "", "").ok()?;
            (answer.status == 200).then_some(())
        };
        assert!(look_for(PATIENCE, lives).await.is_some(), "no answer: {}", self.nodes[0].said());
        Served { at, key }
    }

    /// Its folder.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Starts a node and waits until the store knows it.
    pub async fn up(&mut self, name: &str) -> usize {
        let address = self.address.clone();
        self.up_by_way_of(name, &address).await
    }

    /// The same, with an address of its own for the store.
    pub async fn up_by_way_of(&mut self, name: &str, address: &str) -> usize {
        self.nodes.push(Process::up(self.dir.path(), name, address));
        let at = self.nodes.len() - 1;
        self.ready(at).await;
        at
    }

    /// Starts a node that has ended once more.
    pub async fn up_again(&mut self, at: usize) {
        let name = self.nodes[at].name.clone();
        self.nodes[at] = Process::up(self.dir.path(), &name, &self.address);
        self.ready(at).await;
        if self.nodes.len() == 1 {
            let open = |loss: &&mut Loss| time::since(loss.at, now()) < LEASE + Duration::from_secs(2);
            self.losses.iter_mut().filter(open).for_each(|loss| loss.at = now());
        }
    }

    /// Waits until the store knows a node and notes how long that took.
    async fn ready(&mut self, at: usize) {
        let pid = self.nodes[at].pid();
        let found = look_for(PATIENCE, async || {
            let nodes = self.store.nodes().await.unwrap_or_default();
            nodes.iter().any(|n| n.info.pid == pid).then_some(())
        });
        if found.await.is_none() {
            panic!("{} does not come up; it said:\n{}", self.nodes[at].name, self.nodes[at].said());
        }
        self.ready_ms.push(self.nodes[at].since.elapsed().as_millis() as u64);
    }

    /// Begins the load and waits until it runs.
    pub async fn begin(&mut self) {
        let url = self.receiver.url("");
        self.load.begin(&self.client, &url, self.dir(), &self.address);
        self.acknowledged(20).await;
    }

    /// Waits for so many more acknowledgements: the load is under way.
    pub async fn acknowledged(&self, more: usize) {
        let wanted = self.load.acknowledged() + more;
        let enough = async || (self.load.acknowledged() >= wanted).then_some(());
        assert!(
            look_for(PATIENCE, enough).await.is_some(),
            "the load stands still: {:?}",
            self.load.memory()
        );
    }

    /// Enqueues a job that takes this long, and waits until it runs: the job, and at which node.
    pub async fn running_job(&self, ms: u64) -> (mainspring_core::ids::JobId, usize) {
        let id = self.load.one(&self.client, &self.receiver.url(""), &format!("/wait/{ms}")).await;
        let found = look_for(PATIENCE, async || {
            let job = self.store.job(P, id).await.ok()??.job;
            let node = job.node.filter(|_| job.state == JobState::Running)?;
            let nodes = self.store.nodes().await.ok()?;
            let pid = nodes.iter().find(|n| n.info.id == node)?.info.pid;
            self.nodes.iter().position(|n| n.pid() == pid)
        });
        (id, found.await.expect("the job begins to run"))
    }

    /// Who a node is for the store.
    pub async fn ids_of(&self, at: usize) -> Vec<NodeId> {
        let pid = self.nodes[at].pid();
        let nodes = self.store.nodes().await.unwrap_or_default();
        nodes.iter().filter(|n| n.info.pid == pid).map(|n| n.info.id).collect()
    }

    /// The one id under which a node lives now: the last it joined under.
    pub async fn id_of(&self, at: usize) -> NodeId {
        let pid = self.nodes[at].pid();
        let nodes = self.store.nodes().await.expect("nodes");
        let mine = nodes.iter().filter(|n| n.info.pid == pid);
        mine.max_by_key(|n| n.joined_at).expect("it has joined").info.id
    }

    /// The database has been away since `gone` and is back: nobody is judged before everyone could be
    /// heard again, so the promise for losses that were not made good by then counts from now.
    pub fn database_back(&mut self, gone: jiff::Timestamp) {
        let open = |loss: &&mut Loss| time::since(loss.at, gone) < LEASE + Duration::from_secs(2);
        self.losses.iter_mut().filter(open).for_each(|loss| loss.at = now());
    }

    /// Notes that what is done next to a node costs it its lease.
    pub async fn loss_of(&mut self, at: usize) {
        let nodes = vec![self.id_of(at).await];
        self.losses.push(Loss { nodes, at: now() });
    }

    /// kill -9.
    pub async fn kill9(&mut self, at: usize) {
        self.loss_of(at).await;
        self.nodes[at].kill();
    }

    /// Freezes a node; whoever does so lets it go on (SIGCONT) once its lease has run out.
    pub async fn freeze_begin(&mut self, at: usize) {
        self.loss_of(at).await;
        self.nodes[at].signal(Signal::STOP);
    }

    /// Every node runs still.
    pub fn all_live(&mut self) {
        for node in &mut self.nodes {
            let code = node.ended();
            assert_eq!(code, None, "{} has ended; it said:\n{}", node.name, node.said());
        }
    }

    /// Ends the load, lets everything come to rest and looks at all of it.
    pub async fn check(&mut self) -> Figures {
        let memory = self.load.end().await;
        for schedule in self.store.all_schedules(None, 100).await.expect("schedules") {
            self.client.pause_schedule(&schedule.name, None, Some("the test ends")).await.expect("a pause");
        }
        let begin = start();
        let rest = look_for(PATIENCE, async || {
            let counts = self.store.counts(P).await.ok()?;
            counts.iter().all(|(_, _, state, n)| state.is_final() || *n == 0).then_some(())
        });
        if rest.await.is_none() {
            let counts = self.store.counts(P).await;
            let said: Vec<String> = self.nodes.iter().map(Process::said).collect();
            panic!("no rest after {:?}: {counts:?}\n{}", begin.elapsed(), said.join("\n---\n"));
        }
        // A node that held nothing is missed by nobody but the reaper, once its lease is over.
        let missed = look_for(LEASE + Duration::from_secs(5), async || {
            let told = checker::all_events(&*self.store).await;
            let lost = told.iter().filter(|e| e.event.name == "node.lost").count();
            (lost >= self.losses.len()).then_some(())
        });
        // If it is not told, the checker says of whom.
        let _ = missed.await;
        // What was answered last is on its way into the receiver's memory.
        wait(Duration::from_millis(100)).await;
        let deliveries = self.receiver.deliveries();
        let evidence = Evidence {
            store: &*self.store,
            memory: &memory,
            deliveries: &deliveries,
            losses: &self.losses,
            lease: LEASE,
        };
        match checker::check(&evidence).await {
            Ok(figures) => figures,
            Err(wrong) => {
                let said: Vec<String> = self.nodes.iter().map(Process::said).collect();
                let shown: Vec<&String> = wrong.iter().take(30).collect();
                panic!("{} things are wrong: {shown:#?}\n{}", wrong.len(), said.join("\n---\n"));
            }
        }
    }
}

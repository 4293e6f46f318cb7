//! Nodes that deliver notices are killed while a receiver holds their request, again and again: every
//! notice arrives, nothing is marked as sent that did not arrive, and what comes twice comes under the
//! id of the first time.

mod support;

use mainspring::notify::{self, NewChannel, Notice, NoticeState, Security, Setup, Severity, Timing};
use mainspring::secrets::{Keyring, Keys};
use mainspring::{Client, Registry};
use mainspring_core::store::Store;
use mainspring_core::tables::{Statement, Write};
use mainspring_core::time;
use mainspring_store_postgres::PostgresStore;
use mainspring_store_sqlite::SqliteStore;
use mainspring_testkit::outside::{Answer, MailServer, Stub};
use mainspring_testkit::pg;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use support::{Place, Running, wait};
use tokio::runtime::Runtime;

/// Notices, each for two channels.
const NOTICES: u64 = 14;
/// How often nodes are killed.
const KILLS: u64 = 4;
/// How long the receiver takes to answer: a node that is killed meanwhile does not know that it did.
const SLOW: Duration = Duration::from_millis(300);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

struct World {
    runtime: Runtime,
    client: Client,
    hook: Stub,
    mail: MailServer,
    /// The channels of both.
    channels: [i64; 2],
    nodes: Vec<(Place, Running)>,
}

fn up(place: &Place) -> Running {
    place.start(&["up", "--no-tour", "--listen", "127.0.0.1:0"])
}

impl World {
    fn start(runtime: Runtime, store: Arc<dyn Store>, address: &str, nodes: usize) -> World {
        let ring = Keyring::random().expect("a key");
        let key = ring.text().expose().to_owned();
        let registry = Arc::new(Registry::new().keys(Keys::given(ring)));
        let client = Client::new(store).with_registry(registry);
        let hook = Stub::start(vec![Answer::Late(SLOW, 200)]);
        let mail = MailServer::start(&[]);
        let channels = runtime.block_on(channels(&client, &hook, &mail));
        let nodes = (0..nodes).map(|_| {
            let mut place = Place::new();
            place.env = [
                ("MAINSPRING_STORE", address),
                ("MAINSPRING_LEASE", "2s"),
                ("MAINSPRING_OUTBOUND_ALLOW", "127.0.0.0/8"),
                ("MAINSPRING_SECRETS_KEY", &key),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            let running = up(&place);
            (place, running)
        });
        World { runtime, client, hook, mail, channels, nodes: nodes.collect() }
    }

    /// Says all notices; the ids under which they must arrive.
    fn say(&self) -> [BTreeSet<String>; 2] {
        let mut ids = [BTreeSet::new(), BTreeSet::new()];
        for n in 0..NOTICES {
            let now = self.client.now();
            let notice = Notice {
                project: self.client.project(),
                key: format!("notice/{n}"),
                severity: Severity::Warning,
                state: NoticeState::Firing,
                title: format!("Notice {n}"),
                text: String::new(),
                facts: vec![],
                path: String::new(),
                at: now,
                urgent: false,
            };
            let said = notice.announce(&self.channels);
            ids[0].insert(format!("{}_{}", said.uid, self.channels[0]));
            ids[1].insert(format!("<{}_{}@example.com>", said.uid, self.channels[1]));
            let write = said.into_write(Write::new(), now, notice.project);
            let tables = self.client.tables().expect("tables");
            self.runtime.block_on(tables.write(write)).expect("it is said");
        }
        ids
    }

    /// The ids that each receiver has seen, with every repetition.
    fn arrived(&self) -> [Vec<String>; 2] {
        let hooks = self.hook.all().into_iter().map(|got| got.headers["webhook-id"].clone());
        [hooks.collect(), self.mail.all().into_iter().map(|got| got.id).collect()]
    }

    /// How many different requests the slow receiver has seen.
    fn seen(&self) -> usize {
        self.arrived()[0].iter().collect::<BTreeSet<_>>().len()
    }

    /// State and key of each delivery.
    fn rows(&self) -> Vec<(String, String)> {
        let all = Statement::new("SELECT state, uid FROM notify_deliveries");
        let tables = self.client.tables().expect("tables");
        let read = self.runtime.block_on(tables.read(all)).and_then(|rows| rows.into_typed());
        read.expect("the deliveries")
    }

    /// What is marked as sent now has arrived.
    fn nothing_is_made_up(&self) {
        // The rows first: what arrives between the two is no mistake.
        let rows = self.rows();
        let arrived = self.arrived();
        for (_, uid) in rows.iter().filter(|(state, _)| state == "sent") {
            let came = arrived.iter().flatten().any(|id| id == uid || *id == format!("<{uid}@example.com>"));
            assert!(came, "{uid} is marked as sent and never arrived");
        }
    }

    fn kill(&mut self, at: usize) {
        let (place, running) = &mut self.nodes[at];
        running.kill();
        *running = up(place);
    }
}

async fn channels(client: &Client, hook: &Stub, mail: &MailServer) -> [i64; 2] {
    notify::migrate(&*client.tables().expect("tables")).await.expect("migrated");
    let webhook = Setup::Webhook { url: hook.url("/notices") };
    let email = Setup::Email {
        host: "127.0.0.1".into(),
        port: mail.port,
        security: Security::None,
        user: None,
        from: "engine@example.com".into(),
        to: vec!["ops@example.org".into()],
        reply_to: None,
    };
    let mut ids = [0; 2];
    for (id, (name, settings)) in ids.iter_mut().zip([("hook", webhook), ("mail", email)]) {
        let timing = Timing::default();
        let new = NewChannel { name: name.into(), settings, timing, enabled: true, secret: None };
        *id = notify::make(client, &client.vault(), new).await.expect("a channel").0.id;
    }
    ids
}

fn nodes_are_killed_and_no_notice_is_lost(mut world: World) {
    let expected = world.say();
    // The seed of the moments; time and again another one, and told when something goes wrong.
    let seed = time::micros(world.client.now()).unsigned_abs();
    for round in 0..KILLS {
        let before = world.seen();
        world.nodes[0]
            .0
            .until(&format!("more requests, seed {seed}"), || (world.seen() >= before + 2).then_some(()));
        // Somewhere within the time that the receiver takes to answer; the first time early in it.
        wait(SLOW.mul_f64(((seed >> (8 * round)) & 0xff) as f64 / 255.0 * round as f64 / KILLS as f64));
        world.nothing_is_made_up();
        let last = world.nodes.len() - 1;
        for at in if round % 2 == 0 { 0..=last } else { last..=last } {
            world.kill(at);
        }
        world.nothing_is_made_up();
    }
    world.nodes[0].0.until(&format!("the end of every delivery, seed {seed}"), || {
        world.rows().iter().all(|(state, _)| state != "queued").then_some(())
    });
    let rows = world.rows();
    assert_eq!(rows.len() as u64, 2 * NOTICES);
    assert!(rows.iter().all(|(state, _)| state == "sent"), "seed {seed}: {rows:?}");
    world.nothing_is_made_up();
    let arrived = world.arrived();
    for (wanted, came) in expected.iter().zip(&arrived) {
        let came: BTreeSet<String> = came.iter().cloned().collect();
        assert_eq!(&came, wanted, "seed {seed}: each under its own id, and under no other");
    }
    let again = arrived[0].len() as u64 - NOTICES;
    assert!(again > 0, "seed {seed}: no node was killed while it waited for an answer");
}

#[test]
fn fault_killed_nodes_lose_no_notice_on_postgres() {
    let database = pg::fresh_database();
    let runtime = runtime();
    let options = mainspring_store_postgres::Options::default();
    let store = runtime.block_on(PostgresStore::connect(&database.url(), options)).expect("connects");
    nodes_are_killed_and_no_notice_is_lost(World::start(runtime, Arc::new(store), &database.url(), 2));
}

#[test]
fn fault_a_killed_node_loses_no_notice_on_a_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("notices.db");
    // It only looks on: the node is the one process that runs jobs on the file.
    let options = mainspring_store_sqlite::Options { run_jobs: false, ..Default::default() };
    let store = SqliteStore::open(&path, options).expect("opens");
    let address = path.display().to_string();
    nodes_are_killed_and_no_notice_is_lost(World::start(runtime(), Arc::new(store), &address, 1));
}

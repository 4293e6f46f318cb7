//! Throw-away PostgreSQL for tests: one shared cluster per run, or one of your own to break.
//!
//! [`cluster`] gives the cluster all tests of a run share, although each test may be a process
//! of its own. The first process that asks makes it, the others find it, and a small watcher
//! stops it and removes its files when the run is over. It runs with `fsync = off`: what it holds
//! is thrown away, and no test that uses it may crash the server. [`PrivateCluster`] is for the
//! tests that do: it belongs to one test, which may stop, kill, freeze and restart it.
//!
//! How processes agree without a daemon: two lock files that the kernel releases when their
//! holder dies, however it dies. `start.lock` is held while a process looks or starts. `users.lock`
//! is held shared by every user for as long as it lives, and the watcher stops the server only
//! while it holds both alone. So nobody can be handed a server that is about to end.
//!
//! What this module does not do: it never touches a server it did not start, it opens no port but
//! on 127.0.0.1, and it is no connection pool. Statements go through `psql`, so that it works the
//! same inside and outside an async runtime. Every failure panics with what to type: tests have
//! nothing better to do without a database, and skipping quietly would hide them.
#![allow(
    clippy::disallowed_methods,
    reason = "servers start and stop in real time; nothing here is simulated"
)]

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

mod machine;
mod server;

pub use machine::BIN_VARIABLE;
use machine::{enter_home, lock_shared, make_home, shared_home, temporary_folder, write};
use server::{PATIENCE, Server};

// ---------------------------------------------------------------------------------------------
// The shared cluster
// ---------------------------------------------------------------------------------------------

/// The cluster all tests of a run share.
///
/// Superuser `postgres`, no password, 127.0.0.1 only, up to 200 connections, `fsync = off`.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    /// Held shared for the life of this process: while it is, the watcher leaves the server alone.
    _user: File,
}

/// The shared cluster; started by whoever asks first.
///
/// # Panics
///
/// When no PostgreSQL is installed or it cannot be started; the text says what to do.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::join(&shared_home()).unwrap_or_else(|text| panic!("{text}")))
}

/// An empty database in the shared cluster, dropped with the value returned.
///
/// # Panics
///
/// As [`cluster`].
pub fn fresh_database() -> Database {
    cluster().fresh_database()
}

impl Cluster {
    /// An empty database of its own name, dropped with the value returned.
    ///
    /// # Panics
    ///
    /// When the server refuses to make it.
    pub fn fresh_database(&self) -> Database {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        // A process that died may have left a database of this name: ids come round again.
        self.server.sql_or_panic(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        self.server.sql_or_panic(&format!("CREATE DATABASE {name}"));
        Database { server: self.server.clone(), name }
    }

    /// The address of a database in this cluster, for example `postgres://postgres@127.0.0.1:5433/x`.
    pub fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// Finds the living server in `home`, or starts one there.
    fn join(home: &Path) -> Result<Self, String> {
        let _start = enter_home(home)?;
        let user = lock_shared(&home.join("users.lock"))?;
        if let Some(server) = Server::find(home) {
            server.note_runner()?;
            return Ok(Self { server, _user: user });
        }
        let server = Server::create(home, false)?;
        server.note_runner()?;
        server.watch(60)?;
        write(&home.join("ready"), &server.port.to_string())?;
        Ok(Self { server, _user: user })
    }
}

/// A database of one test in the shared cluster.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
}

impl Database {
    /// Its address, as the store takes it.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Its name, unique in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements by `psql` and gives back what they return: one line per row, columns
    /// parted by `|`.
    ///
    /// # Errors
    ///
    /// What the server said, when it refused.
    pub fn sql(&self, statements: &str) -> Result<String, String> {
        self.server.sql(&self.name, statements)
    }
}

impl Database {
    /// Writes every statement of sessions that begin from now on into the server's log.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub fn log_statements(&self) {
        let on = format!("ALTER DATABASE {} SET log_statement = 'all'", self.name);
        self.sql(&on).unwrap_or_else(|text| panic!("{text}"));
    }

    /// The first lines of the statements that the server's log holds of this database, in order.
    ///
    /// # Panics
    ///
    /// When the log cannot be read.
    pub fn statements(&self) -> Vec<String> {
        let log = std::fs::read(self.server.home.join("log")).expect("the server's log");
        let log = String::from_utf8_lossy(&log);
        let own = format!("] {} LOG:  ", self.name);
        let said = log.lines().filter_map(|line| line.split_once(&own).map(|(_, text)| text));
        let told = said.filter(|text| text.starts_with("execute ") || text.starts_with("statement: "));
        told.map(str::to_owned).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Best effort and not waited for: dropping costs a checkpoint, and the watcher removes the
        // whole cluster in the end anyway.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = self.server.psql("postgres", &drop).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}

// ---------------------------------------------------------------------------------------------
// A cluster of one's own
// ---------------------------------------------------------------------------------------------

/// A server that belongs to one test, to be broken in every way a server breaks.
///
/// Stopped and removed when dropped, and by its watcher when the test itself is killed.
#[derive(Debug)]
pub struct PrivateCluster {
    server: Server,
    _user: File,
}

impl PrivateCluster {
    /// Starts a standby of this server, which takes over when it is told to ([`Self::promote`]). From
    /// then on this server acknowledges only what the standby has, too.
    ///
    /// # Panics
    ///
    /// When it cannot be made or does not follow.
    pub fn standby(&self) -> Self {
        let standby = Self::in_a_new_home(|home| Server::follow(home, &self.server));
        for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
            self.server.sql_or_panic(statement);
        }
        let follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let by = Instant::now() + PATIENCE;
        while self.sql(follows).as_deref() != Ok("1") {
            assert!(Instant::now() < by, "the standby does not follow");
            std::thread::sleep(Duration::from_millis(50));
        }
        standby
    }

    /// Makes a standby the server that is written to.
    ///
    /// # Panics
    ///
    /// When it does not become one.
    pub fn promote(&self) {
        self.server.promote().unwrap_or_else(|text| panic!("{text}"));
    }

    /// Starts a new server. `durable` keeps `fsync`, `synchronous_commit` and `full_page_writes`
    /// on, as a real server has them; without it the server is faster and may lose all in a crash.
    ///
    /// # Panics
    ///
    /// When no PostgreSQL is installed or it cannot be started; the text says what to do.
    pub fn start(durable: bool) -> Self {
        Self::in_a_new_home(|home| Server::create(home, durable))
    }

    fn in_a_new_home(create: impl Fn(&Path) -> Result<Server, String>) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let home = temporary_folder().join(format!("ms-pg-own-{}-{number}", std::process::id()));
        let start = || {
            // The name may be that of a process long gone; its watcher has stopped its server.
            let _ = fs::remove_dir_all(&home);
            make_home(&home)?;
            let user = lock_shared(&home.join("users.lock"))?;
            let server = create(&home)?;
            server.watch(0)?;
            Ok(Self { server, _user: user })
        };
        start().unwrap_or_else(|text: String| panic!("{text}"))
    }

    /// The address of its database `postgres`; the same after every restart.
    pub fn url(&self) -> String {
        self.server.url("postgres")
    }

    /// The port on 127.0.0.1; the same after every restart.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Runs statements in the database `postgres`, as [`Database::sql`].
    ///
    /// # Errors
    ///
    /// What the server or `psql` said, when it refused or was not there.
    pub fn sql(&self, statements: &str) -> Result<String, String> {
        self.server.sql("postgres", statements)
    }

    /// Puts a file into the server's folder, which the server reads by its name (a certificate, its
    /// key) and nobody else may.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn put(&self, name: &str, text: &str) {
        self.server.put(name, text).unwrap_or_else(|text| panic!("{text}"));
    }

    /// Ends the server at once, without a checkpoint: the next start recovers from the log.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn stop_immediate(&self) {
        self.server.stop("immediate").unwrap_or_else(|text| panic!("{text}"));
    }

    /// Ends the server in order: open transactions are rolled back, then a checkpoint.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn stop(&self) {
        self.server.stop("fast").unwrap_or_else(|text| panic!("{text}"));
    }

    /// Kills every process of the server with SIGKILL, as the kernel does when memory runs out.
    pub fn kill9(&self) {
        self.server.signal_all(Signal::KILL);
        let gone_by = Instant::now() + PATIENCE;
        while !self.server.processes().is_empty() && Instant::now() < gone_by {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the server again on the same port; one that still runs is stopped in order first.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&self) {
        if !self.server.processes().is_empty() {
            self.resume();
            self.stop();
        }
        // A killed server leaves its lock files, and its number stays taken until somebody reaps
        // the process: the new server would refuse. We know better: nobody works in the folder.
        let _ = fs::remove_file(self.server.home.join("data/postmaster.pid"));
        for lock in fs::read_dir(self.server.home.join("sockets")).into_iter().flatten().flatten() {
            let _ = fs::remove_file(lock.path());
        }
        self.server.start().unwrap_or_else(|text| panic!("{text}"));
    }

    /// Freezes every process of the server with SIGSTOP: connections stay open and nobody answers.
    pub fn pause(&self) {
        self.server.signal_all(Signal::STOP);
    }

    /// Lets a frozen server go on.
    pub fn resume(&self) {
        self.server.signal_all(Signal::CONT);
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        self.server.signal_all(Signal::KILL);
        let _ = fs::remove_dir_all(&self.server.home);
    }
}

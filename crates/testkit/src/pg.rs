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
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Names the folder with `postgres`, `initdb`, `pg_ctl` and `psql`, when they are not where
/// Debian and the like put them.
pub const BIN_VARIABLE: &str = "MAINSPRING_TEST_PG_BIN";

/// The programs a folder must hold to be of use here.
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "pg_ctl", "psql"];

/// The longest a server may take to start, stop or answer before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A path to a socket must fit into 107 bytes; the server appends `/.s.PGSQL.65535`.
const SOCKET_FOLDER_LIMIT: usize = 90;

/// Stops a cluster once nobody uses it: `$1` its home, `$2` how many seconds it may stay unused
/// while a process that used it still has a living parent (the test runner).
///
/// A shell script because it must outlive the process that starts it, and because the folder it
/// watches may vanish under it without harm.
const WATCHER: &str = r#"
home=$1 patience=$2 idle=0
stop='
    pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
    if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
        kill -QUIT "$pid"; kill -CONT "$pid"
        for _ in $(seq 100); do
            [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ] || break
            sleep 0.1
        done
        if [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then kill -KILL "$pid"; fi
    fi
    rm -rf "$1"
'
while [ -d "$home" ]; do
    if flock --exclusive --nonblock "$home/users.lock" true; then
        waiting=no
        if [ "$idle" -lt "$((patience * 2))" ]; then
            for runner in "$home"/runners/*; do
                if kill -0 "${runner##*/}"; then waiting=yes; fi
            done
        fi
        idle=$((idle + 1))
        # Whoever comes meanwhile waits for both locks, finds the folder gone and begins anew.
        [ "$waiting" = yes ] || flock --exclusive --nonblock "$home/start.lock" \
            flock --exclusive --nonblock "$home/users.lock" sh -c "$stop" sh "$home"
    else
        idle=0
    fi
    sleep 0.5
done
"#;

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
    /// Starts a new server. `durable` keeps `fsync`, `synchronous_commit` and `full_page_writes`
    /// on, as a real server has them; without it the server is faster and may lose all in a crash.
    ///
    /// # Panics
    ///
    /// When no PostgreSQL is installed or it cannot be started; the text says what to do.
    pub fn start(durable: bool) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let home = temporary_folder().join(format!("ms-pg-own-{}-{number}", std::process::id()));
        let start = || {
            // The name may be that of a process long gone; its watcher has stopped its server.
            let _ = fs::remove_dir_all(&home);
            make_home(&home)?;
            let user = lock_shared(&home.join("users.lock"))?;
            let server = Server::create(&home, durable)?;
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

// ---------------------------------------------------------------------------------------------
// One server, of either sort
// ---------------------------------------------------------------------------------------------

/// Where a server lives and how to speak with it.
#[derive(Debug, Clone)]
struct Server {
    /// Owned by us and open to traverse; holds the locks, the log, and `data` and `sockets`, which
    /// belong to the account the server runs as.
    home: PathBuf,
    bin: PathBuf,
    port: u16,
}

impl Server {
    /// The server another process left ready in `home`, if it answers.
    fn find(home: &Path) -> Option<Self> {
        let port = fs::read_to_string(home.join("ready")).ok()?.trim().parse().ok()?;
        let server = Self { home: home.to_owned(), bin: find_programs().ok()?, port };
        server.sql("postgres", "SELECT 1").ok()?;
        Some(server)
    }

    /// Makes and starts a new server in `home`, over the remains of an older one.
    fn create(home: &Path, durable: bool) -> Result<Self, String> {
        let bin = find_programs()?;
        let sockets = home.join("sockets");
        if sockets.as_os_str().len() > SOCKET_FOLDER_LIMIT {
            return Err(format!(
                "the path {} is too long for a socket of PostgreSQL; set TMPDIR to a shorter folder",
                sockets.display()
            ));
        }
        let mut server = Self { home: home.to_owned(), bin, port: 0 };
        // Remains mean that machine and watcher ended before they could clean up.
        server.signal_all(Signal::KILL);
        for remains in ["data", "sockets", "runners", "ready", "log"] {
            let path = home.join(remains);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        for folder in ["data", "sockets", "runners"] {
            fs::DirBuilder::new().mode(0o700).create(home.join(folder)).map_err(|e| at(home, e))?;
        }
        write(&home.join("log"), "")?;
        if let Some((uid, gid)) = account()? {
            for path in ["data", "sockets", "log"] {
                std::os::unix::fs::chown(home.join(path), Some(uid), Some(gid)).map_err(|e| at(home, e))?;
            }
        }
        server.run("initdb", |initdb| {
            initdb
                .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"])
                .arg("--pgdata")
                .arg(home.join("data"));
        })?;
        server.start_on_free_port(durable)?;
        Ok(server)
    }

    /// Between finding a free port and taking it another program may be quicker: try again.
    fn start_on_free_port(&mut self, durable: bool) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..5 {
            let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|e| at(&self.home, e))?;
            self.port = listener.local_addr().map_err(|e| at(&self.home, e))?.port();
            drop(listener);
            self.configure(durable)?;
            match self.start() {
                Ok(()) => return Ok(()),
                Err(text) => last = text,
            }
        }
        Err(last)
    }

    fn configure(&self, durable: bool) -> Result<(), String> {
        let durable = if durable { "on" } else { "off" };
        let text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\n\
             max_connections = 200\nshared_buffers = 64MB\nmax_wal_size = 512MB\n\
             fsync = {durable}\nsynchronous_commit = {durable}\nfull_page_writes = {durable}\n\
             timezone = 'UTC'\nlc_messages = 'C'\nautovacuum_naptime = 10s\nlog_line_prefix = '%m [%p] %d '\n",
            self.port,
            self.home.join("sockets").display(),
        );
        // A file of its own that the server reads last, so that each try replaces the one before.
        write(&self.home.join("data/postgresql.auto.conf"), &text)
    }

    fn start(&self) -> Result<(), String> {
        self.run("pg_ctl", |pg_ctl| {
            pg_ctl
                .args(["start", "--silent", "--wait", "--timeout=60"])
                .arg("--pgdata")
                .arg(self.home.join("data"))
                .arg("--log")
                .arg(self.home.join("log"));
        })
    }

    fn stop(&self, mode: &str) -> Result<(), String> {
        self.run("pg_ctl", |pg_ctl| {
            pg_ctl
                .args(["stop", "--silent", "--wait", "--timeout=60", "--mode", mode])
                .arg("--pgdata")
                .arg(self.home.join("data"));
        })
    }

    /// Leaves the watcher behind that stops this server when its users are gone.
    fn watch(&self, patience_seconds: u32) -> Result<(), String> {
        let mut watcher = Command::new("sh");
        watcher
            .args(["-c", WATCHER, "mainspring-test-postgres"])
            .arg(&self.home)
            .arg(patience_seconds.to_string());
        // In a group of its own, with nothing of ours open: a runner that ends our group, or waits
        // for our output to close, must not meet it.
        watcher.process_group(0).current_dir("/");
        watcher.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        watcher.spawn().map(drop).map_err(|e| format!("could not start sh to watch the test database: {e}"))
    }

    /// Notes which test runner this process belongs to: the watcher keeps the server while it lives.
    fn note_runner(&self) -> Result<(), String> {
        let runner = std::os::unix::process::parent_id().to_string();
        write(&self.home.join("runners").join(runner), "")
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn psql(&self, database: &str, statements: &str) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", &self.url(database), "--command", statements])
            .env("PGCONNECT_TIMEOUT", "10")
            .stdin(Stdio::null());
        psql
    }

    fn sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let done =
            self.psql(database, statements).output().map_err(|e| format!("could not run psql: {e}"))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned());
        }
        Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
    }

    fn sql_or_panic(&self, statements: &str) {
        if let Err(text) = self.sql("postgres", statements) {
            panic!("the test database refused: {statements}\n{text}");
        }
    }

    /// Runs one of PostgreSQL's programs as the account the server belongs to.
    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command)) -> Result<(), String> {
        let mut command = Command::new(self.bin.join(program));
        arguments(&mut command);
        // `pg_ctl start` leaves the server holding whatever output it inherited: a pipe of ours
        // would never end. A file does.
        let said = self.home.join(format!("{program}.said"));
        let output = File::create(&said).map_err(|e| at(&said, e))?;
        let errors = output.try_clone().map_err(|e| at(&said, e))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).current_dir(&self.home);
        self.as_account(&mut command)?;
        let status = command.status().map_err(|e| format!("could not run {program}: {e}"))?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&said).unwrap_or_default();
        let log = fs::read_to_string(self.home.join("log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Err(format!(
            "{program} of PostgreSQL in {} failed ({status}).\n{said}\n{}",
            self.bin.display(),
            tail.join("\n")
        ))
    }

    fn as_account(&self, command: &mut Command) -> Result<(), String> {
        if let Some((uid, gid)) = account()? {
            command.uid(uid).gid(gid);
        }
        Ok(())
    }

    /// The ids of the server's processes, the parent of the others first. They are told by the
    /// folder they work in: the number a dead server left in its file may be another program's.
    fn processes(&self) -> Vec<i32> {
        let data = self.home.join("data");
        let parent = fs::read_to_string(data.join("postmaster.pid"))
            .ok()
            .and_then(|text| text.lines().next()?.trim().parse::<i32>().ok());
        let mut found: Vec<i32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder == data))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        found.sort_by_key(|id| (Some(*id) != parent, *id));
        found
    }

    /// The parent first, so that it cannot start another child meanwhile.
    fn signal_all(&self, signal: Signal) {
        for id in self.processes() {
            if let Some(id) = Pid::from_raw(id) {
                let _ = kill_process(id, signal);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// The machine
// ---------------------------------------------------------------------------------------------

/// The folder with PostgreSQL's programs: the variable, then `PATH`, then the newest version in
/// the usual places.
fn find_programs() -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"].map(PathBuf::from);
        find_programs_in(
            std::env::var_os(BIN_VARIABLE).map(PathBuf::from),
            std::env::split_paths(&path),
            &usual,
        )
    };
    FOUND.get_or_init(find).clone()
}

fn find_programs_in(
    named: Option<PathBuf>,
    path: impl Iterator<Item = PathBuf>,
    usual: &[PathBuf],
) -> Result<PathBuf, String> {
    let missing = |folder: &Path| PROGRAMS.into_iter().find(|program| !folder.join(program).is_file());
    if let Some(folder) = named {
        return match missing(&folder) {
            None => Ok(folder),
            Some(program) => Err(format!(
                "{BIN_VARIABLE} names {}, where there is no program `{program}`. \
                 Name the folder that holds {PROGRAMS:?}, or unset the variable.",
                folder.display()
            )),
        };
    }
    let mut versions: Vec<(u32, PathBuf)> = usual
        .iter()
        .flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.trim_start_matches("postgresql@").parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    path.chain(versions.into_iter().rev().map(|(_, folder)| folder)).find(|folder| missing(folder).is_none()).ok_or_else(
        || {
            format!(
                "this test needs PostgreSQL, and none is installed: no folder of PATH and none of {usual:?} holds \
                 {PROGRAMS:?}. Run `./.ci/setup`, or install it (Debian: `apt-get install postgresql`), \
                 or set {BIN_VARIABLE} to the folder that holds them."
            )
        },
    )
}

/// The account to run the server as, when it may not be our own: PostgreSQL refuses to run as root.
fn account() -> Result<Option<(u32, u32)>, String> {
    if !rustix::process::getuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    account_in(&passwd).map(Some).ok_or_else(|| {
        "PostgreSQL refuses to run as root, and there is no account `postgres` to run it as. \
         Make one (`useradd --system postgres`) or run the tests as another user."
            .to_owned()
    })
}

fn account_in(passwd: &str) -> Option<(u32, u32)> {
    let mut fields = passwd.lines().find(|line| line.starts_with("postgres:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// One home per user and checkout: two checkouts may test at once, and neither sees the other.
fn shared_home() -> PathBuf {
    let checkout = env!("CARGO_MANIFEST_DIR");
    let hash = checkout.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let user = rustix::process::getuid().as_raw();
    temporary_folder().join(format!("ms-pg-{user}-{:08x}", hash >> 32))
}

/// Without symbolic links: the processes of a server are told by the real path they work in.
fn temporary_folder() -> PathBuf {
    let folder = std::env::temp_dir();
    folder.canonicalize().unwrap_or(folder)
}

/// Makes the folder and takes its start lock. The watcher may remove both between the two steps:
/// then the lock we hold is on a file nobody else can find, and we begin again.
fn enter_home(home: &Path) -> Result<File, String> {
    loop {
        make_home(home)?;
        let path = home.join("start.lock");
        let lock = match lock_file(&path) {
            Ok(lock) => lock,
            Err(_) if !home.exists() => continue,
            Err(text) => return Err(text),
        };
        lock.lock().map_err(|e| at(&path, e))?;
        let held = lock.metadata().map_err(|e| at(&path, e))?.ino();
        if fs::metadata(&path).is_ok_and(|found| found.ino() == held) {
            return Ok(lock);
        }
    }
}

/// Makes the folder, or makes sure that the one there is our own: in a shared folder for temporary
/// files anybody could have laid it out for us.
fn make_home(home: &Path) -> Result<(), String> {
    match fs::DirBuilder::new().mode(0o711).create(home) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(home).map_err(|e| at(home, e))?;
            if !meta.is_dir() || meta.uid() != rustix::process::getuid().as_raw() {
                return Err(format!(
                    "{} is in the way: it is not a folder of ours. Remove it.",
                    home.display()
                ));
            }
        }
        Err(e) => return Err(at(home, e)),
    }
    // Whatever the umask said: the server's account must be able to pass through, no more.
    fs::set_permissions(home, fs::Permissions::from_mode(0o711)).map_err(|e| at(home, e))
}

fn lock_file(path: &Path) -> Result<File, String> {
    File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(|e| at(path, e))
}

fn lock_shared(path: &Path) -> Result<File, String> {
    let file = lock_file(path)?;
    file.lock_shared().map_err(|e| at(path, e))?;
    Ok(file)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| at(path, e))
}

fn at(path: &Path, error: std::io::Error) -> String {
    format!("could not set up the test database in {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(named: Option<&str>, usual: &[PathBuf]) -> String {
        find_programs_in(named.map(PathBuf::from), std::iter::empty(), usual).expect_err("nothing is there")
    }

    #[test]
    fn missing_postgres_says_what_to_type() {
        let text = text_of(None, &[PathBuf::from("/nowhere/postgresql")]);
        for part in [
            "needs PostgreSQL",
            "./.ci/setup",
            "apt-get install postgresql",
            BIN_VARIABLE,
            "/nowhere/postgresql",
        ] {
            assert!(text.contains(part), "{part} is missing from: {text}");
        }
    }

    #[test]
    fn wrong_variable_names_the_missing_program() {
        let text = text_of(Some("/nowhere/bin"), &[]);
        assert!(
            text.contains("/nowhere/bin") && text.contains("`postgres`") && text.contains(BIN_VARIABLE),
            "{text}"
        );
    }

    #[test]
    fn newest_version_wins_and_incomplete_ones_do_not() {
        let usual = temporary_folder().join(format!("ms-pg-find-{}", std::process::id()));
        for (version, programs) in [("9", &PROGRAMS[..]), ("15", &PROGRAMS[..]), ("16", &PROGRAMS[..2])] {
            let bin = usual.join(version).join("bin");
            fs::create_dir_all(&bin).expect("a folder");
            programs.iter().for_each(|program| write(&bin.join(program), "").expect("a file"));
        }
        let found = find_programs_in(None, std::iter::empty(), std::slice::from_ref(&usual));
        fs::remove_dir_all(&usual).expect("removed");
        assert_eq!(found, Ok(usual.join("15/bin")));
    }

    #[test]
    fn the_account_is_read_from_the_list_of_accounts() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:102:110:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(account_in(passwd), Some((102, 110)));
        assert_eq!(account_in("root:x:0:0:root:/root:/bin/sh\n"), None);
    }
}

//! One server process tree and how to start, ask, signal and watch it. Of whom it is, the shared
//! cluster's or a test's own, it knows nothing.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::machine::{account, at, find_programs, write};

/// The longest a server may take to start, stop or answer before a test gives up on it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

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

/// Where a server lives and how to speak with it.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Owned by us and open to traverse; holds the locks, the log, and `data` and `sockets`, which
    /// belong to the account the server runs as.
    pub(super) home: PathBuf,
    bin: PathBuf,
    pub(super) port: u16,
}

impl Server {
    /// The server another process left ready in `home`, if it answers.
    pub(super) fn find(home: &Path) -> Option<Self> {
        let port = fs::read_to_string(home.join("ready")).ok()?.trim().parse().ok()?;
        let server = Self { home: home.to_owned(), bin: find_programs().ok()?, port };
        server.sql("postgres", "SELECT 1").ok()?;
        Some(server)
    }

    /// Makes and starts a new server in `home`, over the remains of an older one.
    pub(super) fn create(home: &Path, durable: bool) -> Result<Self, String> {
        let mut server = Self::prepare(home)?;
        server.run("initdb", |initdb| {
            initdb
                .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"])
                .arg("--pgdata")
                .arg(home.join("data"));
        })?;
        server.start_on_free_port(|server| server.configure(durable))?;
        Ok(server)
    }

    /// Makes and starts a copy of `primary` that follows it.
    pub(super) fn follow(home: &Path, primary: &Server) -> Result<Self, String> {
        let mut server = Self::prepare(home)?;
        server.run("pg_basebackup", |copy| {
            copy.args([
                "--host=127.0.0.1",
                "--username=postgres",
                "--checkpoint=fast",
                "--write-recovery-conf",
            ])
            .args(["--no-sync", "--wal-method=stream"])
            .arg(format!("--port={}", primary.port))
            .arg("--pgdata")
            .arg(home.join("data"));
        })?;
        let settings = home.join("data/postgresql.auto.conf");
        let copied = fs::read_to_string(&settings).map_err(|e| at(&settings, e))?;
        let sockets = home.join("sockets");
        server.start_on_free_port(|server| {
            // The last line of a name counts.
            let own = format!("port = {}\nunix_socket_directories = '{}'\n", server.port, sockets.display());
            write(&settings, &format!("{copied}{own}"))
        })?;
        Ok(server)
    }

    pub(super) fn promote(&self) -> Result<(), String> {
        self.run("pg_ctl", |pg_ctl| {
            pg_ctl
                .args(["promote", "--silent", "--wait", "--timeout=60", "--pgdata"])
                .arg(self.home.join("data"));
        })
    }

    /// Folders for a new server, over the remains of an older one.
    fn prepare(home: &Path) -> Result<Self, String> {
        let bin = find_programs()?;
        let sockets = home.join("sockets");
        if sockets.as_os_str().len() > SOCKET_FOLDER_LIMIT {
            return Err(format!(
                "the path {} is too long for a socket of PostgreSQL; set TMPDIR to a shorter folder",
                sockets.display()
            ));
        }
        let server = Self { home: home.to_owned(), bin, port: 0 };
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
        Ok(server)
    }

    /// Between finding a free port and taking it another program may be quicker: try again.
    fn start_on_free_port(&mut self, configure: impl Fn(&Self) -> Result<(), String>) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..5 {
            let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|e| at(&self.home, e))?;
            self.port = listener.local_addr().map_err(|e| at(&self.home, e))?.port();
            drop(listener);
            configure(self)?;
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

    pub(super) fn put(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.home.join("data").join(name);
        let _ = fs::remove_file(&path);
        write(&path, "")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|e| at(&path, e))?;
        if let Some((uid, gid)) = account()? {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).map_err(|e| at(&path, e))?;
        }
        write(&path, text)
    }

    pub(super) fn start(&self) -> Result<(), String> {
        self.run("pg_ctl", |pg_ctl| {
            pg_ctl
                .args(["start", "--silent", "--wait", "--timeout=60"])
                .arg("--pgdata")
                .arg(self.home.join("data"))
                .arg("--log")
                .arg(self.home.join("log"));
        })
    }

    pub(super) fn stop(&self, mode: &str) -> Result<(), String> {
        self.run("pg_ctl", |pg_ctl| {
            pg_ctl
                .args(["stop", "--silent", "--wait", "--timeout=60", "--mode", mode])
                .arg("--pgdata")
                .arg(self.home.join("data"));
        })
    }

    /// Leaves the watcher behind that stops this server when its users are gone.
    pub(super) fn watch(&self, patience_seconds: u32) -> Result<(), String> {
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
    pub(super) fn note_runner(&self) -> Result<(), String> {
        let runner = std::os::unix::process::parent_id().to_string();
        write(&self.home.join("runners").join(runner), "")
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub(super) fn psql(&self, database: &str, statements: &str) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", &self.url(database), "--command", statements])
            .env("PGCONNECT_TIMEOUT", "10")
            .stdin(Stdio::null());
        psql
    }

    pub(super) fn sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let done =
            self.psql(database, statements).output().map_err(|e| format!("could not run psql: {e}"))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned());
        }
        Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
    }

    pub(super) fn sql_or_panic(&self, statements: &str) {
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
    pub(super) fn processes(&self) -> Vec<i32> {
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
    pub(super) fn signal_all(&self, signal: Signal) {
        for id in self.processes() {
            if let Some(id) = Pid::from_raw(id) {
                let _ = kill_process(id, signal);
            }
        }
    }
}

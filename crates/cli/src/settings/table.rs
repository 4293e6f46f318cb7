//! The one table of settings. The parser, `--help`, `docs/configuration.md` and `config show` are
//! all made from it, so that they cannot disagree: to add a setting, add a row (and a field in
//! [`super::Settings`] that reads it).

/// Where a setting has a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// On every command.
    Everywhere(&'static str),
    /// On commands that run jobs.
    Node(&'static str),
    /// Nowhere: environment and file only.
    None,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A path or URL of a store.
    Store,
    /// A name: see [`mainspring_core::job::check_name`].
    Name,
    /// `true` or `false`.
    Bool,
    /// A whole number in this range.
    Int(u64, u64),
    /// A duration in this range of milliseconds.
    Duration(u64, u64),
    /// Bytes: `500MiB`, `2GiB`.
    Bytes,
    /// An IANA zone.
    Zone,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An address to listen on, or `off`.
    Listen,
    /// An address people type into a browser.
    Url,
    /// A path.
    Path,
    /// Addresses and networks: a list in the file, separated by commas elsewhere.
    Networks,
    /// Names: a list in the file, separated by commas elsewhere.
    Names,
    /// Texts: a list in the file, separated by commas elsewhere.
    Texts,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the file, with dots: `retention.completed`.
    pub key: &'static str,
    /// Its flag.
    pub flag: Flag,
    /// What it may be.
    pub kind: Kind,
    /// Its default as one would type it; empty for none.
    pub default: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// More for the reference page; may be empty.
    pub more: &'static str,
    /// A value to show.
    pub example: &'static str,
}

impl Setting {
    /// Its environment variable: `MAINSPRING_RETENTION_COMPLETED`.
    pub fn env(&self) -> String {
        format!("{PREFIX}{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Its flag's name without dashes.
    pub fn flag_name(&self) -> Option<&'static str> {
        match self.flag {
            Flag::Everywhere(name) | Flag::Node(name) => Some(name),
            Flag::None => None,
        }
    }
}

/// Every variable of ours begins so.
pub const PREFIX: &str = "MAINSPRING_";

const YEAR_MS: u64 = 366 * 86_400_000;

const fn row(
    key: &'static str,
    flag: Flag,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Setting {
    Setting { key, flag, kind, default, about, more: "", example: "" }
}

impl Setting {
    const fn more(mut self, more: &'static str) -> Setting {
        self.more = more;
        self
    }

    const fn eg(mut self, example: &'static str) -> Setting {
        self.example = example;
        self
    }
}

/// Every setting, in the order of the reference page.
pub const SETTINGS: &[Setting] = &[
    row(
        "store",
        Flag::Everywhere("store"),
        Kind::Store,
        "mainspring.db",
        "Where everything is kept: a file, or a PostgreSQL address",
    )
    .more(
        "`jobs.db`, `sqlite:///var/lib/mainspring/jobs.db` or `postgres://user:password@host/database`. A \
         relative path in the file counts from the file's folder, elsewhere from the current one. A \
         password is never printed. To keep it out of the file, set the variable instead.",
    )
    .eg("postgres://mainspring@db.internal/mainspring"),
    row(
        "project",
        Flag::Everywhere("project"),
        Kind::Name,
        "default",
        "The project whose schedules, queues and jobs are meant",
    )
    .eg("billing"),
    row(
        "tz",
        Flag::Everywhere("tz"),
        Kind::Zone,
        "UTC",
        "Zone in which times are shown, and of schedules that name none",
    )
    .more("An IANA name. A schedule keeps the zone it was made with.")
    .eg("Europe/Berlin"),
    row(
        "color",
        Flag::Everywhere("color"),
        Kind::Choice(&["auto", "always", "never"]),
        "auto",
        "Colours: on a terminal, always or never",
    )
    .more("`NO_COLOR` is respected by `auto`.")
    .eg("never"),
    row(
        "synchronous",
        Flag::None,
        Kind::Choice(&["full", "normal"]),
        "full",
        "How durable an acknowledged write of a SQLite file is",
    )
    .more(
        "`full`: survives a power cut. `normal`: survives the end of the process (kill -9 too), may lose the \
         last moments at a power cut, and writes faster. PostgreSQL has its own `synchronous_commit`.",
    )
    .eg("normal"),
    row("slots", Flag::Node("slots"), Kind::Int(1, 10_000), "10", "Jobs this node runs at once").eg("50"),
    row("queues", Flag::Node("queues"), Kind::Names, "", "Queues this node serves; all when none is named")
        .eg("mail,reports"),
    row(
        "node_name",
        Flag::Node("node-name"),
        Kind::Name,
        "",
        "What this node is called in lists; the host's name when not set",
    )
    .eg("worker-3"),
    row(
        "grace",
        Flag::Node("grace"),
        Kind::Duration(0, 24 * 3_600_000),
        "30s",
        "How long running jobs may go on after SIGTERM or Ctrl-C",
    )
    .more("What is left then is interrupted and given back: it costs the job no attempt.")
    .eg("2m"),
    row(
        "lease",
        Flag::None,
        Kind::Duration(1_000, 600_000),
        "15s",
        "How long a node may be silent before its jobs are given to others",
    )
    .more("A node sends a sign of life every third of it. The same on all nodes of a store.")
    .eg("30s"),
    row(
        "listen",
        Flag::Node("listen"),
        Kind::Listen,
        "127.0.0.1:8420",
        "Where this node serves the dashboard and the API; `off` serves nothing",
    )
    .more(
        "Only this machine can reach the default. Behind a proxy set `public_url` too. When nobody named an \
         address and the default is taken (a second node on one machine), the node runs without serving.",
    )
    .eg("0.0.0.0:8420"),
    row(
        "public_url",
        Flag::None,
        Kind::Url,
        "",
        "The address people use, when it is not the one listened on: behind a proxy, under a path",
    )
    .more("With https:// here, cookies travel encrypted only.")
    .eg("https://ops.example.com/mainspring"),
    row(
        "hosts",
        Flag::None,
        Kind::Texts,
        "",
        "Names by which this server may be asked for, besides addresses, localhost and that of public_url",
    )
    .more(
        "Also this machine's own name. A request for another name is refused: a foreign page could give its \
         own name this server's address and so make a browser call it.",
    )
    .eg("mainspring,ops.internal"),
    row(
        "trusted_proxies",
        Flag::None,
        Kind::Networks,
        "",
        "Proxies whose X-Forwarded-For is believed; from others the header counts for nothing",
    )
    .more("It tells the client's address, by which wrong passwords are counted and the audit log is written.")
    .eg("127.0.0.1,10.0.0.0/8"),
    row(
        "tls_cert",
        Flag::None,
        Kind::Path,
        "",
        "The server's certificate with its chain, in PEM: it then talks TLS",
    )
    .more("Read again when the file changes, so that a renewal needs no restart. Takes `tls_key` too.")
    .eg("/etc/mainspring/cert.pem"),
    row("tls_key", Flag::None, Kind::Path, "", "The private key of tls_cert, in PEM")
        .eg("/etc/mainspring/key.pem"),
    row(
        "max_connections",
        Flag::None,
        Kind::Int(8, 100_000),
        "1024",
        "Connections to the dashboard and the API at once; one more is told to come back",
    )
    .more("Each open page takes one for what it shows live. The system's limit on open files must be higher.")
    .eg("4096"),
    row(
        "requests.per_second",
        Flag::None,
        Kind::Int(1, 1_000_000),
        "1000",
        "Requests a second that one project may send to this server; twice as many at once",
    )
    .more("Beyond it a request is answered 429 and told when to come again. Counted by each process for itself.")
    .eg("200"),
    row(
        "requests.at_once",
        Flag::None,
        Kind::Int(1, 100_000),
        "200",
        "Requests of one project that this server works on at a time",
    )
    .eg("50"),
    row(
        "heartbeat_url",
        Flag::None,
        Kind::Url,
        "",
        "An outside watcher that this node asks for every so often, so that somebody notices when it is gone",
    )
    .more(
        "Given only while the node works: its own sign of life was taken by the store a moment ago. The address \
         must be reachable under `outbound.allow`.",
    )
    .eg("https://hc.example.com/ping/0b1c"),
    row(
        "heartbeat_every",
        Flag::None,
        Kind::Duration(1_000, 86_400_000),
        "1m",
        "How often the outside watcher is asked for",
    )
    .eg("5m"),
    row(
        "retention.completed",
        Flag::None,
        Kind::Duration(60_000, 100 * YEAR_MS),
        "30d",
        "How long completed and cancelled jobs are kept",
    )
    .eg("7d"),
    row(
        "retention.failed",
        Flag::None,
        Kind::Duration(60_000, 100 * YEAR_MS),
        "90d",
        "How long failed jobs are kept",
    )
    .eg("180d"),
    row(
        "retention.count",
        Flag::None,
        Kind::Int(1, 1_000_000_000_000),
        "10000000",
        "How many finished jobs of a queue are kept",
    )
    .eg("100000"),
    row(
        "retention.events",
        Flag::None,
        Kind::Duration(60_000, 100 * YEAR_MS),
        "90d",
        "How long events and fires that made no job are kept",
    )
    .eg("365d"),
    row(
        "retention.minutes",
        Flag::None,
        Kind::Duration(3_600_000, 100 * YEAR_MS),
        "2d",
        "How long statistics are kept by the minute; later by the hour",
    )
    .eg("7d"),
    row(
        "retention.hours",
        Flag::None,
        Kind::Duration(86_400_000, 100 * YEAR_MS),
        "90d",
        "How long statistics are kept by the hour",
    )
    .eg("365d"),
    row(
        "retention.max_size",
        Flag::None,
        Kind::Bytes,
        "",
        "Size of the store above which the oldest finished jobs go, whatever their age",
    )
    .eg("2GiB"),
    row(
        "commands.enabled",
        Flag::None,
        Kind::Bool,
        "false",
        "Whether jobs of kind `command` may run programs here",
    )
    .more("Read on the node that runs the job. Off unless set: whoever may enqueue could run programs.")
    .eg("true"),
    row("commands.allow", Flag::None, Kind::Texts, "", "Programs that may be run; any when none is named")
        .more("Absolute paths, or names looked up in the job's PATH.")
        .eg("/usr/local/bin/backup,/usr/bin/rsync"),
    row("commands.shell", Flag::None, Kind::Bool, "false", "Whether a command may be a line for a shell")
        .more("Lines of an imported crontab are: cron gives them to `/bin/sh -c`.")
        .eg("true"),
    row(
        "commands.users",
        Flag::None,
        Kind::Names,
        "",
        "Users as whom commands may run, when the node runs as root",
    )
    .eg("www-data,postgres"),
    row("secrets.key_file", Flag::None, Kind::Path, "", "The file with the key that seals secrets of projects")
        .more(
            "When not set: beside a store that is a file, under its name and `.key`; made at the first start. \
             With PostgreSQL nothing is made by itself: every node needs the same key, from here or from one of \
             the other two. Secrets are lost with their key: keep a copy apart from the backups.",
        )
        .eg("/etc/mainspring/secrets.key"),
    row(
        "secrets.key_command",
        Flag::None,
        Kind::Texts,
        "",
        "A program with its arguments that writes the key, instead of a file",
    )
    .more("For a key management service. Run when a secret is first needed.")
    .eg("/usr/local/bin/fetch-key,mainspring"),
    row(
        "outbound.allow",
        Flag::None,
        Kind::Texts,
        "",
        "Private hosts and networks that jobs of kind `http` may call",
    )
    .more(
        "Addresses of this machine and of private networks are refused unless named here: `localhost:8080`, \
         `api.internal`, `10.0.0.0/8`.",
    )
    .eg("localhost:8080,10.0.0.0/8"),
    row(
        "offline",
        Flag::None,
        Kind::Bool,
        "false",
        "Whether nothing but this machine may be called",
    )
    .more(
        "Jobs, channels, connectors and traces that would leave this machine fail and say so; names are not even looked up. \
         For demonstrations and tests. The store's own address is not meant.",
    )
    .eg("true"),
    row(
        "tracing.endpoint",
        Flag::None,
        Kind::Url,
        "",
        "Where traces are sent: a collector that takes OTLP over HTTP; nowhere when not set",
    )
    .more(
        "Requests to the server and attempts of jobs, as OpenTelemetry names them. `/v1/traces` is added unless a \
         path is given. A `traceparent` sent to the API is taken over, `http` jobs send one.",
    )
    .eg("http://localhost:4318"),
    row(
        "tracing.share",
        Flag::None,
        Kind::Int(0, 100),
        "100",
        "Of 100 traces that nobody else decided about, how many are sent",
    )
    .eg("5"),
    row(
        "log.level",
        Flag::Everywhere("log-level"),
        Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        "warn",
        "The least level of the program's own log on the error stream",
    )
    .more("What jobs log is kept with the job: `mainspring job logs`.")
    .eg("info"),
    row(
        "log.format",
        Flag::None,
        Kind::Choice(&["text", "json"]),
        "text",
        "The form of the program's own log",
    )
    .eg("json"),
];

/// Variables that are ours but no settings: name, what it is.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    ("MAINSPRING_CONFIG", "The configuration file, as `--config`."),
    (
        "MAINSPRING_SECRETS_KEY",
        "The key that seals secrets of projects: 32 bytes in base64 (`openssl rand -base64 32`), an older one \
         behind it while one takes over from the other. Goes before `secrets.key_file` and \
         `secrets.key_command`.",
    ),
    (
        "MAINSPRING_SECRET_<NAME>",
        "A secret that jobs name instead of holding it; see [Secrets](#secrets). Never stored, never printed.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_flags_and_variables_are_unique_and_every_row_shows_an_example() {
        let (mut keys, mut flags, mut vars) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for s in SETTINGS {
            assert!(keys.insert(s.key) && vars.insert(s.env()), "{} is there twice", s.key);
            assert!(s.flag_name().is_none_or(|f| flags.insert(f)), "{} has another's flag", s.key);
            assert!(!s.example.is_empty() && !s.about.is_empty() && !s.about.ends_with('.'), "{}", s.key);
            for text in [s.default, s.example] {
                if !text.is_empty() {
                    super::super::value::parse(s, text).unwrap_or_else(|e| panic!("{}: {e}", s.key));
                }
            }
        }
    }
}

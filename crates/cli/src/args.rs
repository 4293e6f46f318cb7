//! What can be typed. The settings' flags are added from their table: see [`crate::settings`].
//!
//! Long because it is the text of every `--help`, which is read and reviewed as a whole.

use crate::crontab::parse::Format;
use clap::{Args, Parser, Subcommand, ValueEnum};
use mainspring_core::job::JobState;
use mainspring_core::rate::Rate;
use std::path::PathBuf;
use std::time::Duration;

/// Schedules, a durable job queue and the workers that run it.
///
/// Everything is kept in one file (mainspring.db) or in PostgreSQL; `up` runs jobs, all other
/// commands work beside it.
#[derive(Debug, Parser)]
#[command(
    name = "mainspring",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Begin with:\n  mainspring up                              a short tour, in the folder you are in\n  \
                  mainspring import crontab FILE --plan      what your crontab would become\n  \
                  mainspring cron next '0 2 * * *' --tz Europe/Berlin\n\nExit codes: 0 done, 1 failed, 2 wrongly \
                  used."
)]
pub struct Cli {
    /// Print JSON instead of a table
    #[arg(long, global = true, help_heading = "Settings")]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run schedules and jobs: the process that does the work
    Up(UpArgs),
    /// Take over what another scheduler does
    #[command(subcommand)]
    Import(ImportCommand),
    /// Rules that fire: list, show, pause, run, backfill
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Units of work: enqueue, list, show, logs, retry, cancel
    #[command(subcommand)]
    Job(JobCommand),
    /// Lanes with limits: list, pause, resume, limit
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Jobs that belong together
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Processes that run jobs
    #[command(subcommand)]
    Node(NodeCommand),
    /// What owns schedules, queues and jobs: list, create, rename, archive
    #[command(subcommand)]
    Project(crate::commands::project::ProjectCommand),
    /// Values that jobs name instead of holding them: set, list, delete
    #[command(subcommand)]
    Secret(crate::commands::secret::SecretCommand),
    /// What went wrong by the rules somebody set: list, show, snooze, rules, backtest
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Where notices are sent: list, show, test
    #[command(subcommand)]
    Channel(crate::commands::channel::ChannelCommand),
    /// What was sent, and what became of it: list, show, retry
    #[command(subcommand)]
    Delivery(crate::commands::channel::DeliveryCommand),
    /// Cron expressions: when they fire, in words, what may be wrong with them
    #[command(subcommand)]
    Cron(CronCommand),
    /// How often, how well and how fast: per schedule, queue and kind
    Stats(StatsArgs),
    /// Whether all is well; exit code 1 when something is unhealthy
    Health,
    /// What happened: failures, skipped fires, acts of people
    Events(EventsArgs),
    /// Why a job is not running, and when it can start at the earliest
    Explain(ExplainArgs),
    /// Look the store, the clock and the machine over
    Doctor(DoctorArgs),
    /// Copy the store to a file while it is in use, and check the copy
    Backup(BackupArgs),
    /// Put a backup in the place of a store that is not there
    Restore(RestoreArgs),
    /// The settings in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check a configuration file and show its next fires
    Check(CheckArgs),
    /// Measure what this machine and store can do
    Bench(crate::bench::BenchArgs),
    /// Print the description of the REST API (OpenAPI 3.1)
    #[command(after_help = "Examples:\n  mainspring openapi > openapi.json\n\nThe server gives the same at \
                            /api/v1/openapi.json.")]
    Openapi,
    /// What a shell needs to complete commands and options
    Completions(CompletionsArgs),
}

/// `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mainspring completions bash > /etc/bash_completion.d/mainspring\n  mainspring completions zsh > \
                        \"${fpath[1]}/_mainspring\"\n  mainspring completions fish > ~/.config/fish/completions/mainspring.fish"
)]
pub struct CompletionsArgs {
    /// Whose
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mainspring up                                  the tour, when nothing is here yet\n  \
                        mainspring up --config mainspring.toml\n  mainspring up --store \
                        postgres://app@db/app --slots 50\n  mainspring up --exit-when-idle                 work off what waits, then \
                        end\n\nSIGTERM or Ctrl-C ends it: nothing new starts, running jobs may go on for the grace \
                        time, the rest is given back. A second Ctrl-C does not wait."
)]
pub struct UpArgs {
    /// End when no job waits or runs and no schedule is due
    #[arg(long)]
    pub exit_when_idle: bool,
    /// End after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,
    /// Do not show jobs as they run
    #[arg(long, short)]
    pub quiet: bool,
    /// Do not begin with the tour, even if nothing is here yet
    #[arg(long)]
    pub no_tour: bool,
}

/// `import`.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Make schedules of the lines of a crontab
    Crontab(CrontabArgs),
}

/// `import crontab`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mainspring import crontab /etc/crontab --plan      look first; nothing is written\n  \
                        mainspring import crontab /etc/crontab /etc/cron.d/*\n  crontab -l | mainspring import crontab - \
                        --user-format user --prefix alice\n\nImporting a file again changes what differs and nothing \
                        else. Cron itself goes on running its lines: remove them there."
)]
pub struct CrontabArgs {
    /// Crontabs; `-` reads the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Whether lines name a user
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    pub user_format: Format,
    /// Show what would be made; write nothing
    #[arg(long)]
    pub plan: bool,
    /// Zone of the times; this machine's, as cron reads them, unless CRON_TZ says otherwise
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Queue of the jobs
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub queue: String,
    /// First part of the schedules' names; the file's name unless given
    #[arg(long, value_name = "NAME")]
    pub prefix: Option<String>,
    /// Delete schedules of an earlier import whose lines are gone
    #[arg(long)]
    pub prune: bool,
}

/// `schedule`.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// All schedules with their next fire
    List,
    /// One schedule: its rule, its last jobs, fires that made no job
    Show {
        /// Its name
        name: String,
    },
    /// When schedules fire next, with every clock change marked
    Next {
        /// Names; all when none is given
        names: Vec<String>,
        /// How many fires of each
        #[arg(short, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        n: u32,
    },
    /// Keep a schedule from firing
    #[command(
        after_help = "Example:\n  mainspring schedule pause nightly --for 2h --note 'database upgrade'"
    )]
    Pause {
        /// Its name
        name: String,
        #[command(flatten)]
        pause: PauseArgs,
    },
    /// Let a schedule fire again
    Resume {
        /// Its name
        name: String,
    },
    /// Run a schedule's job now; this never counts as a fire
    Run {
        /// Its name
        name: String,
    },
    /// Make the jobs of past fires that did not run
    #[command(
        after_help = "Examples:\n  mainspring schedule backfill nightly --from 2026-11-01 --until 2026-11-08 --plan\n  \
                            mainspring schedule backfill nightly --from 7d --yes\n\nFires that have run are left out."
    )]
    Backfill {
        /// Its name
        name: String,
        /// The first fire meant is at or after this time
        #[arg(long, value_name = "TIME")]
        from: String,
        /// The last fire meant is before this time
        #[arg(long, value_name = "TIME", default_value = "now")]
        until: String,
        /// Only show which fires are meant
        #[arg(long)]
        plan: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Delete a schedule; its jobs stay
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Make or change a schedule
    #[command(
        alias = "put",
        after_help = "Examples:\n  mainspring schedule add backup --cron '0 2 * * *' --zone Europe/Berlin -- \
                      /usr/local/bin/backup --all\n  mainspring schedule add ping --every 5m --http \
                      https://example.com/ping\n  mainspring schedule add report --daily 07:30 --kind report --payload \
                      '{\"to\":\"all\"}'\n\nThe same keys as in the configuration file: docs/guides/schedules.md."
    )]
    Add(Box<AddArgs>),
}

/// `schedule add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its name
    pub name: String,
    /// A cron expression: 5 fields, 6 with seconds first, 7 with the year last
    #[arg(long, value_name = "EXPR", group = "when")]
    pub cron: Option<String>,
    /// Every so often: 30s, 15m, 2h
    #[arg(long, value_name = "DURATION", group = "when")]
    pub every: Option<String>,
    /// At these times of every day: 07:30
    #[arg(long, value_name = "TIMES", group = "when")]
    pub daily: Option<String>,
    /// On these days of every week: `mon,fri at 09:00`
    #[arg(long, value_name = "DAYS", group = "when")]
    pub weekly: Option<String>,
    /// On this day of every month: `31 at 09:00`
    #[arg(long, value_name = "DAY", group = "when")]
    pub monthly: Option<String>,
    /// Once, at this time
    #[arg(long, value_name = "TIME", group = "when")]
    pub once: Option<String>,
    /// So long after the end of the job before
    #[arg(long, value_name = "DURATION", group = "when")]
    pub after: Option<String>,
    /// The zone of its times; the setting `tz` unless given
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Call this address (kind http)
    #[arg(long, value_name = "URL", group = "what")]
    pub http: Option<String>,
    /// The kind of its jobs
    #[arg(long, value_name = "KIND", group = "what")]
    pub kind: Option<String>,
    /// The payload of its jobs, with --kind
    #[arg(long, value_name = "JSON", requires = "kind")]
    pub payload: Option<String>,
    /// The queue of its jobs
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// How long one attempt may take
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// What happens when a fire is due while the job before still runs: skip, allow, queue_one, replace
    #[arg(long, value_name = "POLICY")]
    pub overlap: Option<String>,
    /// What happens to fires that were missed: once, skip, all
    #[arg(long, value_name = "POLICY")]
    pub misfire: Option<String>,
    /// Only show the next fires
    #[arg(long)]
    pub plan: bool,
    /// A program with its arguments (kind command)
    #[arg(last = true, value_name = "COMMAND", group = "what")]
    pub command: Vec<String>,
}

/// How long and why something is paused.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Ends by itself after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until")]
    pub length: Option<Duration>,
    /// Ends by itself at this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// `job`.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Write a job down; a node that knows its kind will run it
    #[command(
        after_help = "Examples:\n  mainspring job enqueue http '{\"url\":\"https://example.com/hook\"}'\n  mainspring \
                            job enqueue report '{\"month\":11}' --at '2026-12-01 06:00' --unique report-11\n  \
                            mainspring job enqueue mail --lines < payloads.jsonl"
    )]
    Enqueue(Box<EnqueueArgs>),
    /// Jobs, newest first
    #[command(
        after_help = "Examples:\n  mainspring job list --state failed --since 24h\n  mainspring job list --queue \
                            mail -n 200 --json"
    )]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// How many
        #[arg(short, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        n: u32,
    },
    /// One job: state, attempts, steps, output, error
    Show {
        /// Its number
        id: i64,
    },
    /// What a job logged
    Logs {
        /// Its number
        id: i64,
        /// Go on until the job is over
        #[arg(long, short)]
        follow: bool,
    },
    /// Run jobs again: failed ones from the beginning, waiting ones at once
    #[command(
        after_help = "Examples:\n  mainspring job retry 17 18\n  mainspring job retry --state failed --kind mail \
                            --since 2h\n\nBy filter the number of jobs is shown first; --yes goes on without asking."
    )]
    Retry(BulkArgs),
    /// End jobs: waiting ones now, running ones are asked to stop
    #[command(
        after_help = "Examples:\n  mainspring job cancel 17 --reason 'wrong address'\n  mainspring job cancel \
                            --queue import --state available,scheduled --yes"
    )]
    Cancel {
        #[command(flatten)]
        bulk: BulkArgs,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "cancelled on the command line")]
        reason: String,
    },
}

/// `job enqueue`.
#[derive(Debug, Args)]
pub struct EnqueueArgs {
    /// Its kind
    pub kind: String,
    /// Its payload; `-` reads the standard input
    #[arg(value_name = "JSON")]
    pub payload: Option<String>,
    /// One job for each line of JSON on the standard input
    #[arg(long, conflicts_with = "payload")]
    pub lines: bool,
    /// Its queue
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// 0 is served first, 9 last
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: Option<u8>,
    /// Not before this time: `2h`, `2026-12-01 10:00`
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Cancelled if it has not begun by this time
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// How long one attempt may take
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Attempts in all
    #[arg(long, value_name = "N")]
    pub attempts: Option<u32>,
    /// The waits before further attempts: 5s,10s,15s
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', value_parser = duration)]
    pub backoff: Vec<Duration>,
    /// Jobs with the same key share limits and take turns
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// At most one job with this key that is not over
    #[arg(long, value_name = "KEY", conflicts_with = "lines")]
    pub unique: Option<String>,
    /// With --unique: at most one in this time, however it ended
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "unique")]
    pub unique_for: Option<Duration>,
    /// Wait until the job is over; exit code 1 unless it completed
    #[arg(long, conflicts_with = "lines")]
    pub wait: bool,
}

/// Which jobs.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// In these states: scheduled, available, running, completed, cancelled, failed
    #[arg(long, value_name = "STATES", value_delimiter = ',', value_parser = state)]
    pub state: Vec<JobState>,
    /// Of this kind
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// In this queue
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Of this schedule
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<String>,
    /// Of this batch
    #[arg(long, value_name = "ID")]
    pub batch: Option<i64>,
    /// With this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Whose last error is of this class: timeout, exit_code, http_status, …
    #[arg(long, value_name = "CLASS")]
    pub error: Option<String>,
    /// Enqueued at or after this time, or within this long: 24h
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Enqueued before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

impl FilterArgs {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.state.is_empty()
            && [&self.kind, &self.queue, &self.schedule, &self.key, &self.error, &self.since, &self.until]
                .iter()
                .all(|f| f.is_none())
            && self.batch.is_none()
    }
}

/// `job retry`, `job cancel`.
#[derive(Debug, Args)]
pub struct BulkArgs {
    /// These jobs
    #[arg(value_name = "ID")]
    pub ids: Vec<i64>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// `queue`.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// All queues with their jobs by state and their limits
    List,
    /// Start nothing new of a queue; `'*'` means all
    Pause {
        /// Its name
        name: String,
        #[command(flatten)]
        pause: PauseArgs,
    },
    /// Go on with a queue
    Resume {
        /// Its name
        name: String,
    },
    /// Set a queue's limits while nodes run; what is not named stays as it is
    #[command(
        after_help = "Examples:\n  mainspring queue limit mail --running 20 --rate 100/1m\n  mainspring queue limit \
                            '*' --running 200\n  mainspring queue limit mail --no-rate --per-key 1 --fair true"
    )]
    Limit(LimitArgs),
}

/// `queue limit`.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Its name; `'*'` for all queues together
    pub name: String,
    /// Jobs that run at once, on all nodes together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub running: Option<u32>,
    /// Jobs of one key that run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub per_key: Option<u32>,
    /// Starts in a time: 100/1m
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    pub rate: Option<Rate>,
    /// Starts of one key in a time
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    pub rate_per_key: Option<Rate>,
    /// Whether keys take turns
    #[arg(long, value_name = "BOOL")]
    pub fair: Option<bool>,
    /// No limit on running jobs
    #[arg(long, conflicts_with = "running")]
    pub no_running: bool,
    /// No limit on running jobs of one key
    #[arg(long, conflicts_with = "per_key")]
    pub no_per_key: bool,
    /// No rate
    #[arg(long, conflicts_with = "rate")]
    pub no_rate: bool,
    /// No rate of one key
    #[arg(long, conflicts_with = "rate_per_key")]
    pub no_rate_per_key: bool,
}

/// `batch`.
#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Batches, newest first
    List {
        /// How many
        #[arg(short, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        n: u32,
    },
    /// One batch with its counts
    Show {
        /// Its number
        id: i64,
    },
}

/// `alert`.
#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// Alerts, newest first
    List {
        /// Only those that fire now
        #[arg(long)]
        open: bool,
        /// How many
        #[arg(short, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        n: u32,
    },
    /// One alert and what happened to it
    Show {
        /// What it is called: alt_…
        id: String,
    },
    /// Tell nobody of an alert for a while; if it still fires then, it is told anew
    #[command(
        after_help = "Example:\n  mainspring alert snooze alt_0123456789abcdef0123 --for 2h --note 'known'"
    )]
    Snooze {
        /// What it is called
        id: String,
        /// For how long
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        length: Duration,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// The rules of the project
    Rules,
    /// When a rule would have fired, on the history that is kept
    #[command(
        after_help = "Examples:\n  mainspring alert backtest 'A schedule keeps failing'\n  mainspring alert backtest \
                      '{\"when\":\"failures\",\"of\":\"kind/mail\",\"in_a_row\":5}' --period 7d\n\nRules are made in \
                      the dashboard or over the API: docs/guides/alerts.md."
    )]
    Backtest {
        /// A rule's name or number, or a rule as JSON
        rule: String,
        /// How far back
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30d")]
        period: Duration,
    },
}

/// `node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Nodes with their last sign of life
    List,
}

/// `cron`.
#[derive(Debug, Subcommand)]
pub enum CronCommand {
    /// When an expression fires next
    #[command(
        after_help = "Examples:\n  mainspring cron next '30 2 * * *' --tz America/New_York --from 2027-03-13\n  \
                            mainspring cron next --jsonl < questions.jsonl\n\nA question is one line: \
                            {\"id\":\"a\",\"expr\":\"0 2 * * *\",\"tz\":\"UTC\",\"from\":\"2027-01-01T00:00:00Z\",\"n\":3}"
    )]
    Next {
        /// The expression, in quotes
        #[arg(required_unless_present = "jsonl")]
        expr: Option<String>,
        /// Begin after this time
        #[arg(long, value_name = "TIME", default_value = "now")]
        from: String,
        /// How many fires
        #[arg(short, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        n: u32,
        /// Answer questions, one JSON document per line, from the standard input
        #[arg(long, conflicts_with_all = ["expr", "from", "n"])]
        jsonl: bool,
    },
    /// Say an expression in words
    Explain {
        /// The expression, in quotes
        expr: String,
    },
    /// Warn of what is allowed but may not be meant; exit code 1 when there is a warning
    Lint {
        /// Expressions, in quotes; those of all schedules when none is given
        exprs: Vec<String>,
    },
}

/// What figures are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Kind of job
    Kind,
    /// Queue
    Queue,
    /// Schedule
    Schedule,
}

/// `stats`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mainspring stats\n  mainspring stats --by schedule")]
pub struct StatsArgs {
    /// Sum by
    #[arg(long, value_enum, default_value = "kind", value_name = "WHAT")]
    pub by: By,
}

/// `events`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mainspring events -n 50\n  mainspring events --follow --json")]
pub struct EventsArgs {
    /// How many of the newest
    #[arg(short, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub n: u32,
    /// All after this one
    #[arg(long, value_name = "ID", conflicts_with = "n")]
    pub after: Option<i64>,
    /// Go on as they come
    #[arg(long, short)]
    pub follow: bool,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The job's number
    pub id: i64,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Recount everything the counters tell; reads the whole store
    #[arg(long)]
    pub deep: bool,
}

/// `backup`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mainspring backup /var/backups/mainspring-$(date +%F).backup\n  mainspring backup copy --store \
                  postgres://app@db/app\n\nNodes go on meanwhile. The copy is one moment of the store, read back and \
                  recounted before it gets its name; a file that is there is never overwritten. PostgreSQL's is made \
                  by pg_dump."
)]
pub struct BackupArgs {
    /// The file to write
    pub file: PathBuf,
}

/// `restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mainspring restore mainspring-2026-11-01.backup --store /var/lib/mainspring/jobs.db\n  \
                  mainspring restore copy --store postgres://app@db/empty\n\nNothing is overwritten: the file named by \
                  --store must not be there, or the database must be empty. Fires between the backup and now are \
                  missed ones: each schedule's misfire policy says what becomes of them."
)]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every setting: its value and where it came from
    Show,
    /// The reference page of all settings, as Markdown
    #[command(hide = true)]
    Reference,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file
    #[arg(default_value = crate::settings::FILE)]
    pub file: PathBuf,
    /// How many fires of each schedule
    #[arg(short, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub n: u32,
}

fn duration(text: &str) -> Result<Duration, String> {
    mainspring_core::duration::parse(text)
}

fn state(text: &str) -> Result<JobState, String> {
    text.parse()
}

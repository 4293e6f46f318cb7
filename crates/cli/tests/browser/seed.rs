//! A store as it is after some days of work: schedules that fired, jobs that failed and were tried
//! again, batches, pauses. Time is given to every call of the store, so days pass in seconds; the
//! program that is started on it afterwards finds them in its history.

use super::support::Place;
use jiff::Timestamp;
use mainspring::alerts::{self, HeartbeatSpec, Looker, RuleSpec};
use mainspring::clock::{Entropy, ManualClock, Seeded};
use mainspring::notify::{
    self, Announcement, NewChannel, Notice, NoticeState, Security, Setup, Severity, Timing,
};
use mainspring::{Backoff, Client, Json, NewJob, RetryPolicy};
use mainspring_core::alert::{Condition, Rule};
use mainspring_core::batch::NewBatch;
use mainspring_core::decide::{Outcome, decide};
use mainspring_core::ids::NodeId;
use mainspring_core::job::{Claimed, ErrorRecord, LogLevel, LogLine};
use mainspring_core::node::NodeInfo;
use mainspring_core::plan::{LiveJobs, ScheduleState, plan};
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::FireWrite;
use mainspring_core::store::{ClaimRequest, Store};
use mainspring_core::tables::{Statement, Write};
use mainspring_core::time;
use mainspring_core::trigger::Trigger;
use mainspring_core::zone::Zone;
use mainspring_store_sqlite::{Options, SqliteStore, Synchronous};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How often the days are looked at.
const STEP: Duration = Duration::from_secs(300);

/// What a kind does: how long it takes, how often it fails, and how that looks.
struct Habit {
    kind: &'static str,
    seconds: f64,
    fails: f64,
    class: &'static str,
    message: &'static str,
}

const fn habit(
    kind: &'static str,
    seconds: f64,
    fails: f64,
    class: &'static str,
    message: &'static str,
) -> Habit {
    Habit { kind, seconds, fails, class, message }
}

const HABITS: [Habit; 8] = [
    habit("mail.send", 0.4, 0.015, "http_status", "the mail service answered 503 Service Unavailable"),
    habit("invoice.render", 2.1, 0.01, "retryable", "the template service did not answer within 10 s"),
    habit("catalogue.sync", 38.0, 0.06, "connect", "connection refused by supplier.example:443"),
    habit("search.reindex", 95.0, 0.02, "retryable", "shard 3 is read-only until it is merged"),
    habit("ledger.close", 240.0, 0.0, "retryable", "a transfer is still open"),
    habit("backup.verify", 61.0, 0.9, "exit_code", "exit status 2: checksum of segment 000041 differs"),
    habit("report.weekly", 12.0, 0.0, "retryable", "no data for one of the days"),
    habit("metrics.collect", 1.2, 0.004, "retryable", "the counter went backwards"),
];

/// Numbers of jobs and a batch that are worth a look.
#[derive(Debug, Default)]
pub struct Filled {
    /// Failed for good, with a log.
    pub failed: i64,
    /// Did its work in steps.
    pub stepped: i64,
    /// Waits behind a paused queue.
    pub waiting: i64,
    /// A batch of which a part failed.
    pub batch: i64,
}

pub struct Seed {
    store: Arc<SqliteStore>,
    pub client: Client,
    clock: Arc<ManualClock>,
    pub node: NodeId,
    dice: Seeded,
    filled: Filled,
}

/// Runs something on a store of this place and closes it.
pub fn with_store<T>(place: &Place, work: impl AsyncFnOnce(&mut Seed) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    runtime.expect("a runtime").block_on(async {
        let options = Options { synchronous: Synchronous::Normal, ..Options::default() };
        let store = SqliteStore::open(place.path().join("mainspring.db"), options).expect("a store");
        let store = Arc::new(store);
        let clock = Arc::new(ManualClock::new(mainspring::clock::SystemClock::machine_time()));
        let client = Client::new(store.clone()).with_clock(clock.clone()).acting_as("grace@example.com");
        let client = client.in_project_named("default").await.expect("the project");
        let (node, dice) = (NodeId(0x5eed), Seeded::new(41));
        let mut seed = Seed { store, client, clock, node, dice, filled: Filled::default() };
        let done = work(&mut seed).await;
        seed.store.close().await;
        done
    })
}

/// So many days of a shop's work, until now.
pub fn fill(place: &Place, days: u64) -> Filled {
    with_store(place, async |seed| {
        seed.days(days).await;
        std::mem::take(&mut seed.filled)
    })
}

impl Seed {
    pub fn at(&self, at: Timestamp) {
        self.clock.set(at);
    }

    pub fn now(&self) -> Timestamp {
        self.client.now()
    }

    pub async fn join(&self, name: &str, kinds: Vec<String>) {
        let info = NodeInfo {
            id: self.node,
            name: name.into(),
            pid: 4127,
            version: "0.1.0".into(),
            slots: 16,
            queues: vec![],
            kinds,
            tz_version: "2026a".into(),
        };
        self.store.join(self.now(), info).await.expect("joins");
    }

    pub async fn leave(&self) {
        self.store.leave(self.now(), self.node).await.expect("leaves");
    }

    async fn days(&mut self, days: u64) {
        let end = self.now();
        let from = time::minus(end, Duration::from_secs(days * 86_400));
        let step = STEP.as_secs() as i64;
        let mut at = Timestamp::from_second(from.as_second().div_euclid(step) * step).expect("an instant");
        self.at(at);
        self.schedules().await;
        self.join("mill-1", HABITS.iter().map(|h| h.kind.to_owned()).collect()).await;
        while at < end {
            self.at(at);
            self.turn(at).await;
            at = time::plus(at, STEP);
        }
        self.at(time::minus(end, Duration::from_secs(40)));
        self.last_things().await;
        self.leave().await;
    }

    /// What happens at one moment: fires, whatever customers ask for, and the work itself.
    async fn turn(&mut self, at: Timestamp) {
        self.fire(at).await;
        // Busy by day, quiet at night.
        let hour = (at.as_second().rem_euclid(86_400)) as f64 / 3600.0;
        let busy = (1.0 + ((hour - 14.0) / 24.0 * std::f64::consts::TAU).cos()) / 2.0;
        let n = (busy * 6.0 + self.dice.chance() * 3.0) as usize;
        let mut jobs = Vec::new();
        for i in 0..n {
            let kind = if i % 4 == 3 { "invoice.render" } else { "mail.send" };
            let customer = format!("customer-{}", 100 + self.dice.bits() % 60);
            let payload = json!({ "to": format!("{customer}@example.com"), "template": "receipt", "order": 48_000 + self.dice.bits() % 900 });
            jobs.push(NewJob {
                queue: if kind == "mail.send" { "mail".into() } else { "documents".into() },
                key: Some(customer.into()),
                ..self.job(kind, payload)
            });
        }
        if !jobs.is_empty() {
            self.client.enqueue_many(jobs).await.expect("enqueued");
        }
        self.store.promote(at, 500).await.expect("promoted");
        self.work(at).await;
    }

    pub fn job(&self, kind: &str, payload: Value) -> NewJob {
        let steps = [20, 120].map(Duration::from_secs).to_vec();
        let retry = RetryPolicy { max_attempts: 3, backoff: Backoff::Steps(steps), ..RetryPolicy::default() };
        NewJob { retry, ..NewJob::new(kind, Json::trusted(payload.to_string())) }
    }

    async fn fire(&self, at: Timestamp) {
        let (due, _) = self.store.due_schedules(at, 100).await.expect("due");
        let mut writes = Vec::new();
        for due in due {
            let spec: ScheduleSpec = due.record.spec.to().expect("a rule");
            let states: Vec<_> = due.live.iter().map(|(_, state)| *state).collect();
            let planned = plan(&spec, &ScheduleState::of(&due.record), LiveJobs::count(&states), at);
            let job = |f: &mainspring_core::plan::PlannedFire| {
                let mut job = spec.job.job(due.record.id, f.scheduled_for, f.run_at);
                job.retry = self.job("x", json!({})).retry;
                job
            };
            writes.push(FireWrite {
                schedule: due.record.id,
                version: due.record.version,
                expected_fire: due.record.next_fire.expect("it is due"),
                next_fire: planned.next_fire.map(time::trunc),
                jobs: planned.fires.iter().map(job).collect(),
                ledger: planned.ledger,
                replace: vec![],
            });
        }
        if !writes.is_empty() {
            self.store.fire(at, writes).await.expect("fired");
        }
    }

    /// Claims what there is and ends it, each after its time.
    async fn work(&mut self, at: Timestamp) {
        let kinds = HABITS.iter().map(|h| h.kind.into()).collect();
        let request = ClaimRequest { node: self.node, limit: 200, kinds, queues: vec![], project: None };
        let claimed = self.store.claim(at, request).await.expect("claimed").jobs;
        let (mut ends, mut logs) = (Vec::new(), Vec::new());
        for job in &claimed {
            let habit = HABITS.iter().find(|h| h.kind == &*job.kind).expect("a habit");
            let took = Duration::from_secs_f64(habit.seconds * (0.5 + self.dice.chance() * 1.3));
            let fails = self.dice.chance() < habit.fails;
            let end = time::plus(at, took);
            self.tell(&mut logs, job, habit, at, took, fails);
            if habit.kind == "catalogue.sync" && !fails {
                self.steps(job, at, took).await;
                self.filled.stepped = job.facts.job.0;
            }
            let outcome = if fails {
                let chain = vec!["while speaking to the other side".into(), "os error 111".into()];
                let error = ErrorRecord::new(habit.class, habit.message, chain);
                Outcome::Failed { error, retryable: habit.class != "exit_code", after: None }
            } else {
                Outcome::Succeeded {
                    output: Some(Json::trusted(
                        json!({ "took_ms": took.as_millis() as u64, "rows": job.facts.job.0 * 7 % 900 })
                            .to_string(),
                    )),
                }
            };
            if fails && habit.class == "exit_code" {
                self.filled.failed = job.facts.job.0;
            }
            ends.push((end, decide(&job.facts, outcome, end, self.dice.chance())));
        }
        if !logs.is_empty() {
            self.store.append_logs(at, logs).await.expect("logged");
        }
        if let Some(last) = ends.iter().map(|e| e.0).max() {
            self.store.finish(last, ends.into_iter().map(|e| e.1).collect()).await.expect("finished");
        }
    }

    fn tell(
        &self,
        logs: &mut Vec<LogLine>,
        job: &Claimed,
        habit: &Habit,
        at: Timestamp,
        took: Duration,
        fails: bool,
    ) {
        let mut say = |seq, part: f64, level, message: String, fields: Option<Value>| {
            logs.push(LogLine {
                job: job.facts.job,
                attempt: job.facts.attempt,
                seq,
                at: time::plus(at, took.mul_f64(part)),
                level,
                message,
                fields: fields.map(|f| Json::trusted(f.to_string())),
            });
        };
        say(0, 0.0, LogLevel::Info, format!("{} begins", job.kind), None);
        if habit.seconds > 10.0 {
            say(1, 0.3, LogLevel::Debug, "fetched 1 of 3 pages".into(), Some(json!({ "bytes": 48_211 })));
            say(2, 0.7, LogLevel::Warn, "page 3 was slow".into(), Some(json!({ "wait_ms": 2_140 })));
        }
        if fails {
            say(3, 0.99, LogLevel::Error, habit.message.into(), None);
        } else {
            say(3, 0.99, LogLevel::Info, "done".into(), None);
        }
    }

    async fn steps(&self, job: &Claimed, at: Timestamp, took: Duration) {
        for (name, part) in
            [("fetch pages", 0.35), ("compare", 0.5), ("write changes", 0.85), ("tell search", 0.97)]
        {
            let then = time::plus(at, took.mul_f64(part));
            let result = Json::trusted(json!({ "step": name, "rows": 412 }).to_string());
            self.store.save_step(then, job.facts.job, job.facts.attempt, name, result).await.expect("a step");
        }
    }

    async fn schedules(&self) {
        for (name, when, zone, kind, queue) in [
            ("collect metrics", "every 15m", "UTC", "metrics.collect", "metrics"),
            ("sync catalogue", "5 * * * *", "Europe/Berlin", "catalogue.sync", "suppliers"),
            ("reindex search", "30 1,7,13,19 * * *", "America/New_York", "search.reindex", "search"),
            ("verify backups", "0 3,15 * * *", "Europe/Berlin", "backup.verify", "backups"),
            ("close the ledger", "30 2 * * *", "Europe/London", "ledger.close", "finance"),
            ("weekly report", "weekly on mon at 09:00", "America/New_York", "report.weekly", "documents"),
            ("quarterly archive", "0 4 1 1,4,7,10 *", "Asia/Tokyo", "ledger.close", "finance"),
            ("newsletter", "weekly on thu at 10:00", "Europe/Berlin", "mail.send", "mail"),
            ("spring cleaning", "once at 2027-03-28T01:30:00Z", "Europe/Berlin", "ledger.close", "finance"),
        ] {
            self.schedule(name, when, zone, kind, queue).await;
        }
    }

    pub async fn schedule(&self, name: &str, when: &str, zone: &str, kind: &str, queue: &str) {
        let trigger = Trigger::parse(when).unwrap_or_else(|e| panic!("{when}: {e}"));
        let mut spec = ScheduleSpec::new(name, trigger, kind);
        spec.zone = Zone::get(zone).expect("a zone");
        spec.job.queue = Some(queue.into());
        spec.job.payload = json!({ "since": "yesterday", "dry": false });
        self.client.put_schedule(&spec, "api").await.expect("a schedule");
    }

    /// How it stands now: a pause, what waits, a batch.
    async fn last_things(&mut self) {
        let c = &self.client;
        c.pause_schedule("newsletter", None, Some("the editor is away")).await.expect("paused");
        c.pause_queue("finance", None, Some("stock-taking until Monday")).await.expect("paused");
        let waiting =
            NewJob { queue: "finance".into(), ..self.job("ledger.close", json!({ "month": "2026-10" })) };
        self.filled.waiting = c.enqueue_raw(waiting).await.expect("enqueued").id.0;
        let letters =
            (0..24).map(|n| NewJob { queue: "mail".into(), ..self.job("mail.send", json!({ "n": n })) });
        let batch =
            NewBatch { name: "letters of November".into(), follow_up: None, parent: None, sealed: true };
        let (batch, _) =
            self.store.open_batch(self.now(), c.project(), batch, letters.collect()).await.expect("a batch");
        self.filled.batch = batch.0;
        let now = self.now();
        self.work(now).await;
        let later = NewJob {
            queue: "documents".into(),
            run_at: Some(time::plus(self.now(), Duration::from_secs(5400))),
            ..self.job("invoice.render", json!({ "order": 48_211 }))
        };
        self.client.enqueue_raw(later).await.expect("enqueued");
        self.alerts().await;
        self.channels().await;
    }

    /// An alert that fires, and a heartbeat that waits for its first ping.
    async fn alerts(&self) {
        let now = self.now();
        self.at(time::minus(now, Duration::from_secs(120)));
        let looker = Looker::new(&self.client).expect("tables");
        looker.look(self.now()).await.expect("the tables are made");
        let backlog = Condition::Backlog { queue: Some("finance".into()), more_than: 0 };
        let spec = RuleSpec { note: "Ask Mara".into(), ..RuleSpec::new(Rule::new(backlog)) };
        alerts::make_rule(&self.client, "Finance waits", &spec).await.expect("a rule");
        let day = HeartbeatSpec {
            period: Duration::from_secs(86_400),
            grace: Duration::from_secs(3600),
            paused: false,
        };
        alerts::make_heartbeat(&self.client, "till roll", &day, "walked-by-a-test")
            .await
            .expect("a heartbeat");
        self.at(now);
        while looker.look(now).await.expect("a look") {}
        assert!(alerts::firing(&self.client).await.expect("alerts") >= 1);
    }

    /// A channel that delivers, one that does not, and what was sent by them.
    async fn channels(&self) {
        let to = |name: &str| Setup::Email {
            host: "mail.example.com".into(),
            port: 587,
            security: Security::StartTls,
            user: None,
            from: "engine@example.com".into(),
            to: vec![format!("{name}@example.com")],
            reply_to: None,
        };
        let tables = self.client.tables().expect("tables");
        for (name, state, said, channel) in [
            (
                "night shift",
                "failed",
                "error = '550 5.1.1 there is no such mailbox'",
                "failing = 3, last_error = '550 5.1.1 there is no such mailbox', last_failed = changed",
            ),
            ("operations", "sent", "receipt = '250 queued as 4F1', sent = changed", "last_sent = changed"),
        ] {
            let (settings, timing) = (to(&name.replace(' ', ".")), Timing::default());
            let new = NewChannel { name: name.into(), settings, timing, enabled: true, secret: None };
            let (made, _) = notify::make(&self.client, &self.client.vault(), new).await.expect("a channel");
            let now = self.now();
            let notice = Notice {
                project: self.client.project(),
                key: format!("seed/{name}"),
                severity: Severity::Critical,
                state: NoticeState::Firing,
                title: "Finance waits: 1 job in the queue finance".into(),
                text: "Ask Mara".into(),
                facts: vec![("queue".into(), "finance".into())],
                path: "/queues/finance".into(),
                at: now,
                urgent: false,
            };
            // Its job is left out: nothing is to be sent when the program starts.
            let said_once = Announcement { jobs: vec![], ..notice.announce(&[made.id]) };
            let write = said_once.into_write(Write::new(), now, notice.project);
            let write = write
                .then(
                    Statement::built(format!(
                        "UPDATE notify_deliveries SET state = '{state}', tries = 1, {said} WHERE channel = ?1"
                    ))
                    .bind(made.id),
                )
                .then(
                    Statement::built(format!("UPDATE notify_channels SET {channel} WHERE id = ?1"))
                        .bind(made.id),
                );
            tables.write(write).await.expect("written");
        }
    }
}

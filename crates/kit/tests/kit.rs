//! The kit on both stores.
//!
//! Long because every noun stands in the one list of what both stores are asked.

use mainspring::Client;
use mainspring_core::clock::{Clock, ManualClock};
use mainspring_core::job::{JobState, NewJob};
use mainspring_core::store::Store;
use mainspring_core::tables::{Statement, Write};
use mainspring_core::{Json, time};
use mainspring_kit::budget::{Period, Unit};
use mainspring_kit::cache::Cached;
use mainspring_kit::cooldown::Every;
use mainspring_kit::delivery::{DeliveryState, Next, Refusal};
use mainspring_kit::item::NewItem;
use mainspring_kit::report::NewReport;
use mainspring_kit::score::{Link, NewScore, Part};
use mainspring_kit::signal::{NewSignal, Severity, SignalState, Urgency};
use mainspring_kit::source::SourceState;
use mainspring_kit::subject::{NewSubject, SubjectState};
use mainspring_kit::usage::Spent;
use mainspring_kit::{Kit, KitError, hash};
use mainspring_store_postgres::PostgresStore;
use mainspring_store_sqlite::SqliteStore;
use mainspring_testkit::pg;
use serde_json::json;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A kit over a store of its own, with a clock that moves when told.
struct Bench {
    kit: Kit,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    _keep: Box<dyn Any>,
}

impl Bench {
    async fn new(store: Arc<dyn Store>, keep: Box<dyn Any>) -> Bench {
        mainspring_kit::migrate(&*store.clone().tables().unwrap()).await.unwrap();
        // Again, as every start does.
        mainspring_kit::migrate(&*store.clone().tables().unwrap()).await.unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
        let client = Client::new(store.clone()).with_clock(clock.clone());
        let client = client.in_project_named("first").await.unwrap();
        Bench { kit: Kit::of(&client, "demo").unwrap(), clock, store, _keep: keep }
    }

    async fn sqlite() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store =
            SqliteStore::open(dir.path().join("a.db"), mainspring_store_sqlite::Options::default()).unwrap();
        Bench::new(Arc::new(store), Box::new(dir)).await
    }

    async fn postgres() -> Bench {
        let database = pg::fresh_database();
        let options = mainspring_store_postgres::Options::default();
        let store = PostgresStore::connect(&database.url(), options).await.unwrap();
        Bench::new(Arc::new(store), Box::new(database)).await
    }

    /// The same kit in another project, and another pack's in the same.
    async fn strangers(&self) -> [Kit; 2] {
        let other = self.kit.client().clone().in_project_named("second").await.unwrap();
        [Kit::of(&other, "demo").unwrap(), Kit::of(self.kit.client(), "other").unwrap()]
    }

    async fn subject(&self, key: &str, rank: i64) -> i64 {
        let new = NewSubject { kind: "repository", key: key.into(), name: key.into(), rank, data: json!({}) };
        self.kit.put_subject(&new).await.unwrap()
    }

    async fn source(&self, key: &str, rank: i64) -> i64 {
        let subject = self.subject(key, rank).await;
        self.kit.put_source(subject, "issues", "github", &json!({"labels": ["bug"]})).await.unwrap()
    }

    fn pass(&self, by: Duration) {
        self.clock.advance(by);
    }
}

macro_rules! on_both {
    ($($name:ident)*) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                super::cases::$name(super::Bench::sqlite().await).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgres() {
                super::cases::$name(super::Bench::postgres().await).await;
            }
        }
    )* };
}

on_both! {
    a_subject_is_one_by_its_natural_key
    what_is_seen_again_is_known
    what_a_listing_leaves_out_is_closed
    a_cursor_moves_with_what_was_read
    metrics_are_corrected_and_not_doubled
    a_score_adds_up_or_is_refused
    a_signal_is_raised_once_while_it_is_open
    a_report_is_one_for_its_period
    a_delivery_that_was_cut_off_is_looked_for_first
    usage_adds_up_by_service_and_day
    a_budget_is_never_exceeded
    what_was_reserved_by_the_dead_counts_as_spent
    the_cache_goes_from_fresh_to_stale_to_gone
    a_fan_out_makes_one_job_for_each_that_is_due
    strangers_find_nothing
}

fn item(external: &str, at: &str, data: serde_json::Value) -> NewItem {
    NewItem { kind: "issue", external: external.into(), at: at.parse().unwrap(), closed: None, data }
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|s| (*s).to_owned()).collect()
}

mod cases {
    use super::*;

    pub async fn a_subject_is_one_by_its_natural_key(b: Bench) {
        let id = b.subject("ada/engine", 1).await;
        b.kit.set_subject(id, SubjectState::Paused).await.unwrap();
        b.pass(HOUR);
        assert_eq!(b.subject("ada/engine", 7).await, id);
        let subject = b.kit.subject(id).await.unwrap();
        assert_eq!((subject.rank, subject.state), (7, SubjectState::Paused), "who paused it meant it");
        assert_eq!(time::since(subject.created.0, subject.changed.0), HOUR);
        assert_eq!(b.kit.subject_by_key("repository", "ada/engine").await.unwrap().unwrap().id, id);
        assert!(b.kit.subject_by_key("company", "ada/engine").await.unwrap().is_none());
        let second = b.subject("ada/loom", 0).await;
        let all = b.kit.subjects("repository", 0, 10).await.unwrap();
        assert_eq!(all.iter().map(|s| s.id).collect::<Vec<_>>(), [id, second]);
        assert_eq!(b.kit.subjects("repository", id, 10).await.unwrap().len(), 1);
        let wrong =
            NewSubject { kind: "repository", key: " ".into(), name: "".into(), rank: 0, data: json!({}) };
        assert!(b.kit.put_subject(&wrong).await.unwrap_err().to_string().starts_with("key: "));
    }

    pub async fn what_is_seen_again_is_known(b: Bench) {
        let source = b.source("ada/engine", 0).await;
        let day = "2026-11-20T00:00:00Z";
        let first = [item("1", day, json!({"title": "a"})), item("2", day, json!({"title": "b"}))];
        let seen = b.kit.see(source, &first, Write::new()).await.unwrap();
        assert_eq!((seen.new, seen.changed, seen.same), (names(&["1", "2"]), vec![], 0));
        b.pass(HOUR);
        let mut closed = item("2", day, json!({"title": "b"}));
        closed.closed = Some("2026-11-21T00:00:00Z".parse().unwrap());
        let again = [item("1", day, json!({"title": "a"})), closed, item("3", day, json!({"title": "c"}))];
        let seen = b.kit.see(source, &again, Write::new()).await.unwrap();
        assert_eq!((seen.new, seen.changed, seen.same), (names(&["3"]), names(&["2"]), 1));
        let items = b.kit.items(source, "issue", day.parse().unwrap(), b.kit.now(), 10).await.unwrap();
        let one = items.iter().find(|i| i.external == "1").unwrap();
        assert_eq!(time::since(one.first_seen.0, one.last_seen.0), HOUR);
        assert_eq!(one.changed, one.first_seen);
        // In one call twice: once, as it stands last. And more than one statement's worth.
        let many: Vec<NewItem> = (0..120).map(|n| item(&format!("m{}", n % 60), day, json!(n))).collect();
        let seen = b.kit.see(source, &many, Write::new()).await.unwrap();
        assert_eq!((seen.new.len(), seen.same), (60, 0));
        let too_many = vec![item("x", day, json!(0)); 501];
        assert!(matches!(
            b.kit.see(source, &too_many, Write::new()).await,
            Err(KitError::Invalid { field: "items", .. })
        ));
    }

    pub async fn what_a_listing_leaves_out_is_closed(b: Bench) {
        let source = b.source("ada/engine", 0).await;
        let day = "2026-11-20T00:00:00Z";
        b.kit.see(source, &[item("1", day, json!(1)), item("2", day, json!(2))], Write::new()).await.unwrap();
        b.pass(HOUR);
        let began = b.kit.now();
        b.kit.see(source, &[item("2", day, json!(2))], Write::new()).await.unwrap();
        assert_eq!(b.kit.close_unseen(source, "issue", began).await.unwrap(), 1);
        assert_eq!(b.kit.close_unseen(source, "issue", began).await.unwrap(), 0);
        let open = b.kit.open_items(source, "issue", 10).await.unwrap();
        assert_eq!(open.iter().map(|i| i.external.as_str()).collect::<Vec<_>>(), ["2"]);
        // It comes back: open again.
        b.pass(HOUR);
        let seen = b.kit.see(source, &[item("1", day, json!(1))], Write::new()).await.unwrap();
        assert_eq!(seen.changed, names(&["1"]));
        assert_eq!(b.kit.open_items(source, "issue", 10).await.unwrap().len(), 2);
    }

    pub async fn a_cursor_moves_with_what_was_read(b: Bench) {
        let source = b.source("ada/engine", 0).await;
        let new = [item("1", "2026-11-20T00:00:00Z", json!(1))];
        let cursor = b.kit.source_succeeded(source, &json!({"page": 2}));
        // Something in the same write that cannot be: nothing of it happens.
        let impossible =
            Statement::new("UPDATE kit_sources SET failures = 0 WHERE id = ?1").bind(-1).expect_rows(1);
        let write = Write::new().then(cursor.clone()).then(impossible);
        assert!(b.kit.see(source, &new, write).await.is_err());
        let kept = b.kit.source(source).await.unwrap();
        assert!(kept.cursor.is_none() && kept.last_success.is_none());
        assert!(b.kit.open_items(source, "issue", 10).await.unwrap().is_empty());
        b.kit.source_failed(source, "502 Bad Gateway", false).await.unwrap();
        let kept = b.kit.source(source).await.unwrap();
        assert_eq!(
            (kept.state, kept.failures, kept.last_error.as_deref()),
            (SourceState::Backoff, 1, Some("502 Bad Gateway"))
        );
        b.kit.see(source, &new, Write::new().then(cursor)).await.unwrap();
        let kept = b.kit.source(source).await.unwrap();
        assert_eq!((kept.state, kept.failures), (SourceState::Active, 0));
        assert_eq!(kept.cursor.unwrap().0, json!({"page": 2}));
        assert_eq!(b.kit.as_of(kept.subject).await.unwrap(), Some(b.kit.now()));
        // Another connector reads from the beginning.
        b.kit.put_source(kept.subject, "issues", "github", &json!({})).await.unwrap();
        assert!(b.kit.source(source).await.unwrap().cursor.is_some());
        b.kit.put_source(kept.subject, "issues", "gitlab", &json!({})).await.unwrap();
        assert!(b.kit.source(source).await.unwrap().cursor.is_none());
        b.kit.pause_source(source, true).await.unwrap();
        b.kit.source_failed(source, "late", true).await.unwrap();
        assert_eq!(b.kit.source(source).await.unwrap().state, SourceState::Paused);
    }

    pub async fn metrics_are_corrected_and_not_doubled(b: Bench) {
        let subject = b.subject("ada/engine", 0).await;
        let (first, second) = (b.kit.now(), time::plus(b.kit.now(), HOUR));
        for (at, value) in [(first, 1.0), (second, 2.0), (first, 1.5)] {
            b.kit.write(b.kit.metric(subject, "velocity", at, value).unwrap()).await.unwrap();
        }
        let series = b.kit.series(subject, "velocity", first, time::plus(second, HOUR)).await.unwrap();
        assert_eq!(series.iter().map(|p| p.value).collect::<Vec<_>>(), [1.5, 2.0]);
        assert_eq!(b.kit.series(subject, "velocity", first, second).await.unwrap().len(), 1);
        assert_eq!(b.kit.latest(subject, "velocity", first).await.unwrap().unwrap().value, 1.5);
        assert!(b.kit.metric(subject, "velocity", first, f64::NAN).is_err());
        let nobody = b.kit.metric(subject + 99, "velocity", first, 1.0).unwrap();
        assert!(b.kit.write(nobody).await.is_err(), "a metric of nothing");
    }

    pub async fn a_score_adds_up_or_is_refused(b: Bench) {
        let subject = b.subject("ada/engine", 0).await;
        let part = |name: &str, value| Part { name: name.into(), value, note: "because".into() };
        let inputs = hash(&json!({"bugs": 2}));
        let mut new = NewScore {
            model: "health",
            version: 1,
            inputs: inputs.clone(),
            link: Link::Identity,
            parts: vec![part("bugs", 30.0), part("sla", 17.25)],
            coverage: 0.5,
        };
        b.kit.write(b.kit.put_score(subject, &new).unwrap()).await.unwrap();
        let score = b.kit.score(subject, "health", 1, None).await.unwrap().unwrap();
        assert_eq!((score.raw, score.value, score.coverage), (47.25, 47.25, 0.5));
        assert_eq!(score.parts.0.iter().map(|p| p.value).sum::<f64>(), score.raw);
        assert!(score.is_of(&inputs) && !score.is_of(&hash(&json!({"bugs": 3}))));
        assert!(b.kit.score(subject, "health", 2, None).await.unwrap().is_none(), "another version's");
        // A week later it moved; the older one is still to be had.
        b.pass(HOUR * 24 * 7);
        new.parts[0].value = 10.0;
        b.kit.write(b.kit.put_score(subject, &new).unwrap()).await.unwrap();
        let before = time::minus(b.kit.now(), HOUR);
        assert_eq!(b.kit.score(subject, "health", 1, None).await.unwrap().unwrap().raw, 27.25);
        assert_eq!(b.kit.score(subject, "health", 1, Some(before)).await.unwrap().unwrap().raw, 47.25);
        new.parts[0].value = f64::INFINITY;
        assert!(b.kit.put_score(subject, &new).is_err());
        new.parts[0].value = 1.0;
        new.coverage = 1.1;
        assert!(b.kit.put_score(subject, &new).is_err());
        assert_eq!(Link::Logistic.value(0.0), 50.0);
        assert_eq!((Link::Identity.value(-3.0), Link::Identity.value(130.0)), (0.0, 100.0));
    }

    pub async fn a_signal_is_raised_once_while_it_is_open(b: Bench) {
        let new = NewSignal {
            kind: "sla_breach",
            key: "42".into(),
            subject: None,
            severity: Severity::High,
            title: "Issue 42 is late".into(),
            text: String::new(),
            evidence: vec![7],
            requires_action: true,
            expires: Some(time::plus(b.kit.now(), HOUR * 24 * 7)),
        };
        let raise = async |new: &NewSignal| -> (i64, u32) {
            b.kit.write(b.kit.raise(new).unwrap()).await.unwrap().rows[0].clone().one().unwrap()
        };
        let (id, seen) = raise(&new).await;
        assert_eq!(seen, 1);
        let worse = NewSignal { severity: Severity::Critical, ..new.clone() };
        assert_eq!(raise(&worse).await, (id, 2));
        let signal = b.kit.signals(true, None, 10).await.unwrap().pop().unwrap();
        assert_eq!((signal.severity, signal.evidence.0.as_slice()), (Severity::Critical, &[7][..]));
        assert_eq!(signal.urgency(b.kit.now()), Urgency::Medium);
        let left = |hours| signal.urgency(time::minus(signal.expires.unwrap().0, HOUR * hours));
        assert_eq!(
            (left(23), left(24), left(3), left(4)),
            (Urgency::High, Urgency::Medium, Urgency::Critical, Urgency::High)
        );
        assert_eq!(left(7 * 24 + 1), Urgency::Low);
        assert!(b.kit.close_signal(id, SignalState::Dismissed, "ada").await.unwrap());
        assert!(!b.kit.close_signal(id, SignalState::Acted, "bob").await.unwrap(), "it is closed already");
        let (next, seen) = raise(&new).await;
        assert!(next != id && seen == 1, "after it was closed it is another one");
        assert!(b.kit.settle("sla_breach", "42").await.unwrap());
        raise(&new).await;
        b.pass(HOUR * 24 * 8);
        assert_eq!(b.kit.expire_signals().await.unwrap(), 1);
        assert!(b.kit.signals(true, None, 10).await.unwrap().is_empty());
        assert_eq!(b.kit.signals(false, None, 10).await.unwrap().len(), 3);
    }

    pub async fn a_report_is_one_for_its_period(b: Bench) {
        let mut new = NewReport {
            kind: "weekly",
            period: "2026-W47".into(),
            title: "Week 47".into(),
            text: "All well.".into(),
            html: "<p>All well.</p>".into(),
            data: json!({"risk": 0}),
        };
        let put = async |new: &NewReport| -> i64 {
            b.kit.write(b.kit.put_report(new).unwrap()).await.unwrap().rows[0].clone().one().unwrap()
        };
        let id = put(&new).await;
        new.text = "Not so well.".into();
        assert_eq!(put(&new).await, id);
        let report = b.kit.report(id).await.unwrap();
        assert_eq!((report.text.as_str(), report.data.0), ("Not so well.", json!({"risk": 0})));
        new.period = "2026-W48".into();
        put(&new).await;
        let periods: Vec<String> =
            b.kit.reports("weekly", 10).await.unwrap().into_iter().map(|r| r.period).collect();
        assert_eq!(periods, ["2026-W48", "2026-W47"]);
        new.html = "x".repeat((1 << 20) + 1);
        assert!(matches!(b.kit.put_report(&new), Err(KitError::Invalid { field: "html", .. })));
    }

    pub async fn a_delivery_that_was_cut_off_is_looked_for_first(b: Bench) {
        let ask = async |key: &str| -> i64 {
            let statement = b.kit.deliver(key, "devto", &json!({"title": "v1"})).unwrap();
            b.kit.write(statement).await.unwrap().rows[0].clone().one().unwrap()
        };
        let id = ask("post/1/devto").await;
        assert_eq!(ask("post/1/devto").await, id, "asked for twice, it is one");
        let Next::Send(delivery) = b.kit.begin_delivery(id).await.unwrap() else {
            panic!("it waits to be sent")
        };
        assert_eq!((delivery.tries, delivery.state), (1, DeliveryState::Sending));
        // Killed here: nobody knows.
        assert!(matches!(b.kit.begin_delivery(id).await.unwrap(), Next::Reconcile(_)));
        b.kit.not_there(id).await.unwrap();
        assert!(matches!(b.kit.begin_delivery(id).await.unwrap(), Next::Send(d) if d.tries == 2));
        b.kit.refused(id, Refusal::Unclear, "the answer was lost").await.unwrap();
        assert_eq!(b.kit.deliveries(DeliveryState::Unknown, 0, 10).await.unwrap().len(), 1);
        assert!(b.kit.redeliver(id).await.unwrap());
        assert!(
            matches!(b.kit.begin_delivery(id).await.unwrap(), Next::Reconcile(_)),
            "a person's wish does not make it known"
        );
        b.kit.delivered(id, Some("77"), Some("https://dev.example/77")).await.unwrap();
        b.kit.delivered(id, Some("78"), None).await.unwrap();
        let sent = b.kit.delivery(id).await.unwrap();
        assert_eq!(
            (sent.state, sent.remote.as_deref(), sent.sent.map(|at| at.0)),
            (DeliveryState::Sent, Some("77"), Some(b.kit.now()))
        );
        assert!(matches!(b.kit.begin_delivery(id).await.unwrap(), Next::Nothing(_)));
        b.kit.refused(id, Refusal::ForGood, "too late").await.unwrap();
        assert_eq!(b.kit.delivery(id).await.unwrap().state, DeliveryState::Sent);
        let second = ask("post/1/mastodon").await;
        b.kit.begin_delivery(second).await.unwrap();
        b.kit.refused(second, Refusal::ForNow, "429").await.unwrap();
        assert!(matches!(b.kit.begin_delivery(second).await.unwrap(), Next::Send(_)));
        b.kit.refused(second, Refusal::ForGood, "422").await.unwrap();
        assert!(matches!(b.kit.begin_delivery(second).await.unwrap(), Next::Nothing(_)));
        assert!(b.kit.redeliver(second).await.unwrap() && !b.kit.redeliver(id).await.unwrap());
    }

    pub async fn usage_adds_up_by_service_and_day(b: Bench) {
        let call = Spent { calls: 1, bytes: 100, ..Spent::default() };
        for _ in 0..3 {
            b.kit.write(b.kit.spend("github", &call)).await.unwrap();
        }
        b.kit.write(b.kit.spend("llm", &Spent { tokens_in: 5, unpriced: 1, ..call })).await.unwrap();
        b.pass(HOUR * 24);
        b.kit.write(b.kit.spend("github", &call)).await.unwrap();
        let days = b.kit.usage("2026-11-01").await.unwrap();
        let short: Vec<_> =
            days.iter().map(|d| (d.day.as_str(), d.service.as_str(), d.calls, d.bytes)).collect();
        assert_eq!(
            short,
            [
                ("2026-11-23", "github", 1, 100),
                ("2026-11-22", "github", 3, 300),
                ("2026-11-22", "llm", 1, 100)
            ]
        );
        assert_eq!((days[2].tokens_in, days[2].unpriced), (5, 1));
        assert_eq!(b.kit.usage("2026-11-23").await.unwrap().len(), 1);
    }

    pub async fn a_budget_is_never_exceeded(b: Bench) {
        assert!(
            b.kit.reserve("llm", 1_000_000).await.unwrap().is_none(),
            "without a budget nothing is limited"
        );
        b.kit.set_budget("llm", Unit::Tokens, Period::Day, 100).await.unwrap();
        let held = b.kit.reserve("llm", 60).await.unwrap().unwrap();
        let refused = b.kit.reserve("llm", 41).await.unwrap_err();
        let text = "the budget llm has 40 tokens left until the end of 2026-11-22; 41 are wanted";
        assert_eq!(refused.to_string(), text);
        b.kit.settle_reservation(held, 10).await.unwrap();
        let budget = b.kit.budget("llm").await.unwrap().unwrap();
        assert_eq!((budget.spent, budget.reserved, budget.left(), budget.is_short()), (10, 0, 90, false));
        // Twenty at once want nine each of what is left: ten get it.
        let tries: Vec<_> = (0..20)
            .map(|_| {
                let kit = b.kit.clone();
                tokio::spawn(async move { kit.reserve("llm", 9).await })
            })
            .collect();
        let (mut got, mut not) = (Vec::new(), 0);
        for tried in tries {
            match tried.await.unwrap() {
                Ok(held) => got.push(held.unwrap()),
                Err(KitError::Exhausted { .. }) => not += 1,
                Err(e) => panic!("{e}"),
            }
        }
        assert_eq!((got.len(), not), (10, 10));
        for held in got {
            b.kit.settle_reservation(held, 8).await.unwrap();
        }
        let budget = b.kit.budget("llm").await.unwrap().unwrap();
        assert_eq!((budget.spent, budget.reserved, budget.is_short()), (90, 0, true));
        b.pass(HOUR * 24);
        assert_eq!(b.kit.budget("llm").await.unwrap().unwrap().left(), 100, "a new day");
        b.kit.set_budget("llm", Unit::Tokens, Period::Month, 0).await.unwrap();
        assert!(matches!(b.kit.reserve("llm", 1).await, Err(KitError::Exhausted { left: 0, .. })));
    }

    pub async fn what_was_reserved_by_the_dead_counts_as_spent(b: Bench) {
        b.kit.set_budget("calls", Unit::Calls, Period::Month, 10).await.unwrap();
        let forgotten = b.kit.reserve("calls", 4).await.unwrap().unwrap();
        assert_eq!(b.kit.expire_reservations().await.unwrap(), 0);
        b.pass(HOUR);
        assert_eq!(b.kit.expire_reservations().await.unwrap(), 1);
        let budget = b.kit.budget("calls").await.unwrap().unwrap();
        assert_eq!((budget.spent, budget.reserved), (4, 0));
        // It was not dead, only slow: what it says now changes nothing.
        b.kit.settle_reservation(forgotten, 1).await.unwrap();
        assert_eq!(b.kit.budget("calls").await.unwrap().unwrap().spent, 4);
    }

    pub async fn the_cache_goes_from_fresh_to_stale_to_gone(b: Bench) {
        assert_eq!(b.kit.cached("a").await.unwrap(), Cached::Missing);
        let stored = b.kit.now();
        b.kit.write(b.kit.keep("a", &json!([1]), HOUR, HOUR).unwrap()).await.unwrap();
        assert_eq!(b.kit.cached("a").await.unwrap(), Cached::Fresh(json!([1])));
        b.pass(HOUR);
        assert_eq!(b.kit.cached("a").await.unwrap(), Cached::Stale(json!([1]), stored));
        assert_eq!(b.kit.sweep_cache().await.unwrap(), 0);
        b.pass(HOUR);
        assert_eq!(b.kit.cached("a").await.unwrap(), Cached::Missing);
        assert_eq!(b.kit.sweep_cache().await.unwrap(), 1);
        b.kit.write(b.kit.keep("a", &json!(2), HOUR, HOUR).unwrap()).await.unwrap();
        b.kit.forget("a").await.unwrap();
        assert_eq!(b.kit.cached("a").await.unwrap(), Cached::Missing);
        let large = json!("x".repeat(1 << 20));
        assert!(matches!(b.kit.keep("a", &large, HOUR, HOUR), Err(KitError::Invalid { field: "value", .. })));
    }

    pub async fn a_fan_out_makes_one_job_for_each_that_is_due(b: Bench) {
        let mut sources = Vec::new();
        for n in 0..5 {
            sources.push(b.source(&format!("ada/{n}"), n).await);
        }
        b.kit.write(b.kit.source_succeeded(sources[0], &json!(null))).await.unwrap();
        b.kit.pause_source(sources[1], true).await.unwrap();
        let job = |c: &mainspring_kit::cooldown::Candidate| {
            NewJob::new("demo.sync", Json::of(&json!({"source": c.source})).unwrap())
        };
        let pass = async |most| b.kit.fan_out("repository", &Every(HOUR), most, job).await.unwrap();
        let first = pass(2).await;
        assert_eq!((first.enqueued, first.living, first.left, first.resting), (2, 0, 1, 1));
        let waiting = async || {
            let counts = b.store.counts(b.kit.project()).await.unwrap();
            counts
                .iter()
                .filter(|(_, _, state, _)| *state == JobState::Available)
                .map(|(.., n)| n)
                .sum::<u64>()
        };
        assert_eq!(waiting().await, 2);
        // The two of before live still; the pass looks behind them.
        let second = pass(2).await;
        assert_eq!((second.enqueued, second.living, second.left), (1, 2, 0));
        assert_eq!(pass(2).await.enqueued, 0);
        assert_eq!(waiting().await, 3);
        assert_eq!(b.kit.fan_out("company", &Every(HOUR), 2, job).await.unwrap(), Default::default());
    }

    pub async fn strangers_find_nothing(b: Bench) {
        let source = b.source("ada/engine", 0).await;
        let subject = b.kit.source(source).await.unwrap().subject;
        let at = "2026-11-20T00:00:00Z";
        b.kit.see(source, &[item("1", at, json!(1))], Write::new()).await.unwrap();
        b.kit.write(b.kit.metric(subject, "m", b.kit.now(), 1.0).unwrap()).await.unwrap();
        b.kit.write(b.kit.keep("a", &json!(1), HOUR, HOUR).unwrap()).await.unwrap();
        b.kit.set_budget("calls", Unit::Calls, Period::Day, 1).await.unwrap();
        let statement = b.kit.deliver("k", "devto", &json!({})).unwrap();
        let delivery: i64 = b.kit.write(statement).await.unwrap().rows[0].clone().one().unwrap();
        for stranger in b.strangers().await {
            assert!(matches!(stranger.subject(subject).await, Err(KitError::NotFound { .. })));
            assert!(stranger.subject_by_key("repository", "ada/engine").await.unwrap().is_none());
            assert!(stranger.subjects("repository", 0, 10).await.unwrap().is_empty());
            assert!(matches!(stranger.source(source).await, Err(KitError::NotFound { .. })));
            assert!(stranger.sources(subject).await.unwrap().is_empty());
            assert!(stranger.put_source(subject, "x", "y", &json!({})).await.is_err());
            assert!(stranger.see(source, &[item("2", at, json!(1))], Write::new()).await.is_err());
            assert!(stranger.open_items(source, "issue", 10).await.unwrap().is_empty());
            assert!(
                stranger
                    .items(source, "issue", at.parse().unwrap(), b.clock.now(), 10)
                    .await
                    .unwrap()
                    .is_empty()
            );
            assert_eq!(stranger.close_unseen(source, "issue", b.clock.now()).await.unwrap(), 0);
            assert!(stranger.latest(subject, "m", b.kit.now()).await.unwrap().is_none());
            assert!(stranger.write(stranger.metric(subject, "m", b.kit.now(), 2.0).unwrap()).await.is_err());
            assert_eq!(stranger.cached("a").await.unwrap(), Cached::Missing);
            assert!(stranger.budget("calls").await.unwrap().is_none());
            assert!(stranger.begin_delivery(delivery).await.is_err());
            assert!(stranger.delete_subject(subject).await.is_err());
            assert_eq!(
                stranger
                    .fan_out("repository", &Every(HOUR), 9, |_| NewJob::new("x", Json::null()))
                    .await
                    .unwrap(),
                Default::default()
            );
        }
        b.kit.delete_subject(subject).await.unwrap();
        assert!(b.kit.source(source).await.is_err(), "with all that was kept of it");
    }
}

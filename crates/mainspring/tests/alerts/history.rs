//! A backtest says what really happened, and looks that were left out are made up for.

use crate::scene::{Scene, minutes, on_both};
use jiff::Timestamp;
use mainspring::alerts::{self, HeartbeatSpec, RuleSpec};
use mainspring::clock::{Entropy, Seeded};
use mainspring::core::alert::{Condition, Over, Rule, Target};
use mainspring::core::job::NewJob;
use std::time::Duration;

type Told = Vec<(String, Timestamp, Option<Timestamp>)>;

async fn live(s: &Scene, rule: i64) -> Told {
    let own =
        |a: mainspring::alerts::AlertRecord| (a.rule == rule).then_some((a.subject, a.fired_at, a.ended_at));
    let mut told: Told = s.alerts().await.into_iter().filter_map(own).collect();
    told.sort();
    told
}

async fn tested(s: &Scene, rule: &Rule, period: Duration) -> Told {
    let found = alerts::backtest(&s.client, rule, period).await.expect("a backtest");
    let mut told: Told = found.episodes.into_iter().map(|e| (e.subject, e.from, e.until)).collect();
    told.sort();
    told
}

fn conditions() -> Vec<Rule> {
    let kinds = || Target::each(Over::Kinds);
    let rate = Condition::FailureRate { of: kinds(), above: 40.0, over: minutes(10), at_least: 3 };
    let unusual = Condition::Unusual {
        of: kinds(),
        deviations: 3.0,
        against: minutes(60),
        at_least: 5,
        ignore_below: Duration::from_millis(100),
    };
    let failures = |of, in_a_row| Condition::Failures { of, in_a_row };
    vec![
        Rule::new(failures(kinds(), 2)),
        Rule { together: true, ..Rule::new(failures(kinds(), 1)) },
        Rule { cool_down: minutes(9), ..Rule::new(failures(Target::each(Over::Everything), 1)) },
        Rule { breaches: 2, of_looks: 3, ..Rule::new(rate) },
        Rule::new(Condition::Slow { of: kinds(), longer_than: Duration::from_secs(2) }),
        Rule::new(Condition::Slow { of: Target::each(Over::Everything), longer_than: minutes(2) }),
        Rule::new(unusual),
        Rule { every: minutes(5), ..Rule::new(failures(Target::each(Over::Queues), 2)) },
        Rule::new(Condition::Backlog { queue: None, more_than: 2 }),
        Rule::new(Condition::Waiting { queue: None, longer_than: minutes(4) }),
        Rule::new(Condition::Silent { heartbeat: None }),
    ]
}

#[tokio::test]
async fn a_backtest_fires_when_the_living_rule_fired() {
    on_both(|s| async move {
        let spec = HeartbeatSpec { period: minutes(6), grace: minutes(1), paused: false };
        alerts::make_heartbeat(&s.client, "outside", &spec, "t").await.unwrap();
        let mut rules = Vec::new();
        for (n, rule) in conditions().into_iter().enumerate() {
            let id = s.rule_of(&format!("rule {n}"), RuleSpec::new(rule.clone())).await;
            rules.push((id, rule));
        }
        let mut long = Vec::new();
        let tables = s.client.tables().unwrap();
        let chance = Seeded::new(7);
        let pick = |n: u64| chance.bits() % n;
        for _ in 0..90 {
            for _ in 0..pick(4) {
                let usual = Duration::from_millis(50 << pick(4));
                let took = if pick(12) == 0 { Duration::from_secs(12) } else { usual };
                let kind = ["a", "b"][pick(2) as usize];
                s.run(s.job(kind), pick(5) > 1, took).await;
            }
            // Some go on for minutes.
            if pick(5) == 0 && long.len() < 3 {
                long.push(s.start(s.job(["c", "d", "e"][long.len()]), Duration::from_secs(20)).await);
            }
            if pick(5) == 0 && !long.is_empty() {
                for open in long.drain(..) {
                    s.end(open, true).await;
                }
            }
            if pick(6) == 0 {
                let lane = NewJob { queue: "lane".into(), ..s.job("stays") };
                s.store.enqueue(s.now(), s.client.project(), vec![lane; 2]).await.unwrap();
            }
            if pick(8) == 0 {
                s.client.cancel_all(|kind| kind == "stays").await;
            }
            if pick(6) == 0 {
                alerts::ping(&*tables, s.now(), "t", pick(4) == 0).await.unwrap();
            }
            s.minute().await;
        }
        let mut all = 0;
        for (id, rule) in rules {
            let (live, tested) = (live(&s, id).await, tested(&s, &rule, minutes(92)).await);
            assert_eq!(live, tested, "{}", rule.words());
            assert!(!live.is_empty(), "{} never fired: the scene shows nothing", rule.words());
            all += live.len();
        }
        assert!(all > 30, "{all}");
    })
    .await;
}

trait CancelAll {
    async fn cancel_all(&self, kind: impl Fn(&str) -> bool);
}

impl CancelAll for mainspring::Client {
    async fn cancel_all(&self, kind: impl Fn(&str) -> bool) {
        use mainspring::core::store::{Bulk, JobFilter};
        let states = vec![mainspring::core::job::JobState::Available];
        let filter = JobFilter { states, ..JobFilter::default() };
        let rows = self.store().jobs(self.project(), &filter, None, 1000).await.unwrap().rows;
        let ids = rows.iter().filter(|j| kind(&j.kind)).map(|j| j.id).collect::<Vec<_>>();
        let filter = JobFilter { ids, ..JobFilter::default() };
        if !filter.ids.is_empty() {
            let bulk = Bulk { filter: &filter, after: None, limit: 1000 };
            self.store().cancel_jobs(self.now(), self.project(), bulk, "test", "test").await.unwrap();
        }
    }
}

#[tokio::test]
async fn looks_that_were_left_out_are_made_up_for() {
    on_both(|s| async move {
        let rule = Rule::new(Condition::Failures { of: Target::each(Over::Kinds), in_a_row: 2 });
        let id = s.rule_of("Failing", RuleSpec::new(rule.clone())).await;
        s.minute().await;
        // Nobody looks for twenty minutes, in which it failed twice and was well again.
        for (at, good) in [("10:05:10", false), ("10:06:10", false), ("10:15:10", true)] {
            s.clock.set(format!("2026-11-22T{at}Z").parse().unwrap());
            if good { s.good("mail").await } else { s.bad("mail").await }
        }
        s.clock.set("2026-11-22T10:21:30Z".parse().unwrap());
        s.look().await;
        let at = |text: &str| format!("2026-11-22T{text}Z").parse::<Timestamp>().unwrap();
        let wanted = vec![("mail".to_owned(), at("10:07:00"), Some(at("10:16:00")))];
        assert_eq!(live(&s, id).await, wanted);
        assert_eq!(tested(&s, &rule, minutes(60)).await, wanted);
    })
    .await;
}

#[tokio::test]
async fn a_backtest_is_bounded_and_says_what_it_saw() {
    on_both(|s| async move {
        s.bad("mail").await;
        s.minutes(2).await;
        let rule = Rule::new(Condition::Failures { of: Target::each(Over::Kinds), in_a_row: 1 });
        let found = alerts::backtest(&s.client, &rule, minutes(30 * 24 * 60)).await.unwrap();
        assert_eq!((found.attempts, found.episodes.len(), found.series_since), (1, 1, None));
        assert_eq!(found.episodes[0].until, None, "it fires still");
        for period in [Duration::ZERO, minutes(100 * 24 * 60)] {
            assert!(
                alerts::backtest(&s.client, &rule, period).await.unwrap_err().to_string().contains("period")
            );
        }
        let bad = Rule { breaches: 9, ..rule };
        assert!(
            alerts::backtest(&s.client, &bad, minutes(5)).await.unwrap_err().to_string().contains("breaches")
        );
    })
    .await;
}

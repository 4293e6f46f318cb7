//! What people do about alerts and rules.

use crate::scene::{Scene, minutes, on_both};
use mainspring::alerts::{self, AlertState, RuleSpec};
use mainspring::core::alert::{Condition, Rule, Target};
use mainspring::core::tables::{Statement, Write};
use mainspring::core::time;
use mainspring::notify::Severity;

fn failing() -> Condition {
    Condition::Failures { of: Target::parse("kinds").expect("a target"), in_a_row: 1 }
}

#[tokio::test]
async fn a_new_project_begins_with_rules_of_its_own() {
    on_both(|s| async move {
        let other = s.client.clone().in_project_named("shop").await.unwrap();
        s.minutes(6).await;
        let rules = alerts::rules(&other).await.unwrap();
        let names: Vec<&str> = rules.iter().map(|r| r.name.as_str()).collect();
        let wanted = [
            "A heartbeat is silent",
            "A schedule did not start",
            "A schedule keeps failing",
            "Jobs wait too long",
        ];
        assert_eq!(names, wanted);
        assert!(rules.iter().all(|r| r.spec.channels.is_empty()), "in the dashboard until a channel exists");
        assert_eq!(alerts::rules(&s.client).await.unwrap(), [], "what somebody deleted does not come back");
    })
    .await;
}

#[tokio::test]
async fn a_snoozed_alert_is_told_anew_when_it_still_fires() {
    on_both(|s| async move {
        s.rule("Failing", failing()).await;
        s.bad("mail").await;
        s.minute().await;
        let uid = s.alerts().await[0].uid.clone();
        let until = time::plus(s.now(), minutes(3));
        alerts::snooze(&s.client, &uid, Some(until), Some("known")).await.unwrap();
        assert_eq!(alerts::alert(&s.client, &uid).await.unwrap().state(s.now()), AlertState::Snoozed);
        s.minutes(3).await;
        assert_eq!(s.notices().await.len(), 1);
        s.minutes(2).await;
        assert_eq!(s.notices().await.len(), 2, "{:?}", s.notices().await);
        assert_eq!(alerts::alert(&s.client, &uid).await.unwrap().state(s.now()), AlertState::Firing);
        let what: Vec<String> =
            alerts::log(&s.client, &uid).await.unwrap().into_iter().map(|l| l.what).collect();
        assert_eq!(what, ["fired", "snoozed", "woke"]);
        let past = alerts::snooze(&s.client, &uid, Some(time::minus(s.now(), minutes(1))), None).await;
        assert!(past.unwrap_err().to_string().contains("this instant is past"));
    })
    .await;
}

#[tokio::test]
async fn a_snoozed_rule_keeps_alerts_and_tells_nobody() {
    on_both(|s| async move {
        let rule = s.rule("Failing", failing()).await;
        alerts::snooze_rule(&s.client, rule, Some(time::plus(s.now(), minutes(60)))).await.unwrap();
        s.bad("mail").await;
        s.minute().await;
        assert_eq!((s.alerts().await.len(), s.notices().await.len()), (1, 0));
        alerts::snooze_rule(&s.client, rule, None).await.unwrap();
        s.bad("other").await;
        s.minute().await;
        assert_eq!((s.alerts().await.len(), s.notices().await.len()), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn an_alert_is_taken_on_and_closed_by_hand() {
    on_both(|s| async move {
        s.rule("Failing", failing()).await;
        s.bad("mail").await;
        s.minute().await;
        assert_eq!(alerts::firing(&s.client).await.unwrap(), 1);
        let uid = s.alerts().await[0].uid.clone();
        alerts::acknowledge(&s.client, &uid, Some("on it")).await.unwrap();
        let seen = alerts::alert(&s.client, &uid).await.unwrap();
        assert_eq!((seen.acked_by.as_deref(), seen.acked_at), (Some("ada"), Some(s.now())));
        alerts::close(&s.client, &uid, None).await.unwrap();
        assert_eq!(alerts::firing(&s.client).await.unwrap(), 0);
        assert!(
            alerts::acknowledge(&s.client, &uid, None).await.unwrap_err().to_string().contains("is over")
        );
        // It goes on failing: it was closed on purpose and stays silent until it was well once.
        s.bad("mail").await;
        s.minutes(2).await;
        assert_eq!(s.alerts().await.len(), 1);
        s.good("mail").await;
        s.minute().await;
        s.bad("mail").await;
        s.minute().await;
        assert_eq!(s.alerts().await.len(), 2);
        assert_eq!(s.events("alert.").await[..3], ["alert.firing", "alert.acknowledged", "alert.closed"]);
        assert!(alerts::alert(&s.client, "alt_none").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn what_was_closed_by_hand_recovers_in_silence() {
    on_both(|s| async move {
        s.rule("Failing", failing()).await;
        s.bad("mail").await;
        s.bad("other").await;
        s.minute().await;
        let mail = s.alerts().await.into_iter().find(|a| a.subject == "mail").unwrap();
        alerts::close(&s.client, &mail.uid, None).await.unwrap();
        s.good("mail").await;
        s.minutes(2).await;
        let states = async || s.notices().await.into_iter().map(|(state, _)| state).collect::<Vec<_>>();
        assert_eq!(states().await, ["firing"], "people said themselves that it is over");
        assert_eq!(s.events("alert.recovered").await, Vec::<String>::new());
        let closed = alerts::alert(&s.client, &mail.uid).await.unwrap();
        assert_eq!(closed.ended_why.as_deref(), Some("closed by hand"));
        let log = alerts::log(&s.client, &mail.uid).await.unwrap();
        assert_eq!(log.last().unwrap().what, "closed");
        // What nobody closed is told as ever, and the closed one fires anew.
        s.good("other").await;
        s.minute().await;
        assert_eq!(states().await, ["firing", "recovered"]);
        assert_eq!(s.notices().await[1].1, "Recovered: Failing: other");
        s.bad("mail").await;
        s.minute().await;
        assert_eq!(states().await, ["firing", "recovered", "firing"]);
    })
    .await;
}

#[tokio::test]
async fn alerts_that_are_over_for_ninety_days_go_with_their_logs() {
    on_both(|s| async move {
        s.rule("Failing", failing()).await;
        for n in 0..3 {
            s.bad(&format!("kind-{n}")).await;
        }
        s.minute().await;
        // Two end; one stays open however old it grows.
        s.good("kind-0").await;
        s.good("kind-1").await;
        s.minute().await;
        let entries = async || {
            let all = Statement::new("SELECT count(*) FROM alerts_log");
            s.client.tables().unwrap().read(all).await.unwrap().one::<i64>().unwrap()
        };
        assert_eq!((s.alerts().await.len(), entries().await), (3, 5));
        let kept = |days: u64| time::plus("2026-11-22T10:00:30Z".parse().unwrap(), minutes(days * 24 * 60));
        s.clock.set(kept(89));
        s.minutes(10).await;
        assert_eq!(s.alerts().await.len(), 3, "not yet");
        s.clock.set(kept(91));
        s.minutes(10).await;
        let left = s.alerts().await;
        assert_eq!(left.iter().map(|a| a.subject.as_str()).collect::<Vec<_>>(), ["kind-2"]);
        assert_eq!(entries().await, 1);
    })
    .await;
}

#[tokio::test]
async fn rules_are_changed_switched_off_and_deleted_and_their_alerts_end() {
    on_both(|s| async move {
        let rule = s.rule("Failing", failing()).await;
        let again = alerts::make_rule(&s.client, "Failing", &RuleSpec::new(Rule::new(failing()))).await;
        assert!(again.unwrap_err().to_string().contains("there is an alert rule \"Failing\" already"));
        let fire = async || {
            s.good("mail").await;
            s.minute().await;
            s.bad("mail").await;
            s.minute().await;
            s.alerts().await.last().unwrap().clone()
        };
        let first = fire().await;
        // How loud it is changes nothing about what it saw.
        let louder = RuleSpec { severity: Severity::Critical, ..RuleSpec::new(Rule::new(failing())) };
        alerts::put_rule(&s.client, rule, "Failing", &louder).await.unwrap();
        assert!(alerts::alert(&s.client, &first.uid).await.unwrap().ended_at.is_none());
        let other = Condition::Failures { of: Target::parse("kinds").unwrap(), in_a_row: 2 };
        alerts::put_rule(&s.client, rule, "Failing", &RuleSpec::new(Rule::new(other))).await.unwrap();
        let ended = alerts::alert(&s.client, &first.uid).await.unwrap();
        assert_eq!(ended.ended_why.as_deref(), Some("the rule was changed"));
        alerts::put_rule(&s.client, rule, "Failing", &louder).await.unwrap();
        let second = fire().await;
        alerts::enable_rule(&s.client, rule, false).await.unwrap();
        let ended = alerts::alert(&s.client, &second.uid).await.unwrap();
        assert_eq!(ended.ended_why.as_deref(), Some("the rule was switched off"));
        s.bad("mail").await;
        // Nothing is caught up with when it looks again.
        s.minutes(5).await;
        alerts::enable_rule(&s.client, rule, true).await.unwrap();
        s.minutes(2).await;
        assert_eq!(s.alerts().await.len(), 2);
        let third = fire().await;
        assert_eq!(third.severity, Severity::Critical);
        alerts::delete_rule(&s.client, rule).await.unwrap();
        let ended = alerts::alert(&s.client, &third.uid).await.unwrap();
        assert_eq!(ended.ended_why.as_deref(), Some("the rule was deleted"));
        assert!(alerts::rule(&s.client, rule).await.is_err());
        let acts = s.events("rule.").await;
        let wanted =
            ["rule.changed", "rule.changed", "rule.changed", "rule.disabled", "rule.enabled", "rule.deleted"];
        assert_eq!(acts[acts.len() - 6..], wanted);
    })
    .await;
}

#[tokio::test]
async fn a_rule_with_a_channel_makes_its_delivery_in_the_same_write() {
    on_both(|s| async move {
        let channel = channel(&s).await;
        let spec = RuleSpec {
            channels: vec![channel],
            note: "Call Mara".into(),
            ..RuleSpec::new(Rule::new(failing()))
        };
        let wrong = RuleSpec { channels: vec![channel + 1], ..spec.clone() };
        let refused = alerts::make_rule(&s.client, "Failing", &wrong).await.unwrap_err();
        assert!(refused.to_string().contains("there is no channel"), "{refused}");
        let rule = s.rule_of("Failing", spec).await;
        s.bad("mail").await;
        s.bad("other").await;
        s.minute().await;
        let jobs = async || {
            let filter = mainspring::core::store::JobFilter {
                kind: Some(mainspring::notify::KIND.into()),
                ..Default::default()
            };
            s.store.jobs(s.client.project(), &filter, None, 10).await.unwrap().rows.len()
        };
        assert_eq!(
            (s.alerts().await.len(), s.notices().await.len(), jobs().await),
            (2, 1, 1),
            "two alerts, told together"
        );
        assert!(s.notices().await[0].1.ends_with(", and one more alert"), "{:?}", s.notices().await);
        alerts::send_test(&s.client, rule).await.unwrap();
        let (state, title) = s.notices().await.pop().unwrap();
        assert_eq!((state.as_str(), title.as_str()), ("test", "Test of the alert rule “Failing”"));
        assert_eq!(jobs().await, 2);
    })
    .await;
}

async fn channel(s: &Scene) -> i64 {
    let insert = Statement::new(
        "INSERT INTO notify_channels (project, name, kind, settings, timing, created, changed)
         VALUES (?1, 'ops', 'webhook', '{}', '{}', 0, 0) RETURNING id",
    );
    let tables = s.client.tables().unwrap();
    let mut written = tables.write(Write::new().then(insert.bind(s.client.project()))).await.unwrap();
    written.rows.swap_remove(0).one().unwrap()
}

#[tokio::test]
async fn many_that_fail_at_once_fire_in_bounded_steps_and_all_of_them() {
    on_both(|s| async move {
        s.rule("Failing", failing()).await;
        s.rule_of("Failing together", RuleSpec::new(Rule { together: true, ..Rule::new(failing()) })).await;
        for n in 0..40 {
            s.bad(&format!("kind-{n:02}")).await;
        }
        s.minute().await;
        let firing =
            |all: Vec<mainspring::alerts::AlertRecord>| all.iter().filter(|a| !a.subject.is_empty()).count();
        assert_eq!(firing(s.alerts().await), 15);
        s.minutes(2).await;
        assert_eq!(firing(s.alerts().await), 40);
        let together: Vec<_> = s.alerts().await.into_iter().filter(|a| a.subject.is_empty()).collect();
        assert_eq!(together.len(), 1);
        assert_eq!(together[0].breached.len(), 40);
        assert!(together[0].title.ends_with("failed (and 39 others)"), "{}", together[0].title);
    })
    .await;
}

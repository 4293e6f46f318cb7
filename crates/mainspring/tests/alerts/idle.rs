//! What rules cost while nothing happens.

use crate::scene::{Scene, minutes};
use mainspring::core::alert::{Condition, Over, Target};
use std::time::Duration;

/// The nth of fifty rules: of every sort, each with values of its own.
fn condition(n: u64) -> Condition {
    let of = || match n % 4 {
        0 => Target::each(Over::Kinds),
        1 => Target::each(Over::Queues),
        2 => Target::each(Over::Schedules),
        _ => Target { over: Over::Kinds, name: Some(format!("kind-{n}")) },
    };
    let longer_than = Duration::from_secs(60 + n);
    match n % 9 {
        0 | 1 => Condition::Failures { of: of(), in_a_row: 1 + n as u32 },
        2 => Condition::FailureRate { of: of(), above: 5.0, over: minutes(30), at_least: 1 + n },
        3 | 4 => Condition::Slow { of: of(), longer_than },
        5 => Condition::Waiting { queue: None, longer_than },
        6 => Condition::Backlog { queue: None, more_than: n },
        7 => Condition::Late { schedule: Some(format!("schedule-{n}")), by: minutes(1 + n) },
        _ => Condition::NodeLost { node: None },
    }
}

/// Statements that two nodes send for ten looks.
async fn statements(s: &Scene, database: &mainspring_testkit::pg::Database) -> Vec<String> {
    s.minutes(2).await;
    let before = database.statements().len();
    s.minutes(10).await;
    database.statements().split_off(before)
}

#[tokio::test]
async fn fifty_rules_that_see_nothing_cost_hardly_more_than_nine() {
    let (s, database) = Scene::counted().await;
    for n in 0..9 {
        s.rule(&format!("rule {n}"), condition(n)).await;
    }
    let nine = statements(&s, &database).await;
    for n in 9..50 {
        s.rule(&format!("rule {n}"), condition(n)).await;
    }
    let fifty = statements(&s, &database).await;
    assert!(nine.len() >= 100, "the log holds every statement: {nine:#?}");
    // Windows of attempts that nine rules do not ask for: a few more, whatever the number of rules.
    assert!(fifty.len() <= nine.len() + 10 * 2 * 12, "{} and {}", nine.len(), fifty.len());
    assert!(fifty.len() <= 10 * 2 * 40, "{}: {fifty:#?}", fifty.len());
    assert!(
        !fifty.iter().any(|text| text.contains("alerts_rules SET")),
        "nothing is written of a quiet rule"
    );
}

//! What an alert says: its headline, and values with their units.

use mainspring_core::alert::{Condition, Over, Rule};
use mainspring_core::duration;
use std::time::Duration;

fn seconds(value: f64) -> String {
    duration::format(Duration::from_secs_f64(value.clamp(0.0, 1e9).round()))
}

fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What was seen, with its unit: `14.2 %`, `3 in a row`, `2h5m`.
pub fn value(condition: &Condition, value: f64) -> String {
    match condition {
        Condition::Failures { .. } => format!("{} in a row", plain(value)),
        Condition::FailureRate { .. } => format!("{value:.1} %"),
        Condition::Slow { .. } if value < 10.0 => format!("{} s", plain(value)),
        Condition::Slow { .. } => seconds(value),
        Condition::Unusual { .. } => format!("{value:.1} deviations"),
        Condition::Late { .. } | Condition::Silent { .. } => format!("late by {}", seconds(value)),
        Condition::Waiting { .. } => seconds(value),
        Condition::Backlog { .. } => format!("{} jobs", plain(value)),
        Condition::NodeLost { .. } => "silent".into(),
        Condition::Metric { .. } => plain(value),
    }
}

fn whom(condition: &Condition, subject: &str) -> String {
    let what = match condition {
        Condition::Failures { of, .. }
        | Condition::FailureRate { of, .. }
        | Condition::Slow { of, .. }
        | Condition::Unusual { of, .. } => match of.over {
            Over::Schedules => "schedule",
            Over::Kinds => "kind",
            Over::Queues => "queue",
            Over::Everything => return "All jobs together".into(),
        },
        Condition::Late { .. } => "schedule",
        Condition::Silent { .. } => "heartbeat",
        Condition::Waiting { .. } | Condition::Backlog { .. } => "queue",
        Condition::NodeLost { .. } => "node",
        Condition::Metric { .. } => return subject.to_owned(),
    };
    let mut letters = what.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase()).into_iter();
    format!("{}{} {subject}", first.collect::<String>(), letters.as_str())
}

/// What is wrong, in one line: `Schedule nightly failed 3 times in a row`.
pub fn headline(rule: &Rule, breached: &[(String, f64)]) -> String {
    let Some((subject, seen)) = breached.first() else { return rule.words() };
    let condition = &rule.condition;
    let (whom, seen) = (whom(condition, subject), *seen);
    let mut text = match condition {
        Condition::Failures { .. } if seen <= 1.0 => format!("{whom} failed"),
        Condition::Failures { .. } => format!("{whom} failed {} times in a row", plain(seen)),
        Condition::FailureRate { over, .. } => {
            format!("{whom}: {seen:.1} % failed in {}", duration::format(*over))
        }
        Condition::Slow { longer_than, .. } => format!(
            "{whom}: an attempt took {}, limit {}",
            value(condition, seen),
            duration::format(*longer_than)
        ),
        Condition::Unusual { .. } => {
            format!("{whom}: an attempt took unusually long ({})", value(condition, seen))
        }
        Condition::Late { .. } => format!("{whom} did not start in time, {}", value(condition, seen)),
        Condition::Silent { .. } => format!("{whom} did not ping in time, {}", value(condition, seen)),
        Condition::Waiting { .. } => format!("{whom}: a job waits for {}", seconds(seen)),
        Condition::Backlog { .. } => format!("{whom}: {} jobs wait", plain(seen)),
        Condition::NodeLost { .. } => format!("{whom} went silent"),
        Condition::Metric { above, below, .. } => {
            let beyond = match (above, below) {
                (Some(a), _) if seen > *a => format!("above {a}"),
                (_, Some(b)) => format!("below {b}"),
                _ => String::new(),
            };
            format!("{whom} is {}, {beyond}", plain(seen))
        }
    };
    match breached.len() - 1 {
        0 => {}
        1 => text.push_str(" (and one other)"),
        n => text.push_str(&format!(" (and {n} others)")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_core::alert::Target;

    #[test]
    fn an_alert_says_what_is_wrong_in_one_line() {
        let said = |condition, breached: &[(&str, f64)]| {
            let breached: Vec<_> = breached.iter().map(|(s, v)| ((*s).to_owned(), *v)).collect();
            headline(&Rule::new(condition), &breached)
        };
        let of = |text| Target::parse(text).unwrap();
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let failures = Condition::Failures { of: of("schedules"), in_a_row: 3 };
        assert_eq!(
            said(failures, &[("nightly", 4.0), ("hourly", 3.0), ("x", 3.0)]),
            "Schedule nightly failed 4 times in a row (and 2 others)"
        );
        let rate =
            Condition::FailureRate { of: of("everything"), above: 5.0, over: minutes(30), at_least: 20 };
        assert_eq!(said(rate, &[("", 14.04)]), "All jobs together: 14.0 % failed in 30m");
        let waiting = Condition::Waiting { queue: None, longer_than: minutes(5) };
        assert_eq!(said(waiting, &[("mail", 600.4)]), "Queue mail: a job waits for 10m");
        let metric = Condition::Metric {
            series: "leads".into(),
            above: None,
            below: Some(3.0),
            no_older_than: minutes(1),
        };
        assert_eq!(said(metric, &[("leads", 2.5)]), "leads is 2.5, below 3");
    }
}

//! Every bound of the engine in one file: nothing is unbounded (invariant 9).
//!
//! A bound is refused with an error that names it (payloads, names) or cuts with a mark (outputs,
//! logs, error texts); which of the two is said at each.

use std::time::Duration;

/// Rows that one store transaction may enqueue, finish, claim or fire.
pub const BATCH: usize = 1_000;
/// Job numbers whose leases a store may keep together: calls side by side that end jobs of different
/// such blocks (number divided by this) never wait for one another.
pub const NEIGHBOURS: i64 = 128;
/// Bytes of a job's payload (refused above).
pub const PAYLOAD: usize = 1 << 20;
/// Bytes of a job's output (refused above: the attempt fails as not retryable).
pub const OUTPUT: usize = 1 << 20;
/// Bytes of one remembered step's result (refused above).
pub const STEP_RESULT: usize = 256 << 10;
/// Steps one job may remember.
pub const STEPS: usize = 1_000;
/// Bytes of an error's text with its chain (cut with a mark).
pub const ERROR_TEXT: usize = 16 << 10;
/// Causes kept of an error's chain (cut).
pub const ERROR_CHAIN: usize = 16;
/// Characters of a name: project, queue, kind, schedule, step, node (refused above).
pub const NAME: usize = 200;
/// Characters of a concurrency or unique key (refused above).
pub const KEY: usize = 500;
/// Characters of a note, author or reason (cut with a mark).
pub const NOTE: usize = 1_000;
/// Lines of log kept per attempt; one more says that the rest was dropped.
pub const LOG_LINES: usize = 1_000;
/// Bytes of one log line (cut with a mark).
pub const LOG_LINE: usize = 4 << 10;
/// Attempts a job may ever have, restored ones included; then it fails with that reason.
pub const ATTEMPTS: u32 = 10_000;
/// Deaths of its worker after which a job is parked as poison.
pub const DEATHS: u32 = 3;
/// Jobs of one batch.
pub const BATCH_JOBS: u64 = 1_000_000;
/// Rows of one page of a listing.
pub const PAGE: usize = 1_000;
/// Rows a filtered listing looks at before it answers with what it has and a cursor.
pub const SCAN: usize = 20_000;
/// Nominal fires one `plan` call looks at; a longer past takes several calls.
pub const FIRES_PER_PLAN: usize = 10_000;
/// Outcomes kept per kind, queue and schedule for the health rule.
pub const RECENT: usize = 50;
/// Statements of one write to tables (refused above).
pub const TABLE_STATEMENTS: usize = 100;
/// Bytes of one statement with its parameters (refused above).
pub const TABLE_BYTES: usize = 4 << 20;
/// Rows that one statement to tables may give (refused above).
pub const TABLE_ROWS: usize = 10_000;
/// Bytes that one statement to tables may give (refused above).
pub const TABLE_ANSWER: usize = 16 << 20;
/// Looks back that an alert rule may count over (refused above).
pub const ALERT_LOOKS: u32 = 60;
/// Subjects of one alert rule that are seen and remembered; more are passed over.
pub const ALERT_SUBJECTS: usize = 1_000;
/// Alerts of one rule that may fire, and that may recover, at one look; the rest follows.
pub const ALERT_CHANGES: usize = 15;
/// Alert rules of a project (refused above).
pub const ALERT_RULES: usize = 100;
/// Channels of an alert rule (refused above).
pub const ALERT_CHANNELS: usize = 10;
/// Heartbeats of a project (refused above).
pub const HEARTBEATS: usize = 1_000;
/// Points of series that a backtest reads; the oldest are left out.
pub const ALERT_POINTS: usize = 200_000;
/// Steps of SQLite's machine that one write to tables may take, about a second: it passes through
/// the writer that jobs pass through (refused above). PostgreSQL has the store's time limit.
pub const TABLE_WRITE_STEPS: u32 = 20_000_000;
/// The same for a read, which only other reads wait for.
pub const TABLE_READ_STEPS: u32 = 200_000_000;
/// Bytes of a secret's value (refused above).
pub const SECRET: usize = 32 << 10;
/// Secrets of one project (refused above).
pub const SECRETS: usize = 500;
/// Secrets one payload may name (the job fails above).
pub const SECRETS_OF_A_JOB: usize = 50;
/// The longest duration accepted anywhere.
pub const DURATION: Duration = Duration::from_secs(100 * 366 * 86_400);
/// JSON nesting accepted anywhere.
pub const JSON_DEPTH: usize = 128;
/// The waiting time that outweighs one level of priority (see [`crate::claim`]).
pub const PRIORITY_AGE: Duration = Duration::from_secs(60);

/// `text` cut to at most `max` bytes at a character boundary, with a mark when something was cut.
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mark = format!("… [cut, {} bytes in all]", text.len());
    let mut end = max.saturating_sub(mark.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}", &text[..end])
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cut_text_fits_keeps_characters_whole_and_says_so() {
        let long = "é".repeat(1000);
        let cut = super::cut(&long, 101);
        assert!(cut.len() <= 101 && cut.contains("[cut, 2000 bytes in all]"), "{cut}");
        assert_eq!(super::cut("short", 101), "short");
    }
}

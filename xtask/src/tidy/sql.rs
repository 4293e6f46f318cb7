//! No SQL reads a clock or rolls dice: every store call is given `now`, so that the simulator owns
//! time and both stores write the same.

use super::Finding;
use crate::lex::{Kind, lines_with_word, parts};
use crate::repo::{Repo, RepoFile};

/// In lower case; whole words.
const CLOCKS: &[&str] = &[
    "now()",
    "'now'",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtimestamp",
    "localtime",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "unixepoch()",
    "julianday()",
];
const CHANCE: &[&str] =
    &["random()", "randomblob", "gen_random_uuid", "gen_random_bytes", "uuid_generate_v4"];

/// The one file that asks the database for its time: to measure how far this machine's clock is off,
/// and to say how old the oldest transaction is.
const TELLS_THE_TIME: &str = "crates/store-postgres/src/doctor.rs";

/// Reads the strings of Rust files and all of `.sql` files, where SQL is kept.
pub fn no_clock_or_chance(repo: &Repo) -> Vec<Finding> {
    let keeps_sql = |file: &&RepoFile| {
        ["crates/store-", "crates/kit/", "packs/"].iter().any(|folder| file.path.starts_with(folder))
            && !file.path.contains("/tests/")
            && file.path != TELLS_THE_TIME
    };
    repo.files.iter().filter(keeps_sql).flat_map(check).collect()
}

fn check(file: &RepoFile) -> Vec<Finding> {
    let texts: Vec<(usize, String)> = if file.path.ends_with(".rs") {
        parts(&file.text).into_iter().filter(|p| p.kind == Kind::Text).map(|p| (p.line, p.text)).collect()
    } else if file.path.ends_with(".sql") {
        let line = |(index, line): (usize, &str)| {
            (index + 1, line.split("--").next().unwrap_or_default().to_owned())
        };
        file.text.lines().enumerate().map(line).collect()
    } else {
        Vec::new()
    };
    let mut findings = Vec::new();
    for (first, text) in texts {
        let text = text.to_lowercase();
        for (words, why) in [
            (CLOCKS, "SQL reads no clock: bind the `now` that the call was given"),
            (CHANCE, "SQL rolls no dice: bind what the caller's `Entropy` gave"),
        ] {
            for word in words {
                let found = lines_with_word(&text, word, first).into_iter().map(|line| Finding {
                    rule: "sql-clock",
                    path: file.path.clone(),
                    line,
                    text: format!("`{word}`: {why}"),
                });
                findings.extend(found);
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        no_clock_or_chance(&Repo::of(&[(path, text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn clocks_in_sql_are_found() {
        let path = "crates/store-postgres/src/claim.rs";
        assert_eq!(lines(path, "let q = \"update jobs\n set at = NOW()\n where x\";"), [2]);
        for sql in [
            "select CURRENT_TIMESTAMP",
            "datetime('now')",
            "select unixepoch()",
            "order by random()",
            "select gen_random_uuid()",
        ] {
            assert_eq!(lines(path, &format!("f(r#\"{sql}\"#)")), [1], "{sql}");
        }
        assert_eq!(
            lines(
                "crates/store-sqlite/migrations/0001.sql",
                "-- now()\ncreate table a (at int default current_timestamp);"
            ),
            [2]
        );
    }

    #[test]
    fn rust_and_other_words_are_not() {
        let sound = "// now() is not for SQL\nlet now = clock.now(); f(\"select known(), current_timestamps, 'nowhere' where at <= ?1\")";
        assert!(lines("crates/store-sqlite/src/claim.rs", sound).is_empty());
        assert!(lines("crates/cli/src/main.rs", "\"now()\"").is_empty());
        let asks = "f(\"select clock_timestamp()\")";
        assert!(lines(TELLS_THE_TIME, asks).is_empty());
        assert_eq!(lines("crates/store-postgres/src/nodes.rs", asks), [1]);
    }
}

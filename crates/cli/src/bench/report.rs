//! Reads the result lines of a comparison run (ours and the peers', interleaved in the same rounds)
//! and prints every target as a ratio: what is asked, what was reached, and whether that is enough.

use crate::error::{CliError, Result};
use mainspring_core::code::Code;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One result line. Fields it does not know are the harness's own business.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    #[serde(default)]
    peer: String,
    #[serde(default)]
    phase: String,
    rate: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    rss_mb: Option<f64>,
    #[serde(default)]
    foreign_cores: f64,
}

/// How a figure is compared.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Our rate is at least this many times theirs.
    Rate(f64),
    /// Our median latency is at most this share of theirs.
    Latency(f64),
    /// Our 99th percentile is at most this many times our own median.
    Tail(f64),
    /// Our resident memory is at most this many MiB.
    Memory(f64),
    /// Our rate is at least this share of our own in another phase.
    Own(&'static str, f64),
}

/// One target: our system, the phase, the question, and whom it is asked about (the best of them).
struct Target(&'static str, &'static str, Ask, &'static [&'static str]);

const SQLITE: &str = "mainspring-sqlite";
const NORMAL: &str = "mainspring-sqlite-normal";
const PG: &str = "mainspring-pg";
const PG_PEERS: &[&str] = &[
    "graphile-worker",
    "graphile-worker-fast",
    "pg-boss",
    "graphile_worker-rs",
    "apalis-postgres",
    "procrastinate",
];

const TARGETS: &[Target] = &[
    Target(SQLITE, "batch", Ask::Rate(1.3), &["plainjob"]),
    Target(NORMAL, "batch", Ask::Rate(2.0), &["plainjob"]),
    Target(PG, "batch", Ask::Rate(2.5), &["apalis-postgres"]),
    Target(SQLITE, "single", Ask::Rate(0.5), &["plainjob"]),
    Target(NORMAL, "single", Ask::Rate(1.8), &["plainjob"]),
    Target(PG, "single", Ask::Rate(6.0), &["apalis-postgres"]),
    Target(SQLITE, "drain", Ask::Rate(8.0), &["plainjob"]),
    Target(NORMAL, "drain", Ask::Rate(13.0), &["plainjob"]),
    Target(PG, "drain", Ask::Rate(2.6), &["pg-boss"]),
    Target(PG, "drain", Ask::Rate(1.6), &["graphile_worker-rs"]),
    Target(SQLITE, "drain-after", Ask::Own("drain", 0.75), &[]),
    Target(NORMAL, "drain-after", Ask::Own("drain", 0.75), &[]),
    Target(PG, "drain-after", Ask::Own("drain", 0.75), &[]),
    Target(SQLITE, "latency", Ask::Latency(1.5), &["bullmq"]),
    Target(NORMAL, "latency", Ask::Latency(0.5), &["bullmq"]),
    Target(PG, "latency", Ask::Latency(0.75), PG_PEERS),
    Target(SQLITE, "latency", Ask::Tail(4.0), &[]),
    Target(NORMAL, "latency", Ask::Tail(4.0), &[]),
    Target(PG, "latency", Ask::Tail(4.0), &[]),
    Target(SQLITE, "drain", Ask::Memory(40.0), &[]),
    Target(NORMAL, "drain", Ask::Memory(40.0), &[]),
    Target(PG, "drain", Ask::Memory(40.0), &[]),
];

/// A target with what was reached.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Ours.
    pub system: &'static str,
    /// `batch`, `single`, `drain`, `drain-after`, `latency`.
    pub phase: &'static str,
    /// The question in words.
    pub asked: String,
    /// Our figure.
    pub ours: f64,
    /// Theirs, and whose.
    pub theirs: Option<(f64, String)>,
    /// The ratio, or the figure itself where nothing is compared.
    pub reached: f64,
    /// Whether it is enough.
    pub met: bool,
}

/// Medians by (system, phase).
struct Medians(BTreeMap<(String, String), Vec<Line>>);

impl Medians {
    fn read(text: &str) -> Result<Medians> {
        let mut by: BTreeMap<_, Vec<Line>> = BTreeMap::new();
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let line: Line = serde_json::from_str(line).map_err(|e| {
                CliError::new(Code::INVALID_VALUE, format!("line {}: {e}", i + 1))
                    .hint("the results.jsonl that the comparison wrote")
            })?;
            by.entry((line.peer.clone(), line.phase.clone())).or_default().push(line);
        }
        Ok(Medians(by))
    }

    /// The median of a figure over the runs in which others left the machine alone; over all where
    /// there is no such run.
    fn of(&self, system: &str, phase: &str, figure: impl Fn(&Line) -> Option<f64>) -> Option<f64> {
        let all = self.0.get(&(system.to_owned(), phase.to_owned()))?;
        let quiet: Vec<&Line> = all.iter().filter(|l| l.foreign_cores <= 0.5).collect();
        let used = if quiet.is_empty() { all.iter().collect() } else { quiet };
        let mut values: Vec<f64> = used.into_iter().filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        let (n, mid) = (values.len(), values.len() / 2);
        match n {
            0 => None,
            _ if n % 2 == 1 => Some(values[mid]),
            _ => Some(f64::midpoint(values[mid - 1], values[mid])),
        }
    }
}

/// Judges every target for which the file has figures.
pub fn judge(text: &str) -> Result<Vec<Row>> {
    let medians = Medians::read(text)?;
    Ok(TARGETS.iter().filter_map(|t| row(&medians, t)).collect())
}

fn row(medians: &Medians, Target(system, phase, ask, peers): &Target) -> Option<Row> {
    let best = |figure: fn(&Line) -> Option<f64>, better: fn(f64, f64) -> bool| {
        let found = peers.iter().filter_map(|p| Some((medians.of(p, phase, figure)?, (*p).to_owned())));
        found.reduce(|a, b| if better(b.0, a.0) { b } else { a })
    };
    let base =
        |asked: String, ours, theirs, reached, met| Row { system, phase, asked, ours, theirs, reached, met };
    Some(match *ask {
        Ask::Rate(factor) => {
            let ours = medians.of(system, phase, |l| l.rate)?;
            let theirs = best(|l| l.rate, |a, b| a > b)?;
            let ratio = ours / theirs.0;
            base(format!("at least {factor} x {}", theirs.1), ours, Some(theirs), ratio, ratio >= factor)
        }
        Ask::Latency(share) => {
            let ours = medians.of(system, phase, |l| l.p50_ms)?;
            let theirs = best(|l| l.p50_ms, |a, b| a < b)?;
            let ratio = ours / theirs.0;
            base(format!("at most {share} x {}", theirs.1), ours, Some(theirs), ratio, ratio <= share)
        }
        Ask::Tail(times) => {
            let ours = medians.of(system, phase, |l| l.p99_ms)?;
            let ratio = ours / medians.of(system, phase, |l| l.p50_ms)?;
            base(format!("p99 at most {times} x p50"), ours, None, ratio, ratio <= times)
        }
        Ask::Memory(mib) => {
            let ours = medians.of(system, phase, |l| l.rss_mb)?;
            base(format!("at most {mib} MiB resident"), ours, None, ours, ours <= mib)
        }
        Ask::Own(other, share) => {
            let ours = medians.of(system, phase, |l| l.rate)?;
            let ratio = ours / medians.of(system, other, |l| l.rate)?;
            base(format!("at least {share} x its own {other}"), ours, None, ratio, ratio >= share)
        }
    })
}

/// The rows as a Markdown table, misses named.
pub fn markdown(rows: &[Row]) -> String {
    let mut out = String::from(
        "| system | phase | asked | ours | theirs | reached | |\n|---|---|---|---:|---:|---:|---|\n",
    );
    for r in rows {
        let theirs = r.theirs.as_ref().map_or("–".to_owned(), |(f, _)| number(*f));
        let verdict = if r.met { "met" } else { "**missed**" };
        out.push_str(&format!(
            "| {} | {} | {} | {} | {theirs} | {:.2} | {verdict} |\n",
            r.system,
            r.phase,
            r.asked,
            number(r.ours),
            r.reached
        ));
    }
    out
}

fn number(f: f64) -> String {
    if f < 100.0 {
        return format!("{f:.2}");
    }
    let digits = format!("{f:.0}");
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"
{"peer":"plainjob","phase":"drain","rate":15000,"foreign_cores":0.0,"rss_mb":81}
{"peer":"mainspring-sqlite","phase":"drain","rate":90000,"foreign_cores":0.9,"rss_mb":30}
{"peer":"mainspring-sqlite","phase":"drain","rate":150000,"foreign_cores":0.1,"rss_mb":30}
{"peer":"mainspring-sqlite","phase":"latency","p50_ms":1.0,"p99_ms":5.0}
{"peer":"bullmq","phase":"latency","p50_ms":0.5,"p99_ms":2.0}
{"peer":"","phase":"","error":"x"}
"#;

    #[test]
    fn targets_are_judged_by_the_median_of_quiet_runs() {
        let rows = judge(RUN).unwrap();
        let told: Vec<_> = rows.iter().map(|r| (r.phase, r.reached, r.met)).collect();
        assert_eq!(
            told,
            [("drain", 10.0, true), ("latency", 2.0, false), ("latency", 5.0, false), ("drain", 30.0, true)]
        );
        let table = markdown(&rows);
        assert!(
            table.contains(
                "| mainspring-sqlite | drain | at least 8 x plainjob | 150,000 | 15,000 | 10.00 | met |"
            ),
            "{table}"
        );
        assert!(table.contains("**missed**"));
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = judge("{\"peer\":\n").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("results.jsonl"), "{error}");
    }
}

//! The phase `day`: as many jobs as a day brings go through one node as fast as it can run them, and
//! after every tenth of them it is looked at what must not grow: the memory of the process, the size
//! of the store, the time from an enqueue to the handler's first line.
//!
//! What a day's pace would leave the node time for is given to it here: after each portion the store
//! is swept by the cleaner's own call, without the breath that the cleaner takes between two steps.
//! Retention is scaled, so that a twentieth of the day's jobs is kept and the first tenth is full
//! already: from then on whatever grows, grows without end.

use super::machine;
use super::phases::{self, Figure, Noop, Running};
use crate::app::App;
use crate::error::Result;
use crate::out::table::Table;
use crate::settings::Settings;
use crate::store::{Address, Purpose};
use mainspring::{Client, Node};
use mainspring_core::limits;
use mainspring_core::store::SweepPolicy;
use mainspring_core::tables::Statement;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Fifty jobs a second for a day.
pub const JOBS: u64 = 50 * 86_400;
/// Of the day's jobs, one of so many is kept.
pub const KEEP: u64 = 20;
/// Jobs enqueued at once, and those that may wait while more are enqueued.
const PORTION: u64 = 10_000;
/// Jobs enqueued one by one after each tenth, to see how soon they begin.
const SAMPLES: u64 = 200;
/// How much larger the last tenth may be than the first: memory, size.
const MOST: f64 = 1.25;
/// The same for the time to begin, which a busy machine changes more than any growth would: but a
/// queue that is searched from end to end is slower by the number of its jobs.
const MOST_LATENCY: f64 = 4.0;

/// What was seen after a tenth of the day.
#[derive(Clone, Debug, Serialize)]
pub struct Tenth {
    /// Jobs so far.
    pub jobs: u64,
    /// Jobs a second in this tenth, sweeping included.
    pub rate: f64,
    /// Resident memory in MiB.
    pub rss_mb: u64,
    /// Size of the store in MiB, its log included.
    pub size_mb: f64,
    /// Milliseconds from an enqueue to the handler's first line: half of all are below.
    pub p50_ms: f64,
    /// 99 of 100 are below.
    pub p99_ms: f64,
}

/// The last tenth against the first.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratios {
    /// Resident memory.
    pub rss: f64,
    /// Size of the store.
    pub size: f64,
    /// The time within which half of all jobs begin.
    pub p50: f64,
}

/// A day.
#[derive(Clone, Debug, Serialize)]
pub struct Day {
    /// Ten of them.
    pub tenths: Vec<Tenth>,
    /// The last against the first.
    pub ratios: Ratios,
    /// Whether nothing grows.
    pub flat: bool,
}

impl Day {
    fn of(tenths: Vec<Tenth>) -> Day {
        let ratio = |of: fn(&Tenth) -> f64| match (tenths.first(), tenths.last()) {
            (Some(first), Some(last)) => of(last) / of(first).max(f64::MIN_POSITIVE),
            _ => 1.0,
        };
        // Some megabytes more or less are the allocator's affair and that of the file's log: no growth.
        let ratios = Ratios {
            rss: ratio(|t| t.rss_mb as f64 + 8.0),
            size: ratio(|t| t.size_mb + 8.0),
            p50: ratio(|t| t.p50_ms + 1.0),
        };
        let flat = ratios.rss <= MOST && ratios.size <= MOST && ratios.p50 <= MOST_LATENCY;
        Day { tenths, ratios, flat }
    }

    /// For people.
    pub fn show(&self, app: &mut App) -> Result<()> {
        let mut table = Table::new(&[">jobs", ">jobs/s", ">memory MiB", ">store MiB", ">p50 ms", ">p99 ms"]);
        for tenth in &self.tenths {
            table.row([
                tenth.jobs.to_string().into(),
                format!("{:.0}", tenth.rate).into(),
                tenth.rss_mb.to_string().into(),
                format!("{:.1}", tenth.size_mb).into(),
                format!("{:.2}", tenth.p50_ms).into(),
                format!("{:.2}", tenth.p99_ms).into(),
            ]);
        }
        app.out.table(&table)?;
        app.out.line(if self.flat { "Nothing grows." } else { "Something grows." })
    }
}

/// A day's jobs, with a retention that is full after half of the first tenth.
pub async fn measure(settings: &Settings, n: u64) -> Result<Figure> {
    let mut settings = settings.clone();
    settings.sweep.jobs.count = (n / KEEP).max(1);
    let (store, client) = super::open(&settings, Purpose::RunJobs).await?;
    let noop = Noop::timed();
    let node = super::node(&settings, &store, &noop)?;
    let size = async || size_of(&settings.store, &client).await;
    let figure = run(&client, noop, node, n, settings.sweep, size).await?;
    store.close().await;
    Ok(figure)
}

/// Bytes of the store: the file with its log, or the database.
async fn size_of(store: &Address, client: &Client) -> Result<u64> {
    match store {
        Address::File(file) => {
            let bytes = |suffix: &str| {
                let name = PathBuf::from(format!("{}{suffix}", file.display()));
                std::fs::metadata(name).map_or(0, |m| m.len())
            };
            Ok(bytes("") + bytes("-wal"))
        }
        Address::Postgres(_) => {
            let sql = "SELECT CAST(pg_database_size(current_database()) AS BIGINT) AS n";
            let tables = client.store().clone().tables().ok_or_else(|| phases::failed("no tables".into()))?;
            let sized = tables.read(Statement::new(sql)).await;
            let bytes =
                sized.and_then(|rows| rows.one::<i64>()).map_err(|e| phases::failed(e.to_string()))?;
            Ok(u64::try_from(bytes).unwrap_or(0))
        }
    }
}

/// Runs `n` jobs through `node`; `size` tells the store's size in bytes.
async fn run(
    client: &Client,
    noop: Noop,
    node: Node,
    n: u64,
    policy: SweepPolicy,
    size: impl AsyncFn() -> Result<u64>,
) -> Result<Figure> {
    let (begun, running) = (phases::stopwatch(), Running::start(node));
    let (mut tenths, mut made) = (Vec::new(), 0);
    for tenth in 1..=10 {
        let (from, before) = (phases::stopwatch(), made);
        while made < n * tenth / 10 {
            let more = PORTION.min(n * tenth / 10 - made);
            portion(client, more).await?;
            made += more;
            done(&running, &noop, made + SAMPLES * (tenth - 1)).await?;
            sweep(client, &policy).await?;
        }
        let rate = (made - before) as f64 / phases::since(from).as_secs_f64();
        let (p50_ms, p99_ms) = probe(client, &noop, SAMPLES).await?;
        let (rss_mb, size_mb) = (machine::rss_mib(), size().await? as f64 / f64::from(1 << 20));
        tenths.push(Tenth { jobs: made, rate, rss_mb, size_mb, p50_ms, p99_ms });
    }
    let took = phases::since(begun);
    running.end().await?;
    sweep(client, &policy).await?;
    phases::audit(client).await?;
    let kept = phases::completed(client).await?;
    if kept > policy.jobs.count {
        return Err(phases::failed(format!("{kept} jobs are kept, {} may be", policy.jobs.count)));
    }
    let day = Day::of(tenths);
    let Ratios { rss, size, p50 } = day.ratios;
    let note = format!("last tenth to first: memory x{rss:.2}, store x{size:.2}, start x{p50:.2}");
    Ok(Figure { note: Some(note), day: Some(day), ..phases::done("day", made, took) })
}

/// Waits until so many have run.
async fn done(running: &Running, noop: &Noop, wanted: u64) -> Result<()> {
    let begun = phases::stopwatch();
    while noop.ran() < wanted {
        if running.ended() || phases::since(begun) > Duration::from_secs(600) {
            return Err(phases::failed(format!("{} of {wanted} jobs ran", noop.ran())));
        }
        phases::wait(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// What the cleaner does, until there is nothing to do.
async fn sweep(client: &Client, policy: &SweepPolicy) -> Result<()> {
    while client.store().sweep(client.now(), policy, limits::BATCH as u32).await?.more {}
    Ok(())
}

/// Enqueues jobs that no probe asks for.
async fn portion(client: &Client, n: u64) -> Result<()> {
    phases::batch_of(client, n, |_| phases::job(u64::from(u32::MAX))).await.map(drop)
}

/// Enqueues `n` jobs one by one to a node that is idle, each after the one before has begun: within
/// how many milliseconds half of them begin, and 99 of 100.
async fn probe(client: &Client, noop: &Noop, n: u64) -> Result<(f64, f64)> {
    *noop.sent.lock().expect("bench lock") = vec![None; n as usize];
    noop.took.lock().expect("bench lock").clear();
    for i in 0..n {
        let wanted = noop.ran() + 1;
        noop.sent.lock().expect("bench lock")[i as usize] = Some(phases::stopwatch());
        client.enqueue_raw(phases::job(i)).await?;
        let begun = phases::stopwatch();
        while noop.ran() < wanted {
            if phases::since(begun) > Duration::from_secs(60) {
                return Err(phases::failed("a job did not begin within a minute".into()));
            }
            phases::wait(Duration::from_millis(1)).await;
        }
    }
    let mut all = noop.took.lock().expect("bench lock").clone();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1)));
    Ok((at(0.5).copied().unwrap_or_default(), at(0.99).copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_told() {
        let tenth =
            |rss_mb, size_mb, p50_ms| Tenth { jobs: 1, rate: 1.0, rss_mb, size_mb, p50_ms, p99_ms: 9.0 };
        let flat = |last| Day::of(vec![tenth(40, 50.0, 1.0), last]).flat;
        assert!(flat(tenth(44, 51.0, 2.0)));
        assert!(!flat(tenth(60, 51.0, 1.0)));
        assert!(!flat(tenth(40, 80.0, 1.0)));
        assert!(!flat(tenth(40, 50.0, 9.0)));
    }
}

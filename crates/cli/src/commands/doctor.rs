//! `mainspring doctor`: looks the store, the clock and the machine over. Every fact is one line;
//! what is wrong says what to do. Exit code 1 when something is.

use crate::app::{App, Make};
use crate::args::DoctorArgs;
use crate::clock;
use crate::error::Result;
use crate::out::table::{Cell, Table};
use crate::out::{Paint, plural, when};
use crate::store::Address;
use mainspring::Client;
use mainspring_core::reader::Fact;
use mainspring_core::{time, zone};
use std::time::Duration;

/// How far clocks may be apart before it is worth a line.
const SKEW: Duration = Duration::from_secs(2);
/// Free space below which a disk is nearly full.
const SPACE: u64 = 256 << 20;

/// Runs it; false when something is wrong.
pub async fn run(app: &mut App, args: DoctorArgs) -> Result<bool> {
    let client = app.client(Make::No).await?;
    let mut facts = vec![
        fact("program", format!("mainspring {}", env!("CARGO_PKG_VERSION")), None),
        fact("store", app.settings.store.shown(), None),
        fact("time zones", format!("version {}", zone::tz_version()), zone_drift(&client).await?),
    ];
    facts.extend(client.store().facts(app.now).await?);
    facts.push(clocks(&client).await?);
    if let Address::File(path) = &app.settings.store {
        facts.extend(disk(path));
        facts.extend(mode(path));
    }
    facts.push(nodes(app, &client).await?);
    if args.deep {
        let differences = client.store().audit().await?;
        let problem = (!differences.is_empty()).then(|| differences.join("; "));
        facts.push(fact(
            "audit",
            format!("{} found", plural(differences.len() as u64, "difference")),
            problem,
        ));
    }
    let well = facts.iter().all(|f| f.problem.is_none());
    if app.out.json {
        app.out.json(&facts)?;
        return Ok(well);
    }
    let mut table = Table::new(&["", "what", "found"]);
    for f in &facts {
        let mark =
            if f.problem.is_some() { Cell::new("!!", Paint::Bad) } else { Cell::new("ok", Paint::Good) };
        table.row([mark, f.name.as_str().into(), f.value.as_str().into()]);
    }
    app.out.table(&table)?;
    for f in facts.iter().filter(|f| f.problem.is_some()) {
        let name = app.out.paint(Paint::Bad, &f.name);
        app.out.line(format!("{name}: {}", f.problem.as_deref().unwrap_or_default()))?;
    }
    if !args.deep {
        app.out.line("mainspring doctor --deep also recounts what the counters tell.")?;
    }
    Ok(well)
}

fn fact(name: &str, value: impl Into<String>, problem: Option<String>) -> Fact {
    Fact { name: name.into(), value: value.into(), problem }
}

/// Nodes whose zone data is another than this program's compute other next fires.
async fn zone_drift(client: &Client) -> Result<Option<String>> {
    let here = zone::tz_version();
    let nodes = client.store().nodes().await?;
    let other = nodes.iter().find(|n| !n.info.tz_version.is_empty() && n.info.tz_version != here);
    Ok(other.map(|n| {
        format!("node {} has version {}: run the same release everywhere", n.info.name, n.info.tz_version)
    }))
}

async fn clocks(client: &Client) -> Result<Fact> {
    let before = clock::now();
    let server = client.store().server_time().await?;
    let after = clock::now();
    Ok(match server {
        None => fact("clock", "this machine's; the store has none of its own", None),
        Some(server) => {
            // The answer was made somewhere between question and answer.
            let middle = time::plus(before, time::since(before, after) / 2);
            let (off, word) = if server > middle {
                (time::since(middle, server), "behind")
            } else {
                (time::since(server, middle), "ahead of")
            };
            let problem = (off > SKEW)
                .then(|| "set this machine's clock by NTP: chronyc tracking, or timedatectl".to_owned());
            fact("clock", format!("{} {word} the database's", when::short(off)), problem)
        }
    })
}

fn disk(path: &std::path::Path) -> Option<Fact> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let stat = rustix::fs::statvfs(folder).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let problem = (free < SPACE)
        .then(|| format!("less than {} is free: make room, or set retention.max_size", when::bytes(SPACE)));
    Some(fact("disk", format!("{} free in {}", when::bytes(free), folder.display()), problem))
}

fn mode(path: &std::path::Path) -> Option<Fact> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let problem = (mode & 0o022 != 0).then(|| {
        format!("others may write the file, and so enqueue anything: chmod go-w {}", path.display())
    });
    Some(fact("file mode", format!("{mode:03o}"), problem))
}

async fn nodes(app: &App, client: &Client) -> Result<Fact> {
    let nodes = client.store().nodes().await?;
    let nodes: Vec<_> = nodes.into_iter().filter(|n| n.info.runs_jobs()).collect();
    let alive =
        nodes.iter().filter(|n| time::since(n.heartbeat_at, app.now) <= app.settings.lease).count() as u64;
    let problem = (alive == 0).then(|| "nothing runs jobs: mainspring up".to_owned());
    Ok(fact("nodes", format!("{} alive", plural(alive, "node")), problem))
}

//! `mainspring cron`: when an expression fires, in words, and what may be wrong with it. Needs no
//! store, except to lint the schedules that are there.

use crate::app::{App, Make};
use crate::args::CronCommand;
use crate::error::{CliError, Result};
use crate::moment::{self, Sense};
use crate::out::Paint;
use crate::out::table::{Cell, Table};
use mainspring_core::code::Code;
use mainspring_core::cron::{self, ClockChange, CronError, CronExpr, MinuteLoad};
use mainspring_core::zone::Zone;
use serde::Serialize;
use std::io::{BufRead, BufReader};

/// Runs it; false when lint found something.
pub async fn run(app: &mut App, command: CronCommand) -> Result<bool> {
    match command {
        CronCommand::Next { jsonl: true, .. } => jsonl(app)?,
        CronCommand::Next { expr, from, n, .. } => next(app, &expr.unwrap_or_default(), &from, n)?,
        CronCommand::Explain { expr } => explain(app, &expr)?,
        CronCommand::Lint { exprs } if exprs.is_empty() => return lint_schedules(app).await,
        CronCommand::Lint { exprs } => return lint(app, &exprs),
    }
    Ok(true)
}

/// The error of a broken expression: a mark under the place, and what to write.
pub fn broken(text: &str, e: &CronError) -> CliError {
    let hint = e.hint.clone().unwrap_or_else(|| "mainspring cron explain '0 2 * * *'".into());
    let field = e.field.map_or_else(|| "cron".to_owned(), |f| f.name().to_owned());
    let column = text.get(..e.at).map_or(e.at, |before| before.chars().count());
    let shown = crate::out::one_line(text, 300);
    let place =
        format!("{field} field, position {}\n  {shown}\n  {}^", column + 1, " ".repeat(column.min(300)));
    CliError::new(Code::BAD_CRON, e.problem.clone()).at(place).hint(hint)
}

/// Reads an expression.
pub fn parse(text: &str) -> Result<CronExpr> {
    if cron::has_spread(text) {
        return Err(CliError::new(
            Code::BAD_CRON,
            "H is picked by a schedule's name, and there is no name here",
        )
        .at(text.to_owned())
        .hint("mainspring schedule add NAME --cron 'H 2 * * *' --plan -- true"));
    }
    CronExpr::parse(text).map_err(|e| broken(text, &e))
}

#[derive(Serialize)]
struct Fires<'a> {
    expr: &'a str,
    zone: &'a str,
    fires: Vec<Fire>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Fire {
    at: jiff::Timestamp,
    local: String,
    note: Option<String>,
}

fn next(app: &mut App, text: &str, from: &str, n: u32) -> Result<()> {
    let zone: Zone = app.settings.tz.clone();
    let from = moment::parse("--from", from, app.now, zone.tz(), Sense::Ahead)?;
    let expr = parse(text)?;
    let fires: Vec<Fire> = expr
        .iter(&zone, from, ClockChange::Vixie)
        .take(n as usize)
        .map(|fire| Fire {
            at: fire.at,
            local: fire.at.to_zoned(zone.tz().clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string(),
            note: fire.note.map(|note| note.sentence(&zone, fire.at)),
        })
        .collect();
    let warnings = expr.warnings();
    if app.out.json {
        return app.out.json(&Fires { expr: text, zone: zone.name(), fires, warnings });
    }
    if fires.is_empty() {
        app.out.line(format!("{text} never fires after {}.", app.full(from)))?;
    } else {
        let mut table = Table::new(&["local time", "utc", "when", "note"]);
        for fire in fires {
            table.row([
                fire.local.into(),
                fire.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
                app.ago(fire.at).into(),
                Cell::new(fire.note.unwrap_or_default(), Paint::Warn),
            ]);
        }
        app.out.table(&table)?;
    }
    warn(app, &warnings)
}

fn warn(app: &mut App, warnings: &[String]) -> Result<()> {
    for warning in warnings {
        let word = app.out.paint(Paint::Warn, "warning");
        app.out.line(format!("{word}: {warning}"))?;
    }
    Ok(())
}

fn explain(app: &mut App, text: &str) -> Result<()> {
    let expr = parse(text)?;
    let warnings = expr.warnings();
    if app.out.json {
        return app.out.json(&serde_json::json!({
            "expr": text, "words": expr.explain(), "interval": expr.is_interval(), "warnings": warnings,
        }));
    }
    app.out.line(expr.explain())?;
    app.out.line(match expr.is_interval() {
        true => "When clocks change: it runs at every instant whose local time matches, so an hour that is shown twice runs twice.",
        false => "When clocks change: it runs once for each local time; one that does not exist runs right after the gap.",
    })?;
    warn(app, &warnings)
}

#[derive(Serialize)]
struct Lint {
    of: String,
    code: &'static str,
    text: String,
}

fn lint(app: &mut App, exprs: &[String]) -> Result<bool> {
    let zone = app.settings.tz.clone();
    let mut found = Vec::new();
    for text in exprs {
        let expr = parse(text)?;
        for warning in cron::lint(&expr, &zone, app.now, &MinuteLoad::default()) {
            found.push(Lint { of: text.clone(), code: warning.code, text: warning.text });
        }
    }
    tell(app, &found, exprs.len())
}

fn tell(app: &mut App, found: &[Lint], of: usize) -> Result<bool> {
    if app.out.json {
        app.out.json(found)?;
        return Ok(found.is_empty());
    }
    for lint in found {
        let code = app.out.paint(Paint::Warn, lint.code);
        app.out.line(format!("{}: {code}: {}", lint.of, lint.text))?;
    }
    if found.is_empty() {
        app.out.line(format!("Nothing to say about {}.", crate::out::plural(of as u64, "expression")))?;
    }
    Ok(found.is_empty())
}

/// Lints every cron schedule of the project, knowing of the others.
async fn lint_schedules(app: &mut App) -> Result<bool> {
    let client = app.client(Make::No).await?;
    let (found, n) = super::schedule::lint(app, &client).await?;
    let found: Vec<Lint> = found.into_iter().map(|(of, w)| Lint { of, code: w.code, text: w.text }).collect();
    tell(app, &found, n)
}

/// Questions in, answers out, one JSON document per line. What has been answered is brought out
/// whenever no further question has arrived yet, so that it can be used like a conversation.
fn jsonl(app: &mut App) -> Result<()> {
    let mut input = BufReader::with_capacity(64 << 10, std::io::stdin().lock());
    let mut line = String::new();
    loop {
        if input.buffer().is_empty() {
            app.out.flush()?;
        }
        line.clear();
        match input.read_line(&mut line) {
            Ok(0) => return app.out.flush(),
            Ok(_) if line.trim().is_empty() => {}
            Ok(_) => app.out.line(cron::answer_line(line.trim_end_matches(['\n', '\r'])))?,
            Err(e) => {
                return Err(CliError::new(Code::USAGE, format!("the standard input cannot be read: {e}")));
            }
        }
    }
}

//! `mainspring import crontab`: reads crontabs, says each line as a schedule with every difference in
//! meaning, and writes what differs from what is there. Nothing is written when a line cannot be
//! read, or with `--plan`.

use super::check::several;
use super::schedule::all;
use super::schedule_show::preview_of;
use crate::app::{App, Make};
use crate::args::CrontabArgs;
use crate::clock;
use crate::crontab::parse::{Line, parse};
use crate::crontab::translate::{Note, Options, Planned, translate};
use crate::entry::{self, Entry};
use crate::error::{CliError, Result};
use crate::out::table::{Cell, Table};
use crate::out::{Paint, one_line, plural};
use mainspring::Client;
use mainspring_core::Json;
use mainspring_core::code::Code;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::ScheduleRecord;
use mainspring_core::zone::Zone;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// What brought a schedule, as the store keeps it.
const SOURCE: &str = "import";

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    New,
    Changed,
    Same,
}

impl Action {
    fn word(self) -> (&'static str, Paint) {
        match self {
            Action::New => ("new", Paint::Good),
            Action::Changed => ("changed", Paint::Warn),
            Action::Same => ("same", Paint::Dim),
        }
    }
}

/// One line with all that is known of it.
#[derive(Serialize)]
struct Row {
    file: String,
    line: usize,
    action: Action,
    schedule: ScheduleSpec,
    words: String,
    next: Option<String>,
    notes: Vec<Note>,
}

/// Runs it.
pub async fn run(app: &mut App, args: CrontabArgs) -> Result<bool> {
    let zone = zone(&args)?;
    let mut rows = read_all(app, &args, &zone)?;
    let client = match open(app, &args).await {
        Ok(client) => Some(client),
        // A plan needs no store: then every line is new.
        Err(e) if args.plan && e.code == Code::STORE_ADDRESS => None,
        Err(e) => return Err(e),
    };
    let before = match &client {
        Some(client) => all(client).await?.into_iter().map(|(r, _)| (r.name.clone(), r)).collect(),
        None => BTreeMap::new(),
    };
    compare(&mut rows, &before)?;
    let gone = gone(&rows, &before);
    if let (Some(client), false) = (&client, args.plan) {
        for row in rows.iter().filter(|r| r.action != Action::Same) {
            client.put_schedule(&row.schedule, SOURCE).await?;
        }
        if args.prune {
            for name in &gone {
                client.delete_schedule(name).await?;
            }
        }
    }
    if app.out.json {
        app.out.json(&serde_json::json!({
            "zone": zone.name(), "written": !args.plan, "lines": rows, "gone": gone, "pruned": args.prune,
            "needs": needs(app, &rows),
        }))?;
        return Ok(true);
    }
    tell(app, &args, &zone, &rows, &gone)?;
    Ok(true)
}

async fn open(app: &App, args: &CrontabArgs) -> Result<Client> {
    app.client(if args.plan { Make::No } else { Make::Yes }).await
}

fn zone(args: &CrontabArgs) -> Result<Zone> {
    let name = args.zone.clone().or_else(clock::machine_zone).unwrap_or_else(|| "UTC".into());
    Zone::get(&name).map_err(|e| CliError::new(Code::BAD_ZONE, e.to_string()).at("--zone"))
}

fn read_all(app: &App, args: &CrontabArgs, zone: &Zone) -> Result<Vec<Row>> {
    let (mut rows, mut errors, mut names) = (Vec::new(), Vec::new(), BTreeMap::<String, String>::new());
    for path in &args.files {
        let shown = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
        let (mut lines, broken) = parse(&shown, &read(path, &shown)?, args.user_format);
        errors.extend(broken);
        own(&shown, &mut lines);
        let prefix = args.prefix.clone().unwrap_or_else(|| prefix(&shown));
        let options = Options { prefix: &prefix, zone: zone.name(), queue: &args.queue };
        for planned in translate(&lines, &options) {
            let place = format!("{shown}:{}", planned.line);
            if let Some(other) = names.insert(planned.name.clone(), place.clone()) {
                errors.push(
                    CliError::new(
                        Code::DUPLICATE_NAME,
                        format!("two lines would be called {:?}", planned.name),
                    )
                    .at(format!("{place} and {other}"))
                    .hint("import the files one by one, each with its --prefix"),
                );
            }
            match row(app, &shown, planned) {
                Ok(row) => rows.push(row),
                Err(e) => errors.push(e),
            }
        }
    }
    if errors.is_empty() { Ok(rows) } else { Err(several(errors)) }
}

fn read(path: &Path, shown: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let result = match shown {
        "stdin" => std::io::stdin().read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)),
    };
    let fail = |text: String| CliError::new(Code::BAD_CRONTAB, text).at(shown.to_owned());
    result.map_err(|e| fail(format!("the crontab cannot be read: {e}")))?;
    String::from_utf8(bytes).map_err(|_| fail("the crontab is not UTF-8 text".into()))
}

/// A crontab of the spool belongs to the user it is called after.
fn own(path: &str, lines: &mut [Line]) {
    if path.contains("spool/cron")
        && let Some(user) = Path::new(path).file_name().and_then(|n| n.to_str())
    {
        for line in lines.iter_mut().filter(|l| l.user.is_none()) {
            line.user = Some(user.to_owned());
        }
    }
}

/// `crontab` of `/etc/crontab`.
fn prefix(path: &str) -> String {
    let name = Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or("crontab");
    let clean: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .take(60)
        .collect();
    if clean.is_empty() { "crontab".into() } else { clean }
}

fn row(app: &App, file: &str, planned: Planned) -> Result<Row> {
    let place = |_: &[&str]| format!("{file}:{}:{}", planned.line, planned.column);
    let calendars = entry::built_in_calendars();
    let reader = Entry {
        value: &planned.entry,
        place: &place,
        zone: &app.settings.tz,
        calendars: &calendars,
        now: app.now,
    };
    let spec = reader.read_named(&planned.name)?;
    let next = preview_of(app, &spec, 1).into_iter().next().map(|fire| match fire.note {
        Some(note) => format!("{} ({note})", fire.wall),
        None => fire.wall,
    });
    let mut notes = planned.notes;
    if let Some(expr) = spec.trigger.cron(&spec.name) {
        notes.extend(expr.warnings().into_iter().map(|text| Note { code: "dialect", text }));
    }
    Ok(Row {
        file: file.to_owned(),
        line: planned.line,
        action: Action::New,
        words: spec.trigger.explain(&spec.name),
        next,
        notes,
        schedule: spec,
    })
}

fn compare(rows: &mut [Row], before: &BTreeMap<String, ScheduleRecord>) -> Result<()> {
    for row in rows {
        if let Some(record) = before.get(&row.schedule.name) {
            if record.source != SOURCE {
                let text =
                    format!("schedule {:?} is there already, brought by {}", record.name, record.source);
                return Err(CliError::new(Code::DUPLICATE_NAME, text)
                    .at(format!("{}:{}", row.file, row.line))
                    .hint("another --prefix"));
            }
            let same = Json::of(&row.schedule).is_ok_and(|new| new.value() == record.spec.value());
            row.action = if same { Action::Same } else { Action::Changed };
        }
    }
    Ok(())
}

/// Schedules of an earlier import under the same prefixes whose lines are no longer there.
fn gone(rows: &[Row], before: &BTreeMap<String, ScheduleRecord>) -> Vec<String> {
    let stem = |name: &str| name.split_once('/').map(|(p, _)| p.to_owned());
    let prefixes: BTreeSet<_> = rows.iter().filter_map(|r| stem(&r.schedule.name)).collect();
    let names: BTreeSet<&str> = rows.iter().map(|r| r.schedule.name.as_str()).collect();
    before
        .values()
        .filter(|r| r.source == SOURCE && !names.contains(r.name.as_str()))
        .filter(|r| stem(&r.name).is_some_and(|p| prefixes.contains(&p)))
        .map(|r| r.name.clone())
        .collect()
}

/// What has to be set on the nodes that shall run these lines, as lines of the configuration file.
fn needs(app: &App, rows: &[Row]) -> Vec<String> {
    if rows.is_empty() {
        return vec![];
    }
    let mut users: BTreeSet<&str> =
        rows.iter().filter_map(|r| r.schedule.job.payload["user"].as_str()).collect();
    // A node of root runs root's commands by itself, unless users are named.
    if users.iter().all(|u| *u == "root") && app.settings.commands.users.is_empty() {
        users.clear();
    }
    let commands = &app.settings.commands;
    let mut needs = Vec::new();
    if !commands.enabled {
        needs.push("enabled = true".to_owned());
    }
    if !commands.shell {
        needs.push("shell = true".to_owned());
    }
    if !users.iter().all(|u| commands.users.iter().any(|c| c == u)) {
        let names: Vec<String> = users.iter().map(|u| format!("{u:?}")).collect();
        needs.push(format!("users = [{}]", names.join(", ")));
    }
    needs
}

fn tell(app: &mut App, args: &CrontabArgs, zone: &Zone, rows: &[Row], gone: &[String]) -> Result<()> {
    let from = if args.zone.is_some() { "as asked for" } else { "this machine's, as cron reads them" };
    app.out.line(format!("{}, times in {} ({from}).\n", plural(rows.len() as u64, "line"), zone.name()))?;
    let many = rows.iter().any(|r| r.file != rows[0].file);
    let mut table = Table::new(&[">line", "schedule", "what", "when", "next", "runs"]);
    for row in rows {
        let (word, paint) = row.action.word();
        table.row([
            if many { format!("{}:{}", row.file, row.line) } else { row.line.to_string() }.into(),
            row.schedule.name.as_str().into(),
            Cell::new(word, paint),
            one_line(&row.words, 44).into(),
            row.next.clone().unwrap_or_default().into(),
            one_line(row.schedule.job.payload["shell"].as_str().unwrap_or_default(), 40).into(),
        ]);
    }
    app.out.table(&table)?;
    differences(app, rows)?;
    let needs = needs(app, rows);
    if !needs.is_empty() {
        app.out.line("\nThe nodes that shall run these need, in their configuration file:\n  [commands]")?;
        for need in &needs {
            app.out.line(format!("  {need}"))?;
        }
    }
    let list = |gone: &[String]| gone.join(", ");
    if !gone.is_empty() && !args.prune {
        app.out.line(format!("\nNo longer in the file: {}. --prune deletes them.", list(gone)))?;
    }
    let changed = rows.iter().filter(|r| r.action != Action::Same).count() as u64;
    let pruned = if args.prune && !gone.is_empty() {
        format!(", {} deleted", plural(gone.len() as u64, "schedule"))
    } else {
        String::new()
    };
    app.out.line(match (args.plan, changed) {
        (true, _) => "\nThis is a plan; nothing was written. The same without --plan writes it.".to_owned(),
        (false, 0) => format!("\nAll of it was there already; nothing was written{pruned}."),
        (false, n) => format!(
            "\n{} written{pruned}. Cron goes on running these lines itself: remove them there.",
            plural(n, "schedule")
        ),
    })
}

/// What is not as it was: a difference that all lines share is said once.
fn differences(app: &mut App, rows: &[Row]) -> Result<()> {
    let files: BTreeSet<&str> = rows.iter().map(|r| r.file.as_str()).collect();
    let place = |row: &Row| match files.len() {
        1 => row.line.to_string(),
        _ => format!("{}:{}", row.file, row.line),
    };
    let mut by_text: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for row in rows {
        for note in &row.notes {
            by_text.entry((note.code, &note.text)).or_default().push(place(row));
        }
    }
    if by_text.is_empty() {
        return Ok(());
    }
    app.out.line("\nNot as it was:")?;
    for ((_, text), lines) in by_text {
        let which = match lines.as_slice() {
            all if all.len() == rows.len() && all.len() > 1 => "every line".to_owned(),
            [one] => format!("line {one}"),
            some => format!("lines {}", some.join(", ")),
        };
        let which = app.out.paint(Paint::Warn, &which);
        app.out.line(format!("  {which}: {text}"))?;
    }
    Ok(())
}

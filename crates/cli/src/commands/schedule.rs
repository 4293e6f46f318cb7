//! `mainspring schedule`: making, pausing, running and deleting schedules. Looking at them is in
//! [`super::schedule_show`].

use super::{pause_end, schedule_named, schedule_show};
use crate::app::{App, Make};
use crate::args::{AddArgs, ScheduleCommand};
use crate::contents;
use crate::entry::{self, Entry};
use crate::error::{CliError, Result};
use crate::moment::{self, Sense};
use crate::out::table::Table;
use crate::out::{one_line, plural};
use mainspring::Client;
use mainspring_core::code::Code;
use mainspring_core::cron::{self, LintWarning, MinuteLoad};
use mainspring_core::limits;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::ScheduleRecord;
use serde_json::{Map, Value, json};

/// Runs it.
pub async fn run(app: &mut App, command: ScheduleCommand) -> Result<()> {
    if let ScheduleCommand::Add(args) = command {
        return add(app, *args).await;
    }
    let client = app.client(Make::No).await?;
    match command {
        ScheduleCommand::List => schedule_show::list(app, &client).await,
        ScheduleCommand::Show { name } => schedule_show::show(app, &client, &name).await,
        ScheduleCommand::Next { names, n } => schedule_show::next(app, &client, &names, n).await,
        ScheduleCommand::Pause { name, pause } => {
            schedule_named(&client, &name).await?;
            let until = pause_end(app, &pause)?;
            client.pause_schedule(&name, until, pause.note.as_deref()).await?;
            tell(app, &client, &name).await
        }
        ScheduleCommand::Resume { name } => {
            schedule_named(&client, &name).await?;
            client.resume_schedule(&name).await?;
            tell(app, &client, &name).await
        }
        ScheduleCommand::Run { name } => {
            schedule_named(&client, &name).await?;
            let made = client.run_now(&name).await?;
            match app.out.json {
                true => app.out.json(&made),
                false => app.out.line(format!("job {} enqueued; it does not count as a fire", made.id)),
            }
        }
        ScheduleCommand::Backfill { name, from, until, plan, yes } => {
            backfill(app, &client, &name, (&from, &until), plan, yes).await
        }
        ScheduleCommand::Delete { name, yes } => {
            schedule_named(&client, &name).await?;
            app.confirm(&format!("Schedule {name} will be deleted; its jobs stay."), yes)?;
            client.delete_schedule(&name).await?;
            match app.out.json {
                true => app.out.json(&json!({ "deleted": name })),
                false => app.out.line(format!("schedule {name} deleted")),
            }
        }
        ScheduleCommand::Add(_) => Ok(()),
    }
}

async fn tell(app: &mut App, client: &Client, name: &str) -> Result<()> {
    let record = schedule_named(client, name).await?;
    if app.out.json {
        return app.out.json(&record);
    }
    let state = match record.paused.as_ref().filter(|p| p.holds(app.now)) {
        Some(pause) => super::pause_text(app, pause),
        None => match record.next_fire {
            Some(at) => format!("fires next {}", app.both(at)),
            None => "does not fire by itself".into(),
        },
    };
    app.out.line(format!("schedule {name}: {state}"))
}

async fn add(app: &mut App, args: AddArgs) -> Result<()> {
    let spec = spec_of(app, &args)?;
    let replaced = match args.plan {
        true => None,
        false => {
            let client = app.client(Make::Yes).await?;
            let before = client.store().schedule(client.project(), &spec.name).await?;
            client.put_schedule(&spec, "cli").await?;
            Some(before.is_some())
        }
    };
    let fires = schedule_show::preview_of(app, &spec, 3);
    if app.out.json {
        return app.out.json(&json!({ "schedule": spec, "next": fires, "replaced": replaced }));
    }
    app.out.line(match replaced {
        None => format!("schedule {} (nothing was written)", spec.name),
        Some(false) => format!("schedule {} made", spec.name),
        Some(true) => format!("schedule {} changed", spec.name),
    })?;
    app.out.line(format!("  {}, in {}", spec.trigger.explain(&spec.name), spec.zone.name()))?;
    for fire in &fires {
        let line = schedule_show::fire_line(app, fire);
        app.out.line(format!("  {line}"))?;
    }
    if !app.settings.commands.enabled && spec.job.kind == "command" {
        app.out.line("  Its command will run on nodes that are started with commands.enabled = true.")?;
    }
    Ok(())
}

/// The flags as the keys of a `[[schedule]]`.
fn spec_of(app: &App, args: &AddArgs) -> Result<ScheduleSpec> {
    let mut map = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.into(), value);
        }
    };
    let text = |t: &Option<String>| t.as_deref().map(Value::from);
    put("name", Some(args.name.as_str().into()));
    for (key, value) in [
        ("cron", &args.cron),
        ("every", &args.every),
        ("daily", &args.daily),
        ("weekly", &args.weekly),
        ("monthly", &args.monthly),
        ("once", &args.once),
        ("after", &args.after),
        ("zone", &args.zone),
        ("http", &args.http),
        ("kind", &args.kind),
        ("queue", &args.queue),
        ("timeout", &args.timeout),
        ("overlap", &args.overlap),
        ("misfire", &args.misfire),
    ] {
        put(key, text(value));
    }
    put("command", (!args.command.is_empty()).then(|| json!(args.command)));
    if let Some(payload) = &args.payload {
        let value: Value = serde_json::from_str(payload).map_err(|e| {
            CliError::new(Code::INVALID_VALUE, format!("the payload is not JSON: {e}")).at("--payload")
        })?;
        put("payload", Some(value));
    }
    let value = Value::Object(map);
    let place = |path: &[&str]| match path.first() {
        Some(key) if !key.is_empty() && *key != "name" && *key != "command" => format!("--{key}"),
        _ => "mainspring schedule add".to_owned(),
    };
    let calendars = entry::built_in_calendars();
    let spec =
        Entry { value: &value, place: &place, zone: &app.settings.tz, calendars: &calendars, now: app.now }
            .read()?;
    contents::check_payload(&spec, &app.registry, &value, &place)?;
    Ok(spec)
}

async fn backfill(
    app: &mut App,
    client: &Client,
    name: &str,
    (from, until): (&str, &str),
    plan: bool,
    yes: bool,
) -> Result<()> {
    schedule_named(client, name).await?;
    let tz = app.settings.tz.tz().clone();
    let from = moment::parse("--from", from, app.now, &tz, Sense::Back)?;
    let until = moment::parse("--until", until, app.now, &tz, Sense::Back)?;
    let preview = client.backfill_preview(name, from, until, &[]).await?;
    if plan {
        if app.out.json {
            return app.out.json(&preview);
        }
        let mut table = Table::new(&["fire", "what"]);
        for fire in &preview.fires {
            let what = match (&fire.ran, &fire.skipped) {
                (Some((job, state)), _) => format!("has run: job {job}, {state}"),
                (None, Some(why)) => format!("left out: {why}"),
                (None, None) => "will run".into(),
            };
            table.row([app.full(fire.at).into(), what.into()]);
        }
        app.out.table(&table)?;
        return app.out.line(format!("{} would run.", plural(preview.to_run as u64, "fire")));
    }
    if preview.to_run == 0 {
        return match app.out.json {
            true => app.out.json(&json!({ "jobs": [] })),
            false => {
                app.out.line("Every fire of this time has run or is left out by the rule; nothing to do.")
            }
        };
    }
    let question = format!(
        "{} of {name} from {} to {} will run.",
        plural(preview.to_run as u64, "fire"),
        app.full(from),
        app.full(until)
    );
    app.confirm(&question, yes)?;
    match client.backfill(name, from, until, &[]).await? {
        Some((batch, jobs)) if app.out.json => app.out.json(&json!({ "batch": batch, "jobs": jobs })),
        Some((batch, jobs)) => {
            let n = plural(jobs.len() as u64, "job");
            app.out.line(format!("{n} enqueued as batch {batch}: mainspring batch show {batch}"))
        }
        None => app.out.line("Nothing to do."),
    }
}

/// All schedules of the project with what can be read of their rules.
pub async fn all(client: &Client) -> Result<Vec<(ScheduleRecord, Option<ScheduleSpec>)>> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = client.store().schedules(client.project(), after.as_deref(), limits::PAGE as u32).await?;
        all.extend(page.rows.into_iter().map(|r| {
            let spec = r.spec.to().ok();
            (r, spec)
        }));
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Lint of every cron schedule; how many were looked at.
pub async fn lint(app: &App, client: &Client) -> Result<(Vec<(String, LintWarning)>, usize)> {
    let all = all(client).await?;
    let (mut found, mut looked) = (Vec::new(), 0);
    for (i, (record, spec)) in all.iter().enumerate() {
        let Some((spec, expr)) = spec.as_ref().and_then(|s| Some((s, s.trigger.cron(&s.name)?))) else {
            continue;
        };
        let mut others = MinuteLoad::default();
        for (_, (record, _)) in all.iter().enumerate().filter(|(j, _)| *j != i) {
            if let Some(at) = record.next_fire {
                others.add(at);
            }
        }
        looked += 1;
        for warning in cron::lint(&expr, &spec.zone, app.now, &others) {
            found.push((one_line(&record.name, 60), warning));
        }
    }
    Ok((found, looked))
}

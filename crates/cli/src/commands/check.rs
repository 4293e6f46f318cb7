//! `mainspring check`: looks a configuration file over without touching a store, and shows when its
//! schedules fire next.

use super::schedule_show::{fire_line, preview_of};
use crate::app::App;
use crate::args::CheckArgs;
use crate::contents;
use crate::error::{CliError, Result};
use crate::out::{Paint, plural};
use crate::settings::{self, Settings};
use mainspring_core::cron::{self, MinuteLoad};
use mainspring_core::schedule::ScheduleSpec;
use serde_json::json;

/// Reads the settings of `args.file` in place of those in force: flags and environment still count.
pub fn settings(given: &settings::Given, args: &CheckArgs) -> Result<Settings> {
    settings::load(&settings::Given { config: Some(args.file.clone()), ..given.clone() })
}

/// Runs it.
pub fn run(app: &mut App, args: CheckArgs) -> Result<()> {
    let found = contents::read(&app.settings, &app.registry, app.now).map_err(several)?;
    let schedules: Vec<(&ScheduleSpec, Vec<_>, Vec<String>)> = found
        .schedules
        .iter()
        .map(|(spec, _)| (spec, preview_of(app, spec, args.n), warnings(app, spec, &found)))
        .collect();
    if app.out.json {
        let all: Vec<_> = schedules
            .iter()
            .map(|(spec, fires, warnings)| json!({ "schedule": spec, "next": fires, "warnings": warnings }))
            .collect();
        let queues: Vec<_> =
            found.queues.iter().map(|(name, s)| json!({ "name": name, "settings": s })).collect();
        return app.out.json(&json!({ "schedules": all, "queues": queues }));
    }
    for (spec, fires, warnings) in &schedules {
        let title = app.out.paint(Paint::Strong, &spec.name);
        app.out.line(format!("{title}  {}, in {}", spec.trigger.explain(&spec.name), spec.zone.name()))?;
        for fire in fires {
            let line = fire_line(app, fire);
            app.out.line(format!("  {line}"))?;
        }
        for warning in warnings {
            let word = app.out.paint(Paint::Warn, "warning");
            app.out.line(format!("  {word}: {warning}"))?;
        }
    }
    app.out.line(format!(
        "{}: {} and {}, nothing wrong.",
        args.file.display(),
        plural(found.schedules.len() as u64, "schedule"),
        plural(found.queues.len() as u64, "queue"),
    ))
}

fn warnings(app: &App, spec: &ScheduleSpec, all: &contents::Contents) -> Vec<String> {
    let mut warnings = Vec::new();
    if spec.job.kind == "command" && !app.settings.commands.enabled {
        warnings.push("commands are off here: set commands.enabled = true on the nodes that run it".into());
    }
    if spec.job.kind == "command" && spec.job.payload.get("shell").is_some() && !app.settings.commands.shell {
        warnings.push("it is a line for a shell: set commands.shell = true, or give a list of words".into());
    }
    let Some(expr) = spec.trigger.cron(&spec.name) else { return warnings };
    let mut others = MinuteLoad::default();
    for (other, _) in all.schedules.iter().filter(|(s, _)| s.name != spec.name) {
        if let Some(at) = other.first_fire(app.now) {
            others.add(at);
        }
    }
    warnings.extend(cron::lint(&expr, &spec.zone, app.now, &others).into_iter().map(|w| w.text));
    warnings
}

/// One error that tells all of them.
pub fn several(errors: Vec<CliError>) -> CliError {
    let mut errors = errors.into_iter();
    let Some(mut first) = errors.next() else {
        return CliError::new(mainspring_core::code::Code::CONFIG_INVALID, "the file cannot be used");
    };
    first.others = errors.map(|e| e.to_string()).collect();
    first
}

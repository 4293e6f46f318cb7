//! `mainspring config`: the settings in force and their reference page.

use crate::app::App;
use crate::args::ConfigCommand;
use crate::error::Result;
use crate::out::Paint;
use crate::out::table::{Cell, Table};
use crate::settings::{Origin, Settings, reference};
use crate::store::redact;

/// Runs it.
pub fn run(app: &mut App, command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Show => show(app),
        ConfigCommand::Reference => app.out.line(reference::page().trim_end()),
    }
}

/// Key, value and origin of everything, with nothing secret in it.
fn rows(settings: &Settings) -> Vec<(String, String, &Origin)> {
    let mut rows: Vec<_> = settings
        .all
        .iter()
        .map(|(setting, value, origin)| (setting.key.to_owned(), redact(&value.text()), origin))
        .collect();
    rows.extend(settings.secrets.keys().map(|name| (format!("secret {name}"), "***".to_owned(), &SECRET)));
    rows
}

static SECRET: Origin = Origin::Env(String::new());

fn show(app: &mut App) -> Result<()> {
    let from = |key: &str, origin: &Origin| match (origin, key.strip_prefix("secret ")) {
        (Origin::Env(_), Some(name)) => format!("MAINSPRING_SECRET_{name}"),
        _ => origin.to_string(),
    };
    let rows = rows(&app.settings);
    if app.out.json {
        let all: Vec<_> = rows
            .iter()
            .map(|(key, value, origin)| serde_json::json!({ "key": key, "value": value, "from": from(key, origin) }))
            .collect();
        return app.out.json(&all);
    }
    let mut table = Table::new(&["setting", "value", "from"]);
    for (key, value, origin) in &rows {
        let paint = if **origin == Origin::Default { Paint::Dim } else { Paint::Strong };
        table.row([key.as_str().into(), Cell::new(value.as_str(), paint), from(key, origin).into()]);
    }
    app.out.table(&table)?;
    let file = match &app.settings.file {
        Some(file) => format!("File: {}", file.path().display()),
        None => format!("No file: {} is not here and --config names none.", crate::settings::FILE),
    };
    app.out.line(file)
}

//! Flags made from the table of settings.

use super::Given;
use super::table::{Flag, Kind, SETTINGS, Setting};
use clap::{Arg, ArgMatches, Command};
use std::path::PathBuf;

/// Adds the flags of the table: those of every command to `command`, those of nodes to the
/// subcommands in `nodes`.
pub fn add(command: Command, nodes: &[&'static str]) -> Command {
    let config = Arg::new("config")
        .long("config")
        .global(true)
        .value_name("FILE")
        .help_heading(HEADING)
        .hide_short_help(true)
        .help("The configuration file; mainspring.toml in this folder when there is one [env: MAINSPRING_CONFIG]");
    let mut command = command.arg(config);
    for setting in SETTINGS {
        if let Flag::Everywhere(name) = setting.flag {
            command = command.arg(arg(setting, name).global(true).hide_short_help(setting.key != "store"));
        }
    }
    for node in nodes {
        command = command.mut_subcommand(node, |mut sub| {
            for setting in SETTINGS {
                if let Flag::Node(name) = setting.flag {
                    sub = sub.arg(arg(setting, name));
                }
            }
            sub
        });
    }
    command
}

const HEADING: &str = "Settings";

fn arg(setting: &'static Setting, name: &'static str) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        text => format!("default: {text}, "),
    };
    Arg::new(setting.key).long(name).value_name(value_name(setting.kind)).help_heading(HEADING).help(format!(
        "{} [{default}env: {}]",
        setting.about,
        setting.env()
    ))
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Store => "PATH|URL",
        Kind::Path => "PATH",
        Kind::Name => "NAME",
        Kind::Listen => "ADDRESS",
        Kind::Url => "URL",
        Kind::Bool => "BOOL",
        Kind::Int(..) => "N",
        Kind::Duration(..) => "DURATION",
        Kind::Bytes => "SIZE",
        Kind::Zone => "ZONE",
        Kind::Choice(_) => "WORD",
        Kind::Networks => "NETWORKS",
        Kind::Names | Kind::Texts => "NAMES",
    }
}

/// What was given: flags of the command that was typed, and the environment.
pub fn given(matches: &ArgMatches) -> Given {
    let mut deepest = matches;
    let mut given = Given::default();
    loop {
        let text = |id: &str| deepest.try_get_one::<String>(id).ok().flatten().cloned();
        for setting in SETTINGS {
            if let Some(value) = text(setting.key) {
                given.flags.insert(setting.key, value);
            }
        }
        if let Some(path) = text("config") {
            given.config = Some(PathBuf::from(path));
        }
        match deepest.subcommand() {
            Some((_, sub)) => deepest = sub,
            None => break,
        }
    }
    given.env = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    given
}

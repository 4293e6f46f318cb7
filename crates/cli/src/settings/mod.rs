//! Settings: what may be set, where each value came from, and the typed values commands use.
//!
//! Order: flag, environment, file, default. [`table`] is the one list; [`flags`] makes the parser
//! from it, [`reference`] the page `docs/configuration.md`. Unknown keys, flags and variables are
//! refused with the nearest name; nothing is silently ignored.

pub mod flags;
#[cfg(test)]
mod fuzz;
pub mod reference;

pub mod table;
pub mod tree;
pub mod value;

use crate::error::{CliError, Result, nearest};
use crate::out::Colour;
use crate::store::Address;
use mainspring::secrets::Secret;
use mainspring_core::code::Code;
use mainspring_core::queue::Retention;
use mainspring_core::store::SweepPolicy;
use mainspring_core::zone::Zone;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::{OTHER_VARIABLES, PREFIX, SETTINGS, Setting};
use tree::Node;
use value::Value;

/// The file that is read when none is named.
pub const FILE: &str = "mainspring.toml";
/// Keys of the file that are no settings.
const SECTIONS: [&str; 3] = ["schedule", "queue", "calendar"];

/// The variable with the key of secrets: no setting, since it is never shown.
pub const KEY: &str = "MAINSPRING_SECRETS_KEY";

/// A text that shows itself to nobody.
#[derive(Clone)]
pub struct KeyText(pub Secret);

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyText")
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line: the flag.
    Flag(String),
    /// The environment: the variable.
    Env(String),
    /// The file: path, line and column.
    File(String),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Flag(flag) => write!(f, "--{flag}"),
            Origin::Env(name) | Origin::File(name) => f.write_str(name),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// What the command line and the environment say, before anything is checked.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// By setting's key.
    pub flags: BTreeMap<&'static str, String>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// All variables.
    pub env: BTreeMap<String, String>,
}

/// How commands may run on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandSettings {
    /// At all.
    pub enabled: bool,
    /// These programs; any when empty.
    pub allow: Vec<String>,
    /// Lines for a shell.
    pub shell: bool,
    /// As these users.
    pub users: Vec<String>,
}

/// The typed values.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything is kept.
    pub store: Address,
    /// Whether somebody said where.
    pub store_given: bool,
    /// The project's name.
    pub project: String,
    /// The zone of times and of schedules that name none.
    pub tz: Zone,
    /// Colours.
    pub colour: Colour,
    /// Whether SQLite waits for the disk at every commit.
    pub synchronous_full: bool,
    /// Jobs at once.
    pub slots: u32,
    /// Queues served; all when empty.
    pub queues: Vec<String>,
    /// The node's name, if set.
    pub node_name: Option<String>,
    /// How long running jobs may go on at the end.
    pub grace: Duration,
    /// How long a node may be silent.
    pub lease: Duration,
    /// Where the dashboard and the API are served; nowhere when absent.
    pub listen: Option<std::net::SocketAddr>,
    /// Whether somebody said where.
    pub listen_given: bool,
    /// The address people use, if it is another.
    pub public_url: Option<String>,
    /// What one project may ask of the server.
    pub share: mainspring_web::access::Share,
    /// Who outside wants to hear from this node.
    pub heartbeat_url: Option<String>,
    /// How often.
    pub heartbeat_every: Duration,
    /// Further names of the server.
    pub hosts: Vec<String>,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<String>,
    /// Certificate and key of the server, if it talks TLS itself.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Connections to the server at once.
    pub max_connections: usize,
    /// What is kept how long.
    pub sweep: SweepPolicy,
    /// Command jobs.
    pub commands: CommandSettings,
    /// The file with the key of secrets, if one is named.
    pub key_file: Option<PathBuf>,
    /// The command that gives it, if one is named.
    pub key_command: Vec<String>,
    /// The key itself, from the environment.
    pub key: Option<KeyText>,
    /// Private targets of `http` jobs.
    pub outbound_allow: Vec<String>,
    /// Whether nothing but this machine may be called.
    pub offline: bool,
    /// The collector of traces, if any.
    pub tracing_endpoint: Option<String>,
    /// Of 100 traces so many are sent.
    pub tracing_share: u64,
    /// The program's own log: least level.
    pub log_level: String,
    /// The program's own log: as JSON.
    pub log_json: bool,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Every setting with its value and origin, in the order of the table.
    pub all: Vec<(&'static Setting, Value, Origin)>,
    /// The file, if there is one.
    pub file: Option<Node>,
}

/// Finds and reads everything.
pub fn load(given: &Given) -> Result<Settings> {
    known_variables(&given.env)?;
    let file = match config_path(given) {
        Some(path) => Some(tree::read(&path)?),
        None => None,
    };
    if let Some(file) = &file {
        known_keys(file)?;
    }
    let mut all = Vec::with_capacity(SETTINGS.len());
    for setting in SETTINGS {
        let (value, origin) = resolve(setting, given, file.as_ref())?;
        all.push((setting, value, origin));
    }
    typed(all, file, &given.env)
}

fn config_path(given: &Given) -> Option<PathBuf> {
    let named = given.config.clone().or_else(|| given.env.get("MAINSPRING_CONFIG").map(PathBuf::from));
    named.or_else(|| Path::new(FILE).exists().then(|| FILE.into()))
}

fn resolve(setting: &'static Setting, given: &Given, file: Option<&Node>) -> Result<(Value, Origin)> {
    let read = |text: &str, origin: Origin| {
        let value = value::parse(setting, text).map_err(|e| {
            CliError::new(Code::CONFIG_INVALID, format!("{}: {e}", setting.key)).at(match &origin {
                Origin::Env(name) => format!("the variable {name}"),
                other => other.to_string(),
            })
        })?;
        Ok((value, origin))
    };
    if let (Some(text), Some(flag)) = (given.flags.get(setting.key), setting.flag_name()) {
        return read(text, Origin::Flag(flag.into()));
    }
    if let Some(text) = given.env.get(&setting.env()) {
        return read(text, Origin::Env(setting.env()));
    }
    if let Some(node) = file.and_then(|f| setting.key.split('.').try_fold(f, Node::get)) {
        return Ok((value::from_node(setting, node)?, Origin::File(node.place())));
    }
    match setting.default {
        "" => Ok((Value::default(), Origin::Default)),
        text => read(text, Origin::Default),
    }
}

/// Refuses keys of the file that nothing reads.
fn known_keys(file: &Node) -> Result<()> {
    let mut top: Vec<&str> = SETTINGS.iter().map(|s| s.key.split('.').next().unwrap_or_default()).collect();
    top.extend(SECTIONS);
    top.dedup();
    for entry in file.only("the configuration file", &top)? {
        let inside: Vec<&str> =
            SETTINGS.iter().filter_map(|s| s.key.strip_prefix(&entry.key)?.strip_prefix('.')).collect();
        if !inside.is_empty() {
            entry.node.only(&format!("[{}]", entry.key), &inside)?;
        }
    }
    Ok(())
}

/// Refuses variables that begin like ours but are none, unless an orchestrator made them: for a
/// service that is called mainspring Kubernetes sets `MAINSPRING_SERVICE_HOST`, `MAINSPRING_PORT`, …
fn known_variables(env: &BTreeMap<String, String>) -> Result<()> {
    let known: Vec<String> = SETTINGS
        .iter()
        .map(Setting::env)
        .chain(OTHER_VARIABLES.iter().map(|(name, _)| (*name).to_owned()))
        .collect();
    for name in env.keys().filter(|n| n.starts_with(PREFIX)) {
        let rest = &name[PREFIX.len()..];
        let foreign = rest.starts_with("SECRET_")
            || rest.starts_with("TEST_")
            || rest.starts_with("PORT")
            || rest.contains("SERVICE_");
        if foreign || known.contains(name) {
            continue;
        }
        let error =
            CliError::new(Code::CONFIG_UNKNOWN_KEY, format!("there is no setting for the variable {name}"))
                .at("the environment");
        return Err(match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("{near}, if that was meant")),
            None => error.hint("mainspring config show"),
        });
    }
    Ok(())
}

fn typed(
    all: Vec<(&'static Setting, Value, Origin)>,
    file: Option<Node>,
    env: &BTreeMap<String, String>,
) -> Result<Settings> {
    let find = |key: &str| {
        all.iter().find(|(s, ..)| s.key == key).map(|(_, v, o)| (v, o)).unwrap_or_else(|| {
            unreachable!("{key} is not in the table of settings");
        })
    };
    let text = |key: &str| find(key).0.text();
    let list = |key: &str| find(key).0.0.clone();
    // Values have been checked by the table's kinds, so that what follows cannot fail.
    let duration = |key: &str| mainspring_core::duration::parse(&text(key)).unwrap_or_default();
    let int = |key: &str| text(key).parse::<u64>().unwrap_or_default();
    let yes = |key: &str| matches!(text(key).as_str(), "true" | "1");
    let (store, origin) = find("store");
    let base = match origin {
        Origin::File(_) => file.as_ref().and_then(|f| f.path().parent()).map(Path::to_owned),
        _ => None,
    };
    let place = match origin {
        Origin::Env(name) => format!("the variable {name}"),
        other => other.to_string(),
    };
    let address = Address::parse(&store.text(), base.as_deref()).map_err(|e| e.at(place))?;
    Ok(Settings {
        store: address,
        store_given: *origin != Origin::Default,
        project: text("project"),
        tz: Zone::get(&text("tz")).unwrap_or_else(|_| Zone::utc()),
        colour: match text("color").as_str() {
            "always" => Colour::Always,
            "never" => Colour::Never,
            _ => Colour::Auto,
        },
        synchronous_full: text("synchronous") == "full",
        slots: int("slots") as u32,
        queues: list("queues"),
        node_name: Some(text("node_name")).filter(|n| !n.is_empty()),
        grace: duration("grace"),
        lease: duration("lease"),
        listen: text("listen").parse().ok(),
        listen_given: *find("listen").1 != Origin::Default,
        public_url: Some(text("public_url").trim_end_matches('/').to_owned()).filter(|u| !u.is_empty()),
        share: share(int("requests.per_second"), int("requests.at_once")),
        hosts: list("hosts"),
        trusted_proxies: list("trusted_proxies"),
        tls: tls(find("tls_cert"), find("tls_key"))?,
        max_connections: int("max_connections") as usize,
        heartbeat_url: Some(text("heartbeat_url").to_owned()).filter(|u| !u.is_empty()),
        heartbeat_every: duration("heartbeat_every"),
        sweep: sweep(&text),
        commands: CommandSettings {
            enabled: yes("commands.enabled"),
            allow: list("commands.allow"),
            shell: yes("commands.shell"),
            users: list("commands.users"),
        },
        key_file: key_file(&text("secrets.key_file"), find("secrets.key_file").1, file.as_ref()),
        key_command: list("secrets.key_command"),
        key: env.get(KEY).filter(|t| !t.trim().is_empty()).map(|t| KeyText(Secret::new(t))),
        outbound_allow: list("outbound.allow"),
        offline: yes("offline"),
        tracing_endpoint: Some(text("tracing.endpoint")).filter(|u| !u.is_empty()),
        tracing_share: int("tracing.share"),
        log_level: text("log.level"),
        log_json: text("log.format") == "json",
        secrets: secrets(env),
        all,
        file,
    })
}

/// What one project may ask of the server.
fn share(per_second: u64, at_once: u64) -> mainspring_web::access::Share {
    mainspring_web::access::Share { per_second: per_second as u32, at_once: at_once as u32 }
}

/// The secrets of the environment by name.
fn secrets(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let named =
        |(k, v): (&String, &String)| Some((k.strip_prefix("MAINSPRING_SECRET_")?.to_owned(), v.clone()));
    env.iter().filter_map(named).collect()
}

/// A relative path in the file counts from the file's folder, elsewhere from the current one.
fn key_file(text: &str, origin: &Origin, file: Option<&Node>) -> Option<PathBuf> {
    let folder = file.and_then(|f| f.path().parent()).filter(|_| matches!(origin, Origin::File(_)));
    (!text.is_empty()).then(|| folder.map_or_else(|| PathBuf::from(text), |folder| folder.join(text)))
}

/// What is kept how long.
fn sweep(text: &dyn Fn(&str) -> String) -> SweepPolicy {
    let duration = |key: &str| mainspring_core::duration::parse(&text(key)).unwrap_or_default();
    let int = |key: &str| text(key).parse::<u64>().unwrap_or_default();
    SweepPolicy {
        jobs: Retention {
            completed: duration("retention.completed"),
            failed: duration("retention.failed"),
            count: int("retention.count"),
        },
        minutes: duration("retention.minutes"),
        hours: duration("retention.hours"),
        events: duration("retention.events"),
        max_bytes: value::bytes(&text("retention.max_size")).ok(),
    }
}

/// Certificate and key go together or not at all.
fn tls(cert: (&Value, &Origin), key: (&Value, &Origin)) -> Result<Option<(PathBuf, PathBuf)>> {
    let lacking = |given: &Origin, missing: &str| {
        let error = CliError::new(Code::CONFIG_INVALID, format!("{missing} is not set"));
        Err(error.at(given.to_string()).hint("tls_cert and tls_key, both or neither"))
    };
    match (cert.0.text().as_str(), key.0.text().as_str()) {
        ("", "") => Ok(None),
        ("", _) => lacking(key.1, "tls_cert"),
        (_, "") => lacking(cert.1, "tls_key"),
        (cert, key) => Ok(Some((cert.into(), key.into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(flags: &[(&'static str, &str)], env: &[(&str, &str)], file: &str) -> (Given, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.toml");
        std::fs::write(&path, file).unwrap();
        let given = Given {
            flags: flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect(),
            config: Some(path),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        (given, dir)
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let file = "slots = 3\ngrace = \"5s\"\n[retention]\ncompleted = \"3d\"\n";
        let (g, _dir) =
            given(&[("slots", "5")], &[("MAINSPRING_SLOTS", "4"), ("MAINSPRING_GRACE", "6s")], file);
        let s = load(&g).unwrap();
        assert_eq!((s.slots, s.grace.as_secs(), s.lease.as_secs()), (5, 6, 15));
        assert_eq!(s.sweep.jobs.completed.as_secs(), 3 * 86_400);
        let origin = |key: &str| s.all.iter().find(|(t, ..)| t.key == key).unwrap().2.to_string();
        assert_eq!((origin("slots"), origin("grace")), ("--slots".into(), "MAINSPRING_GRACE".into()));
        assert!(origin("retention.completed").ends_with("m.toml:4:13"));
        assert_eq!(origin("lease"), "default");
    }

    #[test]
    fn a_relative_store_in_the_file_counts_from_its_folder() {
        let (g, dir) = given(&[], &[], "store = \"data/jobs.db\"\n");
        assert_eq!(load(&g).unwrap().store, Address::File(dir.path().join("data/jobs.db")));
    }

    #[test]
    fn unknown_names_are_refused_everywhere() {
        let refused = |env: &[(&str, &str)], file: &str| {
            let (g, dir) = given(&[], env, file);
            load(&g).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR")
        };
        let all = [
            refused(&[], "[retention]\ncompletd = \"3d\"\n"),
            refused(&[], "schedules = []\n"),
            refused(&[("MAINSPRING_SLOT", "3")], ""),
            refused(&[("MAINSPRING_LEASE", "soon")], ""),
            refused(&[], "[commands]\nenabled = \"yes\"\n"),
            refused(&[], "queues = [\"mail\", 3]\n"),
            refused(&[], "store = \"postgers://u:hunter2@h/d\"\n"),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn what_an_orchestrator_sets_does_not_stop_the_program() {
        let env = [("MAINSPRING_SERVICE_HOST", "10.0.0.1"), ("MAINSPRING_PORT_80_TCP", "tcp://x")];
        let (g, _dir) = given(&[], &env, "");
        assert!(load(&g).is_ok());
    }
}

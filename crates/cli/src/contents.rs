//! What the configuration file holds besides settings: `[[schedule]]`, `[queue.NAME]` and
//! `[calendar.NAME]`. Read when a node starts and by `check`; every mistake is told with its place.

use crate::entry::{self, Entry, KEYS};
use crate::error::{CliError, Result};
use crate::settings::Settings;
use crate::settings::tree::{Node, Value};
use jiff::Timestamp;
use mainspring::Registry;
use mainspring_core::calendar::Calendar;
use mainspring_core::code::Code;
use mainspring_core::queue::{ALL_QUEUES, QueueSettings};
use mainspring_core::rate::Rate;
use mainspring_core::schedule::ScheduleSpec;
use std::collections::BTreeMap;

/// Everything of the file.
#[derive(Debug, Default)]
pub struct Contents {
    /// The schedules in the order of the file, each with its place.
    pub schedules: Vec<(ScheduleSpec, String)>,
    /// The queues' settings.
    pub queues: Vec<(String, QueueSettings)>,
}

const QUEUE_KEYS: [&str; 6] =
    ["max_running", "max_running_per_key", "rate", "rate_per_key", "fair", "retention"];

/// Reads it all; gives every mistake, not only the first.
pub fn read(settings: &Settings, registry: &Registry, now: Timestamp) -> Result<Contents, Vec<CliError>> {
    let Some(file) = &settings.file else { return Ok(Contents::default()) };
    let (mut contents, mut errors) = (Contents::default(), Vec::new());
    let calendars = match calendars(file) {
        Ok(calendars) => calendars,
        Err(e) => return Err(vec![e]),
    };
    for (name, queue) in tables(file, "queue", &mut errors) {
        match queue_settings(&name, queue) {
            Ok(settings) => contents.queues.push((name, settings)),
            Err(e) => errors.push(e),
        }
    }
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for node in list(file, &mut errors) {
        let read = schedule(node, settings, registry, &calendars, now);
        let spec = match read {
            Ok(spec) => spec,
            Err(e) => {
                errors.push(e);
                continue;
            }
        };
        let place = node.get("name").map_or_else(|| node.place(), Node::place);
        match names.get(&spec.name) {
            Some(first) => errors.push(
                CliError::new(Code::DUPLICATE_NAME, format!("two schedules are called {:?}", spec.name))
                    .at(format!("{place} and {first}"))
                    .hint("another name for one of them"),
            ),
            None => {
                names.insert(spec.name.clone(), place.clone());
                contents.schedules.push((spec, place));
            }
        }
    }
    if errors.is_empty() { Ok(contents) } else { Err(errors) }
}

/// The tables under a key: `[queue.mail]` gives ("mail", …).
fn tables<'a>(file: &'a Node, key: &str, errors: &mut Vec<CliError>) -> Vec<(String, &'a Node)> {
    let Some(node) = file.get(key) else { return vec![] };
    match node.entries() {
        Some(entries) => entries.iter().map(|e| (e.key.clone(), &e.node)).collect(),
        None => {
            errors.push(node.mismatch(key, "a table").hint(format!("[{key}.NAME]")));
            vec![]
        }
    }
}

fn list<'a>(file: &'a Node, errors: &mut Vec<CliError>) -> Vec<&'a Node> {
    match file.get("schedule") {
        None => vec![],
        Some(Node { value: Value::List(list), .. }) => list.iter().collect(),
        Some(node) => {
            errors
                .push(node.mismatch("schedule", "a list of tables").hint("[[schedule]], in double brackets"));
            vec![]
        }
    }
}

fn calendars(file: &Node) -> Result<BTreeMap<String, Calendar>> {
    let mut all = entry::built_in_calendars();
    let mut errors = Vec::new();
    for (name, node) in tables(file, "calendar", &mut errors) {
        node.only(&format!("[calendar.{name}]"), &["weekdays", "dates"])?;
        let calendar = entry::calendar(&name, &node.json(), &|path| node.place_of(path))?;
        all.insert(name, calendar);
    }
    match errors.pop() {
        Some(e) => Err(e),
        None => Ok(all),
    }
}

fn schedule(
    node: &Node,
    settings: &Settings,
    registry: &Registry,
    calendars: &BTreeMap<String, Calendar>,
    now: Timestamp,
) -> Result<ScheduleSpec> {
    node.only("a [[schedule]]", &KEYS)?;
    let value = node.json();
    let place = |path: &[&str]| node.place_of(path);
    let spec = Entry { value: &value, place: &place, zone: &settings.tz, calendars, now }.read()?;
    check_payload(&spec, registry, &value, &place)?;
    Ok(spec)
}

/// Asks the kind's handler whether it can use the payload.
pub fn check_payload(
    spec: &ScheduleSpec,
    registry: &Registry,
    value: &serde_json::Value,
    place: &dyn Fn(&[&str]) -> String,
) -> Result<()> {
    let Some(entry) = registry.get(&spec.job.kind) else { return Ok(()) };
    let payload = mainspring_core::Json::trusted(spec.job.payload.to_string());
    entry.check(&payload).map_err(|(field, text)| {
        let key =
            ["http", "command", "payload"].into_iter().find(|k| value.get(k).is_some()).unwrap_or("kind");
        CliError::new(Code::BAD_SCHEDULE, format!("{key}: {field}: {text}")).at(format!(
            "{}, schedule {:?}",
            place(&[key, &field]),
            spec.name
        ))
    })
}

fn queue_settings(name: &str, node: &Node) -> Result<QueueSettings> {
    let what = format!("[queue.{name}]");
    node.only(&what, &QUEUE_KEYS)?;
    let wrong = |key: &str, text: String| {
        CliError::new(Code::CONFIG_INVALID, format!("{what} {key}: {text}")).at(node.place_of(&[key]))
    };
    if name != ALL_QUEUES {
        mainspring_core::job::check_name(name).map_err(|e| wrong("", e))?;
    }
    let rate = |key: &str| match node.get(key).map(|n| &n.value) {
        None => Ok(None),
        Some(Value::Text(text)) => Rate::parse(text).map(Some).map_err(|e| wrong(key, e)),
        Some(_) => Err(wrong(key, "write for example \"100/1m\"".into())),
    };
    let (rate, rate_per_key) = (rate("rate")?, rate("rate_per_key")?);
    let mut rest = node.json();
    if let Some(map) = rest.as_object_mut() {
        map.remove("rate");
        map.remove("rate_per_key");
    }
    let mut settings: QueueSettings = serde_json::from_value(rest).map_err(|e| {
        let key = QUEUE_KEYS.iter().find(|k| e.to_string().contains(*k)).copied().unwrap_or("");
        wrong(key, e.to_string())
    })?;
    settings.rate = rate;
    settings.rate_per_key = rate_per_key;
    settings.check().map_err(|(field, text)| wrong(field, text))?;
    Ok(settings)
}

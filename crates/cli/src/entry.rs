//! A schedule as people write it: the keys of `[[schedule]]` in the configuration file, which are
//! also what `schedule add` and an imported crontab line come down to. One reader for all three, so
//! that they mean the same and refuse the same.
//!
//! What is written flat here becomes the core's [`ScheduleSpec`]; whatever is wrong is told with the
//! place of the very value.

use crate::commands::cron;
use crate::error::{CliError, Result, nearest};
use crate::moment::{self, Sense};
use jiff::Timestamp;
use mainspring_core::calendar::{Blackout, Calendar, DayRange, DayRules};
use mainspring_core::code::Code;
use mainspring_core::cron::CronError;
use mainspring_core::duration;
use mainspring_core::schedule::{Misfire, ScheduleSpec};
use mainspring_core::trigger::{CronText, Trigger};
use mainspring_core::zone::Zone;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Every key of a schedule, in the order of the guide.
pub const KEYS: [&str; 33] = [
    "name",
    "cron",
    "every",
    "daily",
    "weekly",
    "monthly",
    "once",
    "after",
    "when",
    "zone",
    "clock_change",
    "not_on",
    "only_on",
    "on_excluded",
    "blackouts",
    "starts",
    "ends",
    "max_fires",
    "misfire",
    "grace",
    "overlap",
    "jitter",
    "http",
    "command",
    "kind",
    "payload",
    "queue",
    "priority",
    "timeout",
    "attempts",
    "retry",
    "key",
    "expires",
];
/// Keys of which exactly one says when.
const WHEN: [&str; 8] = ["cron", "every", "daily", "weekly", "monthly", "once", "after", "when"];
/// Keys of which exactly one says what.
const WHAT: [&str; 3] = ["http", "command", "kind"];

/// A schedule to be read.
pub struct Entry<'a> {
    /// Its keys.
    pub value: &'a Value,
    /// Where a key's value stands; an empty path is the whole entry.
    pub place: &'a dyn Fn(&[&str]) -> String,
    /// The zone of schedules that name none.
    pub zone: &'a Zone,
    /// The named calendars.
    pub calendars: &'a BTreeMap<String, Calendar>,
    /// For lengths of time where an instant may stand.
    pub now: Timestamp,
}

/// The calendars that are always there.
pub fn built_in_calendars() -> BTreeMap<String, Calendar> {
    let days = |name: &str, days: &[&str]| {
        let weekdays = days.iter().filter_map(|d| d.parse().ok()).collect();
        (name.to_owned(), Calendar { name: name.into(), ranges: vec![], weekdays })
    };
    BTreeMap::from([
        days("weekends", &["sat", "sun"]),
        days("weekdays", &["mon", "tue", "wed", "thu", "fri"]),
    ])
}

impl Entry<'_> {
    fn at(&self, key: &str) -> String {
        (self.place)(&[key])
    }

    fn error(&self, code: Code, key: &str, text: impl Into<String>) -> CliError {
        let name = self.value["name"].as_str().map(|n| format!(", schedule {n:?}")).unwrap_or_default();
        CliError::new(code, text).at(format!("{}{name}", self.at(key)))
    }

    fn wrong(&self, key: &str, text: impl Into<String>) -> CliError {
        self.error(Code::BAD_SCHEDULE, key, text)
    }

    /// A text, if the key is there.
    fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.value.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, format!("{key} must be text"))),
        }
    }

    fn length(&self, key: &str) -> Result<Option<Duration>> {
        match self.text(key)? {
            Some(text) => duration::parse(text).map(Some).map_err(|e| self.wrong(key, format!("{key}: {e}"))),
            None => Ok(None),
        }
    }

    fn number(&self, key: &str, max: u64) -> Result<Option<u64>> {
        match self.value.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|n| *n <= max) {
                Some(n) => Ok(Some(n)),
                None => Err(self.wrong(key, format!("{key} must be a whole number of at most {max}"))),
            },
        }
    }

    /// An instant in the schedule's zone.
    fn instant(&self, key: &str, zone: &Zone) -> Result<Option<Timestamp>> {
        match self.text(key)? {
            Some(text) => {
                let place = self.at(key);
                moment::parse(&place, text, self.now, zone.tz(), Sense::Ahead).map(Some)
            }
            None => Ok(None),
        }
    }

    /// A value of the core's own form.
    fn core<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.value.get(key) {
            None => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|e| self.wrong(key, format!("{key}: {e}"))),
        }
    }

    fn one_of(&self, keys: &[&'static str], what: &str, example: &str) -> Result<&'static str> {
        let found: Vec<&'static str> = keys.iter().copied().filter(|k| self.value.get(k).is_some()).collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(self.wrong("", format!("nothing says {what} it runs")).hint(example)),
            [_, second, ..] => {
                let text = format!("{} say {what} it runs, and only one may", found.join(" and "));
                Err(self.wrong(second, text))
            }
        }
    }

    /// The whole schedule.
    pub fn read(&self) -> Result<ScheduleSpec> {
        let name = self
            .text("name")?
            .ok_or_else(|| self.wrong("", "a schedule needs a name").hint("name = \"nightly backup\""))?;
        self.read_named(name)
    }

    /// The whole schedule, under a name that is not among its keys.
    pub fn read_named(&self, name: &str) -> Result<ScheduleSpec> {
        let zone = self.zone_of()?;
        let trigger = self.trigger(&zone)?;
        let (kind, payload) = self.job()?;
        let mut spec = ScheduleSpec::new(name, trigger, kind);
        spec.days = self.days()?;
        spec.starts_at = self.instant("starts", &zone)?;
        spec.ends_at = self.instant("ends", &zone)?;
        spec.zone = zone;
        spec.clock_change = self.core("clock_change")?.unwrap_or_default();
        spec.max_fires = self.number("max_fires", u64::MAX)?;
        spec.misfire = self.misfire()?;
        spec.grace = self.length("grace")?.unwrap_or(spec.grace);
        spec.overlap = self.core("overlap")?.unwrap_or_default();
        spec.jitter = self.length("jitter")?.unwrap_or_default();
        spec.job.payload = payload;
        spec.job.queue = self.text("queue")?.map(str::to_owned);
        spec.job.priority = self.number("priority", 9)?.map(|n| n as u8);
        spec.job.timeout = self.length("timeout")?;
        spec.job.max_attempts = self.number("attempts", u64::from(u32::MAX))?.map(|n| n as u32);
        spec.job.retry = self.core("retry")?;
        spec.job.key = self.text("key")?.map(str::to_owned);
        spec.job.expires_after = self.length("expires")?;
        spec.check().map_err(|(field, text)| {
            // The core's fields under the names people write.
            let key = match field {
                "trigger" => WHEN.into_iter().find(|k| self.value.get(k).is_some()).unwrap_or("when"),
                "days" => "not_on",
                "starts_at" => "starts",
                "ends_at" => "ends",
                "job.retry" | "backoff" => "retry",
                "max_attempts" => "attempts",
                other => other,
            };
            self.wrong(key, format!("{key}: {text}"))
        })?;
        Ok(spec)
    }

    fn zone_of(&self) -> Result<Zone> {
        match self.text("zone")? {
            None => Ok(self.zone.clone()),
            Some(name) => Zone::get(name).map_err(|e| self.error(Code::BAD_ZONE, "zone", e.to_string())),
        }
    }

    fn trigger(&self, zone: &Zone) -> Result<Trigger> {
        let key = self.one_of(&WHEN, "when", "cron = \"0 2 * * *\", every = \"5m\" or daily = \"07:30\"")?;
        let text = self.text(key)?.unwrap_or_default();
        let form = match key {
            "cron" if !text.starts_with("@reboot") && !text.starts_with("@every") => {
                return match CronText::parse(text) {
                    Ok(expr) => Ok(Trigger::Cron { expr }),
                    Err(e) => Err(self.broken_cron(key, text, &e)),
                };
            }
            "every" => format!("every {text}"),
            "daily" => format!("daily at {text}"),
            "weekly" => format!("weekly on {text}"),
            "monthly" => format!("monthly on {text}"),
            "after" => format!("{text} after completion"),
            "once" => {
                let at = self.instant(key, zone)?.unwrap_or(self.now);
                return Ok(Trigger::Once { at });
            }
            _ => text.to_owned(),
        };
        Trigger::parse(&form).map_err(|e| self.wrong(key, e))
    }

    fn broken_cron(&self, key: &str, text: &str, e: &CronError) -> CliError {
        let mut error = cron::broken(text, e);
        let place = error.place.take().unwrap_or_default();
        error.at(format!("{}, {place}", self.at(key)))
    }

    fn misfire(&self) -> Result<Misfire> {
        match self.value.get("misfire") {
            None => Ok(Misfire::default()),
            Some(Value::String(word)) => serde_json::from_value(json!({ "policy": word }))
                .map_err(|_| self.wrong("misfire", format!("misfire: {word:?} is none of: once, skip, all"))),
            Some(_) => Ok(self.core("misfire")?.unwrap_or_default()),
        }
    }

    /// Kind and payload.
    fn job(&self) -> Result<(String, Value)> {
        let example = "command = [\"/usr/local/bin/backup\"], http = \"https://…\" or kind = \"…\"";
        let key = self.one_of(&WHAT, "what", example)?;
        let value = &self.value[key];
        if key != "kind" && self.value.get("payload").is_some() {
            return Err(self.wrong("payload", format!("payload goes with kind, not with {key}")));
        }
        match (key, value) {
            ("kind", Value::String(kind)) => {
                Ok((kind.clone(), self.value.get("payload").cloned().unwrap_or_else(|| json!({}))))
            }
            ("http", Value::String(url)) => Ok(("http".into(), json!({ "url": url }))),
            ("command", Value::String(line)) => Ok(("command".into(), json!({ "shell": line }))),
            ("command", Value::Array(_)) => Ok(("command".into(), json!({ "argv": value }))),
            ("http" | "command", Value::Object(_)) => Ok((key.to_owned(), value.clone())),
            _ => Err(self.wrong(key, format!("{key} cannot be {value}")).hint(example)),
        }
    }

    fn days(&self) -> Result<DayRules> {
        let sets = |key: &str| -> Result<Vec<Calendar>> {
            let names: Vec<String> = self.core(key)?.unwrap_or_default();
            names
                .iter()
                .map(|name| {
                    self.calendars.get(name).cloned().ok_or_else(|| {
                        let error = self.wrong(key, format!("there is no calendar {name:?}"));
                        match nearest(name, self.calendars.keys().map(String::as_str)) {
                            Some(near) => error.hint(format!("{near}, if that was meant")),
                            None => error.hint(format!("[calendar.{name}] with weekdays or dates")),
                        }
                    })
                })
                .collect()
        };
        let windows: Vec<String> = self.core("blackouts")?.unwrap_or_default();
        let blackouts = windows
            .iter()
            .map(|text| {
                let (from, to) = text.split_once('-').ok_or_else(|| {
                    self.wrong("blackouts", format!("{text:?} is not a time span")).hint("\"22:00-06:00\"")
                })?;
                let time = |t: &str| t.trim().parse().map_err(|e: String| self.wrong("blackouts", e));
                Ok(Blackout { from: time(from)?, to: time(to)? })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(DayRules {
            include: sets("only_on")?,
            exclude: sets("not_on")?,
            on_excluded: self.core("on_excluded")?.unwrap_or_default(),
            blackouts,
        })
    }
}

/// A calendar of the file: `weekdays` and `dates`, a date or `FIRST..LAST`.
pub fn calendar(name: &str, value: &Value, place: &dyn Fn(&[&str]) -> String) -> Result<Calendar> {
    let wrong = |key: &str, text: String| {
        CliError::new(Code::BAD_SCHEDULE, format!("calendar {name:?}: {text}")).at(place(&[key]))
    };
    let texts = |key: &str| -> Result<Vec<String>> {
        match value.get(key) {
            None => Ok(vec![]),
            Some(v) => serde_json::from_value(v.clone())
                .map_err(|_| wrong(key, format!("{key} must be a list of texts"))),
        }
    };
    let weekdays = texts("weekdays")?
        .iter()
        .map(|d| d.parse().map_err(|e| wrong("weekdays", e)))
        .collect::<Result<Vec<_>>>()?;
    let date = |text: &str| {
        text.trim().parse().map_err(|e| {
            wrong("dates", format!("{text:?} is not a date: {e}"))
                .hint("\"2026-12-24\" or \"2026-12-24..2026-12-26\"")
        })
    };
    let ranges = texts("dates")?
        .iter()
        .map(|text| match text.split_once("..") {
            Some((first, last)) => Ok(DayRange { first: date(first)?, last: Some(date(last)?) }),
            None => Ok(DayRange { first: date(text)?, last: None }),
        })
        .collect::<Result<Vec<_>>>()?;
    if weekdays.is_empty() && ranges.is_empty() {
        return Err(
            wrong("", "it holds no day".into()).hint("weekdays = [\"sat\"] or dates = [\"2026-12-24\"]")
        );
    }
    Ok(Calendar { name: name.into(), ranges, weekdays })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<ScheduleSpec> {
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        let place = |path: &[&str]| format!("m.toml/{}", path.join("."));
        Entry { value: &value, place: &place, zone: &Zone::utc(), calendars: &built_in_calendars(), now }
            .read()
    }

    #[test]
    fn the_flat_form_becomes_the_rule() {
        let spec = read(json!({
            "name": "nightly", "cron": "0 2 * * *", "zone": "Europe/Berlin", "command": ["backup", "--all"],
            "not_on": ["weekends"], "on_excluded": "next", "blackouts": ["22:00-06:00"],
            "starts": "2026-12-01", "timeout": "1h", "attempts": 3, "overlap": "queue_one", "misfire": "all",
            "jitter": "5m", "retry": { "backoff": { "steps": ["5s"] } },
        }))
        .unwrap();
        assert_eq!(spec.job.kind, "command");
        assert_eq!(spec.job.payload, json!({ "argv": ["backup", "--all"] }));
        assert_eq!(spec.starts_at.unwrap().to_string(), "2026-11-30T23:00:00Z");
        assert_eq!(spec.days.exclude[0].name, "weekends");
        assert!(matches!(spec.misfire, Misfire::All { cap: 100, .. }));
        assert_eq!(spec.job.timeout, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn every_form_of_when_and_what_is_read() {
        for (when, text) in [
            (json!({"every": "5m"}), "every 5m"),
            (json!({"daily": "7:30"}), "daily at 07:30"),
            (json!({"weekly": "mon,fri at 9:00"}), "weekly on mon,fri at 09:00"),
            (json!({"monthly": "31 at 9:00"}), "monthly on 31 at 09:00"),
            (json!({"once": "2026-12-01 10:00"}), "once at 2026-12-01T10:00:00Z"),
            (json!({"after": "10m"}), "10m after completion"),
            (json!({"when": "@reboot"}), "@reboot"),
            (json!({"cron": "H 2 * * *"}), "H 2 * * *"),
        ] {
            let mut entry = when;
            entry["name"] = "x".into();
            entry["http"] = "https://example.com".into();
            let spec = read(entry).unwrap();
            assert_eq!(spec.trigger.to_string(), text);
            assert_eq!(spec.job.payload, json!({ "url": "https://example.com" }));
        }
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        let base = json!({ "name": "x", "cron": "0 2 * * *", "command": "true" });
        let refused: Vec<String> = [
            json!({ "cron": "61 2 * * *" }),
            json!({ "cron": null, "daily": "25:00" }),
            json!({ "every": "5m" }),
            json!({ "cron": null }),
            json!({ "command": null }),
            json!({ "http": "https://example.com" }),
            json!({ "zone": "Europe/Berln" }),
            json!({ "cron": null, "once": "2027-03-14 02:30", "zone": "America/New_York" }),
            json!({ "not_on": ["weekend"] }),
            json!({ "blackouts": ["22:00"] }),
            json!({ "misfire": "never" }),
            json!({ "overlap": "skp" }),
            json!({ "attempts": 0 }),
            json!({ "retry": { "backoff": { "steps": [] } } }),
            json!({ "starts": "2027-01-01", "ends": "2026-01-01" }),
            json!({ "timeout": "1x" }),
            json!({ "name": " x" }),
            json!({ "payload": {} }),
        ]
        .iter()
        .map(|change| {
            let mut entry = base.clone();
            for (key, value) in change.as_object().unwrap() {
                match value {
                    Value::Null => drop(entry.as_object_mut().unwrap().remove(key)),
                    value => entry[key] = value.clone(),
                }
            }
            format!("{change}\n{}\n", read(entry).unwrap_err())
        })
        .collect();
        insta::assert_snapshot!(refused.join("\n"));
    }
}

//! The payload of kind `command`: read and checked at the door, wherever the job will run.

use super::super::launcher::Limits;
use mainspring_core::{Json, duration};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// The time between SIGTERM and SIGKILL when the payload does not say, and the longest.
const GRACE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Open files, and processes, when the payload does not say.
const FILES: u64 = 1024;
const PROCESSES: u64 = 1000;

/// See the table in the kind's own text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    #[serde(default)]
    pub argv: Option<Vec<String>>,
    #[serde(default)]
    pub shell: Option<String>,
    #[serde(default)]
    pub dir: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub stdin: Option<String>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default, with = "duration::human_option")]
    pub timeout: Option<Duration>,
    #[serde(default, with = "duration::human_option")]
    grace: Option<Duration>,
    #[serde(default)]
    umask: Option<String>,
    #[serde(default)]
    limits: Wanted,
    #[serde(default = "zero")]
    pub success_codes: Vec<u8>,
    #[serde(default)]
    pub skip_codes: Vec<u8>,
    #[serde(default)]
    pub fatal_codes: Vec<u8>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default, with = "duration::human_option")]
    cpu: Option<Duration>,
    #[serde(default, deserialize_with = "size")]
    memory: Option<u64>,
    #[serde(default)]
    files: Option<u64>,
    #[serde(default)]
    processes: Option<u64>,
}

fn zero() -> Vec<u8> {
    vec![0]
}

/// `512MiB`, `2GiB`, or a number of bytes.
fn size<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    let bad = |v: &serde_json::Value| {
        serde::de::Error::custom(format!("{v} is not a size; write for example \"512MiB\" or \"2GiB\""))
    };
    match serde_json::Value::deserialize(d)? {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::Number(n) if n.is_u64() => Ok(n.as_u64()),
        v @ serde_json::Value::String(_) => {
            let text = v.as_str().unwrap_or_default();
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let unit = match &text[digits..] {
                "" | "B" => 1,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return Err(bad(&v)),
            };
            let number: Option<u64> = text[..digits].parse().ok();
            number.and_then(|n| n.checked_mul(unit)).map(Some).ok_or_else(|| bad(&v))
        }
        v => Err(bad(&v)),
    }
}

impl Payload {
    /// Reads and checks; the error is (field, text).
    pub(super) fn read(payload: &Json) -> Result<Payload, (String, String)> {
        let payload: Payload = super::super::read(payload)?;
        payload.check().map_err(|(field, text)| (field.to_owned(), text))?;
        Ok(payload)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        match (&self.argv, &self.shell) {
            (Some(_), Some(_)) => return Err(("shell", "give either argv or shell, not both".into())),
            (None, None) => {
                return Err(("argv", "is missing: a list of the program and its arguments".into()));
            }
            (Some(argv), None) if argv.first().is_none_or(String::is_empty) => {
                return Err(("argv", "is empty; its first part is the program".into()));
            }
            (None, Some(line)) if line.trim().is_empty() => return Err(("shell", "is empty".into())),
            _ => {}
        }
        let words = self.argv.iter().flatten().chain(&self.shell);
        let texts = words.map(|t| ("argv", t)).chain(self.dir.iter().map(|t| ("dir", t)));
        for (field, text) in texts.chain(self.env.values().map(|t| ("env", t))) {
            if text.contains('\0') {
                return Err((field, "holds a NUL character, which no program can be given".into()));
            }
        }
        for name in self.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(("env", format!("{name:?} is not the name of a variable")));
            }
            if name.starts_with("MAINSPRING_") {
                return Err(("env", format!("{name}: names beginning with MAINSPRING_ are set by the node")));
            }
        }
        if let Some(dir) = &self.dir
            && !dir.starts_with('/')
        {
            return Err(("dir", format!("{dir:?} is not absolute: it must begin with /")));
        }
        if self.timeout.is_some_and(|t| t.is_zero()) {
            return Err(("timeout", "must be longer than zero".into()));
        }
        if self.grace() > GRACE.1 {
            return Err(("grace", format!("is longer than {}", duration::format(GRACE.1))));
        }
        if self.success_codes.is_empty() {
            return Err(("success_codes", "is empty: nothing would ever succeed".into()));
        }
        let twice = self.skip_codes.iter().chain(&self.fatal_codes).find(|c| self.success_codes.contains(c));
        if let Some(code) = twice {
            return Err(("success_codes", format!("{code} is in another list, too")));
        }
        self.umask().map(drop)?;
        let l = &self.limits;
        for (name, value, most) in [
            ("limits.memory", l.memory, u64::MAX >> 1),
            ("limits.files", l.files, 1 << 20),
            ("limits.processes", l.processes, 1 << 20),
            ("limits.cpu", l.cpu.map(|d| d.as_secs()), u64::MAX >> 1),
        ] {
            if value.is_some_and(|v| v == 0 || v > most) {
                return Err((
                    "limits",
                    format!("{name} must be at least 1 (for cpu: 1s) and at most {most}"),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn umask(&self) -> Result<u32, (&'static str, String)> {
        let Some(text) = &self.umask else { return Ok(0o022) };
        let octal = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777 && !text.starts_with('+'));
        octal
            .ok_or_else(|| ("umask", format!("{text:?} is not octal permissions; write for example \"022\"")))
    }

    pub(super) fn grace(&self) -> Duration {
        self.grace.unwrap_or(GRACE.0)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            cpu: self.limits.cpu.map(|d| d.as_secs()),
            memory: self.limits.memory,
            files: Some(self.limits.files.unwrap_or(FILES)),
            processes: Some(self.limits.processes.unwrap_or(PROCESSES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Payload, (String, String)> {
        Payload::read(&Json::parse(text).unwrap())
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        for (payload, field, why) in [
            (r#"{}"#, "argv", "missing"),
            (r#"{"argv":[]}"#, "argv", "empty"),
            (r#"{"argv":[""]}"#, "argv", "empty"),
            (r#"{"shell":" "}"#, "shell", "empty"),
            (r#"{"argv":["a"],"shell":"b"}"#, "shell", "not both"),
            (r#"{"argv":["a"],"tiemout":"5s"}"#, "payload", "unknown field `tiemout`"),
            (r#"{"argv":"ls -l"}"#, "payload", "expected a sequence"),
            (r#"{"argv":["a\u0000b"]}"#, "argv", "NUL"),
            (r#"{"argv":["a"],"env":{"A=B":"c"}}"#, "env", "A=B"),
            (r#"{"argv":["a"],"env":{"MAINSPRING_JOB_ID":"c"}}"#, "env", "set by the node"),
            (r#"{"argv":["a"],"dir":"here"}"#, "dir", "absolute"),
            (r#"{"argv":["a"],"timeout":"5"}"#, "payload", "unit is missing"),
            (r#"{"argv":["a"],"timeout":"0s"}"#, "timeout", "longer than zero"),
            (r#"{"argv":["a"],"grace":"2m"}"#, "grace", "1m"),
            (r#"{"argv":["a"],"umask":"999"}"#, "umask", "octal"),
            (r#"{"argv":["a"],"limits":{"memory":"5 apples"}}"#, "payload", "512MiB"),
            (r#"{"argv":["a"],"limits":{"files":0}}"#, "limits", "at least 1"),
            (r#"{"argv":["a"],"limits":{"core":1}}"#, "payload", "unknown field `core`"),
            (r#"{"argv":["a"],"success_codes":[]}"#, "success_codes", "empty"),
            (r#"{"argv":["a"],"success_codes":[0,1],"skip_codes":[1]}"#, "success_codes", "another list"),
            (r#"{"argv":["a"],"skip_codes":[300]}"#, "payload", "300"),
        ] {
            let (f, text) = read(payload).err().unwrap_or_else(|| panic!("{payload} was taken"));
            assert!(f == field && text.contains(why), "{payload}: {f}: {text}");
        }
    }

    #[test]
    fn limits_are_read_in_human_units_and_have_defaults() {
        let p = read(r#"{"argv":["a"],"limits":{"cpu":"1m","memory":"512MiB","files":7},"umask":"077"}"#)
            .unwrap();
        let expected =
            Limits { cpu: Some(60), memory: Some(512 << 20), files: Some(7), processes: Some(1000) };
        assert_eq!((p.limits(), p.umask().unwrap()), (expected, 0o077));
        let p = read(r#"{"shell":"true"}"#).unwrap();
        assert_eq!((p.limits().memory, p.umask().unwrap(), p.success_codes), (None, 0o022, vec![0]));
    }
}

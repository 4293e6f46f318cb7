//! A crontab's lines as schedules that mean the same, with whatever cannot mean the same said.
//!
//! What is kept: the times in cron's zone, both day fields as cron reads them, a run that is due
//! while the one before still goes on (cron starts it: overlap `allow`), runs missed while nothing
//! ran (cron forgets them: misfire `skip`), one attempt, variables, standard input, the user. What is
//! different is a [`Note`].
//!
//! Names follow from the file's name and the command, so that importing the same file again finds
//! its own schedules.

use super::parse::{Line, When};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Something that is not as it was, or that has to be allowed first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// For filters: `mail`, `user`, `shell`, `zone`, `delay`, `spread`, `reboot`, `every`, `quiet`,
    /// `dialect`.
    pub code: &'static str,
    /// For people.
    pub text: String,
}

/// A schedule to be, in the keys of a `[[schedule]]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// The line it comes from.
    pub line: usize,
    /// Where the time fields stand.
    #[serde(skip)]
    pub column: usize,
    /// The schedule.
    pub entry: Value,
    /// What to know.
    pub notes: Vec<Note>,
}

/// What holds for all lines of a file.
pub struct Options<'a> {
    /// First part of the names.
    pub prefix: &'a str,
    /// The zone in which cron read the file.
    pub zone: &'a str,
    /// The queue of the jobs.
    pub queue: &'a str,
}

/// Says every line as a schedule.
pub fn translate(lines: &[Line], options: &Options<'_>) -> Vec<Planned> {
    let mut taken = BTreeSet::new();
    lines
        .iter()
        .map(|line| {
            let (entry, notes) = entry(line, options);
            Planned {
                name: name(line, options, &mut taken),
                line: line.number,
                column: line.column,
                entry,
                notes,
            }
        })
        .collect()
}

fn entry(line: &Line, options: &Options<'_>) -> (Value, Vec<Note>) {
    let mut notes = Vec::new();
    let mut note = |code, text: String| notes.push(Note { code, text });
    let var = |name: &str| line.env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut entry = Map::new();
    match &line.when {
        When::Cron(text) => {
            let (text, said) = dialect(text);
            for (code, said) in said {
                note(code, said);
            }
            entry.insert("cron".into(), text.into());
        }
        When::Reboot => {
            note(
                "reboot",
                "it runs at every start of a node, which may be oftener than the machine starts".into(),
            );
            entry.insert("when".into(), "@reboot".into());
        }
        When::Every(period) => {
            note("every", "intervals are counted from midnight, not from the start of cron".into());
            entry.insert("every".into(), period.as_str().into());
        }
    }
    let zone = var("CRON_TZ").unwrap_or(options.zone);
    entry.insert("zone".into(), zone.into());
    if let Some(minutes) = var("RANDOM_DELAY").and_then(|m| m.trim().parse::<u64>().ok()).filter(|m| *m > 0) {
        note(
            "delay",
            format!("RANDOM_DELAY: each run is delayed by up to {minutes} minutes, drawn anew for each"),
        );
        entry.insert("jitter".into(), format!("{minutes}m").into());
    }
    entry.insert("command".into(), command(line));
    entry.insert("queue".into(), options.queue.into());
    entry.insert("overlap".into(), "allow".into());
    entry.insert("misfire".into(), "skip".into());
    entry.insert("attempts".into(), 1.into());
    match var("MAILTO") {
        Some("") => {}
        Some(to) => note("mail", format!("output is not mailed to {to} but kept: mainspring job logs")),
        None => note("mail", "output is not mailed to the owner but kept: mainspring job logs".into()),
    }
    if let Some(user) = &line.user {
        note(
            "user",
            match user.as_str() {
                "root" => "runs as root: only a node of root can do that".into(),
                _ => format!(
                    "runs as {user}: a node of root with {user} in commands.users can do that, or one of {user}"
                ),
            },
        );
    }
    if line.quiet {
        note(
            "quiet",
            "the leading - (do not log) has no meaning here: every run is kept in the history".into(),
        );
    }
    (Value::Object(entry), notes)
}

/// The command as the kind `command` takes it.
fn command(line: &Line) -> Value {
    // cron's own PATH; the file's lines come over it. HOME, USER and SHELL are set by the kind.
    let mut env = Map::from_iter([("PATH".to_owned(), Value::from("/usr/bin:/bin"))]);
    for (name, value) in &line.env {
        if !["MAILTO", "MAILFROM", "CRON_TZ", "RANDOM_DELAY", "CONTENT_TYPE"].contains(&name.as_str()) {
            env.insert(name.clone(), value.as_str().into());
        }
    }
    let mut command = Map::new();
    command.insert("shell".into(), line.command.as_str().into());
    command.insert("env".into(), Value::Object(env));
    if let Some(user) = &line.user {
        command.insert("user".into(), user.as_str().into());
    }
    if let Some(stdin) = &line.stdin {
        command.insert("stdin".into(), stdin.as_str().into());
    }
    Value::Object(command)
}

type Said = Vec<(&'static str, String)>;

/// Time fields in our dialect: cron's "both must match" when a day field begins with `*`, cronie's
/// `a~b`.
fn dialect(text: &str) -> (String, Said) {
    let mut said = Said::new();
    let mut fields: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if fields.len() != 5 {
        return (text.to_owned(), said);
    }
    let bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
    for (field, (low, high)) in fields.iter_mut().zip(bounds) {
        if let Some((a, b)) = field.split_once('~') {
            let a = if a.is_empty() { low.to_string() } else { a.to_owned() };
            let b = if b.is_empty() { high.to_string() } else { b.to_owned() };
            said.push((
                "spread",
                format!("{field} is drawn once from the schedule's name instead of at every start of cron"),
            ));
            *field = format!("H({a}-{b})");
        }
    }
    let given = |field: &str| field != "*";
    let step = |field: &str| field.starts_with('*') && field != "*";
    if given(&fields[2]) && given(&fields[4]) && (step(&fields[2]) || step(&fields[4])) {
        said.push((
            "dialect",
            format!("both day fields of {text:?} must match, as cron reads it; written with + here"),
        ));
        fields[4] = format!("+{}", fields[4]);
    }
    (fields.join(" "), said)
}

/// `crontab/run-parts-cron.daily`; lines that would share a name differ by what they hold.
fn name(line: &Line, options: &Options<'_>, taken: &mut BTreeSet<String>) -> String {
    let base = format!("{}/{}", options.prefix, slug(&line.command));
    let mut name = base.clone();
    let text = format!("{:?} {:?} {} {:?}", line.when, line.user, line.command, line.stdin);
    let mut salt = 0u64;
    while !taken.insert(name.clone()) {
        name = format!("{base}-{:04x}", hash(&text, salt) & 0xffff);
        salt += 1;
    }
    name
}

/// FNV-1a: small, and the same for ever.
fn hash(text: &str, salt: u64) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325 ^ salt, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The telling words of a command: programs and last parts of paths, without shell grammar.
fn slug(command: &str) -> String {
    let noise = [
        "cd", "test", "true", "exec", "nice", "ionice", "sudo", "env", "sh", "bash", "root", "dev", "null",
        "then", "fi", "if",
    ];
    let mut words = Vec::new();
    for word in command.split(|c: char| c.is_whitespace() || "|&;(){}<>[]'\"`$".contains(c)) {
        if word.starts_with('-') || word.contains('=') {
            continue;
        }
        let last = word.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let clean: String =
            last.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        let clean = clean.trim_matches(['.', '-']).to_ascii_lowercase();
        if clean.len() > 1 && !noise.contains(&clean.as_str()) && !words.contains(&clean) {
            words.push(clean);
        }
        if words.len() == 3 {
            break;
        }
    }
    let mut slug = words.join("-");
    slug.truncate(60);
    if slug.is_empty() { "command".into() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crontab::parse::{Format, parse};
    use serde_json::json;

    fn plan(text: &str, format: Format) -> Vec<Planned> {
        let (lines, errors) = parse("t", text, format);
        assert_eq!(errors, []);
        let options = Options { prefix: "crontab", zone: "Europe/Berlin", queue: "cron" };
        translate(&lines, &options)
    }

    #[test]
    fn a_line_keeps_its_meaning() {
        let text = "SHELL=/bin/sh\nPATH=/x:/bin\nMAILTO=ops@example.com\n25 6 * * * www-data run-parts /etc/cron.daily%in%put\n";
        let planned = &plan(text, Format::System)[0];
        assert_eq!(planned.name, "crontab/run-parts-cron.daily");
        assert_eq!(
            planned.entry,
            json!({
                "cron": "25 6 * * *", "zone": "Europe/Berlin", "queue": "cron",
                "overlap": "allow", "misfire": "skip", "attempts": 1,
                "command": {
                    "shell": "run-parts /etc/cron.daily", "user": "www-data", "stdin": "in\nput\n",
                    "env": { "PATH": "/x:/bin", "SHELL": "/bin/sh" },
                },
            })
        );
        let codes: Vec<_> = planned.notes.iter().map(|n| n.code).collect();
        assert_eq!(codes, ["mail", "user"]);
    }

    #[test]
    fn every_difference_is_said() {
        let text = "MAILTO=\"\"\nCRON_TZ=Asia/Tokyo\nRANDOM_DELAY=15\nSHELL=/bin/bash\n@reboot a\n@600 b\n-0~30 2 * * * c\n0 0 */2 * 1 d\n";
        let planned = plan(text, Format::User);
        let codes: Vec<Vec<_>> = planned.iter().map(|p| p.notes.iter().map(|n| n.code).collect()).collect();
        assert_eq!(
            codes,
            [
                vec!["reboot", "delay"],
                vec!["every", "delay"],
                vec!["spread", "delay", "quiet"],
                vec!["dialect", "delay"]
            ]
        );
        assert_eq!(planned[0].entry["when"], "@reboot");
        assert_eq!(planned[0].entry["zone"], "Asia/Tokyo");
        assert_eq!(planned[1].entry["every"], "600s");
        assert_eq!(planned[2].entry["cron"], "H(0-30) 2 * * *");
        assert_eq!(planned[2].entry["jitter"], "15m");
        assert_eq!(
            planned[2].entry["command"],
            json!({ "shell": "c", "env": { "PATH": "/usr/bin:/bin", "SHELL": "/bin/bash" } })
        );
        assert_eq!(planned[3].entry["cron"], "0 0 */2 * +1");
    }

    #[test]
    fn names_are_telling_unique_and_stable() {
        let text = "0 1 * * * /usr/local/bin/backup --all\n0 2 * * * /usr/local/bin/backup --all\n0 3 * * * test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.weekly; }\n0 4 * * * :\n";
        let first: Vec<String> = plan(text, Format::User).into_iter().map(|p| p.name).collect();
        assert_eq!(first[0], "crontab/backup");
        assert!(first[1].starts_with("crontab/backup-") && first[1].len() == "crontab/backup-".len() + 4);
        assert_eq!(first[2], "crontab/anacron-run-parts-cron.weekly");
        assert_eq!(first[3], "crontab/command");
        let again: Vec<String> = plan(text, Format::User).into_iter().map(|p| p.name).collect();
        assert_eq!(first, again);
    }
}

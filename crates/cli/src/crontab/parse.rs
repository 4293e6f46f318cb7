//! Reading a crontab as cron does: Vixie's format with Debian's, cronie's and the BSDs' additions.
//!
//! A line is a comment, a variable (`NAME = value`, which holds for the lines below it), or a job:
//! five time fields or a nickname, in system crontabs a user, then the command. An unescaped `%`
//! ends the command; what follows is its standard input, further ones are newlines; `\%` is a
//! percent sign. The time fields are not judged here: the calendar does that, so that there is one
//! judge.

use crate::error::{CliError, Result};
use mainspring_core::code::Code;

/// Whether lines name a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Found out from the path and the lines.
    Auto,
    /// `/etc/crontab` and `/etc/cron.d`: a user before the command.
    System,
    /// `crontab -e`: no user.
    User,
}

/// When a line runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Five fields, or a nickname that stands for them.
    Cron(String),
    /// Once when the system starts.
    Reboot,
    /// Every so many seconds after the last run (FreeBSD's `@600`, or `@every 5m`).
    Every(String),
}

/// One job line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// When it runs.
    pub when: When,
    /// As whom, in a system crontab.
    pub user: Option<String>,
    /// The command, for a shell.
    pub command: String,
    /// Its standard input.
    pub stdin: Option<String>,
    /// Variables set above it, in order, the last of each name.
    pub env: Vec<(String, String)>,
    /// It began with `-`: do not log its start.
    pub quiet: bool,
    /// Where the first time field stands, from 1.
    pub column: usize,
}

/// Reads a crontab. Every line that cannot be read is an error of its own.
pub fn parse(path: &str, text: &str, format: Format) -> (Vec<Line>, Vec<CliError>) {
    let system = match format {
        Format::System => true,
        Format::User => false,
        Format::Auto => looks_like_system(path, text),
    };
    let (mut lines, mut errors, mut env) = (Vec::new(), Vec::new(), Vec::<(String, String)>::new());
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let line = raw.trim_start_matches([' ', '\t']);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = variable(line) {
            env.retain(|(n, _)| *n != name);
            env.push((name, value));
            continue;
        }
        let column = raw.chars().count() - line.chars().count() + 1;
        match job(line, system) {
            Ok((when, user, command, quiet)) => {
                let (command, stdin) = split_percent(command);
                let env = env.clone();
                lines.push(Line { number, when, user, command, stdin, env, quiet, column });
            }
            Err((message, hint)) => errors.push(
                CliError::new(Code::BAD_CRONTAB, message).at(format!("{path}:{number}:{column}")).hint(hint),
            ),
        }
    }
    (lines, errors)
}

/// `NAME=value`, `NAME = "value"`, `"NAME"='value'`.
fn variable(line: &str) -> Option<(String, String)> {
    let line = line.trim_end();
    let (name, rest) = match line.chars().next()? {
        quote @ ('"' | '\'') => line[1..].split_once(quote)?,
        _ => {
            let end = line.find(|c: char| c == '=' || c.is_whitespace())?;
            line.split_at(end)
        }
    };
    let first = name.chars().next()?;
    let plain = (first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !plain {
        return None;
    }
    let value = rest.trim_start().strip_prefix('=')?.trim();
    let unquoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value);
    Some((name.to_owned(), unquoted.to_owned()))
}

type JobParts<'a> = (When, Option<String>, &'a str, bool);

fn job(line: &str, system: bool) -> Result<JobParts<'_>, (String, String)> {
    let (quiet, line) = match line.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (when, rest) = match line.strip_prefix('@') {
        Some(rest) => nickname(rest)?,
        None => {
            let mut rest = line;
            let mut fields = Vec::new();
            while fields.len() < 5 {
                let (field, after) = word(rest);
                if field.is_empty() {
                    return Err((
                        format!("only {} of five time fields are here", fields.len()),
                        "minute hour day month weekday command, for example: 0 2 * * * /usr/local/bin/backup"
                            .into(),
                    ));
                }
                fields.push(field);
                rest = after;
            }
            (When::Cron(fields.join(" ")), rest)
        }
    };
    let (user, command) = match system {
        true => {
            let (user, rest) = word(rest);
            (Some(user.to_owned()), rest)
        }
        false => (None, rest.trim_start_matches([' ', '\t'])),
    };
    if command.trim().is_empty() {
        return Err(match (system, &user) {
            (true, Some(user)) if !user.is_empty() => (
                format!("there is a user ({user:?}) but no command"),
                "--user-format user, if the lines of this file name no user".into(),
            ),
            _ => ("there is no command".into(), "the command after the time fields".into()),
        });
    }
    Ok((when, user, command, quiet))
}

fn nickname(rest: &str) -> Result<(When, &str), (String, String)> {
    let (name, after) = word(rest);
    let when = match name {
        "reboot" => When::Reboot,
        "every" => {
            let (period, after) = word(after);
            return Ok((When::Every(period.to_owned()), after));
        }
        "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => {
            When::Cron(format!("@{name}"))
        }
        "every_minute" => When::Cron("* * * * *".into()),
        n if !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()) => When::Every(format!("{n}s")),
        _ => {
            let known = ["reboot", "yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
            let near = crate::error::nearest(name, known).map(|n| format!("@{n}"));
            return Err((
                format!("@{name} is not a time"),
                near.unwrap_or_else(|| "@daily, @hourly, @reboot or five time fields".into()),
            ));
        }
    };
    Ok((when, after))
}

/// The first word and what follows it with its blanks removed.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start_matches([' ', '\t']))
}

/// The command and its standard input.
fn split_percent(text: &str) -> (String, Option<String>) {
    let (mut command, mut input) = (String::new(), None::<String>);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let put = match c {
            '\\' if chars.peek() == Some(&'%') => {
                chars.next();
                '%'
            }
            '%' if input.is_none() => {
                input = Some(String::new());
                continue;
            }
            '%' => '\n',
            other => other,
        };
        input.as_mut().unwrap_or(&mut command).push(put);
    }
    // cron ends the input with a newline.
    (command.trim_end().to_owned(), input.map(|i| if i.ends_with('\n') { i } else { i + "\n" }))
}

/// System crontabs lie in `/etc`; elsewhere every sixth word must look like one that can log in.
fn looks_like_system(path: &str, text: &str) -> bool {
    let path = path.replace('\\', "/");
    if path.contains("cron.d/") || path.ends_with("etc/crontab") || path == "crontab" {
        return true;
    }
    if path.contains("spool/cron") {
        return false;
    }
    let mut users = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#') && variable(l).is_none())
        .map(|l| {
            let mut words = l.split_whitespace().skip(if l.starts_with('@') { 1 } else { 5 });
            (words.next().unwrap_or(""), words.next().is_some())
        })
        .peekable();
    // A word alone may be a user or a command; the well-known users decide.
    let known = ["root", "www-data", "nobody", "daemon", "postgres", "mail", "backup", "man", "news"];
    users.peek().is_some() && users.all(|(word, more)| more && known.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, format: Format) -> Line {
        let (mut lines, errors) = parse("t", text, format);
        assert!(errors.is_empty() && lines.len() == 1, "{errors:?} {lines:?}");
        lines.remove(0)
    }

    #[test]
    fn a_debian_system_crontab_is_read() {
        let text = "# comment\nSHELL=/bin/sh\nPATH = \"/usr/sbin:/bin\"\n\n17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n25 6 * * * root test -x /usr/sbin/anacron || { cd / && run-parts /etc/cron.daily; }\n@reboot www-data /opt/x\n";
        let (lines, errors) = parse("/etc/crontab", text, Format::Auto);
        assert_eq!(errors, []);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].when, When::Cron("17 * * * *".into()));
        assert_eq!((lines[0].user.as_deref(), lines[0].number), (Some("root"), 5));
        assert_eq!(lines[0].command, "cd / && run-parts --report /etc/cron.hourly");
        assert_eq!(
            lines[0].env,
            [("SHELL".into(), "/bin/sh".into()), ("PATH".into(), "/usr/sbin:/bin".into())]
        );
        assert_eq!((&lines[2].when, lines[2].user.as_deref()), (&When::Reboot, Some("www-data")));
    }

    #[test]
    fn percent_signs_end_the_command_and_are_newlines_after_that() {
        let line = one("0 1 * * * mail -s hi joe%Joe,%%Where?% 100\\% sure", Format::User);
        assert_eq!(line.command, "mail -s hi joe");
        assert_eq!(line.stdin.as_deref(), Some("Joe,\n\nWhere?\n 100% sure\n"));
        let line = one("0 1 * * * date +\\%Y-\\%m", Format::User);
        assert_eq!((line.command.as_str(), line.stdin), ("date +%Y-%m", None));
    }

    #[test]
    fn variables_hold_for_the_lines_below_them_only() {
        let text = "0 1 * * * a\nX=1\n0 1 * * * b\n'X' = ' 2 '\nY=\n0 1 * * * c=d\n";
        let (lines, _) = parse("t", text, Format::User);
        assert_eq!(lines[0].env, []);
        assert_eq!(lines[1].env, [("X".into(), "1".into())]);
        assert_eq!(lines[2].env, [("X".into(), " 2 ".into()), ("Y".into(), String::new())]);
        assert_eq!(lines[2].command, "c=d");
    }

    #[test]
    fn nicknames_dashes_and_the_additions_of_others_are_read() {
        assert_eq!(one("@daily x", Format::User).when, When::Cron("@daily".into()));
        assert_eq!(one("@600 x", Format::User).when, When::Every("600s".into()));
        assert_eq!(one("@every 5m x", Format::User).when, When::Every("5m".into()));
        let line = one("  -*/15 * * * * root x", Format::System);
        assert!(line.quiet && line.column == 3);
        assert_eq!(line.when, When::Cron("*/15 * * * *".into()));
    }

    #[test]
    fn broken_lines_are_told_one_by_one_and_the_others_are_read() {
        let text = "0 1 * *\n0 1 * * * root\n@dayly x y\n0 2 * * * root ok\n";
        let (lines, errors) = parse("/etc/cron.d/x", text, Format::Auto);
        assert_eq!(lines.len(), 1);
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(text[0].contains("only 4 of five") && text[0].contains("/etc/cron.d/x:1:1"), "{}", text[0]);
        assert!(text[1].contains("no command") && text[1].contains("--user-format user"), "{}", text[1]);
        assert!(text[2].contains("try: @daily"), "{}", text[2]);
    }

    #[test]
    fn the_format_is_found_out() {
        assert!(looks_like_system("/etc/crontab", "0 1 * * * x y"));
        assert!(looks_like_system("my.tab", "A=1\n0 1 * * * root x\n@daily www-data y\n"));
        assert!(!looks_like_system("my.tab", "0 1 * * * root x\n0 1 * * * backup.sh\n"));
        assert!(!looks_like_system("my.tab", "0 1 * * * backup\n"));
        assert!(!looks_like_system("/var/spool/cron/crontabs/root", "0 1 * * * root"));
    }
}

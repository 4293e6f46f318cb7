//! The reference page of all settings, made from their table: `docs/configuration.md`. A test holds
//! the page to it.

use super::table::{OTHER_VARIABLES, SETTINGS, Setting};
use super::value;
use std::fmt::Write;

/// The page, as Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    for setting in SETTINGS {
        let (this, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if this != section {
            let _ = write!(page, "\n### [{this}]\n");
            section = this;
        }
        row(&mut page, setting, name);
    }
    page.push_str("\n## Other variables\n\n| Variable | What it is |\n|---|---|\n");
    for (name, about) in OTHER_VARIABLES {
        let _ = writeln!(page, "| `{name}` | {about} |");
    }
    page.push_str(TAIL);
    page
}

fn row(page: &mut String, setting: &Setting, name: &str) {
    let _ = write!(page, "\n**`{name}`** {}.\n", setting.about);
    if !setting.more.is_empty() {
        let _ = writeln!(page, "{}", setting.more);
    }
    let flag = setting.flag_name().map(|f| format!("flag `--{f}`, ")).unwrap_or_default();
    let default = match setting.default {
        "" => "none".to_owned(),
        text => format!("`{}`", value::toml_value(setting, text)),
    };
    let _ = write!(
        page,
        "\n- {flag}variable `{}`, default {default}\n- for example `{name} = {}`\n",
        setting.env(),
        value::toml_example(setting)
    );
}

const HEAD: &str = "# Configuration

<!-- Made by `mainspring config reference` from the table of settings; do not edit by hand. -->

A value is taken from the first place that has one: the flag, the environment, the file, the default.
`mainspring config show` tells every value and where it came from. The file is `mainspring.toml` in the
current folder, or the one named with `--config` or `MAINSPRING_CONFIG`. Unknown keys, flags and variables
are refused with the nearest name, bad values with the line and column; `mainspring check FILE` looks a
whole file over and shows the next fires of its schedules.

## Settings
";

const TAIL: &str = "
## Secrets

A secret is given to the process that runs jobs as a variable `MAINSPRING_SECRET_<NAME>` and named by jobs
instead of being held in them. It is never stored, and never shown: where a server or a command says it
aloud, `[redacted]` takes its place in the job's log, error and output (values of 8 characters and more).
`mainspring config show` lists the names alone.

Secrets of a project are kept sealed in the store and need nothing here but a key: `mainspring secret set NAME`. A job
names one anywhere in its payload, as `{\"$secret\": \"NAME\"}`, also where a request is signed:
`\"sign\": {\"secret\": {\"$secret\": \"billing\"}}`.

## Queues

`[queue.NAME]` sets a queue's limits when a node starts. What `mainspring queue limit` set later holds until
the next start of a node with this file.

```toml
[queue.mail]
max_running = 20          # at once, on all nodes together
max_running_per_key = 1   # at once, of one key
rate = \"100/1m\"           # starts in any minute
rate_per_key = \"5/1s\"     # starts of one key in any second
fair = true               # keys take turns
retention = { completed = \"7d\", failed = \"30d\", count = 100000 }

[queue.\"*\"]
max_running = 200         # of all queues together
```

## Schedules

Each `[[schedule]]` is one rule that fires. See [Schedules](guides/schedules.md) for every key.

```toml
[[schedule]]
name = \"nightly backup\"
cron = \"0 2 * * *\"
zone = \"Europe/Berlin\"
command = [\"/usr/local/bin/backup\", \"--all\"]
timeout = \"1h\"
```

Schedules of the file are written when a node starts; those that have gone from the file since are deleted
then. What was made by hand or by an import is left alone.
";

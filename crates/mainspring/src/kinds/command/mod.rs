//! Kind `command`: one program of this host.
//!
//! ```json
//! {"argv": ["pg_dump", "-f", "/backup/db.sql"], "user": "postgres", "timeout": "1h",
//!  "env": {"PGDATABASE": "shop"}, "limits": {"memory": "2GiB"}, "skip_codes": [75]}
//! ```
//!
//! | field | |
//! |---|---|
//! | `argv` | the program (a path, or a name looked up in PATH) and its arguments; or |
//! | `shell` | a line for `/bin/sh -c` (or the `SHELL` of `env`), if the configuration allows lines |
//! | `dir` | where it runs; without it in HOME, else in `/` |
//! | `env` | added to a clean environment: PATH, HOME, USER, LOGNAME, SHELL, LANG and `MAINSPRING_*` |
//! | `stdin` | its standard input; without it there is none |
//! | `user` | whom it runs as; only a node that runs as root can change that |
//! | `timeout`, `grace` | after the time SIGTERM, after the grace (5 s) SIGKILL, to all its processes |
//! | `umask` | octal text; `"022"` |
//! | `limits` | `cpu` (time), `memory` (size), `files` (1024), `processes` (1000) |
//! | `success_codes` | exit codes that are a success: `[0]` |
//! | `skip_codes`, `fatal_codes` | exit codes that mean "nothing to do" and "do not try again" |
//!
//! Every other exit code fails and is tried again, but 126 and 127: a program that is not there will
//! not be there in a minute. Its output becomes the attempt's log, line by line: see [`output`].
//! Whether a command may run here at all is the configuration's to say: see [`policy`]. How it is
//! started and ended: see [`super::launcher`].

mod output;
mod payload;
mod policy;
mod run;
mod users;

pub use policy::CommandPolicy;

use super::Attempt;
use crate::context::Context;
use crate::job::JobError;
use crate::registry::Handler;
use crate::secrets::refs;
use async_trait::async_trait;
use mainspring_core::{Json, duration};
use payload::Payload;

/// The kind's name.
pub const KIND: &str = "command";

/// The handler of kind `command`.
pub struct Command {
    policy: CommandPolicy,
}

impl Command {
    /// A handler that runs what `policy` allows. In a process that was started as a launcher and
    /// should have become one, it says so and ends the process: see [`super::launcher::intercept`].
    pub fn new(policy: CommandPolicy) -> Command {
        super::launcher::must_not_be_launcher();
        Command { policy }
    }

    /// What it would run, as whom and where, and what forbids it: for previews.
    pub fn describe(&self, payload: &Json) -> Result<serde_json::Value, (String, String)> {
        let stood = refs::stand_in(payload)?;
        let payload = Payload::read(stood.as_ref().unwrap_or(payload))?;
        let planned = self.policy.plan(&payload, vec![]);
        let (order, problem) = match &planned {
            Ok(order) => (Some(order), None),
            Err(JobError::Fatal(error) | JobError::Retry { error, .. }) => {
                (None, Some(error.message.clone()))
            }
            Err(_) => (None, None),
        };
        Ok(serde_json::json!({
            "kind": KIND,
            "program": order.map(|o| &o.program),
            "argv": order.map_or_else(|| payload.argv.clone().unwrap_or_default(), |o| o.argv.clone()),
            "dir": order.and_then(|o| o.dirs.first()),
            "user": payload.user,
            "env": payload.env.keys().collect::<Vec<_>>(),
            "timeout": payload.timeout.map(duration::format),
            "grace": duration::format(payload.grace()),
            "problem": problem,
        }))
    }

    /// Runs the command of `payload` once, to the end of its last process.
    pub async fn execute(&self, payload: &Json, attempt: &dyn Attempt) -> Result<Option<Json>, JobError> {
        let payload = Payload::read(payload).map_err(super::bad_payload)?;
        let order = self.policy.plan(&payload, attempt.facts())?;
        run::run(&self.policy.launcher, order, &payload, attempt).await
    }
}

#[async_trait]
impl Handler for Command {
    fn check(&self, payload: &Json) -> Result<(), (String, String)> {
        Payload::read(payload).map(drop)
    }

    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError> {
        self.execute(cx.payload(), &cx).await
    }
}

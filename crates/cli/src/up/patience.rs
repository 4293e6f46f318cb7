//! Waiting for a database server that is not there yet.
//!
//! Machines start in any order, and a node that ended because the database was a minute later would
//! need somebody to start it again. So `up` waits, with longer and longer pauses, and says so once
//! for each reason. What waiting cannot cure is an error at once: an address that cannot be read, a
//! refused password, a database of an unknown name, a foreign schema, a file of our own that cannot
//! be opened. Commands other than `up` never wait: a person has typed them.

use super::signals::Signals;
use super::{Begun, begin as try_once};
use crate::app::App;
use crate::args::UpArgs;
use crate::clock;
use crate::error::{CliError, Result};
use crate::out::when;
use crate::store::Address;
use mainspring_core::code::Code;
use mainspring_core::time;
use std::io::Write as _;
use std::time::Duration;

/// The first pause between two tries, and the longest; each is twice the one before.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Opens the store and prepares it, for as long as it takes. None when the node was asked to end
/// first; the error of the last try when its time was over.
pub async fn begin(app: &mut App, args: &UpArgs) -> Result<Option<Begun>> {
    let mut signals = Signals::new()?;
    let (began, mut pause, mut told) = (clock::now(), PAUSE.0, None::<String>);
    loop {
        let tried = tokio::select! {
            tried = try_once(app, args) => tried,
            () = signals.next() => return Ok(None),
        };
        let error = match tried {
            Ok(begun) => {
                if told.is_some() {
                    let length = when::short(time::since(began, clock::now()));
                    say(app, "back", &format!("the database answers after {length}"));
                }
                return Ok(Some(begun));
            }
            Err(error) => error,
        };
        let left = args.length.map(|length| length.saturating_sub(time::since(began, clock::now())));
        if !may_pass(app, &error) || left == Some(Duration::ZERO) {
            return Err(error);
        }
        if told.as_ref() != Some(&error.message) {
            say(app, "waiting", &format!("{}; waiting for it, Ctrl-C ends", error.message));
            told = Some(error.message.clone());
        }
        tokio::select! {
            () = clock::pause(left.map_or(pause, |left| left.min(pause))) => {}
            () = signals.next() => return Ok(None),
        }
        pause = (pause * 2).min(PAUSE.1);
        app.now = clock::now();
    }
}

/// Whether waiting may help: a server is away. A file is here, or it will not come.
fn may_pass(app: &App, error: &CliError) -> bool {
    matches!(app.settings.store, Address::Postgres(_))
        && [Code::STORE_UNAVAILABLE, Code::STORE_TIMEOUT].contains(&error.code)
}

/// On the error stream, so that it is seen with `--quiet` too; with `--json` a line like the others.
fn say(app: &mut App, event: &str, text: &str) {
    // Nobody who reads is no reason not to wait.
    if app.out.json {
        let line = serde_json::json!({ "at": clock::now(), "event": event, "text": text });
        drop(app.out.json_line(&line).and_then(|()| app.out.flush()));
    } else {
        drop(writeln!(std::io::stderr(), "{text}"));
    }
}

//! Bulk actions inside the list of jobs: those that go on, and those that ended a moment ago.

use super::BulkAction;
use crate::access::Caller;
use crate::problem::Result;
use crate::views::mark::{self, Mark};
use crate::views::{counted, number};
use mainspring::kinds::bulk::{Action, KIND, Which};
use mainspring_core::job::JobState;
use mainspring_core::{JobId, time};
use std::time::Duration;

/// How many are shown.
const SHOWN: u32 = 5;
/// What ended is shown for so long.
const AFTER: Duration = Duration::from_secs(600);

/// One, as the list shows it.
pub struct Line {
    /// Its number: that of the job which does it, whose page tells more.
    pub id: i64,
    /// Where it stands.
    pub mark: Mark,
    /// What is done to which jobs.
    pub text: String,
    /// How far it is, in words.
    pub far: String,
    /// How far it is, while it goes on and its jobs are counted.
    pub bar: Option<(u64, u64)>,
    /// Whether it goes on.
    pub open: bool,
}

/// The newest first. `known` says whether there are any at all, which counters tell for nothing.
pub async fn lines(caller: &Caller, known: bool) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    if !known {
        return Ok(lines);
    }
    let now = caller.client().now();
    for mut action in super::list(caller, None, SHOWN).await?.items {
        match action.finished_at {
            Some(at) if time::since(at, now) > AFTER => continue,
            Some(_) => {}
            None => action = super::one(caller, JobId(action.id)).await?,
        }
        lines.push(Line::of(&action));
    }
    Ok(lines)
}

/// Whether counters know jobs of this kind.
pub fn known<Q, S>(counts: &[(Q, String, S, u64)]) -> bool {
    counts.iter().any(|(_, kind, _, n)| kind == KIND && *n > 0)
}

impl Line {
    fn of(action: &BulkAction) -> Line {
        let open = action.finished_at.is_none();
        let what = match action.action {
            Action::Retry => "Run again",
            Action::Cancel => "Cancel",
        };
        let far = match (action.total, action.state) {
            (None, JobState::Cancelled) => "aborted before it began".to_owned(),
            (None, _) if open => "counting".to_owned(),
            (None, _) => "nothing was done".to_owned(),
            (Some(total), _) if open => format!("{} of {}", number(&action.done), number(&total)),
            (Some(total), JobState::Completed) => format!(
                "{} of {} done{}",
                number(&action.done),
                counted(total, "job", "jobs"),
                if action.failed > 0 {
                    format!(", {} passed over", number(&action.failed))
                } else {
                    String::new()
                }
            ),
            (Some(_), _) => format!("ended after {}", counted(action.done, "job", "jobs")),
        };
        let bar = action.total.filter(|total| open && *total > 0);
        Line {
            id: action.id,
            mark: mark::of_state(action.state),
            text: format!("{what}: {}", terms(&action.filter)),
            far,
            bar: bar.map(|total| (action.done.min(total), total)),
            open,
        }
    }
}

/// Which jobs, as one types it above the list.
fn terms(which: &Which) -> String {
    let states = which.states.iter().map(|state| format!("state:{state}"));
    let mut terms: Vec<String> = states.collect();
    let named = [
        ("kind", &which.kind),
        ("queue", &which.queue),
        ("schedule", &which.schedule),
        ("key", &which.key),
        ("class", &which.error),
    ];
    terms.extend(named.into_iter().filter_map(|(name, value)| Some(format!("{name}:{}", value.as_ref()?))));
    terms.extend(which.batch.map(|batch| format!("batch:{batch}")));
    terms.extend(which.created_from.map(|at| format!("from {at}")));
    terms.extend(which.created_until.map(|at| format!("until {at}")));
    if terms.is_empty() { "every job".into() } else { terms.join(" ") }
}

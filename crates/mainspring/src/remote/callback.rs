//! A request that was answered 202: "taken, I tell you later".
//!
//! Its attempt leaves the node that sent the request and goes into the hands of [`NODE`], a node that is
//! no process: its sign of life is written once, far ahead, so that no restart and no silence of any
//! process ends what waits. What ends it is the call-back (the same calls as a worker's, proved by a
//! token of this attempt), a cancellation, or its deadline, which `step::overseer` of any node keeps:
//! so many after its start as the payload's `callback` says, with the outcome `timed_out`.
//!
//! The call-back may be quicker than the 202: then the attempt has ended already, and nothing is
//! handed over.

use super::{Result, token};
use crate::context::Context;
use crate::projects;
use mainspring_core::StoreError;
use mainspring_core::ids::{JobId, NodeId, ProjectId};
use mainspring_core::node::NodeInfo;
use mainspring_core::store::{Finished, Store};
use mainspring_core::time;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The node that holds what waits for a call-back.
pub const NODE: NodeId = NodeId(1);
/// The longest a call-back may be waited for.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// The lines of a call-back are numbered from here: those before are the sender's own.
pub(super) const FIRST_LINE: u32 = 100;
/// Its sign of life is written this far ahead.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Where the other side reaches us, and what it proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The address; `/progress`, `/log`, `/finish` and `/fail` follow.
    pub url: String,
    /// To be sent as `Authorization: Bearer …`.
    pub token: String,
}

/// Makes invitations: what a kind needs that lets others answer later. Cheap to clone.
#[derive(Clone)]
pub struct Office {
    url: Arc<str>,
    seals: Arc<OnceCell<token::Seals>>,
}

impl Office {
    /// Under this address people reach the server (`https://jobs.example.com/base`).
    pub fn new(public_url: &str) -> Office {
        Office { url: public_url.trim_end_matches('/').into(), seals: Arc::default() }
    }

    /// The invitation for an attempt.
    pub async fn invite(&self, cx: &Context) -> Result<Invitation> {
        let store = cx.client().store().clone();
        let seals = self.seals.get_or_try_init(|| token::of_store(&store)).await?;
        let project = name_of(&*store, cx.project()).await?;
        let token = seals.callback(cx.project(), cx.job_id(), cx.attempt());
        Ok(Invitation { url: address(&self.url, &project, cx.job_id()), token })
    }
}

async fn name_of(store: &dyn Store, project: ProjectId) -> Result<String> {
    let found = projects::name_of(store, project).await?;
    Ok(found.ok_or_else(|| StoreError::NotFound { what: "project", name: project.to_string() })?)
}

/// Names may hold anything but control characters: what an address cannot carry is written in percent
/// signs.
fn address(url: &str, project: &str, job: JobId) -> String {
    let mut name = String::with_capacity(project.len());
    for byte in project.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                name.push(char::from(byte))
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("{url}/api/v1/projects/{name}/callbacks/{job}")
}

/// Puts a running attempt into the hands of [`NODE`].
pub(crate) async fn hand_over(cx: &Context) -> Result<Finished> {
    let store = cx.client().store().clone();
    sit(&*store, cx).await?;
    Ok(store.hand_over(cx.now(), cx.job_id(), cx.attempt(), NODE).await?)
}

/// The node is there and lives, whoever makes it so.
async fn sit(store: &dyn Store, cx: &Context) -> Result<()> {
    let info = NodeInfo {
        id: NODE,
        name: "call-backs".into(),
        pid: 0,
        version: env!("CARGO_PKG_VERSION").into(),
        slots: 0,
        queues: vec![],
        kinds: vec![],
        tz_version: String::new(),
    };
    match store.join(cx.now(), info).await {
        Ok(()) | Err(StoreError::Conflict(_)) => {}
        Err(e) => return Err(e.into()),
    }
    // It was said to be lost only if somebody's clock is a century ahead.
    store.heartbeat(time::plus(cx.now(), FAR), NODE, FAR).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_carries_any_project_name() {
        assert_eq!(
            address("https://x.example/base", "a b/ü", JobId(7)),
            "https://x.example/base/api/v1/projects/a%20b%2F%C3%BC/callbacks/7"
        );
    }
}

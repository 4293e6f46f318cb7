//! Seals: text that says who may speak for a worker, an attempt or a call-back, and that only this
//! installation can make. HMAC-SHA256 over what is meant, with a key that lies in the database, so that
//! every server checks the seals of every other and a restart forgets none.
//!
//! ```text
//! worker     NODE.SEAL           of project and node
//! lease      JOB.ATTEMPT.SEAL    of project, node, job and attempt
//! call-back  ATTEMPT.SEAL        of project, job and attempt
//! ```
//!
//! A seal says nothing about whether the attempt still runs: that is the fence's to say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use mainspring_core::StoreError;
use mainspring_core::ids::{JobId, NodeId, ProjectId};
use mainspring_core::store::Store;
use mainspring_core::tables::{Migration, Statement, TablesError, Value};
use sha2::Sha256;
use std::sync::Arc;

const MIGRATIONS: &[Migration] = &[Migration::new("0001_remote", include_str!("0001_remote.sql"))];

/// Bytes of a seal.
const SEAL: usize = 16;

/// What makes and checks seals.
#[derive(Clone)]
pub(crate) struct Seals(Vec<u8>);

/// Those of a store: the key is drawn once, by whoever comes first.
pub(crate) async fn of_store(store: &Arc<dyn Store>) -> Result<Seals, TablesError> {
    let tables = store.clone().tables().ok_or_else(|| StoreError::Invalid {
        field: "store",
        text: "this store has no tables, which workers outside need".into(),
    })?;
    tables.migrate("remote", MIGRATIONS).await?;
    let insert = Statement::new(
        "INSERT INTO remote_facts (name, fact) VALUES ('seal', ?1) ON CONFLICT (name) DO NOTHING",
    );
    tables.write(insert.bind(random()?.to_vec()).into()).await?;
    let key = tables.read(Statement::new("SELECT fact FROM remote_facts WHERE name = 'seal'")).await?;
    let Some(Value::Blob(key)) = key.values().first().and_then(|row| row.first()).cloned() else {
        return Err(StoreError::Internal("the key of workers outside is not there".into()).into());
    };
    Ok(Seals(key))
}

#[allow(clippy::disallowed_methods, reason = "what protects people comes from the operating system")]
fn random() -> Result<[u8; 32], StoreError> {
    let mut bytes = [0; 32];
    let failed = |e| StoreError::Internal(format!("the system gives no random bytes: {e}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

impl Seals {
    fn mac(&self, what: &str) -> Option<Hmac<Sha256>> {
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(what.as_bytes());
        Some(mac)
    }

    fn seal(&self, what: &str) -> String {
        let mac = self.mac(what).map(|mac| mac.finalize().into_bytes());
        mac.map_or_else(String::new, |mac| URL_SAFE_NO_PAD.encode(&mac[..SEAL]))
    }

    /// In a time that does not tell where they differ.
    fn holds(&self, what: &str, seal: &str) -> bool {
        let Ok(seal) = URL_SAFE_NO_PAD.decode(seal) else { return false };
        seal.len() == SEAL && self.mac(what).is_some_and(|mac| mac.verify_truncated_left(&seal).is_ok())
    }

    pub(crate) fn worker(&self, project: ProjectId, node: NodeId) -> String {
        format!("{node}.{}", self.seal(&format!("worker {project} {node}")))
    }

    /// The node of a worker's name.
    pub(crate) fn worker_of(&self, project: ProjectId, worker: &str) -> Option<NodeId> {
        let (node, seal) = worker.split_once('.')?;
        let node: NodeId = node.parse().ok()?;
        self.holds(&format!("worker {project} {node}"), seal).then_some(node)
    }

    pub(crate) fn lease(&self, project: ProjectId, node: NodeId, job: JobId, attempt: u32) -> String {
        format!("{job}.{attempt}.{}", self.seal(&format!("lease {project} {node} {job} {attempt}")))
    }

    /// Job and attempt of a lease that was given to this node.
    pub(crate) fn opened(&self, project: ProjectId, node: NodeId, lease: &str) -> Option<(JobId, u32)> {
        let mut parts = lease.splitn(3, '.');
        let (job, attempt, seal) = (parts.next()?, parts.next()?, parts.next()?);
        let (job, attempt): (JobId, u32) = (job.parse().ok()?, attempt.parse().ok()?);
        self.holds(&format!("lease {project} {node} {job} {attempt}"), seal).then_some((job, attempt))
    }

    pub(crate) fn callback(&self, project: ProjectId, job: JobId, attempt: u32) -> String {
        format!("{attempt}.{}", self.seal(&format!("callback {project} {job} {attempt}")))
    }

    /// The attempt that a call-back's token stands for.
    pub(crate) fn called_back(&self, project: ProjectId, job: JobId, token: &str) -> Option<u32> {
        let (attempt, seal) = token.split_once('.')?;
        let attempt: u32 = attempt.parse().ok()?;
        self.holds(&format!("callback {project} {job} {attempt}"), seal).then_some(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_for_what_it_was_made_for_and_nothing_else() {
        let (seals, other) = (Seals(vec![7; 32]), Seals(vec![8; 32]));
        let (p, q, n, m, j) = (ProjectId(1), ProjectId(2), NodeId(5), NodeId(6), JobId(9));
        let worker = seals.worker(p, n);
        assert_eq!(seals.worker_of(p, &worker), Some(n));
        assert_eq!(seals.worker_of(q, &worker), None);
        assert_eq!(other.worker_of(p, &worker), None);
        let lease = seals.lease(p, n, j, 2);
        assert_eq!(seals.opened(p, n, &lease), Some((j, 2)));
        assert_eq!(seals.opened(p, m, &lease), None);
        assert_eq!(seals.opened(p, n, &lease.replace("9.2.", "9.3.")), None, "another attempt");
        assert_eq!(seals.opened(p, n, &lease[..lease.len() - 1]), None);
        let token = seals.callback(p, j, 2);
        assert_eq!(seals.called_back(p, j, &token), Some(2));
        assert_eq!(seals.called_back(p, JobId(8), &token), None);
        for wrong in ["", ".", "9", "9.2", "9.2.", "x.y.z", "9.2.AAAAAAAAAAAAAAAAAAAAAA", "9.2.ä"] {
            assert_eq!(seals.opened(p, n, wrong), None, "{wrong}");
            assert_eq!(seals.worker_of(p, wrong), None, "{wrong}");
            assert_eq!(seals.called_back(p, j, wrong), None, "{wrong}");
        }
    }
}

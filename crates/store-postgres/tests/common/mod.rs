//! What the tests of this store share: a store on a database of its own, a node, a patient look.
#![allow(clippy::disallowed_methods, reason = "these tests wait for a real server")]

use mainspring_core::job::NewJob;
use mainspring_core::node::NodeInfo;
use mainspring_core::store::{ClaimRequest, Store};
use mainspring_core::{Json, NodeId, ProjectId};
use mainspring_store_postgres::{Options, PostgresStore};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const P: ProjectId = ProjectId::DEFAULT;

pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

pub fn job(kind: &str) -> NewJob {
    NewJob::new(kind, Json::null())
}

pub async fn open(url: &str) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::connect(url, Options::default()).await.expect("a store"))
}

pub async fn join(store: &PostgresStore, id: i64) -> NodeId {
    let node = NodeInfo {
        id: NodeId(id),
        name: "test".into(),
        pid: 1,
        version: "0".into(),
        slots: 10,
        queues: vec![],
        kinds: vec![],
        tz_version: "none".into(),
    };
    store.join(now(), node).await.expect("joined");
    NodeId(id)
}

pub fn request(node: NodeId) -> ClaimRequest {
    ClaimRequest { node, limit: 100, kinds: vec!["work".into()], queues: vec![], project: None }
}

/// Asks again and again, at most twenty seconds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) -> Duration {
    let began = Instant::now();
    while !ask().await {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: not within twenty seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

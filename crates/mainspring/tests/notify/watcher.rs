//! The sign of life for a watcher outside.

use crate::on_both;
use crate::support::{Stores, outbound};
use mainspring::step::SignOfLife;
use mainspring::{Node, Registry};
use mainspring_testkit::outside::{Answer, Stub};
use std::time::Duration;
use tokio::sync::oneshot;

on_both! {
    a_watcher_hears_from_a_node_that_works_and_not_from_one_that_ended
}

async fn a_watcher_hears_from_a_node_that_works_and_not_from_one_that_ended(stores: Stores) {
    // That it refuses once keeps nobody from asking again.
    let stub = Stub::start(vec![Answer::of(503, "busy"), Answer::of(200, "OK")]);
    let watcher =
        SignOfLife { outbound: outbound(), url: stub.url("/ping"), every: Duration::from_millis(100) };
    let node = Node::builder(stores.store.clone(), Registry::new().state(watcher)).slots(1).build().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(node.run(async { drop(stopped.await) }));
    let got = tokio::task::spawn_blocking(move || (stub.wait_for(3), stub)).await.unwrap();
    assert!(got.0.iter().all(|request| request.method == "GET" && request.path == "/ping"));
    drop(stop);
    ended.await.unwrap().unwrap();
    let after = got.1.all().len();
    crate::support::nap(400).await;
    assert_eq!(got.1.all().len(), after);
}

//! Phases over a store with a past: what was finished before is made by running it.

use super::phases::{self, Figure, Noop};
use super::{node, open};
use crate::error::Result;
use crate::settings::Settings;
use crate::store::Purpose;
use mainspring::Client;
use mainspring_core::store::Store;
use std::sync::Arc;

/// Drains `n` jobs in a store that holds `history` finished ones; each is made by running it.
pub async fn drain_after(settings: &Settings, n: u64, history: u64) -> Result<Figure> {
    let (store, client) = open(settings, Purpose::RunJobs).await?;
    let before = phases::completed(&client).await?;
    self::history(settings, &store, &client, history).await?;
    phases::batch(&client, n).await?;
    let noop = Noop::default();
    let figure = phases::drain(&client, noop.clone(), vec![node(settings, &store, &noop)?], n).await?;
    phases::recount(&client, before + n + history).await?;
    store.close().await;
    Ok(figure)
}

/// What listings take in a store that holds `n` finished jobs.
pub async fn lists_after(settings: &Settings, n: u64) -> Result<Figure> {
    let (store, client) = open(settings, Purpose::RunJobs).await?;
    history(settings, &store, &client, n).await?;
    let figure = phases::lists(&client, n, crate::clock::now()).await?;
    store.close().await;
    Ok(figure)
}

/// Finished jobs, each made by running it.
pub async fn history(settings: &Settings, store: &Arc<dyn Store>, client: &Client, n: u64) -> Result<()> {
    if n > 0 {
        phases::batch(client, n).await?;
        let noop = Noop::default();
        phases::drain(client, noop.clone(), vec![node(settings, store, &noop)?], n).await?;
    }
    Ok(())
}

/// How soon a process begins its first job in a store that holds `n` finished ones.
pub async fn start_after(settings: &Settings, n: u64) -> Result<Figure> {
    let (store, client) = open(settings, Purpose::RunJobs).await?;
    history(settings, &store, &client, n).await?;
    store.close().await;
    drop((store, client));
    let (noop, begun) = (Noop::default(), phases::stopwatch());
    let (store, client) = open(settings, Purpose::RunJobs).await?;
    let node = node(settings, &store, &noop)?;
    let figure = phases::start(&client, noop, node, begun).await?;
    store.close().await;
    Ok(Figure { n, ..figure })
}

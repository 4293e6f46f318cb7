//! What all requests share.

use crate::access::{Gate, Share};
use crate::server::limits::Limits;
use crate::server::origin::Network;
use crate::server::tls::Certificates;
use crate::{accounts, hooks};
use jiff::Timestamp;
use mainspring::Client;
use mainspring::remote::Desk;
use mainspring::secrets::Vault;
use mainspring::trace::Tracer;
use mainspring_core::StoreError;
use mainspring_core::tables::Tables;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens. Loopback unless somebody decided otherwise.
    pub listen: SocketAddr,
    /// The address people use, when it is not the one listened on: behind a proxy, with a path.
    /// Without a slash at the end.
    pub public_url: Option<String>,
    /// How much one project may ask of this server.
    pub share: Share,
    /// Names by which it may be asked for, besides addresses, `localhost` and that of `public_url`.
    pub hosts: Vec<String>,
    /// Proxies whose word on where a request comes from is believed.
    pub trusted: Vec<Network>,
    /// Certificate and key, when it talks TLS itself.
    pub tls: Option<Arc<Certificates>>,
    /// What clients may cost.
    pub limits: Limits,
    /// Takes requests as spans, once it was begun.
    pub tracer: Tracer,
    /// The version shown.
    pub version: &'static str,
    /// Where workers outside come to. One beside the node of this process wakes them at once; without
    /// one the server makes its own, which looks every second.
    pub desk: Option<Desk>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: ([127, 0, 0, 1], 8420).into(),
            public_url: None,
            share: Share::default(),
            hosts: vec![],
            trusted: vec![],
            tls: None,
            limits: Limits::default(),
            tracer: Tracer::default(),
            version: env!("CARGO_PKG_VERSION"),
            desk: None,
        }
    }
}

/// What all requests share. Cheap to clone.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    client: Client,
    tables: Arc<dyn Tables>,
    config: Config,
    vault: Vault,
    gate: Gate,
    desk: Desk,
    closing: watch::Sender<bool>,
}

impl Web {
    /// Brings the tables up to date and is ready to serve.
    pub async fn open(client: Client, config: Config) -> Result<Web, StoreError> {
        let tables = client.store().clone().tables().ok_or(StoreError::Invalid {
            field: "store",
            text: "this store has no tables for accounts".into(),
        })?;
        accounts::migrate(&*tables).await.map_err(|e| StoreError::Schema(e.to_string()))?;
        mainspring::notify::migrate(&*tables).await.map_err(|e| StoreError::Schema(e.to_string()))?;
        mainspring::alerts::migrate(&*tables).await.map_err(|e| StoreError::Schema(e.to_string()))?;
        hooks::migrate(&*tables).await.map_err(|e| StoreError::Schema(e.to_string()))?;
        let desk = config.desk.clone().unwrap_or_else(|| Desk::new(client.clone()));
        let (vault, gate) = (client.vault(), Gate::new(config.share));
        let closing = watch::Sender::new(false);
        Ok(Web(Arc::new(Inner { client, tables, config, vault, gate, desk, closing })))
    }

    /// A client that signs as the server itself; see [`crate::access::Caller::client`] for a person's.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The door to accounts and whatever else the server keeps.
    pub fn tables(&self) -> &dyn Tables {
        &*self.0.tables
    }

    /// The sealed secrets of projects.
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// What keeps one project from taking the server from the others.
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// The address people type, without a slash at the end.
    pub fn address(&self) -> String {
        let config = &self.0.config;
        let scheme = if self.secure() { "https" } else { "http" };
        config.public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", config.listen))
    }

    /// Where workers outside come to.
    pub fn desk(&self) -> &Desk {
        &self.0.desk
    }

    /// How it is set up.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Takes no more: streams end, and readiness says so.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// Turns true when the server shuts down.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.0.client.now()
    }

    /// The path under which everything lies: empty, or `/mainspring`.
    pub fn base(&self) -> &str {
        let url = self.0.config.public_url.as_deref().unwrap_or("");
        let path = url.split_once("://").map_or("", |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
        path.trim_end_matches('/')
    }

    /// Whether cookies may only travel encrypted.
    pub fn secure(&self) -> bool {
        let config = &self.0.config;
        let public = config.public_url.as_deref();
        public.map_or(config.tls.is_some(), |url| url.starts_with("https://"))
    }
}

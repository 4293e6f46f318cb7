//! Traces beside the node: begins to take them and sends them to the collector of the settings.

use crate::app::App;
use crate::error::{CliError, Result};
use mainspring::Client;
use mainspring::clock::{SystemClock, machine_entropy};
use mainspring::trace::{Endpoint, export};
use mainspring_core::clock::Entropy;
use mainspring_core::code::Code;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Tells this store's jobs from those of another in traces.
const SALT: &str = "trace_salt";

/// What was started.
pub struct Traced(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Traced {
    /// Sends what is left, for a moment.
    pub async fn end(self) {
        let Some((stop, task)) = self.0 else { return };
        drop(stop);
        // A panic is told by the runtime; there is nothing to send any more.
        let _ = task.await;
    }
}

/// Starts it, if there is a collector.
pub async fn start(app: &App, client: &Client) -> Result<Traced> {
    let settings = &app.settings;
    let Some(url) = &settings.tracing_endpoint else { return Ok(Traced(None)) };
    let instance = format!("{}-{}", settings.node_name.as_deref().unwrap_or("node"), std::process::id());
    let endpoint = Endpoint::new(url, &instance, settings.offline)
        .map_err(|e| CliError::new(Code::CONFIG_INVALID, e).at("tracing.endpoint"))?;
    let store = client.store();
    let salt = match store.meta(SALT).await? {
        Some(salt) => salt,
        None => {
            let salt = format!("{:016x}", machine_entropy().bits());
            store.set_meta(client.now(), SALT, Some(&salt)).await?;
            // Of two nodes that begin at once the later one's stays.
            store.meta(SALT).await?.unwrap_or(salt)
        }
    };
    let tracer = app.registry.tracer().clone();
    tracer.begin(&salt, settings.tracing_share, Arc::new(SystemClock::new()));
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = async move {
        let _ = stopped.await;
    };
    Ok(Traced(Some((stop, tokio::spawn(export(tracer, endpoint, ended))))))
}

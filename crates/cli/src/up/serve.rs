//! The dashboard and the API beside the node: one port, closed by default, and a link for the first
//! account.

use crate::app::App;
use crate::clock;
use crate::error::{CliError, Result};
use mainspring::Client;
use mainspring::engine::Engine;
use mainspring::remote::Desk;
use mainspring_core::code::Code;
use mainspring_web::{Bound, Certificates, Config, Limits, Web, accounts, bind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long requests under way are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was started.
pub struct Served {
    /// To be told.
    pub lines: Vec<String>,
    running: Option<(oneshot::Sender<()>, JoinHandle<std::io::Result<()>>)>,
}

impl Served {
    /// Takes no more requests, and lets those under way end for a moment.
    pub async fn end(self) {
        let Some((stop, mut task)) = self.running else { return };
        drop(stop);
        tokio::select! {
            _ = &mut task => {}
            () = clock::pause(PATIENCE) => task.abort(),
        }
    }
}

/// Starts it, if it is to be.
pub async fn start(app: &App, client: &Client, engine: &Arc<Engine>) -> Result<Served> {
    let settings = &app.settings;
    let Some(address) = settings.listen else { return Ok(Served { lines: vec![], running: None }) };
    let bound = match bind(address).await {
        Ok(bound) => bound,
        Err(e) if !settings.listen_given && e.kind() == std::io::ErrorKind::AddrInUse => {
            let line =
                format!("No dashboard here: {address} is taken (by another node?); --listen names another.");
            return Ok(Served { lines: vec![line], running: None });
        }
        Err(e) => {
            let error = CliError::new(Code::CONFIG_INVALID, format!("{address} cannot be listened on: {e}"));
            return Err(error.at("listen").hint("another address with --listen, or --listen off"));
        }
    };
    app.own_ports.add(bound.address.port());
    let config = Config { desk: Some(Desk::beside(engine, client.clone())), ..config(app, &bound)? };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let url = config.public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", bound.address));
    let web = Web::open(client.clone(), config).await?;
    let lines = told(&web, &bound, &url).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = async move {
        let _ = stopped.await;
    };
    let task = tokio::spawn(mainspring_web::serve(web, bound, ended));
    Ok(Served { lines, running: Some((stop, task)) })
}

fn config(app: &App, bound: &Bound) -> Result<Config> {
    let settings = &app.settings;
    let tls = match &settings.tls {
        None => None,
        Some((cert, key)) => {
            let wrong = |e| CliError::new(Code::CONFIG_INVALID, e).at("tls_cert and tls_key");
            Some(Arc::new(Certificates::load(cert, key).map_err(wrong)?))
        }
    };
    let mut hosts = settings.hosts.clone();
    hosts.push(rustix::system::uname().nodename().to_string_lossy().into_owned());
    Ok(Config {
        listen: bound.address,
        public_url: settings.public_url.clone(),
        share: settings.share,
        hosts,
        // The table of settings has looked at each.
        trusted: settings.trusted_proxies.iter().filter_map(|n| n.parse().ok()).collect(),
        tls,
        tracer: app.registry.tracer().clone(),
        limits: Limits { connections: settings.max_connections, ..Limits::default() },
        ..Config::default()
    })
}

async fn told(web: &Web, bound: &Bound, url: &str) -> Result<Vec<String>> {
    let link = accounts::setup_link(web).await.map_err(|e| CliError::new(Code::STORE_INTERNAL, e.detail))?;
    let mut lines = vec![match &link {
        None => format!("Dashboard: {url}"),
        Some(token) => {
            format!("Dashboard: {url}/setup/{}  (makes the first account; works once)", token.reveal())
        }
    }];
    if !bound.address.ip().is_loopback() && url.starts_with("http://") {
        lines.push(
            "It listens beyond this machine without encryption: put a proxy with TLS before it.".into(),
        );
    }
    Ok(lines)
}

//! What the server costs: its memory with nobody there, and while it answers two hundred requests a
//! second.
//!
//! It is the real program in a process of its own, over a store with finished jobs, asked for pages and
//! lists over sockets of this machine. A request's time runs from when it was due, not from when it got
//! its turn, and each must be answered with 200: a figure with refusals in it is an error.

use super::machine;
use super::phases::{Figure, failed, since, stopwatch, wait};
use crate::error::Result;
use crate::settings::Settings;
use crate::store::{Address, Purpose};
use http::Method;
use http::header::{COOKIE, HeaderValue};
use mainspring_outbound::{Client, Guard, Request, Settings as Door, Target};
use mainspring_web::{Config, Inside, Web};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What is asked for, in turns.
const PATHS: [&str; 8] = [
    "/p/default",
    "/p/default/jobs",
    "/p/default/schedules",
    "/p/default/queues",
    "/api/v1/projects/default/jobs?limit=50",
    "/api/v1/projects/default/stats",
    "/api/v1/projects/default/queues",
    "/health/ready",
];
/// How long the server may take to begin.
const PATIENCE: Duration = Duration::from_secs(120);
/// Quiet before the idle memory is read.
const QUIET: Duration = Duration::from_secs(3);

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// For so long.
    pub seconds: u64,
    /// Requests a second.
    pub per_second: u64,
}

/// The server, which ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program itself on a port that was free a moment ago.
fn start(settings: &Settings, port: u16) -> Result<Server> {
    let program = std::env::current_exe()?;
    let store = match &settings.store {
        Address::File(file) => file.display().to_string(),
        Address::Postgres(url) => url.clone(),
    };
    let mut command = Command::new(program);
    command.args(["up", "--quiet", "--no-tour", "--listen", &format!("127.0.0.1:{port}")]);
    // In the environment: an address may hold a password, and arguments can be seen by others.
    command.env("MAINSPRING_STORE", store).current_dir(std::env::temp_dir());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Server(command.spawn()?))
}

async fn ask(client: &Client, url: &str, cookie: &str) -> Result<()> {
    let target = Target::parse(url).map_err(|e| failed(e.to_string()))?;
    let mut request = Request::new(Method::GET, target);
    request.headers.insert(COOKIE, HeaderValue::from_str(cookie).map_err(|e| failed(e.to_string()))?);
    let answer = client.send(request).await.map_err(|e| failed(format!("{url}: {e}")))?;
    match answer.status.as_u16() {
        200 => Ok(()),
        status => Err(failed(format!("{url} answered {status}"))),
    }
}

/// The first account's session, made before the server begins.
async fn session(settings: &Settings, history: u64) -> Result<String> {
    let (store, client) = super::open(settings, Purpose::RunJobs).await?;
    super::aged::history(settings, &store, &client, history).await?;
    let web = Web::open(client.clone(), Config::default()).await?;
    let cookie = super::pages::sign_in(&web, &Inside::new(web.clone())).await?;
    drop((web, client));
    store.close().await;
    Ok(cookie)
}

/// Measures the server over a store with `history` finished jobs.
pub async fn measure(settings: &Settings, history: u64, load: Load) -> Result<Figure> {
    let cookie = session(settings, history).await?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let at = format!("http://127.0.0.1:{port}");
    let guard = Guard::new(&[format!("127.0.0.1:{port}")]).map_err(|e| failed(e.to_string()))?;
    let client = Client::new(Door { guard, ..Door::default() }).map_err(|e| failed(e.to_string()))?;
    let server = start(settings, port)?;
    let begun = stopwatch();
    while let Err(e) = ask(&client, &format!("{at}/health/ready"), &cookie).await {
        if since(begun) > PATIENCE {
            return Err(e);
        }
        wait(Duration::from_millis(100)).await;
    }
    wait(QUIET).await;
    let idle = machine::rss_mib_of(server.0.id());
    let mut took = requests(&client, &at, &cookie, load).await?;
    let busy = machine::rss_mib_of(server.0.id());
    took.sort();
    let ms = |share: f64| {
        let nth = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
        took.get(nth).map(|d| d.as_secs_f64() * 1e3)
    };
    let slowest = ms(1.0).unwrap_or_default();
    let note = format!(
        "{history} finished jobs; {idle} MiB idle, {busy} MiB after {} requests at {} a second, the slowest {slowest:.1} ms",
        took.len(),
        load.per_second
    );
    Ok(Figure {
        phase: "server".into(),
        n: took.len() as u64,
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        rss_mb: machine::peak_rss_mib_of(server.0.id()),
        note: Some(note),
        ..Figure::default()
    })
}

/// Asks at even distances, whatever the answers take; how long each took.
async fn requests(client: &Client, at: &str, cookie: &str, load: Load) -> Result<Vec<Duration>> {
    let (begun, mut took) = (stopwatch(), Vec::new());
    let mut asked: tokio::task::JoinSet<Result<Duration>> = tokio::task::JoinSet::new();
    for i in 0..load.seconds * load.per_second {
        let due = Duration::from_micros(i * 1_000_000 / load.per_second.max(1));
        wait(due.saturating_sub(since(begun))).await;
        let url = format!("{at}{}", PATHS[i as usize % PATHS.len()]);
        let (client, cookie) = (client.clone(), cookie.to_owned());
        asked.spawn(
            async move { ask(&client, &url, &cookie).await.map(|()| since(begun).saturating_sub(due)) },
        );
        while let Some(done) = asked.try_join_next() {
            took.push(done.map_err(|e| failed(e.to_string()))??);
        }
    }
    while let Some(done) = asked.join_next().await {
        took.push(done.map_err(|e| failed(e.to_string()))??);
    }
    Ok(took)
}

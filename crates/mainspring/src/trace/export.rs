//! Sends spans to a collector: OTLP over HTTP in JSON, through the one door to the outside.
//!
//! A message is sent when it is full or a few seconds old. One that fails is dropped: traces are looked
//! at while a thing is fresh, and a collector that is away must cost neither memory nor patience. The
//! first failure of a row is told in the log.

use super::otlp::{Resource, body};
use super::{Span, Tracer};
use crate::node::pause;
use http::{HeaderValue, Method, header};
use mainspring_outbound::{Client, Guard, Request, Settings, Target};
use std::time::Duration;

/// How old a span gets before it is sent.
const EVERY: Duration = Duration::from_secs(3);
/// The time for one message.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time for what is left at the end.
const LAST: Duration = Duration::from_secs(2);
/// Where collectors take traces.
const PATH: &str = "/v1/traces";

/// A collector.
pub struct Endpoint {
    client: Client,
    target: Target,
    instance: String,
}

impl Endpoint {
    /// The collector at `url`; the path of traces is added unless one is given. The operator named it,
    /// so it may be private: that very host and port, and nothing else. `instance` names this process. `offline`:
    /// only if it is on this machine.
    pub fn new(url: &str, instance: &str, offline: bool) -> Result<Endpoint, String> {
        let parsed = Target::parse(url).map_err(|e| e.to_string())?;
        let whole = match parsed.path_and_query().as_str() {
            "/" => format!("{}{PATH}", url.trim_end_matches('/')),
            _ => url.to_owned(),
        };
        let target = Target::parse(&whole).map_err(|e| e.to_string())?;
        let entry = format!("{}:{}", target.host(), target.port());
        let guard = Guard::new(&[entry])?;
        let client = Client::new(Settings { guard, offline, ..Settings::default() })?;
        Ok(Endpoint { client, target, instance: instance.to_owned() })
    }

    async fn send(&self, spans: &[Span], within: Duration) -> Result<(), String> {
        let mut request = Request::new(Method::POST, self.target.clone());
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.body = body(&Resource { instance: &self.instance }, spans).into();
        request.timeout = within;
        request.keep = 1 << 10;
        let answer = self.client.send(request).await.map_err(|e| e.to_string())?;
        if answer.status.is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status)) }
    }
}

/// Sends what the tracer takes, until `ended`; then what is left, for a moment.
pub async fn export(tracer: Tracer, to: Endpoint, ended: impl Future<Output = ()>) {
    tokio::pin!(ended);
    let mut failing = false;
    loop {
        let over = tokio::select! {
            () = &mut ended => true,
            () = tracer.0.bell.notified() => false,
            () = pause(EVERY) => false,
        };
        loop {
            let spans = tracer.some();
            if spans.is_empty() {
                break;
            }
            match to.send(&spans, if over { LAST } else { TIMEOUT }).await {
                Ok(()) => failing = false,
                Err(e) => {
                    if !failing {
                        tracing::warn!(error = %e, "traces cannot be sent to {}", to.target.shown());
                    }
                    failing = true;
                    tracer.0.dropped.fetch_add(spans.len() as u64, std::sync::atomic::Ordering::Relaxed);
                    break;
                }
            }
        }
        if over {
            return;
        }
    }
}

//! The port: takes connections, talks TLS where that is set up, and hands requests to the routes.
//!
//! What a client may cost is in [`super::limits`]. At the end nothing new is taken, streams end, each
//! connection finishes the request it is at and is closed; when the future is dropped, what is still
//! open goes with it.

use super::Bound;
use super::limits::{HEAD, HEADERS, Limits, Steady, Timed};
use crate::state::Web;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long to wait when the machine has no room for a connection.
const BREATH: Duration = Duration::from_millis(50);
/// What one connection too many is told.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Serves until `shutdown`, then lets requests under way end.
pub async fn serve(
    web: Web,
    bound: Bound,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let room = Arc::new(Semaphore::new(web.config().limits.connections));
    let (ending, ended) = watch::channel(false);
    let app = super::app(web.clone());
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = open.join_next() => continue,
            accepted = bound.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match room.clone().try_acquire_owned() {
                Ok(place) => {
                    let talk = connection(web.clone(), app.clone(), stream, peer, ended.clone());
                    open.spawn(async move {
                        talk.await;
                        drop(place);
                    });
                }
                Err(_) => refuse(&web, &stream),
            },
            // The one who came may be gone already, or the machine is out of files for a moment.
            Err(e) => {
                tracing::warn!(error = %e, "a connection could not be taken");
                breath().await;
            }
        }
    }
    drop(bound);
    // Streams would go on for ever: they end first.
    web.close();
    ending.send_replace(true);
    while open.join_next().await.is_some() {}
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "no loop of the engine: waits for the machine")]
async fn breath() {
    tokio::time::sleep(BREATH).await;
}

/// Best effort: what does not fit into the socket's buffer is not waited for.
fn refuse(web: &Web, stream: &TcpStream) {
    if web.config().tls.is_none() {
        let _ = stream.try_write(FULL);
    }
}

async fn connection(
    web: Web,
    app: Router,
    stream: TcpStream,
    peer: SocketAddr,
    ended: watch::Receiver<bool>,
) {
    // A small answer must not wait for an acknowledgement; without it, only slower.
    let _ = stream.set_nodelay(true);
    let limits = web.config().limits;
    let Some(certificates) = &web.config().tls else {
        return talk(stream, peer, app, limits, ended).await;
    };
    let shaken = certificates.acceptor(web.now()).accept(stream);
    match tokio::time::timeout(limits.handshake, shaken).await {
        Ok(Ok(stream)) => talk(stream, peer, app, limits, ended).await,
        Ok(Err(e)) => tracing::debug!(error = %e, %peer, "no agreement on TLS"),
        Err(_) => tracing::debug!(%peer, "no agreement on TLS in time"),
    }
}

async fn talk<S>(stream: S, peer: SocketAddr, app: Router, limits: Limits, mut ended: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request.map(|body| Body::new(Timed::new(body, limits.body))))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD).max_headers(HEADERS);
    let talking = http.serve_connection(TokioIo::new(Steady::new(stream, limits.stall)), service);
    tokio::pin!(talking);
    let end = async {
        // An error means that the server is gone altogether.
        let _ = ended.wait_for(|ended| *ended).await.is_ok();
    };
    // Errors of a connection are its client's: broken requests, hanging up, taking too long.
    tokio::select! {
        _ = talking.as_mut() => {}
        () = end => {
            talking.as_mut().graceful_shutdown();
            let _ = talking.await;
        }
    }
}

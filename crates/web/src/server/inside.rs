//! A request without a socket: the same way through limits, rights and routes, for measurements of
//! what the server itself takes.

use super::app;
use crate::state::Web;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use http::{Request, header};
use std::net::SocketAddr;
use tower::ServiceExt;

/// The most that is read of an answer.
const WHOLE: usize = 64 << 20;

/// What came back.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its status.
    pub status: u16,
    /// The session's cookie, where one was set: `name=value`.
    pub cookie: Option<String>,
    /// Its body.
    pub body: String,
}

/// The server without its port.
#[derive(Clone)]
pub struct Inside(Router);

impl Inside {
    /// The server of `web`.
    pub fn new(web: Web) -> Inside {
        Inside(app(web))
    }

    /// Asks with a session's cookie: GET, or POST where there is a form. Nothing where the request
    /// cannot be, or the answer has no end.
    pub async fn ask(&self, path: &str, cookie: &str, form: Option<&str>) -> Option<Asked> {
        let peer = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut request = Request::builder()
            .method(if form.is_some() { "POST" } else { "GET" })
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::COOKIE, cookie)
            .extension(peer);
        if form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let request = request.body(Body::from(form.unwrap_or_default().to_owned())).ok()?;
        let answer = match self.0.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let cookie = answer.headers().get(header::SET_COOKIE).and_then(|v| v.to_str().ok());
        let cookie = cookie.and_then(|v| v.split(';').next()).map(str::to_owned);
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), WHOLE).await.ok()?;
        Some(Asked { status, cookie, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

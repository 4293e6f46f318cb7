//! One process, one port: what every request passes before it reaches its resource.
//!
//! ```text
//! connection ▶ listen.rs: TLS, limits ▶ origin.rs: for whom, from whom ▶ sizes, headers ▶ routes
//! ```

pub mod inside;
pub mod limits;
mod listen;
pub mod origin;
pub mod tls;
mod traced;

pub use listen::serve;

use crate::problem::Problem;
use crate::state::Web;
use crate::{frame, routes};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use mainspring_core::code::Code;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// The largest body that is read.
const BODY: usize = 1 << 20;

/// What every answer says to browsers: nothing from another host, no frame around us, no guessing.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Marks an answer that holds a page which is not ours, such as a mail: it may only be looked at, in a
/// frame of ours, with the styles it brings; it runs nothing, asks for nothing and sends nothing.
#[derive(Clone, Copy, Debug)]
pub struct Sandboxed;

const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// A server that has its port.
pub struct Bound {
    listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Takes the port. An error here is about the address alone.
pub async fn bind(address: SocketAddr) -> std::io::Result<Bound> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

/// Everything, as tests call it too.
pub fn app(web: Web) -> Router {
    let base = web.base().to_owned();
    let inner = routes::all()
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn_with_state(web.clone(), pages_for_people))
        .layer(from_fn_with_state(web.clone(), origin::check))
        .layer(from_fn_with_state(web.clone(), headers))
        .layer(from_fn_with_state(web.clone(), traced::trace))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(web);
    if base.is_empty() { inner } else { Router::new().nest(&base, inner) }
}

async fn nothing(request: Request) -> Problem {
    Problem::not_found("page", request.uri().path())
}

async fn not_so(request: Request) -> Problem {
    let text = format!("{} is not possible on {}", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, Code::BAD_REQUEST, text)
}

async fn headers(State(web): State<Web>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // A mail is shown in a frame of ours, and says for itself what may be done with it.
    let framed = response.extensions().get::<Sandboxed>().is_some();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        let value = if framed && name == header::CONTENT_SECURITY_POLICY { SANDBOX } else { value };
        headers.insert(name, HeaderValue::from_static(value));
    }
    if web.secure() {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    // What is about a project is not for a cache; assets say otherwise themselves.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a person looks, not a program.
fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    accept.split(',').any(|part| part.trim_start().starts_with("text/html"))
}

/// Turns a refusal into a page, and "sign in" into the way there.
async fn pages_for_people(State(web): State<Web>, request: Request, next: Next) -> Response {
    let person = wants_page(request.headers()) && !request.uri().path().contains("/api/");
    let (get, path) = (request.method() == Method::GET, request.uri().path().to_owned());
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>().filter(|_| person).cloned() else {
        return response;
    };
    if problem.status() == StatusCode::UNAUTHORIZED {
        let back = if get { format!("?next={}", frame::percent(&path)) } else { String::new() };
        return frame::redirect(&web, &format!("/sign-in{back}"));
    }
    let mut page = frame::refusal(&web, &problem).into_response();
    *page.status_mut() = problem.status();
    if let Some(after) = response.headers().get(header::RETRY_AFTER) {
        page.headers_mut().insert(header::RETRY_AFTER, after.clone());
    }
    page.map(Body::new)
}

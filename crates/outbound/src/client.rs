//! One request, one answer: resolve, judge, connect, send, read to the limit, hang up.
//!
//! Time: one limit for the whole exchange, by the runtime's clock, so that a server that drips one
//! byte a second gains nothing; the error says which phase the time was spent in. Size: the head by
//! [`crate::HEAD`], the body by the request's own limit, behind which reading stops and the
//! connection is closed. Dropping the future closes the connection too.

use crate::error::{Error, Phase};
use crate::guard::{Guard, Refusal};
use crate::link::Link;
use crate::redirect;
use crate::resolve::{Resolve, SystemResolver};
use crate::target::Target;
use crate::unpack::{ACCEPTED, unpack};
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a [`Client`] is made of.
pub struct Settings {
    /// Which addresses may be reached.
    pub guard: Guard,
    /// Who looks up names.
    pub resolver: Arc<dyn Resolve>,
    /// Certificates trusted besides the public ones: PEM, any number (a private authority).
    pub extra_roots: Option<String>,
    /// Whether nothing but this machine may be reached.
    pub offline: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            guard: Guard::default(),
            resolver: Arc::new(SystemResolver),
            extra_roots: None,
            offline: false,
        }
    }
}

/// A request to be.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub target: Target,
    /// How.
    pub method: Method,
    /// More headers. `host`, `content-length`, `accept-encoding` and those that steer the
    /// connection are the client's own and refused here.
    pub headers: HeaderMap,
    /// The body; may be empty.
    pub body: Bytes,
    /// The time for the whole exchange.
    pub timeout: Duration,
    /// Bytes of the answer's body to keep.
    pub keep: usize,
    /// Redirects to follow, at most [`crate::REDIRECTS`]: 0 for whatever a person or a program of
    /// theirs chose the address of (`http` jobs, webhooks), more for connectors.
    pub follow: u8,
    /// Whether the answer may come packed (gzip, brotli) and is unpacked, within `keep`.
    pub unpack: bool,
}

impl Request {
    /// A request with an empty body, 30 s, and [`crate::BODY`] bytes kept.
    pub fn new(method: Method, target: Target) -> Request {
        Request {
            target,
            method,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(30),
            keep: crate::BODY,
            follow: 0,
            unpack: false,
        }
    }

    /// What is wrong with its headers.
    pub fn check(&self) -> Result<(), Error> {
        if self.method == Method::CONNECT {
            return Err(Error::Invalid { field: "method", text: "CONNECT is not allowed".into() });
        }
        for name in self.headers.keys() {
            if OWN_HEADERS.contains(name) || name.as_str().starts_with("proxy-") {
                let text = format!("{name} is set by the client and cannot be given");
                return Err(Error::Invalid { field: "headers", text });
            }
        }
        Ok(())
    }
}

/// Headers that describe the connection or the frame: two of a kind is how requests are smuggled.
const OWN_HEADERS: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::ACCEPT_ENCODING,
];

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status. A 3xx is an answer like any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, up to the request's limit: as sent, unless the request asked for it unpacked.
    pub body: Bytes,
    /// The body was longer; the rest was not read.
    pub cut: bool,
    /// Who answered.
    pub address: SocketAddr,
}

/// What would happen to a request: see [`Client::verdict`].
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Every address of the host, in the order they would be tried, each allowed or refused.
    pub addresses: Vec<(IpAddr, Option<Refusal>)>,
}

/// Sends requests through the guard. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    offline: bool,
    guard: Guard,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    /// The same without saying that HTTP will be spoken.
    plain_tls: TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("guard", &self.inner.guard).finish_non_exhaustive()
    }
}

impl Client {
    /// A client. Fails when `extra_roots` is not PEM or holds no certificate.
    pub fn new(settings: Settings) -> Result<Client, String> {
        let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = &settings.extra_roots {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let found = found.map_err(|e| format!("the extra certificates are not PEM: {e}"))?;
            if found.is_empty() {
                return Err("the extra certificates hold no BEGIN CERTIFICATE block".into());
            }
            for certificate in found {
                roots.add(certificate).map_err(|e| format!("an extra certificate cannot be used: {e}"))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let plain_tls = TlsConnector::from(Arc::new(tls.clone()));
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let inner = Inner {
            offline: settings.offline,
            guard: settings.guard,
            resolver: settings.resolver,
            tls: TlsConnector::from(Arc::new(tls)),
            plain_tls,
        };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// Sends `request` and reads the answer.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        request.check()?;
        let phase = AtomicU8::new(0);
        let (after, exchange) = (request.timeout, self.exchanges(request, &phase));
        in_time(exchange, after, &phase).await
    }

    /// Resolves and judges without connecting: for previews. Takes at most `timeout`.
    pub async fn verdict(&self, target: &Target, timeout: Duration) -> Result<Verdict, Error> {
        let found = tokio::time::timeout(timeout, self.resolve(target)).await;
        let found = found.map_err(|_| Error::Timeout { phase: Phase::Dns, after: timeout })??;
        let judge = |a| (a, self.inner.guard.judge(target.host(), a, target.port()).err());
        Ok(Verdict { addresses: found.into_iter().map(judge).collect() })
    }

    /// The request, and those it is redirected to: all within its time.
    async fn exchanges(&self, mut request: Request, phase: &AtomicU8) -> Result<Response, Error> {
        let follow = request.follow.min(crate::REDIRECTS);
        for left in (0..=follow).rev() {
            let again = (left > 0).then(|| request.clone());
            let answer = self.exchange(request, phase).await?;
            let next = match again {
                Some(again) => redirect::next(again, &answer)?,
                None if follow > 0 && redirect::location(&answer).is_some() => {
                    return Err(Error::Redirects(follow));
                }
                None => None,
            };
            match next {
                Some(next) => request = next,
                None => return Ok(answer),
            }
        }
        Err(Error::Redirects(follow))
    }

    async fn exchange(&self, request: Request, phase: &AtomicU8) -> Result<Response, Error> {
        let enter = |p: Phase| phase.store(p as u8, Ordering::Relaxed);
        let (stream, address) = self.reach(&request.target, request.timeout, &enter).await?;
        if request.target.is_tls() {
            enter(Phase::Tls);
            let stream = shake_hands(&self.inner.tls, &request.target, stream).await?;
            talk(stream, address, request, enter).await
        } else {
            talk(stream, address, request, enter).await
        }
    }

    /// Opens a connection for what is not HTTP (mail), encrypted at once when the target's scheme is
    /// `https`. It passes the same guard; how long it is used is the caller's to limit.
    pub async fn dial(&self, target: &Target, timeout: Duration) -> Result<Link, Error> {
        let phase = AtomicU8::new(0);
        let enter = |p: Phase| phase.store(p as u8, Ordering::Relaxed);
        let dialled = async {
            let (stream, address) = self.reach(target, timeout, &enter).await?;
            let link = Link::plain(stream, address);
            if !target.is_tls() {
                return Ok(link);
            }
            enter(Phase::Tls);
            self.encrypt(link, target).await
        };
        in_time(dialled, timeout, &phase).await
    }

    /// Goes over to TLS on a connection that [`Client::dial`] opened in the plain (STARTTLS). The
    /// certificate must be that of the target's host.
    pub async fn start_tls(&self, link: Link, target: &Target, timeout: Duration) -> Result<Link, Error> {
        in_time(self.encrypt(link, target), timeout, &AtomicU8::new(Phase::Tls as u8)).await
    }

    async fn encrypt(&self, link: Link, target: &Target) -> Result<Link, Error> {
        let (stream, address) =
            link.into_plain().ok_or(Error::Invalid { field: "link", text: "is encrypted already".into() })?;
        let stream = shake_hands(&self.inner.plain_tls, target, stream).await?;
        Ok(Link::encrypted(stream, address))
    }

    /// Resolves, judges every address, and connects to a judged one.
    async fn reach(
        &self,
        target: &Target,
        timeout: Duration,
        enter: &impl Fn(Phase),
    ) -> Result<(TcpStream, SocketAddr), Error> {
        enter(Phase::Dns);
        if self.inner.offline && !target.is_loopback() {
            return Err(Error::Offline { host: target.host().to_owned() });
        }
        let found = self.resolve(target).await?;
        if self.inner.offline && !found.iter().all(|a| a.to_canonical().is_loopback()) {
            return Err(Error::Offline { host: target.host().to_owned() });
        }
        for address in &found {
            let judged = self.inner.guard.judge(target.host(), *address, target.port());
            judged.map_err(Error::Refused)?;
        }
        enter(Phase::Connect);
        connect(target, &found, timeout).await
    }

    async fn resolve(&self, target: &Target) -> Result<Vec<IpAddr>, Error> {
        if let Some(address) = target.address() {
            return Ok(vec![address]);
        }
        let failed = |text: String| Error::Dns { host: target.host().to_owned(), text };
        match self.inner.resolver.resolve(target.host()).await {
            Ok(found) if found.is_empty() => Err(failed("nothing was found".into())),
            Ok(found) => Ok(found),
            Err(e) => Err(failed(e.to_string())),
        }
    }
}

async fn shake_hands(
    connector: &TlsConnector,
    target: &Target,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let failed = |text: String| Error::Tls { host: target.host().to_owned(), text };
    let name = match target.address() {
        Some(address) => ServerName::from(address),
        None => ServerName::try_from(target.host().trim_end_matches('.').to_owned())
            .map_err(|e| failed(e.to_string()))?,
    };
    connector.connect(name, stream).await.map_err(|e| failed(e.to_string()))
}

/// The answer, or what it was doing when the time was up.
async fn in_time<T>(
    work: impl Future<Output = Result<T, Error>>,
    after: Duration,
    phase: &AtomicU8,
) -> Result<T, Error> {
    tokio::time::timeout(after, work).await.unwrap_or_else(|_| {
        Err(Error::Timeout { phase: PHASES[usize::from(phase.load(Ordering::Relaxed))], after })
    })
}

const PHASES: [Phase; 5] = [Phase::Dns, Phase::Connect, Phase::Tls, Phase::Head, Phase::Body];

/// Tries the judged addresses in order; none but the last may use up the time.
async fn connect(
    target: &Target,
    found: &[IpAddr],
    total: Duration,
) -> Result<(TcpStream, SocketAddr), Error> {
    let mut last = String::new();
    let tried = &found[..found.len().min(crate::TRIED)];
    for (n, ip) in tried.iter().enumerate() {
        let address = SocketAddr::new(*ip, target.port());
        let open = TcpStream::connect(address);
        let opened = if n + 1 == tried.len() {
            open.await
        } else {
            let share = total / (tried.len() as u32 + 1);
            tokio::time::timeout(share, open)
                .await
                .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        };
        match opened {
            Ok(stream) => {
                // A small request must not wait for an acknowledgement; without it, only slower.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Err(e) => last = format!("{e} ({address})"),
        }
    }
    Err(Error::Connect { address: target.authority(), text: last })
}

/// Ends the task that drives a connection when the exchange ends, however it ends.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn talk<S>(
    stream: S,
    address: SocketAddr,
    request: Request,
    enter: impl Fn(Phase),
) -> Result<Response, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    enter(Phase::Head);
    let (keep, unpacks) = (request.keep, request.unpack);
    let shaken = hyper::client::conn::http1::Builder::new()
        .max_buf_size(crate::HEAD)
        .max_headers(crate::HEADERS)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = shaken.map_err(broken)?;
    let _driver = Driver(tokio::spawn(async move {
        // Its errors come out of the request as well.
        let _ = connection.await;
    }));
    let answer = sender.send_request(head(request)?).await.map_err(broken)?;
    enter(Phase::Body);
    let (mut parts, body) = answer.into_parts();
    let (mut body, mut cut) = read(body, keep).await?;
    if unpacks {
        (body, cut) = unpack(&mut parts.headers, body, cut, keep)?;
    }
    Ok(Response { status: parts.status, headers: parts.headers, body, cut, address })
}

fn head(request: Request) -> Result<http::Request<Full<Bytes>>, Error> {
    let Request { target, method, headers, body, unpack, .. } = request;
    let encodings = if unpack { ACCEPTED } else { "identity" };
    let invalid = |e: http::Error| Error::Invalid { field: "url", text: e.to_string() };
    let uri: http::Uri =
        target.path_and_query().parse().map_err(|e: http::uri::InvalidUri| invalid(e.into()))?;
    let mut out = http::Request::builder().method(method).uri(uri).body(Full::new(body)).map_err(invalid)?;
    let own = out.headers_mut();
    let host = HeaderValue::from_str(&target.authority()).map_err(|e| invalid(e.into()))?;
    own.insert(header::HOST, host);
    own.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("mainspring/", env!("CARGO_PKG_VERSION"))),
    );
    own.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    own.extend(headers);
    own.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encodings));
    own.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(out)
}

/// Reads up to `keep` bytes; true when there was more. A body exactly as long is not cut.
async fn read(mut body: Incoming, keep: usize) -> Result<(Bytes, bool), Error> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let room = keep - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((kept.freeze(), true));
        }
    }
    Ok((kept.freeze(), false))
}

fn broken(e: hyper::Error) -> Error {
    if e.is_parse_too_large() {
        return Error::TooLarge;
    }
    // The outer text is general ("connection error"); the inner ones say what happened.
    let mut text = e.to_string();
    let mut cause = std::error::Error::source(&e);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Error::Protocol(text)
}

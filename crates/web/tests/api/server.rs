//! The port from outside, over raw sockets: slow clients, too many of them, foreign names, TLS, the end.

use crate::support::{World, nap};
use mainspring_web::{Certificates, Config, Limits};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

fn quick(config: Config) -> Config {
    let ms = Duration::from_millis;
    let limits = Limits { head: ms(700), body: ms(700), stall: ms(700), handshake: ms(700), ..config.limits };
    Config { limits, ..config }
}

/// Sends `text` and reads until the server hangs up.
async fn exchange(at: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut got = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the server hangs up");
    String::from_utf8_lossy(&got).into_owned()
}

const GET: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n";

#[tokio::test]
async fn a_client_that_drips_its_head_is_hung_up_on() {
    let world = World::with(quick, false).await;
    let mut stream = TcpStream::connect(world.at).await.unwrap();
    let (mut read, mut write) = stream.split();
    let drip = async {
        for byte in GET.bytes().cycle() {
            if write.write_all(&[byte]).await.is_err() {
                return;
            }
            nap(100).await;
        }
    };
    tokio::select! {
        said = rest(&mut read) => assert!(!said.contains("200 OK"), "{said}"),
        () = drip => {}
    }
    // One that says nothing at all goes the same way, and so does one that was quick before.
    assert_eq!(exchange(world.at, "").await, "");
    assert!(exchange(world.at, &format!("{GET}\r\n")).await.contains("200 OK"));
    world.get("/health/live", "").await.expect(200);
}

#[tokio::test]
async fn a_client_that_drips_its_body_is_told_and_hung_up_on() {
    let world = World::with(quick, false).await;
    let key = world.key("default", &[mainspring_web::access::Right::Run]).await;
    let head = format!(
        "POST /api/v1/projects/default/jobs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{\"kind\":"
    );
    let said = exchange(world.at, &head).await;
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("did not arrive within"), "{said}");
}

#[tokio::test]
async fn a_client_that_never_reads_is_hung_up_on() {
    let world = World::with(quick, false).await;
    let page = world.get("/sign-in", "").await.text;
    let style = page.split('"').find(|part| part.ends_with(".css")).expect("a stylesheet").to_owned();
    let stream = TcpStream::connect(world.at).await.unwrap();
    let (read, mut write) = stream.into_split();
    let request = format!("GET {style} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let flood = async {
        // Answers pile up until no buffer takes more; then writing here fails once the server is gone.
        while write.write_all(request.as_bytes()).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("the server hangs up");
    drop(read);
    world.get("/health/live", "").await.expect(200);
}

#[tokio::test]
async fn one_connection_too_many_is_told_to_come_back() {
    let few = |config: Config| Config { limits: Limits { connections: 8, ..config.limits }, ..config };
    let world = World::with(few, false).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(world.at).await.unwrap();
        stream.write_all(format!("{GET}\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        held.push(stream);
    }
    let said = rest(&mut TcpStream::connect(world.at).await.unwrap()).await;
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("retry-after: 2"), "{said}");
    // Who leaves makes room.
    drop(held.pop());
    for _ in 0..600 {
        if exchange(world.at, &format!("{GET}connection: close\r\n\r\n")).await.contains("200 OK") {
            return;
        }
        nap(50).await;
    }
    panic!("no room again");
}

#[tokio::test]
async fn a_head_that_is_too_large_or_no_http_is_refused() {
    let world = World::with(quick, false).await;
    let long = format!("{GET}x: {}\r\n\r\n", "a".repeat(40_000));
    assert!(exchange(world.at, &long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("{GET}{}\r\n", "x: 1\r\n".repeat(200));
    assert!(exchange(world.at, &many).await.starts_with("HTTP/1.1 431 "));
    for nonsense in
        ["\u{16}\u{3}\u{1}", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nhost\r\n\r\n"]
    {
        let said = exchange(world.at, nonsense).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {said}");
    }
    // Two readings of one message are how requests are smuggled.
    let both = "POST /sign-in HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert!(!exchange(world.at, both).await.contains("\"live\""));
}

#[tokio::test]
async fn a_foreign_name_is_refused_before_anything_else() {
    let named = |config| Config { hosts: vec!["node-1".into()], ..quick(config) };
    let world = World::with(named, false).await;
    let ask = |line: &str, hosts: &str| {
        let text = format!("GET {line} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        async move { exchange(world.at, &text).await }
    };
    for (line, hosts, status) in [
        ("/sign-in", "host: evil.example\r\n", 421),
        ("/api/v1/openapi.json", "host: evil.example:8420\r\n", 421),
        ("http://evil.example/sign-in", "host: localhost\r\n", 421),
        ("/sign-in", "host: localhost\r\nhost: localhost\r\n", 400),
        ("/sign-in", "host: node-1:8420\r\n", 200),
        ("/sign-in", "host: 127.0.0.1\r\n", 200),
        // Whether it lives is nobody's secret.
        ("/health/live", "host: any.name\r\n", 200),
    ] {
        let said = ask(line, hosts).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {hosts}: {said}");
        assert!(status != 421 || said.contains("public_url or hosts"), "{said}");
    }
}

#[tokio::test]
async fn wrong_passwords_count_for_the_address_behind_a_trusted_proxy() {
    let trusting = |config| Config { trusted: vec!["127.0.0.1".parse().unwrap()], ..config };
    let (near, far) = (World::with(trusting, false).await, World::still().await);
    for world in [&near, &far] {
        world.admin().await;
        let mut last = 0;
        // Each guess at another account, so that only the address can be counted.
        for n in 0..12 {
            let form = format!("email=nobody-{n}%40example.com&password=wrong-password-{n}");
            let mut request = world.request("POST", "/sign-in", "", None);
            let headers = request.headers_mut();
            headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
            headers.insert("x-forwarded-for", format!("9.9.9.{n}").parse().unwrap());
            *request.body_mut() = hyper::body::Bytes::from(form).into();
            last = world.send(request).await.status.as_u16();
        }
        // Behind a proxy these are twelve clients; without one it is one that lies.
        let expected = if std::ptr::eq(world, &raw const near) { 422 } else { 429 };
        assert_eq!(last, expected);
    }
}

#[tokio::test]
async fn a_stream_that_is_open_does_not_keep_the_server_from_ending() {
    let mut world = World::still().await;
    let key = world.key("default", &[mainspring_web::access::Right::Read]).await;
    let path = "/api/v1/projects/default/events/live";
    let stream = world.open(world.request("GET", path, &key, None)).await;
    assert_eq!(stream.status(), 200);
    // A connection that does nothing does not either.
    let mut idle = TcpStream::connect(world.at).await.unwrap();
    idle.write_all(format!("{GET}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert!(world.shut_down().await);
    rest(&mut idle).await;
    assert!(TcpStream::connect(world.at).await.is_err(), "nobody listens any more");
}

async fn over_tls(at: SocketAddr, trusted: &Path, text: &str) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let stream = TcpStream::connect(at).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    both_ways(&mut stream, text).await
}

async fn both_ways(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    text: &str,
) -> std::io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    Ok(rest(stream).await)
}

#[tokio::test]
async fn it_talks_tls_and_takes_a_renewed_certificate_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let install = |name: &str| {
        for (from, to) in [("key", &key), ("pem", &cert)] {
            std::fs::copy(format!("{CERTIFICATES}/{name}.{from}"), to).unwrap();
        }
    };
    install("one");
    let loaded = Arc::new(Certificates::load(&cert, &key).unwrap());
    let world = World::with(|config| Config { tls: Some(loaded), ..quick(config) }, false).await;
    let (one, two) = (format!("{CERTIFICATES}/one.pem"), format!("{CERTIFICATES}/two.pem"));
    let ask = |trusted: String| async move {
        over_tls(world.at, Path::new(&trusted), &format!("{GET}connection: close\r\n\r\n")).await
    };
    let said = ask(one.clone()).await.unwrap();
    assert!(said.contains("200 OK") && said.contains("strict-transport-security: max-age="), "{said}");
    assert!(ask(two.clone()).await.is_err(), "the other certificate is not in use yet");
    // Without TLS there is nothing to be had, and who never agrees is hung up on.
    assert!(!exchange(world.at, &format!("{GET}\r\n")).await.contains("200 OK"));
    assert_eq!(exchange(world.at, "").await, "");
    // A new file that is of no use changes nothing, one that is good is taken.
    std::fs::write(&cert, "nonsense").unwrap();
    world.clock.set_offset(world.clock.offset() + 10_000_000);
    assert!(ask(one.clone()).await.unwrap().contains("200 OK"));
    install("two");
    world.clock.set_offset(world.clock.offset() + 10_000_000);
    assert!(ask(two).await.unwrap().contains("200 OK"));
    assert!(ask(one).await.is_err());
}

#[test]
fn certificates_that_cannot_be_used_are_refused_with_the_file() {
    let file = |name: &str| std::path::PathBuf::from(format!("{CERTIFICATES}/{name}"));
    let refused = |cert: &str, key: &str| Certificates::load(&file(cert), &file(key)).unwrap_err();
    assert!(refused("nothing.pem", "one.key").contains("nothing.pem"));
    assert!(refused("one.key", "one.key").contains("no BEGIN CERTIFICATE"));
    assert!(refused("one.pem", "two.pem").contains("two.pem"));
    assert!(refused("one.pem", "two.key").contains("do not go together"));
}

#[tokio::test]
async fn a_form_from_a_site_whose_name_begins_like_ours_is_refused() {
    let public = |config| Config { public_url: Some("https://ops.example.com/in".into()), ..config };
    let world = World::with(public, false).await;
    let cookie = world.admin().await;
    for (origin, status) in [("https://ops.example.co", 403), ("https://ops.example.com", 303)] {
        let mut request = world.request("POST", "/in/sign-out", &cookie, None);
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let answer = world.send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{origin}: {}", answer.text);
    }
    // Everything lies under the path, and nothing beside it.
    world.get("/in/health/live", "").await.expect(200);
    assert_eq!(world.get("/health/live", "").await.status, 404);
}

//! TLS: the certificate is checked against the name of the URL, whatever address was connected to.
//! The certificates in `data` were made for these tests and are valid from 2020 to 2120.

mod serve;

use mainspring_outbound::{Client, Error, Guard, Settings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serve::{Script, get};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn server() -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(include_bytes!("data/server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("data/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
            let _ = stream.read(&mut [0; 4096]).await;
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

fn client(extra_roots: Option<&str>) -> Client {
    let guard = Guard::new(&["127.0.0.0/8"]).unwrap();
    let resolver = Script::new(&[&["127.0.0.1"]]);
    Client::new(Settings { guard, resolver, extra_roots: extra_roots.map(str::to_owned), offline: false })
        .unwrap()
}

const CA: &str = include_str!("data/ca.pem");

#[tokio::test]
async fn a_private_authority_is_trusted_when_given_and_the_name_is_sent() {
    let port = server().await.port();
    let answer = client(Some(CA)).send(get(&format!("https://hooks.test:{port}/"))).await.unwrap();
    assert_eq!(answer.body, "hooks.test");
    let by_address = client(Some(CA)).send(get(&format!("https://127.0.0.1:{port}/"))).await.unwrap();
    assert_eq!(by_address.status, 200);
}

#[tokio::test]
async fn an_unknown_authority_and_a_wrong_name_are_refused() {
    let port = server().await.port();
    let unknown = client(None).send(get(&format!("https://hooks.test:{port}/"))).await.unwrap_err();
    assert!(matches!(&unknown, Error::Tls { text, .. } if text.contains("UnknownIssuer")), "{unknown}");
    let wrong = client(Some(CA)).send(get(&format!("https://other.test:{port}/"))).await.unwrap_err();
    assert!(
        matches!(&wrong, Error::Tls { host, text } if host == "other.test" && text.contains("not valid for name")),
        "{wrong}"
    );
}

#[test]
fn certificates_that_are_none_refuse_to_load() {
    for text in ["", "hello", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"] {
        let settings = Settings { extra_roots: Some(text.into()), ..Settings::default() };
        assert!(Client::new(settings).unwrap_err().contains("certificate"), "{text:?}");
    }
}

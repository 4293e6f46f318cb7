//! A loopback server that does with each connection what a test tells it to.
#![allow(dead_code, reason = "each test file uses a part")]

use mainspring_outbound::{Client, Guard, Request, Resolve, Resolving, Settings, Target};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running server and how many connections it has seen.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<AtomicUsize>,
}

impl Server {
    /// Hands each connection, its request's text already read, to `serve`.
    pub async fn start<F, Fut>(serve: F) -> Server
    where
        F: Fn(TcpStream, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (count, serve) = (seen.clone(), Arc::new(serve));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                tokio::spawn(async move {
                    let request = read_request(&mut stream).await;
                    serve(stream, request).await;
                });
            }
        });
        Server { address, seen }
    }

    /// Answers every request with `answer`, then hangs up.
    pub async fn fixed(answer: impl Into<Vec<u8>>) -> Server {
        let answer: Arc<Vec<u8>> = Arc::new(answer.into());
        Server::start(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

/// Head and, by its content-length, body of one request.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0usize) {
                return text;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => got.extend_from_slice(&chunk[..n]),
            _ => return text,
        }
    }
}

/// A client that may reach loopback.
pub fn client() -> Client {
    client_with(&["127.0.0.0/8"])
}

pub fn client_with(allow: &[&str]) -> Client {
    Client::new(Settings { guard: Guard::new(allow).unwrap(), ..Settings::default() }).unwrap()
}

pub fn get(url: &str) -> Request {
    Request::new(http::Method::GET, Target::parse(url).unwrap())
}

/// A name server that gives its answers in turn, the last one for ever.
pub struct Script {
    pub answers: Vec<Vec<IpAddr>>,
    pub asked: AtomicUsize,
}

impl Script {
    pub fn new(answers: &[&[&str]]) -> Arc<Script> {
        let answers = answers.iter().map(|a| a.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        Arc::new(Script { answers, asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Script {
    fn resolve<'a>(&'a self, _host: &'a str) -> Resolving<'a> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        Box::pin(async move { Ok(self.answers[n].clone()) })
    }
}

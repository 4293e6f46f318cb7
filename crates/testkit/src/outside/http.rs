//! An HTTP server on loopback that keeps what it was sent and answers by a script.

use super::Log;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a [`Stub`] does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers with a status, headers and a body.
    Say(u16, Vec<(&'static str, String)>, String),
    /// Answers with this status after a while.
    Late(Duration, u16),
    /// Reads the request and hangs up without a word.
    HangUp,
    /// Reads the request and holds the connection, silent, until the other side gives up.
    Silence,
}

impl Answer {
    /// A status and a body.
    pub fn of(status: u16, body: &str) -> Answer {
        Answer::Say(status, vec![], body.to_owned())
    }

    /// The same with one more header.
    pub fn with(self, name: &'static str, value: &str) -> Answer {
        match self {
            Answer::Say(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Answer::Say(status, headers, body)
            }
            other => other,
        }
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Got {
    /// `POST`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Got {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// The server. It ends with the process.
pub struct Stub {
    /// Where it listens.
    pub address: SocketAddr,
    got: Arc<Log<Got>>,
}

impl Stub {
    /// Starts one that gives these answers in turn, the last one for ever.
    pub fn start(answers: Vec<Answer>) -> Stub {
        Stub::start_at("127.0.0.1:0".parse().expect("an address"), answers)
    }

    /// The same at an address that was free a moment ago.
    pub fn start_at(address: SocketAddr, answers: Vec<Answer>) -> Stub {
        let listener = TcpListener::bind(address).expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        let got: Arc<Log<Got>> = Arc::new(Log { list: Default::default(), more: Default::default() });
        let (log, answers, n) = (got.clone(), Arc::new(answers), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answers, n) = (log.clone(), answers.clone(), n.clone());
                std::thread::spawn(move || {
                    // A connection that breaks is the other side's affair.
                    let _ = serve(stream, &log, &answers, &n);
                });
            }
        });
        Stub { address, got }
    }

    /// Its address as a URL.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came so far.
    pub fn all(&self) -> Vec<Got> {
        self.got.all()
    }

    /// What came, once there are so many.
    pub fn wait_for(&self, n: usize) -> Vec<Got> {
        self.got.wait_for(n, "requests")
    }
}

fn serve(stream: TcpStream, log: &Log<Got>, answers: &[Answer], n: &AtomicUsize) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length: usize = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length.min(4 << 20)];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let at = n.fetch_add(1, Ordering::SeqCst).min(answers.len().saturating_sub(1));
    log.push(Got { method, path, headers, body });
    let mut stream = stream;
    #[allow(clippy::disallowed_methods, reason = "a server that is slow in real time")]
    match answers.get(at) {
        Some(Answer::Say(status, headers, body)) => {
            let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            write!(stream, "{head}\r\n{body}")
        }
        Some(Answer::Late(after, status)) => {
            std::thread::sleep(*after);
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")
        }
        Some(Answer::Silence) => stream.read_to_end(&mut Vec::new()).map(drop),
        Some(Answer::HangUp) | None => Ok(()),
    }
}

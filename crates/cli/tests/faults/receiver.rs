//! The outside world of the jobs: an HTTP server on the loopback that writes down every delivery.
//!
//! | path | answer |
//! |---|---|
//! | `/ok/TOKEN` | 200 at once |
//! | `/wait/MS/TOKEN` | 200 after so many milliseconds |
//! | `/once/TOKEN` | 500 the first time the token comes, then 200 |

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One request that came in.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its `webhook-id`: the same for all attempts of a job.
    pub id: String,
    /// The last part of its path.
    pub token: String,
    /// Whether it was answered with 200 (or would have been, had the caller lived).
    pub good: bool,
    /// When it came.
    pub from: Instant,
    /// Just before it was answered; None while it is not.
    pub until: Option<Instant>,
}

#[derive(Default)]
struct Seen {
    deliveries: Mutex<Vec<Delivery>>,
    failed_once: Mutex<BTreeSet<String>>,
}

/// The server. Its threads end with the test program.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Receiver {
    /// Listens on a free port.
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let theirs = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = theirs.clone();
                // A caller that was killed leaves half a request behind: nothing to do.
                std::thread::spawn(move || drop(serve(stream, &seen)));
            }
        });
        Receiver { address, seen }
    }

    /// A URL of this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.seen.deliveries.lock().expect("no panic").clone()
    }
}

fn serve(stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        head.iter().skip(1).filter_map(|l| l.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name))
    };
    let length = header("content-length").and_then(|(_, n)| n.trim().parse().ok()).unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let id = header("webhook-id").map(|(_, id)| id.trim().to_owned()).unwrap_or_default();
    let path = head.first().and_then(|l| l.split(' ').nth(1)).unwrap_or("/").to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let token = parts.last().copied().unwrap_or_default().to_owned();
    let good = match parts.as_slice() {
        ["once", _] => !seen.failed_once.lock().expect("no panic").insert(token.clone()),
        _ => true,
    };
    let at = {
        let mut all = seen.deliveries.lock().expect("no panic");
        all.push(Delivery { id, token, good, from: Instant::now(), until: None });
        all.len() - 1
    };
    if let ["wait", ms, _] = parts.as_slice() {
        std::thread::sleep(Duration::from_millis(ms.parse().unwrap_or(0)));
    }
    seen.deliveries.lock().expect("no panic")[at].until = Some(Instant::now());
    let status = if good { "200 OK" } else { "500 Not Yet" };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

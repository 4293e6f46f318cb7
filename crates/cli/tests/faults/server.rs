//! A node's server as callers see it: where it is, a key, and requests written by hand.

use crate::machine::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A server that answers.
pub struct Served {
    /// Where.
    pub at: SocketAddr,
    /// A key with every right.
    pub key: String,
}

impl Served {
    /// One request on a connection of its own.
    pub fn call(&self, method: &str, path: &str, body: &serde_json::Value) -> Answer {
        let path = format!("/api/v1/projects/default{path}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Line::new(self.at).ask(method, &path, &self.key, &body).expect("an answer")
    }
}

/// One answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its `Retry-After`.
    pub after: Option<u64>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A connection that is used again and again.
pub struct Line {
    at: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Line {
    /// To a server; connected when it is first needed.
    pub fn new(at: SocketAddr) -> Line {
        Line { at, stream: None }
    }

    /// A request with a key and a body of JSON.
    pub fn ask(&mut self, method: &str, path: &str, key: &str, body: &str) -> std::io::Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.at,
            body.len()
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.at)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length, mut after, mut close) = (String::new(), 0usize, None, false);
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                break;
            }
            let (name, value) = line.trim_end().split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "retry-after" => after = value.trim().parse().ok(),
                "connection" => close = value.trim() == "close",
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        if !close {
            self.stream = Some(stream);
        }
        Ok(Answer { status, after, body })
    }
}

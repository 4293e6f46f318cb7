//! One request to a driver on this machine and its answer: HTTP/1.1 with JSON, a connection each.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A browser that starts on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks; an error is what the driver said of it.
pub fn ask(port: u16, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let answer = send(port, method, path, body).map_err(|e| format!("the driver does not answer: {e}"))?;
    let mut answer: Value =
        serde_json::from_slice(&answer).map_err(|e| format!("the driver's answer is not JSON: {e}"))?;
    let value = answer["value"].take();
    match value["error"].as_str() {
        // A page may give an object that holds an `error`; the driver's comes with a message.
        Some(error) if value["message"].is_string() => {
            let message = value["message"].as_str().unwrap_or_default();
            Err(format!("{error}: {}", message.lines().next().unwrap_or_default()))
        }
        _ => Ok(value),
    }
}

fn send(port: u16, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Vec<u8>> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        answer.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut bytes = vec![0; length];
    answer.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_answer_is_read_and_a_refusal_is_told() {
        for (said, expected) in [
            (r#"{"value":{"a":1}}"#, Ok(serde_json::json!({"a": 1}))),
            (
                r#"{"value":{"error":"no such element","message":"none\nlines"}}"#,
                Err("no such element: none".into()),
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                let mut asked = [0; 512];
                let n = peer.read(&mut asked).unwrap();
                write!(peer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len()).unwrap();
                String::from_utf8_lossy(&asked[..n]).into_owned()
            });
            assert_eq!(ask(port, "GET", "/x", None), expected);
            assert!(server.join().unwrap().starts_with("GET /x HTTP/1.1\r\n"));
        }
    }
}

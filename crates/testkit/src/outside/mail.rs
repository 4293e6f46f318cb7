//! A real mail server on loopback: `aiosmtpd`, a process of its own, with STARTTLS, TLS, a login and
//! answers by a script. `.ci/setup` installs it.

use super::Log;
use serde::Deserialize;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock, mpsc};

/// Who vouches for the server's certificate (for `127.0.0.1` and `hooks.test`).
pub const CA: &str = include_str!("../../../outbound/tests/data/ca.pem");
const PROGRAM: &str = include_str!("mail.py");

/// A mail that the server took.
#[derive(Clone, Debug, Deserialize)]
pub struct Received {
    /// Of the envelope.
    pub sender: String,
    /// Of the envelope.
    pub recipients: Vec<String>,
    /// Decoded.
    pub subject: String,
    /// The header `Message-ID`.
    pub id: String,
    /// Its face in plain text.
    pub text: String,
    /// Its face in HTML.
    pub html: String,
    /// The names of its headers, in small letters.
    pub headers: Vec<String>,
    /// Whether it came encrypted.
    pub encrypted: bool,
    /// Whether the sender had signed in.
    pub signed_in: bool,
}

#[derive(Deserialize)]
struct Begun {
    port: u16,
}

/// The server; it ends when this is dropped.
pub struct MailServer {
    /// Its port on 127.0.0.1.
    pub port: u16,
    child: Child,
    mails: Arc<Log<Received>>,
}

impl MailServer {
    /// Starts one with the program's own flags: `--start-tls`, `--tls`, `--login=name:password`,
    /// `--answers=451 later|silence` (what it answers to the first mails; `silence` takes the mail and
    /// breaks the connection before it says so), `--port=2525`.
    pub fn start(flags: &[&str]) -> MailServer {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../outbound/tests/data");
        let mut child = Command::new(python())
            .args(["-c", PROGRAM])
            .arg(format!("--certificate={data}/server.pem"))
            .arg(format!("--key={data}/server.key"))
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mails: Arc<Log<Received>> = Arc::new(Log { list: Default::default(), more: Default::default() });
        let (log, (tell, told)) = (mails.clone(), mpsc::channel());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                match serde_json::from_str::<Received>(&line) {
                    Ok(mail) => log.push(mail),
                    Err(_) => drop(tell.send(serde_json::from_str::<Begun>(&line).expect("what it tells"))),
                }
            }
        });
        let begun = told.recv_timeout(super::PATIENCE).expect("the mail server starts");
        MailServer { port: begun.port, child, mails }
    }

    /// The mails it took, once there are so many.
    pub fn wait_for(&self, n: usize) -> Vec<Received> {
        self.mails.wait_for(n, "mails")
    }

    /// The mails it took so far.
    pub fn all(&self) -> Vec<Received> {
        self.mails.all()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that has the library: the one of the path, or the system's.
fn python() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        let usual = ["python3", "/usr/bin/python3"].map(PathBuf::from);
        let has = |python: &PathBuf| {
            let tried = Command::new(python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        usual.into_iter().find(has).expect(
            "this test needs Python with aiosmtpd, and there is none: run `./.ci/setup`, or install it \
             (Debian: `apt-get install python3-aiosmtpd`)",
        )
    };
    FOUND.get_or_init(find).clone()
}

//! A mail server.
//!
//! The connection comes from [`mainspring_outbound`]: its guard judged the address, its TLS checked
//! the certificate, at once or after STARTTLS. [`lettre`] speaks SMTP over it and writes the messages.
//! A password never travels unencrypted. One recipient refused means the mail is not sent: nobody
//! shall believe that everybody got it.
//!
//! An error before the end of the message means "not taken"; one while the answer to it is awaited is
//! [`Class::Unknown`].

use crate::error::{Class, Error, Result};
use crate::mail::Mail;
use crate::{Receipt, Secret, TIMEOUT, target};
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use mainspring_outbound::{Client, Link, Target};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// From the first byte on, port 465.
    Tls,
    /// After STARTTLS, port 587. A server that does not offer it is refused.
    #[default]
    StartTls,
    /// Not at all: for a server on this machine. No password is sent.
    None,
}

/// A mail server and how to sign in.
#[derive(Clone)]
pub struct Server {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub security: Security,
    /// Who signs in, and with which password.
    pub login: Option<(String, Secret)>,
}

impl Server {
    fn target(&self) -> Result<Target> {
        let scheme = if self.security == Security::Tls { "https" } else { "http" };
        let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'));
        if self.host.is_empty() || self.host.contains(odd) {
            return Err(Error::fatal(format!("{:?} is not the name of a host", self.host)));
        }
        target(&format!("{scheme}://{}:{}/", self.host, self.port))
    }

    /// What is wrong with it.
    pub fn check(&self) -> Result<()> {
        self.target()?;
        match (self.security, &self.login) {
            (Security::None, Some(_)) => Err(Error::fatal(
                "a password is not sent over a connection without encryption; use tls or start_tls, or no login",
            )),
            _ => Ok(()),
        }
    }
}

/// Sends a mail and waits for the server's word on it.
pub async fn send(client: &Client, server: &Server, mail: &Mail) -> Result<Receipt> {
    server.check()?;
    let message = mail.build()?;
    let (envelope, bytes) = (message.envelope().clone(), message.formatted());
    let mut handed_over = false;
    let work = deliver(client, server, &envelope, &bytes, &mut handed_over);
    match tokio::time::timeout(TIMEOUT * 2, work).await {
        Ok(done) => done,
        Err(_) => {
            let text = format!("{} did not answer within {} s", server.host, (TIMEOUT * 2).as_secs());
            Err(Error::new(if handed_over { Class::Unknown } else { Class::Retry(None) }, text))
        }
    }
}

async fn deliver(
    client: &Client,
    server: &Server,
    envelope: &Envelope,
    bytes: &[u8],
    handed_over: &mut bool,
) -> Result<Receipt> {
    let hello = hello(envelope);
    let mut connection = connect(client, server, &hello).await?;
    if let Some((user, password)) = &server.login {
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        let signed_in = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
        signed_in.map_err(|e| judge(&format!("{} did not let {user} in", server.host), &e))?;
    }
    let refused = |e| judge(&format!("{} refused the mail", server.host), &e);
    let mut options = Vec::new();
    if !bytes.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    connection.command(MailFrom::new(envelope.from().cloned(), options)).await.map_err(refused)?;
    for to in envelope.to() {
        let answer = connection.command(Rcpt::new(to.clone(), vec![])).await;
        answer.map_err(|e| judge(&format!("{} refused the recipient {to}", server.host), &e))?;
    }
    connection.command(Data).await.map_err(refused)?;
    *handed_over = true;
    let answer = connection.message(bytes).await.map_err(|e| match e.status() {
        Some(_) => judge(&format!("{} refused the mail", server.host), &e),
        None => {
            let text = format!("{} hung up before it said whether it took the mail: {e}", server.host);
            Error::new(Class::Unknown, text)
        }
    })?;
    // It has said yes; whether it also says good-bye does not matter.
    drop(connection.quit().await);
    Ok(receipt(&answer))
}

/// How we introduce ourselves: as the sender's domain.
fn hello(envelope: &Envelope) -> ClientId {
    envelope.from().map_or_else(ClientId::default, |from| ClientId::Domain(from.domain().to_owned()))
}

fn receipt(answer: &Response) -> Receipt {
    let code = answer.code().to_string();
    let words: Vec<&str> = answer.message().collect();
    let text: String =
        format!("{code} {}", words.join(" ")).chars().filter(|c| !c.is_control()).take(300).collect();
    Receipt { id: None, text }
}

fn judge(what: &str, error: &lettre::transport::smtp::Error) -> Error {
    let class = if error.is_permanent() || error.is_client() { Class::Fatal } else { Class::Retry(None) };
    let text: String =
        format!("{what}: {error}").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Error::new(class, text.chars().take(600).collect::<String>())
}

/// A connection over which mail may be sent.
async fn connect(client: &Client, server: &Server, hello: &ClientId) -> Result<AsyncSmtpConnection> {
    let target = server.target()?;
    let not_taken = |e: mainspring_outbound::Error| {
        let class = if e.is_transient() { Class::Retry(None) } else { Class::Fatal };
        Error::new(class, e.to_string())
    };
    let mut link = client.dial(&target, TIMEOUT).await.map_err(not_taken)?;
    let mut greeting = Vec::new();
    if server.security == Security::StartTls {
        ask_for_tls(&mut link, server, hello).await?;
        link = client.start_tls(link, &target, TIMEOUT).await.map_err(not_taken)?;
        // The server greeted before it was encrypted and will not again; the library waits for it.
        greeting = b"220 ready\r\n".to_vec();
    }
    let stream = Greeted { greeting, link };
    let connected = AsyncSmtpConnection::connect_with_transport(Box::new(stream), hello).await;
    connected.map_err(|e| judge(&format!("{} did not greet", server.host), &e))
}

/// The dialogue up to the server's "go ahead" for TLS. Whatever it sent along unencrypted behind that
/// is not ours to believe: then the connection is given up.
async fn ask_for_tls(link: &mut Link, server: &Server, hello: &ClientId) -> Result<()> {
    expect(link, server, 220).await?;
    say(link, &format!("EHLO {hello}\r\n")).await?;
    let offers = expect(link, server, 250).await?;
    if !offers
        .lines()
        .any(|line| line.get(4..).is_some_and(|word| word.trim().eq_ignore_ascii_case("STARTTLS")))
    {
        let text = format!("{} does not offer STARTTLS, so no mail is sent in the plain", server.host);
        return Err(Error::fatal(text));
    }
    say(link, "STARTTLS\r\n").await?;
    expect(link, server, 220).await.map(drop)
}

async fn say(link: &mut Link, line: &str) -> Result<()> {
    link.write_all(line.as_bytes()).await.map_err(|e| Error::retry(format!("the connection broke: {e}")))
}

/// A whole answer of this code, and nothing behind it.
async fn expect(link: &mut Link, server: &Server, code: u16) -> Result<String> {
    let mut got = Vec::new();
    loop {
        let mut chunk = [0; 1024];
        let n =
            link.read(&mut chunk).await.map_err(|e| Error::retry(format!("the connection broke: {e}")))?;
        got.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&got);
        let whole =
            text.ends_with('\n') && text.lines().last().is_some_and(|l| l.as_bytes().get(3) != Some(&b'-'));
        if !whole && n > 0 && got.len() < 8 << 10 {
            continue;
        }
        let last = text.lines().last().unwrap_or_default();
        let one_answer = text.lines().all(|l| l.get(..3) == last.get(..3));
        let ends = text.lines().filter(|l| l.as_bytes().get(3) != Some(&b'-')).count();
        if whole && one_answer && ends == 1 && last.starts_with(&code.to_string()) {
            return Ok(text.into_owned());
        }
        let said: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        let text = format!("{} answered {said:?} where {code} was expected", server.host);
        return Err(if last.starts_with('5') { Error::fatal(text) } else { Error::retry(text) });
    }
}

/// A connection whose greeting was heard already: it is repeated before what comes.
#[derive(Debug)]
struct Greeted {
    greeting: Vec<u8>,
    link: Link,
}

impl AsyncRead for Greeted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.greeting.is_empty() {
            return Pin::new(&mut this.link).poll_read(cx, buf);
        }
        let n = this.greeting.len().min(buf.remaining());
        buf.put_slice(&this.greeting[..n]);
        this.greeting.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().link).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().link).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().link).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Greeted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.link.address())
    }
}

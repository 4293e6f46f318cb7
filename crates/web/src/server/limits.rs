//! What a client may cost: connections, a request's head, the time it takes to send and to read.
//!
//! A client that sends a byte a second, or never reads its answer, holds a connection and nothing
//! else, and not for long. All times are by the runtime's clock: they protect the process, and
//! nothing that is stored depends on them.

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The limits of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; one more is told 503 and closed.
    pub connections: usize,
    /// The time for a request's head, from the end of the one before: also how long a connection may
    /// sit idle.
    pub head: Duration,
    /// The time for a request's body.
    pub body: Duration,
    /// How long a client may read nothing of its answer.
    pub stall: Duration,
    /// The time for agreeing on TLS.
    pub handshake: Duration,
}

/// Bytes of a request's head.
pub const HEAD: usize = 16 << 10;
/// Headers of a request.
pub const HEADERS: usize = 100;

impl Default for Limits {
    fn default() -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            connections: 1_024,
            head: seconds(30),
            body: seconds(30),
            stall: seconds(60),
            handshake: seconds(10),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a limit on what a client may cost, by real time")]
fn alarm(after: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(after))
}

/// The body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive within {} s", .0.as_secs())]
pub struct TooSlow(pub Duration);

/// A request's body with an end to waiting for it.
pub struct Timed {
    body: Incoming,
    within: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    /// `body`, which must be there after so long; the time runs from the first look at it.
    pub fn new(body: Incoming, within: Duration) -> Timed {
        Timed { body, within, alarm: None }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let within = self.within;
        ready!(self.alarm.get_or_insert_with(|| alarm(within)).as_mut().poll(cx));
        Poll::Ready(Some(Err(TooSlow(within).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose other side must go on reading.
pub struct Steady<S> {
    stream: S,
    stall: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> Steady<S> {
    /// `stream`, on which a write may wait for at most `stall`.
    pub fn new(stream: S, stall: Duration) -> Steady<S> {
        Steady { stream, stall, alarm: None }
    }

    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if written.is_ready() {
            self.alarm = None;
            return written;
        }
        let stall = self.stall;
        ready!(self.alarm.get_or_insert_with(|| alarm(stall)).as_mut().poll(cx));
        Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Steady<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Steady<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, shut)
    }
}

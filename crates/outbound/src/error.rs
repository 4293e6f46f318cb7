//! How a request can fail, told apart so that a caller can choose what follows.

use crate::guard::Refusal;
use std::time::Duration;

/// What the exchange was doing when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the name.
    Dns,
    /// Opening the connection.
    Connect,
    /// Agreeing on TLS.
    Tls,
    /// Sending the request, or waiting for the answer's head.
    Head,
    /// Reading the body.
    Body,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Dns => "looking up the name",
            Phase::Connect => "connecting",
            Phase::Tls => "agreeing on TLS",
            Phase::Head => "waiting for the answer",
            Phase::Body => "reading the body",
        })
    }
}

/// Why there is no answer. Texts name the host, never the query (which may hold a secret).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request itself cannot be sent: URL, method or header. Another try cannot help.
    #[error("{field}: {text}")]
    Invalid {
        /// `url`, `method` or `headers`.
        field: &'static str,
        /// What was wrong and what is allowed.
        text: String,
    },
    /// The guard does not allow the address. Nothing was sent.
    #[error("{0}")]
    Refused(Refusal),
    /// The name has no address, or the resolver failed.
    #[error("the name {host} has no address: {text}")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        text: String,
    },
    /// Nobody accepted the connection.
    #[error("cannot connect to {address}: {text}")]
    Connect {
        /// Host, address and port.
        address: String,
        /// What the system said.
        text: String,
    },
    /// The connection is there, but its certificate or handshake is not right.
    #[error("no safe connection to {host}: {text}")]
    Tls {
        /// The host.
        host: String,
        /// What was wrong.
        text: String,
    },
    /// The whole exchange took too long.
    #[error("no complete answer within {} s: still {phase}", .after.as_secs_f64())]
    Timeout {
        /// What it was doing.
        phase: Phase,
        /// The time it had.
        after: Duration,
    },
    /// The answer's head is larger than [`crate::HEAD`] or has more than [`crate::HEADERS`] headers.
    #[error("the answer's head is larger than {} KiB or {} headers", crate::HEAD >> 10, crate::HEADERS)]
    TooLarge,
    /// More redirects than were to be followed.
    #[error("redirected more than {0} times")]
    Redirects(u8),
    /// The other side broke the rules of HTTP or hung up in the middle.
    #[error("broken answer: {0}")]
    Protocol(String),
}

impl Error {
    /// One word for filters.
    pub fn class(&self) -> &'static str {
        match self {
            Error::Invalid { .. } => "bad_request",
            Error::Refused(_) => "refused",
            Error::Dns { .. } => "dns",
            Error::Connect { .. } => "connect",
            Error::Tls { .. } => "tls",
            Error::Timeout { .. } => "timeout",
            Error::TooLarge => "too_large",
            Error::Redirects(_) => "redirects",
            Error::Protocol(_) => "protocol",
        }
    }

    /// Whether the same request may succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Error::Invalid { .. } | Error::Refused(_))
    }
}

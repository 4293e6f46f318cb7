//! How a request can fail, told apart so that a caller can choose what follows.

use crate::guard::Refusal;
use jiff::Timestamp;
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
    /// Nothing but this machine may be reached, as somebody set it. Nothing was sent.
    #[error("{host} was not asked: offline is set, and then only this machine may be reached")]
    Offline {
        /// The host.
        host: String,
    },
    /// The host wants no more requests for now, or ours are too many.
    #[error("{host} is not asked before {until}: its limit is reached")]
    Limited {
        /// The host.
        host: String,
        /// When it may be asked again.
        until: Timestamp,
    },
    /// The host failed again and again and is left alone.
    #[error("{host} is not asked before {until}: it failed {} times in a row", crate::FAILURES)]
    Resting {
        /// The host.
        host: String,
        /// When it may be asked again.
        until: Timestamp,
    },
    /// The site's robots.txt does not want it.
    #[error("{url} is not to be fetched by programs: the site's robots.txt says so")]
    Robots {
        /// The address without its query.
        url: String,
    },
    /// A replay or a simulation has nothing for it.
    #[error("there is no {what} for {request}")]
    Missing {
        /// `recorded answer` or `simulated service`.
        what: &'static str,
        /// The request, secrets gone.
        request: String,
    },
    /// A recording cannot be read or written.
    #[error("cassette: {0}")]
    Cassette(String),
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
            Error::Offline { .. } => "offline",
            Error::Limited { .. } => "limited",
            Error::Resting { .. } => "resting",
            Error::Robots { .. } => "robots",
            Error::Missing { .. } => "missing",
            Error::Cassette(_) => "cassette",
        }
    }

    /// Whether the same request may succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        self.is_hosts() || self.until().is_some()
    }

    /// When the same request may be sent again, if that is known.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Error::Limited { until, .. } | Error::Resting { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Whether it was the host, or the way to it, that failed.
    pub(crate) fn is_hosts(&self) -> bool {
        use Error::*;
        matches!(
            self,
            Dns { .. } | Connect { .. } | Tls { .. } | Timeout { .. } | TooLarge | Redirects(_) | Protocol(_)
        )
    }
}

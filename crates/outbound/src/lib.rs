//! The only door to the outside network.
//!
//! The `http` kind, and later web hooks, connectors and mail, come through here and nowhere else;
//! so this is where an address is judged ([`Guard`]), where time and size end ([`Client`]) and
//! where an error gets its class ([`Error`]). A request takes one path:
//!
//! ```text
//! text ─parse once▶ Target ─resolve▶ addresses ─judge EVERY one▶ connect to a judged one ─▶ answer
//!                                        └ one not allowed: Refused, nothing is sent
//! ```
//!
//! A redirect is an answer like any other. A connector may ask for a few to be followed
//! ([`Request::follow`]): each goes the whole path again, and takes no credentials to another site.
//!
//! Connectors stand before the [`Door`]: the client with manners (pace per host, `Retry-After` and rate
//! limits, conditional requests, robots.txt, a breaker, a meter) and a choice of transports, so that the
//! same code runs live, recorded, replayed or simulated. With [`Settings::offline`] nothing but this
//! machine is reached, whatever asks.
//!
//! It deliberately does not: read a proxy from the
//! environment, unpack what it was not asked to unpack (an `http` job's body stays as sent), reuse connections (each request resolves and is judged again),
//! keep cookies, or speak anything but HTTP/1.1 itself. Mail gets a connection from here ([`Link`]), judged
//! and encrypted the same way.

mod client;
mod door;
mod error;
mod guard;
mod link;
mod redirect;
mod resolve;
mod target;
mod unpack;

pub use client::{Client, Request, Response, Settings, Verdict};
pub use door::{
    Answer, Call, Door, FAILURES, Fetching, Kept, LONGEST, Manners, MemoryShelf, Meter, Pace, Player, READ,
    REST, Recorder, Robots, Running, Shelf, TOKEN, Time, Transport, Usage, Waiting, retry_after,
};
pub use error::{Error, Phase};
pub use guard::{Allow, Guard, OwnPorts, Refusal};
pub use link::Link;
pub use resolve::{Resolve, Resolving, SystemResolver};
pub use target::Target;

/// The longest accepted URL, in bytes.
pub const URL: usize = 8 << 10;
/// Bytes of an answer's head: status line and headers together.
pub const HEAD: usize = 16 << 10;
/// Headers of an answer.
pub const HEADERS: usize = 128;
/// Bytes of an answer's body that are kept unless a request says otherwise.
pub const BODY: usize = 256 << 10;
/// Redirects that may be followed at most.
pub const REDIRECTS: u8 = 5;
/// Addresses of one name that are tried, after all of them were judged.
pub const TRIED: usize = 4;

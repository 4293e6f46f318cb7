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
//! It deliberately does not: follow redirects (a 3xx is the answer), read a proxy from the
//! environment, decode a content encoding (it asks for `identity`; whoever sends a compressed bomb
//! sees its compressed bytes kept), reuse connections (each request resolves and is judged again),
//! keep cookies, or speak anything but HTTP/1.1 itself. Mail gets a connection from here ([`Link`]), judged
//! and encrypted the same way.

mod client;
mod error;
mod guard;
mod link;
mod resolve;
mod target;

pub use client::{Client, Request, Response, Settings, Verdict};
pub use error::{Error, Phase};
pub use guard::{Allow, Guard, Refusal};
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
/// Addresses of one name that are tried, after all of them were judged.
pub const TRIED: usize = 4;

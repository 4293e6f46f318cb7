//! The built-in kinds: jobs for people who write no Rust. They are ordinary handlers in the
//! registry ([`crate::Handler`]); the engine knows nothing of them.

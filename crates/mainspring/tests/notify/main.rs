//! Notifications over both real stores.

mod announce;
mod support;

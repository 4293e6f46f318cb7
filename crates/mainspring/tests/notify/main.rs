//! Notifications over both real stores.

mod announce;
mod channels;
mod deliver;
mod inbox;
mod support;
mod watcher;

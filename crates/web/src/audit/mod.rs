//! The audit log: what people and programs did, the newest first. It is the events with an actor.

pub mod api;
pub mod pages;

use crate::access::Caller;
use crate::events::{EventView, newest};
use crate::listing::Page;
use crate::problem::Result;

/// Acts with a number below `cursor`, the newest first.
pub async fn list(caller: &Caller, cursor: Option<i64>, limit: u32) -> Result<Page<EventView>> {
    let (items, next) = newest(caller, cursor, limit as usize, |event| event.actor.is_some()).await?;
    Ok(Page::new(items, next))
}

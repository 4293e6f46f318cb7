//! The audit log: what people and programs did, the newest first, with who and from where. It is the
//! events with an actor; each was written in the transaction of what it tells of, and nothing changes
//! or deletes one before its retention ends.

pub mod api;
pub mod pages;

use crate::access::Caller;
use crate::events::{EventView, newest};
use crate::listing::{self, Page};
use crate::problem::Result;
use jiff::Timestamp;
use serde::Deserialize;

/// Which acts are asked for. All that is given holds together.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Who: this very actor, `ada@example.com` or `key/billing`.
    pub actor: Option<String>,
    /// What: an event's name, `key.made`, or the beginning of one, `key.`.
    pub name: Option<String>,
    /// What it was done to: `queue/mail`, or the beginning, `queue/`.
    pub subject: Option<String>,
    /// From which network address.
    pub address: Option<String>,
    /// Not before this instant.
    pub from: Option<String>,
    /// Before this instant.
    pub until: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Rows of the page, 1 to 1,000; 50 if absent.
    pub limit: Option<String>,
}

/// The same, read.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    actor: Option<String>,
    name: Option<String>,
    subject: Option<String>,
    address: Option<String>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl AuditQuery {
    /// Reads what was asked.
    pub fn filter(&self) -> Result<Filter> {
        let given = |field: &str, text: &Option<String>| -> Result<Option<String>> {
            Ok(listing::given(field, text)?.map(str::to_owned))
        };
        Ok(Filter {
            actor: given("actor", &self.actor)?,
            name: given("name", &self.name)?,
            subject: given("subject", &self.subject)?,
            address: given("address", &self.address)?,
            from: listing::instant("from", &self.from)?,
            until: listing::instant("until", &self.until)?,
        })
    }
}

/// From where an act was done, if it came over the network.
pub fn address(event: &EventView) -> Option<String> {
    event.data.value().get("from")?.as_str().map(str::to_owned)
}

impl Filter {
    /// Whether anything is asked for at all.
    pub fn is_some(&self) -> bool {
        let texts = [&self.actor, &self.name, &self.subject, &self.address];
        texts.iter().any(|text| text.is_some()) || self.from.is_some() || self.until.is_some()
    }

    /// Whether an event is one that is asked for.
    pub fn takes(&self, event: &EventView) -> bool {
        let is = |wanted: &Option<String>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have == Some(wanted))
        };
        let begins = |wanted: &Option<String>, have: &str| {
            wanted.as_deref().is_none_or(|wanted| have.starts_with(wanted))
        };
        is(&self.actor, event.actor.as_deref())
            && begins(&self.name, &event.name)
            && begins(&self.subject, &event.subject)
            && self.from.is_none_or(|from| event.at >= from)
            && self.until.is_none_or(|until| event.at < until)
            && (self.address.is_none() || is(&self.address, address(event).as_deref()))
    }
}

/// Acts with a number below `cursor`, the newest first.
pub async fn list(
    caller: &Caller,
    filter: &Filter,
    cursor: Option<i64>,
    limit: u32,
) -> Result<Page<EventView>> {
    let pick = |event: &EventView| event.actor.is_some() && filter.takes(event);
    let (items, next) = newest(caller, cursor, limit as usize, pick).await?;
    Ok(Page::new(items, next))
}

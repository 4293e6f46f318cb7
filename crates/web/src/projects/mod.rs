//! Projects: those that the caller may see; making, naming, archiving and leaving them.
//!
//! Archiving stops a project: all of its queues and schedules are paused, nothing of it may be changed,
//! and everything stays to be read. Taking it out again undoes just that.

pub mod api;
pub mod pages;
mod store;

pub use store::{Kept, kept};

use crate::access::{Anyone, Caller, Right, Role, Via};
use crate::accounts::{self, Session};
use crate::members;
use crate::problem::{Problem, Result};
use crate::state::Web;
use http::StatusCode;
use jiff::Timestamp;
use mainspring::Client;
use mainspring_core::code::Code;
use mainspring_core::event::NewEvent;
use mainspring_core::limits;
use mainspring_core::queue::{ALL_QUEUES, Pause};
use mainspring_core::tables::Write;
use serde::Serialize;
use std::collections::BTreeSet;

/// Why what an archived project owns is paused.
const NOTE: &str = "the project is archived";

/// A project as both faces show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ProjectView {
    /// Its name, as in addresses.
    pub name: String,
    /// What people call it, if not by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Since when it is archived, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<Timestamp>,
    /// What the caller may do in it.
    pub rights: BTreeSet<Right>,
}

impl ProjectView {
    /// What people call it.
    pub fn called(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }
}

fn view(name: String, kept: Kept, rights: BTreeSet<Right>) -> ProjectView {
    ProjectView { name, title: kept.title, archived_at: kept.archived_at.map(|at| at.0), rights }
}

/// The projects that somebody belongs to, by number.
pub async fn list(web: &Web, who: &Anyone) -> Result<Vec<ProjectView>> {
    let mut kept = store::all(web).await?;
    let mut seen = Vec::new();
    for (id, name) in web.client().store().projects().await? {
        let rights = match who {
            Anyone::Key(key) => (key.project == id).then(|| key.rights.clone()),
            Anyone::Person(session) => accounts::rights(web, session, id).await?,
        };
        seen.extend(rights.map(|rights| view(name, kept.remove(&id).unwrap_or_default(), rights)));
    }
    Ok(seen)
}

/// The caller's project.
pub async fn one(web: &Web, caller: &Caller) -> Result<ProjectView> {
    let rights = Right::ALL.into_iter().filter(|right| caller.has(*right)).collect();
    Ok(view(caller.project.clone(), kept(web, caller.project_id()).await?, rights))
}

/// Reads a title: nothing means the name.
fn read_title(text: Option<&str>) -> Result<Option<String>> {
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(None) };
    if text.chars().count() > 100 || text.contains(char::is_control) {
        return Err(Problem::invalid("title", "a title has at most 100 characters on one line"));
    }
    Ok(Some(text.to_owned()))
}

/// Makes a project; `client` signs. Its name is free for good only while nobody else has it.
pub async fn make(web: &Web, client: &Client, name: &str, title: Option<&str>) -> Result<Client> {
    mainspring_core::job::check_name(name).map_err(|e| Problem::invalid("name", e))?;
    let title = read_title(title)?;
    if mainspring::projects::named(&**client.store(), name).await?.is_some() {
        let mut problem =
            Problem::new(StatusCode::CONFLICT, Code::CONFLICT, format!("there is a project {name} already"));
        problem.field = Some("name".into());
        return Err(problem);
    }
    let made = client.clone().in_project_named(name).await?;
    let project = made.project();
    let event =
        NewEvent::new("project.made", format!("project/{name}"), serde_json::json!({ "title": title }));
    let write = Write::new().then(store::set_title(project, title.as_deref()));
    web.tables().write(write.tell(web.now(), project, event.by(&made.signature()))).await?;
    Ok(made)
}

/// The same by a person, who becomes its owner. Takes an admin of the installation.
pub async fn make_by(
    web: &Web,
    session: &Session,
    from: &str,
    name: &str,
    title: Option<&str>,
) -> Result<()> {
    if !session.admin {
        return Err(Problem::forbidden("projects are made by admins of the installation; ask one of them"));
    }
    let client = web.client().clone().acting_as(&session.email).acting_from(from);
    let made = make(web, &client, name, title).await?;
    accounts::set_member(web, made.project(), session.member, Role::Owner, true).await
}

/// Gives the client's project another title.
pub async fn rename(web: &Web, client: &Client, name: &str, title: Option<&str>) -> Result<()> {
    let title = read_title(title)?;
    let data = serde_json::json!({ "title": title });
    let event = NewEvent::new("project.renamed", format!("project/{name}"), data).by(&client.signature());
    let write = Write::new().then(store::set_title(client.project(), title.as_deref()));
    web.tables().write(write.tell(web.now(), client.project(), event)).await?;
    Ok(())
}

/// Stops the client's project: see the module's text. Doing it twice finishes what was begun.
pub async fn archive(web: &Web, client: &Client, name: &str) -> Result<()> {
    let at = kept(web, client.project()).await?.archived_at.map_or(web.now(), |at| at.0);
    let event = NewEvent::new("project.archived", format!("project/{name}"), serde_json::json!({}));
    let write = Write::new().then(store::set_archived(client.project(), Some(at)));
    let event = event.by(&client.signature());
    web.tables().write(write.tell(web.now(), client.project(), event)).await?;
    if client.queue_settings(ALL_QUEUES).await?.paused.is_none() {
        client.pause_queue(ALL_QUEUES, None, Some(NOTE)).await?;
    }
    for (schedule, paused) in schedules(client).await? {
        if paused.is_none() {
            client.pause_schedule(&schedule, None, Some(NOTE)).await?;
        }
    }
    Ok(())
}

/// Takes the client's project out of the archive: what archiving paused goes on.
pub async fn restore(web: &Web, client: &Client, name: &str) -> Result<()> {
    let ours = |pause: &Option<Pause>| pause.as_ref().is_some_and(|p| p.note.as_deref() == Some(NOTE));
    if ours(&client.queue_settings(ALL_QUEUES).await?.paused) {
        client.resume_queue(ALL_QUEUES).await?;
    }
    for (schedule, paused) in schedules(client).await? {
        if ours(&paused) {
            client.resume_schedule(&schedule).await?;
        }
    }
    let event = NewEvent::new("project.restored", format!("project/{name}"), serde_json::json!({}));
    let write = Write::new().then(store::set_archived(client.project(), None));
    let event = event.by(&client.signature());
    web.tables().write(write.tell(web.now(), client.project(), event)).await?;
    Ok(())
}

/// Every schedule of the project with its pause.
async fn schedules(client: &Client) -> Result<Vec<(String, Option<Pause>)>> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = client.store().schedules(client.project(), after.as_deref(), limits::PAGE as u32).await;
        let page = page?;
        all.extend(page.rows.into_iter().map(|r| (r.name, r.paused)));
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Takes the caller out of the project; the last owner stays.
pub async fn leave(web: &Web, caller: &Caller) -> Result<()> {
    let Via::Session(session) = &caller.via else {
        return Err(Problem::forbidden("a key cannot leave its project; revoke it"));
    };
    members::remove_self(web, caller, session.member).await
}

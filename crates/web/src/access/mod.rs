//! Who asks, for which project, and what they may do: the one place that decides it.
//!
//! A handler takes a [`Caller`] (a person or a key, in the project its path names) and asks
//! [`Caller::may`] for the right it needs. A project that the caller does not belong to looks as if
//! it did not exist. Pages without a project take a [`Person`].

pub mod cookies;
mod gate;
mod may;
mod token;

pub use cookies::{cleared, of_session, read as read_cookie};
pub use gate::{Gate, Permit, Share};
pub use may::{MayChange, MayManage, MayRead, MayRun, MaySee, MayWork};
pub use token::{Hash, Secret, hash, random, same};

use crate::accounts::{self, Key, Session};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams};
use http::request::Parts;
use http::{Method, StatusCode, header};
use mainspring::{Client, projects};
use mainspring_core::ProjectId;
use mainspring_core::code::Code;
use mainspring_core::event::NewEvent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a caller may be allowed to do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// See everything but payloads, outputs and logs.
    Read,
    /// See payloads, outputs and logs.
    Payloads,
    /// Enqueue, run now, retry, cancel.
    Run,
    /// Change schedules, queues and alert rules.
    Change,
    /// Change members, keys, secrets and the project.
    Manage,
    /// Claim and finish jobs as a worker outside.
    Work,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 6] =
        [Right::Read, Right::Payloads, Right::Run, Right::Change, Right::Manage, Right::Work];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Payloads => "payloads",
            Right::Run => "run",
            Right::Change => "change",
            Right::Manage => "manage",
            Right::Work => "work",
        }
    }

    /// The right of this name.
    pub fn parse(name: &str) -> Option<Right> {
        Right::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

/// A member's place in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Runs and changes.
    Member,
    /// Manages people, keys and secrets too.
    Admin,
    /// May do everything, also give the project away.
    Owner,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Member, Role::Admin, Role::Owner];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Member => "member",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|r| r.as_str() == name)
    }

    /// What it allows. Payloads are a permission of their own for viewers and members.
    pub fn rights(self, payloads: bool) -> BTreeSet<Right> {
        let mut rights = BTreeSet::from([Right::Read]);
        if payloads || self >= Role::Admin {
            rights.insert(Right::Payloads);
        }
        if self >= Role::Member {
            rights.extend([Right::Run, Right::Change]);
        }
        if self >= Role::Admin {
            rights.insert(Right::Manage);
        }
        rights
    }
}

/// A person who is signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their session.
    pub session: Session,
}

/// How a caller proved who they are.
#[derive(Clone, Debug)]
pub enum Via {
    /// In a browser.
    Session(Session),
    /// With an API key: its number and the queues it is bound to (all when empty).
    Key(i64, Vec<String>),
}

/// Somebody who may look into the project of the request's path.
#[derive(Clone)]
pub struct Caller {
    /// How they came in.
    pub via: Via,
    /// The project's name.
    pub project: String,
    /// How many notifications they have not seen: counted for pages alone, which show it.
    pub unread: u32,
    /// How many alerts fire in the project: counted for pages alone, too.
    pub firing: u64,
    rights: BTreeSet<Right>,
    client: Client,
    /// Counts as long as somebody holds it: see [`Gate`].
    _permit: Arc<Permit>,
}

/// The network address a request comes from.
#[derive(Clone, Debug)]
pub struct Whence(pub String);

impl Whence {
    fn of(parts: &Parts) -> Whence {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Whence(peer.map_or_else(|| "unknown".to_owned(), |c| c.0.ip().to_canonical().to_string()))
    }
}

impl FromRequestParts<Web> for Whence {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Web) -> Result<Whence, Self::Rejection> {
        Ok(Whence::of(parts))
    }
}

/// Refuses to change what an archived project owns; taking it out of the archive is the exception, and
/// archiving it again (which finishes what was interrupted) the other.
async fn check_archived(parts: &Parts, web: &Web, project: ProjectId, name: &str) -> Result<()> {
    let path = parts.uri.path().trim_end_matches('/');
    // What runs may end; a worker gets nothing new, because everything is paused.
    let working = path.contains("/workers/");
    if safe(&parts.method) || working || path.ends_with("/restore") || path.ends_with("/archive") {
        return Ok(());
    }
    if crate::projects::kept(web, project).await?.archived_at.is_none() {
        return Ok(());
    }
    let text = format!(
        "the project {name} is archived; restore it first (its settings, or mainspring project restore {name})"
    );
    Err(Problem::new(StatusCode::CONFLICT, Code::CONFLICT, text))
}

impl Caller {
    /// An event that tells of an act of theirs: who, from where.
    pub fn act(&self, name: &str, subject: String, data: serde_json::Value) -> NewEvent {
        NewEvent::new(name, subject, data).by(&self.client.signature())
    }

    /// Refuses unless the caller has the right.
    pub fn may(&self, right: Right) -> Result<()> {
        if self.has(right) {
            return Ok(());
        }
        let who = if matches!(self.via, Via::Key(..)) { "this key" } else { "you" };
        Err(Problem::forbidden(format!(
            "{who} may not do this in {}: it takes the right {}, which an admin of the project grants",
            self.project,
            right.as_str()
        )))
    }

    /// Whether the caller has the right.
    pub fn has(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// The client that acts for them, in their project and in their name.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The project's number.
    pub fn project_id(&self) -> ProjectId {
        self.client.project()
    }

    /// The session, for pages.
    pub fn session(&self) -> Result<&Session> {
        match &self.via {
            Via::Session(session) => Ok(session),
            Via::Key(..) => Err(Problem::forbidden("pages are for people; a key uses /api/v1")),
        }
    }
}

/// Somebody known, whatever the project: a person or a key.
#[derive(Clone, Debug)]
pub enum Anyone {
    /// A person who is signed in.
    Person(Session),
    /// A key and the project it is bound to.
    Key(Key),
}

/// Methods that change nothing.
fn safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The session of a browser. A request that changes something must come from a page of ours.
async fn session(parts: &Parts, web: &Web) -> Result<Session> {
    let token = read_cookie(&parts.headers).ok_or_else(Problem::sign_in)?;
    let session = accounts::session(web, &token).await?.ok_or_else(Problem::sign_in)?;
    if !safe(&parts.method) {
        check_origin(parts, web)?;
    }
    Ok(session)
}

/// Browsers say where a request comes from; a form on a foreign page cannot hide it.
pub fn check_origin(parts: &Parts, web: &Web) -> Result<()> {
    let refused = || Problem::forbidden("this request came from another site, so nothing was done");
    if let Some(site) = parts.headers.get("sec-fetch-site").and_then(|v| v.to_str().ok()) {
        return if matches!(site, "same-origin" | "none") { Ok(()) } else { Err(refused()) };
    }
    let Some(origin) = parts.headers.get(header::ORIGIN).and_then(|v| v.to_str().ok()) else {
        // A program that holds a session's cookie on purpose sends neither.
        return Ok(());
    };
    let host = parts.headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or("");
    let own = origin.split_once("://").map_or("", |(_, rest)| rest);
    let public = web.config().public_url.as_deref().is_some_and(|url| {
        let rest = url.strip_prefix(origin);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if own == host || public { Ok(()) } else { Err(refused()) }
}

impl FromRequestParts<Web> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Person> {
        Ok(Person { session: session(parts, web).await? })
    }
}

/// The token of a request, for those that prove themselves otherwise than by a key.
pub fn bearer_of(parts: &Parts) -> Option<&str> {
    bearer(parts)
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
}

impl FromRequestParts<Web> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Anyone> {
        match bearer(parts) {
            Some(token) => Ok(Anyone::Key(accounts::key(web, token).await?.ok_or_else(Problem::sign_in)?)),
            None => Ok(Anyone::Person(session(parts, web).await?)),
        }
    }
}

impl FromRequestParts<Web> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Caller> {
        let params = RawPathParams::from_request_parts(parts, web).await;
        let params = params.map_err(|e| Problem::invalid("path", e.to_string()))?;
        let name = params.iter().find(|(name, _)| *name == "project").map(|(_, value)| value.to_owned());
        let name = name.ok_or_else(|| Problem::not_found("project", "here"))?;
        let known = projects::named(&**web.client().store(), &name).await?;
        let unknown = || Problem::not_found("project", &name);
        if let Some(token) = bearer(parts) {
            let key = accounts::key(web, token).await?.ok_or_else(Problem::sign_in)?;
            let project = known.filter(|id| *id == key.project).ok_or_else(unknown)?;
            let permit = Arc::new(web.gate().enter(web.now(), project)?);
            check_archived(parts, web, project, &name).await?;
            let client = web.client().clone().in_project(project).acting_as(&format!("key/{}", key.name));
            return Ok(Caller {
                via: Via::Key(key.id, key.queues),
                project: name,
                unread: 0,
                firing: 0,
                rights: key.rights,
                client: client.acting_from(&Whence::of(parts).0),
                _permit: permit,
            });
        }
        let session = session(parts, web).await?;
        let project = known.ok_or_else(unknown)?;
        let rights = accounts::rights(web, &session, project).await?.ok_or_else(unknown)?;
        let permit = Arc::new(web.gate().enter(web.now(), project)?);
        check_archived(parts, web, project, &name).await?;
        let client = web.client().clone().in_project(project).acting_as(&session.email);
        let page = parts.method == Method::GET && !parts.uri.path().contains("/api/v1/projects/");
        let (unread, firing) = match page {
            true => (
                mainspring::notify::unread(web.tables(), project, session.member).await?,
                mainspring::alerts::firing(&client).await?,
            ),
            false => (0, 0),
        };
        let (via, client) = (Via::Session(session), client.acting_from(&Whence::of(parts).0));
        Ok(Caller { via, project: name, unread, firing, rights, client, _permit: permit })
    }
}

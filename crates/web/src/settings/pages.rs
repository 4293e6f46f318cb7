//! A project's settings as a page: members and invitations, API keys, secrets, title and archive. The
//! text of a key and the link of an invitation are in the answer that makes them, and nowhere else.

use crate::access::{Caller, Right, Role};
use crate::accounts::{self, Key, NewKey};
use crate::frame::{self, Frame, segment};
use crate::invitations::{self, InvitationBody, InvitationView};
use crate::keys;
use crate::members::{self, MemberView};
use crate::problem::{Problem, Result};
use crate::projects::{self, ProjectView};
use crate::secrets::{self, SecretView};
use crate::state::Web;
use crate::views::Choice;
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use mainspring_core::duration;
use mainspring_core::time;
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/settings", get(show))
        .route("/p/{project}/settings/members/{member}", post(set_member))
        .route("/p/{project}/settings/members/{member}/remove", post(remove_member))
        .route("/p/{project}/settings/invitations", post(invite))
        .route("/p/{project}/settings/invitations/{invitation}/withdraw", post(withdraw))
        .route("/p/{project}/settings/secrets", post(set_secret))
        .route("/p/{project}/settings/secrets/{secret}/delete", post(delete_secret))
        .route("/p/{project}/settings/title", post(rename))
        .route("/p/{project}/settings/archive", post(archive))
        .route("/p/{project}/settings/restore", post(restore))
        .route("/p/{project}/settings/leave", post(leave))
        .route("/p/{project}/settings/keys", post(make_key))
        .route("/p/{project}/settings/keys/{key}/revoke", post(revoke_key))
}

struct MemberRow {
    m: MemberView,
    roles: Vec<Choice>,
}

struct KeyRow {
    key: Key,
    rights: String,
    queues: String,
    over: bool,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    frame: Frame,
    members: Vec<MemberRow>,
    keys: Vec<KeyRow>,
    rights: Vec<(&'static str, &'static str)>,
    roles: Vec<&'static str>,
    invitations: Vec<InvitationView>,
    secrets: Vec<SecretView>,
    project: ProjectView,
    may_leave: bool,
    said: Said,
}

impl Page {
    /// What was wrong with a form: which one, and the text.
    fn error(&self, form: &str) -> Option<&str> {
        self.said.problem.as_ref().filter(|(which, _)| *which == form).map(|(_, p)| p.detail.as_str())
    }
}

/// What the answer to a form tells beside the page.
#[derive(Default)]
struct Said {
    /// A key's text.
    key: Option<String>,
    /// An invitation's link.
    link: Option<String>,
    /// A form and what was wrong with it.
    problem: Option<(&'static str, Problem)>,
}

impl Said {
    fn wrong(form: &'static str, problem: Problem) -> Said {
        Said { problem: Some((form, problem)), ..Said::default() }
    }
}

const RIGHTS: [(Right, &str); 6] = [
    (Right::Read, "see everything but payloads"),
    (Right::Payloads, "see payloads, outputs and logs"),
    (Right::Run, "enqueue, run now, retry, cancel"),
    (Right::Change, "change schedules and queues"),
    (Right::Manage, "change members, keys and secrets"),
    (Right::Work, "claim and finish jobs as a worker"),
];

async fn draw(web: &Web, caller: &Caller, headers: &HeaderMap, said: Said) -> Result<Response> {
    let frame = Frame::of(web, headers, "Settings", "settings", caller)?;
    let members = members::list(web, caller).await?.into_iter().map(|m| {
        let roles = Role::ALL.into_iter().map(|r| Choice::new(r.as_str(), r.as_str(), r == m.role));
        MemberRow { roles: roles.collect(), m }
    });
    let members = members.collect();
    let keys = if frame.may_manage { accounts::key_list(web, caller.project_id()).await? } else { vec![] };
    let row = |key: Key| KeyRow {
        rights: key.rights.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", "),
        queues: if key.queues.is_empty() { "all".into() } else { key.queues.join(", ") },
        over: key.expires_at.is_some_and(|at| at <= web.now()),
        key,
    };
    let keys = keys.into_iter().map(row).collect();
    let rights = RIGHTS.iter().map(|(right, text)| (right.as_str(), *text)).collect();
    let invitations = if frame.may_manage { invitations::list(web, caller).await? } else { vec![] };
    let secrets = if frame.may_change { secrets::list(web, caller).await? } else { vec![] };
    let status = said.problem.as_ref().map(|(_, problem)| problem.status());
    let own = caller.session()?.member;
    let all: &Vec<MemberRow> = &members;
    let may_leave = all.iter().any(|row| row.m.id == own);
    let roles = Role::ALL.into_iter().map(Role::as_str).collect();
    let project = projects::one(web, caller).await?;
    let page = Page { frame, members, keys, rights, roles, invitations, secrets, project, may_leave, said };
    let mut response = frame::page(&page)?;
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    Ok(response)
}

async fn show(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    caller.may(Right::Read)?;
    draw(&web, &caller, &headers, Said::default()).await
}

/// The key a form asks for.
fn new_key(web: &Web, form: &[(String, String)]) -> Result<NewKey> {
    let of = |name: &str| form.iter().filter(|(n, _)| n == name).map(|(_, v)| v.trim()).collect::<Vec<_>>();
    let one = |name: &str| of(name).first().copied().unwrap_or_default();
    let rights = of("right").into_iter().map(|r| {
        Right::parse(r).ok_or_else(|| Problem::invalid("rights", format!("there is no right {r:?}")))
    });
    let expires_at = match one("length") {
        "" => None,
        text => {
            Some(time::plus(web.now(), duration::parse(text).map_err(|e| Problem::invalid("length", e))?))
        }
    };
    let queues =
        one("queues").split(',').map(str::trim).filter(|q| !q.is_empty()).map(str::to_owned).collect();
    Ok(NewKey { name: one("name").to_owned(), rights: rights.collect::<Result<_>>()?, queues, expires_at })
}

async fn make_key(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(form): Form<Vec<(String, String)>>,
) -> Result<Response> {
    caller.may(Right::Manage)?;
    let made = match new_key(&web, &form) {
        Ok(new) => keys::make(&web, &caller, &new).await,
        Err(problem) => Err(problem),
    };
    match made {
        Ok((_, secret)) => {
            let said = Said { key: Some(secret), ..Said::default() };
            let mut response = draw(&web, &caller, &headers, said).await?;
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        Err(problem) if problem.status < 500 => {
            draw(&web, &caller, &headers, Said::wrong("key", problem)).await
        }
        Err(problem) => Err(problem),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InviteForm {
    email: String,
    role: String,
    payloads: Option<String>,
    length: String,
}

async fn invite(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(form): Form<InviteForm>,
) -> Result<Response> {
    caller.may(Right::Manage)?;
    let made = match Role::parse(&form.role) {
        None => Err(Problem::invalid("role", format!("there is no role {:?}", form.role))),
        Some(role) => {
            let text = |text: String| Some(text).filter(|t| !t.trim().is_empty());
            let (email, length) = (text(form.email), text(form.length));
            let body = InvitationBody { email, role, payloads: form.payloads.is_some(), length };
            invitations::make(&web, &caller, &body).await
        }
    };
    match made {
        Ok((_, link)) => {
            let said = Said { link: Some(link), ..Said::default() };
            let mut response = draw(&web, &caller, &headers, said).await?;
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        Err(problem) if problem.status < 500 => {
            draw(&web, &caller, &headers, Said::wrong("invitation", problem)).await
        }
        Err(problem) => Err(problem),
    }
}

fn back(web: &Web, project: &str) -> Response {
    frame::redirect(web, &format!("/p/{}/settings", segment(project)))
}

async fn withdraw(
    State(web): State<Web>,
    caller: Caller,
    Path((project, invitation)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Manage)?;
    let id = invitation.parse().map_err(|_| Problem::not_found("invitation", &invitation))?;
    invitations::withdraw(&web, &caller, id).await?;
    Ok(back(&web, &project))
}

#[derive(Deserialize)]
struct SecretForm {
    name: String,
    value: String,
}

async fn set_secret(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(form): Form<SecretForm>,
) -> Result<Response> {
    // A text field of a browser sends line breaks as two characters.
    let value = form.value.replace("\r\n", "\n");
    match secrets::set(&web, &caller, form.name.trim(), value.trim_end_matches('\n')).await {
        Ok(_) => Ok(back(&web, &caller.project)),
        Err(problem) if problem.status < 500 && problem.status != 403 => {
            draw(&web, &caller, &headers, Said::wrong("secret", problem)).await
        }
        Err(problem) => Err(problem),
    }
}

async fn delete_secret(
    State(web): State<Web>,
    caller: Caller,
    Path((project, secret)): Path<(String, String)>,
) -> Result<Response> {
    secrets::delete(&web, &caller, &secret).await?;
    Ok(back(&web, &project))
}

#[derive(Deserialize)]
struct TitleForm {
    title: String,
}

async fn rename(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Form(form): Form<TitleForm>,
) -> Result<Response> {
    caller.may(Right::Manage)?;
    match projects::rename(&web, caller.client(), &caller.project, Some(&form.title)).await {
        Ok(()) => Ok(back(&web, &caller.project)),
        Err(problem) if problem.status < 500 => {
            draw(&web, &caller, &headers, Said::wrong("title", problem)).await
        }
        Err(problem) => Err(problem),
    }
}

async fn archive(State(web): State<Web>, caller: Caller) -> Result<Response> {
    caller.may(Right::Manage)?;
    projects::archive(&web, caller.client(), &caller.project).await?;
    Ok(back(&web, &caller.project))
}

async fn restore(State(web): State<Web>, caller: Caller) -> Result<Response> {
    caller.may(Right::Manage)?;
    projects::restore(&web, caller.client(), &caller.project).await?;
    Ok(back(&web, &caller.project))
}

async fn leave(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    match projects::leave(&web, &caller).await {
        Ok(()) => Ok(frame::redirect(&web, "/projects")),
        Err(problem) if problem.status == 409 => {
            draw(&web, &caller, &headers, Said::wrong("leave", problem)).await
        }
        Err(problem) => Err(problem),
    }
}

async fn revoke_key(
    State(web): State<Web>,
    caller: Caller,
    Path((project, key)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Manage)?;
    let id = key.parse().map_err(|_| Problem::not_found("key", &key))?;
    keys::revoke(&web, &caller, id).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/settings", segment(&project))))
}

/// What a member is to be.
#[derive(Deserialize)]
struct MemberForm {
    role: String,
    payloads: Option<String>,
}

fn member_id(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Problem::not_found("member", text))
}

async fn set_member(
    State(web): State<Web>,
    caller: Caller,
    Path((project, member)): Path<(String, String)>,
    Form(form): Form<MemberForm>,
) -> Result<Response> {
    caller.may(Right::Manage)?;
    let role = Role::parse(&form.role);
    let role = role.ok_or_else(|| Problem::invalid("role", format!("there is no role {:?}", form.role)))?;
    members::set(&web, &caller, member_id(&member)?, role, form.payloads.is_some()).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/settings", segment(&project))))
}

async fn remove_member(
    State(web): State<Web>,
    caller: Caller,
    Path((project, member)): Path<(String, String)>,
) -> Result<Response> {
    caller.may(Right::Manage)?;
    members::remove(&web, &caller, member_id(&member)?).await?;
    Ok(frame::redirect(&web, &format!("/p/{}/settings", segment(&project))))
}

//! Members and API keys as a page. A key's secret is in the answer that makes it, and nowhere else.

use crate::access::{Caller, Right, Role};
use crate::accounts::{self, Key, NewKey};
use crate::frame::{self, Frame, segment};
use crate::keys;
use crate::members::{self, MemberView};
use crate::problem::{Problem, Result};
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
    secret: Option<String>,
    problem: Option<Problem>,
}

const RIGHTS: [(Right, &str); 6] = [
    (Right::Read, "see everything but payloads"),
    (Right::Payloads, "see payloads, outputs and logs"),
    (Right::Run, "enqueue, run now, retry, cancel"),
    (Right::Change, "change schedules and queues"),
    (Right::Manage, "change members and keys"),
    (Right::Work, "claim and finish jobs as a worker"),
];

async fn draw(
    web: &Web,
    caller: &Caller,
    headers: &HeaderMap,
    secret: Option<String>,
    problem: Option<Problem>,
) -> Result<Response> {
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
    let status = problem.as_ref().map(Problem::status);
    let mut response = frame::page(&Page { frame, members, keys, rights, secret, problem })?;
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    Ok(response)
}

async fn show(State(web): State<Web>, caller: Caller, headers: HeaderMap) -> Result<Response> {
    caller.may(Right::Read)?;
    draw(&web, &caller, &headers, None, None).await
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
            let mut response = draw(&web, &caller, &headers, Some(secret), None).await?;
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        Err(problem) if problem.status < 500 => draw(&web, &caller, &headers, None, Some(problem)).await,
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

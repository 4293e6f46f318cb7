//! The pages before any project: the first account, signing in and out, the choice of a project.

mod account;

use crate::access::Anyone;
use crate::access::{Person, Whence, check_origin, cleared, of_session};
use crate::accounts::{self, SESSION_LONGEST};
use crate::frame::{self, Frame};
use crate::problem::{Problem, Result};
use crate::projects;
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, header};
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(home))
        .route("/setup/{token}", get(setup_page).post(setup))
        .route("/sign-in", get(sign_in_page).post(sign_in))
        .route("/sign-out", post(sign_out))
        .merge(account::routes())
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    frame: Frame,
    email: String,
    name: String,
    problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    email: String,
    next: String,
    problem: Option<Problem>,
}

/// The browser, as it calls itself.
pub fn agent(headers: &HeaderMap) -> String {
    headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned()
}

/// The first project a person may see.
async fn home(State(web): State<Web>, person: Result<Person>) -> Result<Response> {
    if accounts::setup_wanted(&web).await? {
        let text = "there is no account yet; open the link that `mainspring up` printed when it started";
        return Err(Problem::forbidden(text));
    }
    let Person { session } = match person {
        Ok(person) => person,
        Err(_) => return Ok(frame::redirect(&web, "/sign-in")),
    };
    let own = projects::list(&web, &Anyone::Person(session)).await?;
    match own.iter().find(|p| p.archived_at.is_none()) {
        Some(first) => Ok(frame::redirect(&web, &format!("/p/{}", frame::segment(&first.name)))),
        None => Ok(frame::redirect(&web, "/projects")),
    }
}

async fn setup_page(
    State(web): State<Web>,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Result<Response> {
    accounts::check_setup(&web, &token).await?;
    let frame = Frame::outside(&web, &headers, "First account");
    frame::page(&SetupPage { frame, email: String::new(), name: String::new(), problem: None })
}

#[derive(Deserialize)]
struct SetupForm {
    email: String,
    name: String,
    password: String,
}

async fn setup(
    State(web): State<Web>,
    Path(token): Path<String>,
    Whence(from): Whence,
    headers: HeaderMap,
    Form(form): Form<SetupForm>,
) -> Result<Response> {
    accounts::check_setup(&web, &token).await?;
    let done = accounts::complete_setup(
        &web,
        &token,
        &form.email,
        &form.name,
        &form.password,
        (&from, &agent(&headers)),
    )
    .await;
    match done {
        Ok(secret) => Ok(signed_in(&web, secret.reveal(), "/")),
        Err(problem) if problem.field.is_some() => {
            let frame = Frame::outside(&web, &headers, "First account");
            let status = problem.status();
            let page = SetupPage { frame, email: form.email, name: form.name, problem: Some(problem) };
            let mut response = frame::page(&page)?;
            *response.status_mut() = status;
            Ok(response)
        }
        Err(problem) => Err(problem),
    }
}

fn signed_in(web: &Web, token: &str, next: &str) -> Response {
    let mut response = frame::redirect(web, next);
    response.headers_mut().insert(header::SET_COOKIE, of_session(web, token, SESSION_LONGEST));
    response
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

async fn sign_in_page(State(web): State<Web>, headers: HeaderMap, Query(q): Query<Next>) -> Result<Response> {
    let frame = Frame::outside(&web, &headers, "Sign in");
    let next = frame::next_path(q.next.as_deref());
    frame::page(&SignInPage { frame, email: String::new(), next, problem: None })
}

#[derive(Deserialize)]
struct SignInForm {
    email: String,
    password: String,
    next: Option<String>,
}

async fn sign_in(
    State(web): State<Web>,
    Whence(from): Whence,
    headers: HeaderMap,
    Form(form): Form<SignInForm>,
) -> Result<Response> {
    let next = frame::next_path(form.next.as_deref());
    match accounts::sign_in(&web, &form.email, &form.password, &from, &agent(&headers)).await {
        Ok(secret) => Ok(signed_in(&web, secret.reveal(), &next)),
        Err(problem) if problem.status < 500 => {
            let (status, after) = (problem.status(), problem.retry_after);
            let frame = Frame::outside(&web, &headers, "Sign in");
            let page = SignInPage { frame, email: form.email, next, problem: Some(problem) };
            let mut response = frame::page(&page)?;
            *response.status_mut() = status;
            if let Some(after) = after {
                response.headers_mut().insert(header::RETRY_AFTER, after.into());
            }
            Ok(response)
        }
        Err(problem) => Err(problem),
    }
}

async fn sign_out(State(web): State<Web>, Whence(from): Whence, request: Request) -> Result<Response> {
    let (parts, _) = request.into_parts();
    check_origin(&parts, &web)?;
    if let Some(token) = crate::access::read_cookie(&parts.headers) {
        accounts::end_session(&web, &crate::access::hash(&token), &from).await?;
    }
    let mut response = frame::redirect(&web, "/sign-in");
    response.headers_mut().insert(header::SET_COOKIE, cleared(&web));
    Ok(response)
}

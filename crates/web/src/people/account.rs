//! A person's own page: their password, and ending their other sessions.

use crate::access::Person;
use crate::accounts;
use crate::frame::{self, Frame};
use crate::problem::{Problem, Result};
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use serde::Deserialize;

/// Its routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/account", get(show))
        .route("/account/password", post(password))
        .route("/account/end-others", post(end_others))
}

#[derive(Template)]
#[template(path = "account.html")]
struct Page {
    frame: Frame,
    email: String,
    done: Option<&'static str>,
    problem: Option<Problem>,
}

impl Page {
    fn error(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().filter(|p| p.field.as_deref() == Some(field)).map(|p| p.detail.as_str())
    }

    /// A refusal that is about none of the fields.
    fn other(&self) -> Option<&str> {
        let known = |p: &&Problem| matches!(p.field.as_deref(), Some("old_password" | "password"));
        self.problem.as_ref().filter(|p| !known(p)).map(|p| p.detail.as_str())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    done: String,
}

async fn show(
    State(web): State<Web>,
    person: Person,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    let done = match asked.done.as_str() {
        "password" => Some("The password is changed, and every other session has ended."),
        "others" => Some("Every other session has ended."),
        _ => None,
    };
    let frame = Frame::of_person(&web, &headers, "Your account", &person.session);
    frame::page(&Page { frame, email: person.session.email, done, problem: None })
}

#[derive(Deserialize)]
struct PasswordForm {
    old: String,
    new: String,
}

async fn password(
    State(web): State<Web>,
    person: Person,
    headers: HeaderMap,
    Form(form): Form<PasswordForm>,
) -> Result<Response> {
    let session = &person.session;
    match accounts::change_password(&web, session.member, &session.token.0, &form.old, &form.new).await {
        Ok(()) => Ok(frame::redirect(&web, "/account?done=password")),
        Err(problem) if problem.status < 500 => {
            let status = problem.status();
            let frame = Frame::of_person(&web, &headers, "Your account", session);
            let page = Page { frame, email: session.email.clone(), done: None, problem: Some(problem) };
            let mut response = frame::page(&page)?;
            *response.status_mut() = status;
            Ok(response)
        }
        Err(problem) => Err(problem),
    }
}

async fn end_others(State(web): State<Web>, person: Person) -> Result<Response> {
    accounts::end_others(&web, &person.session).await?;
    Ok(frame::redirect(&web, "/account?done=others"))
}

//! The page that an invitation's link opens: join with the account one has, or make one.

use crate::access::{Person, Whence, of_session};
use crate::accounts::{self, Invitation, SESSION_LONGEST};
use crate::frame::{self, Frame, segment};
use crate::people::agent;
use crate::problem::{Problem, Result};
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, header};
use mainspring::projects;
use mainspring_core::ProjectId;
use serde::Deserialize;

/// Its routes.
pub fn routes() -> Router<Web> {
    Router::new().route("/invite/{token}", get(show).post(accept))
}

#[derive(Template)]
#[template(path = "invitation.html")]
struct Page {
    frame: Frame,
    token: String,
    project: String,
    role: &'static str,
    made_by: String,
    /// The address it is for, which cannot be changed then.
    fixed: Option<String>,
    /// Who is signed in.
    person: Option<String>,
    form: AccountForm,
    problem: Option<Problem>,
}

impl Page {
    fn error(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().filter(|p| p.field.as_deref() == Some(field)).map(|p| p.detail.as_str())
    }

    /// A refusal that is about none of the fields.
    fn other(&self) -> Option<&str> {
        let known = |p: &&Problem| matches!(p.field.as_deref(), Some("email" | "name" | "password"));
        self.problem.as_ref().filter(|p| !known(p) || self.person.is_some()).map(|p| p.detail.as_str())
    }
}

/// What a new account is to be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct AccountForm {
    email: String,
    name: String,
    password: String,
}

async fn name_of(web: &Web, project: ProjectId) -> Result<String> {
    let name = projects::name_of(&**web.client().store(), project).await?;
    name.ok_or_else(|| Problem::not_found("project", project))
}

struct Asked<'a> {
    headers: &'a HeaderMap,
    token: String,
    person: Option<&'a Person>,
    form: AccountForm,
    problem: Option<Problem>,
}

async fn draw(web: &Web, invitation: Invitation, asked: Asked<'_>) -> Result<Response> {
    let frame = match asked.person {
        Some(person) => Frame::of_person(web, asked.headers, "Invitation", &person.session),
        None => Frame::outside(web, asked.headers, "Invitation"),
    };
    let status = asked.problem.as_ref().map(Problem::status);
    let page = Page {
        frame,
        token: asked.token,
        project: name_of(web, invitation.project).await?,
        role: invitation.role.as_str(),
        made_by: invitation.made_by,
        fixed: invitation.email,
        person: asked.person.map(|p| p.session.email.clone()),
        form: AccountForm { password: String::new(), ..asked.form },
        problem: asked.problem,
    };
    let mut response = frame::page(&page)?;
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    Ok(response)
}

async fn show(
    State(web): State<Web>,
    person: Result<Person>,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Result<Response> {
    let invitation = accounts::invitation(&web, &token).await?;
    let person = person.ok();
    let asked = Asked {
        headers: &headers,
        token,
        person: person.as_ref(),
        form: AccountForm::default(),
        problem: None,
    };
    draw(&web, invitation, asked).await
}

async fn accept(
    State(web): State<Web>,
    person: Result<Person>,
    Whence(from): Whence,
    headers: HeaderMap,
    Path(token): Path<String>,
    Form(form): Form<AccountForm>,
) -> Result<Response> {
    let invitation = accounts::invitation(&web, &token).await?;
    // A page of another site may not make somebody who is signed in join.
    let person = match person {
        Ok(person) => Some(person),
        Err(problem) if problem.status == 401 => None,
        Err(problem) => return Err(problem),
    };
    let done = match &person {
        Some(person) => {
            accounts::join(&web, &token, &person.session, &from).await.map(|project| (project, None))
        }
        None => {
            let (email, agent) = (invitation.email.as_deref().unwrap_or(&form.email), agent(&headers));
            let whence = (from.as_str(), agent.as_str());
            let made = accounts::join_as_new(&web, &token, email, &form.name, &form.password, whence).await;
            made.map(|(project, session)| (project, Some(session)))
        }
    };
    match done {
        Ok((project, session)) => {
            let name = name_of(&web, project).await?;
            let mut response = frame::redirect(&web, &format!("/p/{}", segment(&name)));
            if let Some(session) = session {
                let cookie = of_session(&web, session.reveal(), SESSION_LONGEST);
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            Ok(response)
        }
        Err(problem) if problem.field.is_some() || problem.status == 409 => {
            let asked =
                Asked { headers: &headers, token, person: person.as_ref(), form, problem: Some(problem) };
            draw(&web, invitation, asked).await
        }
        Err(problem) => Err(problem),
    }
}

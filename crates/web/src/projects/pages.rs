//! Projects as a page: those one belongs to, and making one.

use super::ProjectView;
use crate::access::{Anyone, Person, Whence};
use crate::frame::{self, Frame, segment};
use crate::problem::{Problem, Result};
use crate::state::Web;
use askama::Template;
use axum::Router;
use axum::extract::{Form, State};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use serde::Deserialize;

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new().route("/projects", get(list).post(make))
}

struct Row {
    p: ProjectView,
    path: String,
    rights: String,
}

#[derive(Template)]
#[template(path = "projects.html")]
struct Page {
    frame: Frame,
    projects: Vec<Row>,
    may_make: bool,
    form: NewForm,
    problem: Option<Problem>,
}

/// What a new project is to be, as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NewForm {
    name: String,
    title: String,
}

async fn draw(
    web: &Web,
    headers: &HeaderMap,
    person: &Person,
    form: NewForm,
    problem: Option<Problem>,
) -> Result<Response> {
    let frame = Frame::of_person(web, headers, "Projects", &person.session);
    let row = |p: ProjectView| Row {
        path: segment(&p.name),
        rights: p.rights.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", "),
        p,
    };
    let projects = super::list(web, &Anyone::Person(person.session.clone())).await?.into_iter().map(row);
    let (projects, status) = (projects.collect(), problem.as_ref().map(Problem::status));
    let page = Page { frame, projects, may_make: person.session.admin, form, problem };
    let mut response = frame::page(&page)?;
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    Ok(response)
}

async fn list(State(web): State<Web>, person: Person, headers: HeaderMap) -> Result<Response> {
    draw(&web, &headers, &person, NewForm::default(), None).await
}

async fn make(
    State(web): State<Web>,
    person: Person,
    Whence(from): Whence,
    headers: HeaderMap,
    Form(form): Form<NewForm>,
) -> Result<Response> {
    let name = form.name.trim();
    match super::make_by(&web, &person.session, &from, name, Some(&form.title)).await {
        Ok(()) => Ok(frame::redirect(&web, &format!("/p/{}", segment(name)))),
        Err(problem) if problem.field.is_some() => draw(&web, &headers, &person, form, Some(problem)).await,
        Err(problem) => Err(problem),
    }
}

//! A person's own page: name, zone and theme, password, sessions.

use crate::access::{Person, Whence};
use crate::accounts::{self, OpenSession, Settings};
use crate::frame::{self, Frame};
use crate::problem::{Problem, Result};
use crate::state::Web;
use crate::views::{Choice, brief};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

/// Its routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/account", get(show))
        .route("/account/settings", post(settings))
        .route("/account/password", post(password))
        .route("/account/end-others", post(end_others))
        .route("/account/sessions/{session}/end", post(end_one))
}

struct SessionRow {
    id: String,
    agent: String,
    here: bool,
    s: OpenSession,
}

#[derive(Template)]
#[template(path = "account.html")]
struct Page {
    frame: Frame,
    email: String,
    form: SettingsForm,
    themes: Vec<Choice>,
    sessions: Vec<SessionRow>,
    done: Option<&'static str>,
    problem: Option<Problem>,
}

impl Page {
    fn error(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().filter(|p| p.field.as_deref() == Some(field)).map(|p| p.detail.as_str())
    }

    /// A refusal that is about none of the fields.
    fn other(&self) -> Option<&str> {
        let fields = ["old_password", "password", "name", "zone"];
        let known = |p: &&Problem| p.field.as_deref().is_some_and(|f| fields.contains(&f));
        self.problem.as_ref().filter(|p| !known(p)).map(|p| p.detail.as_str())
    }
}

/// Name, zone and theme, as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SettingsForm {
    name: String,
    zone: String,
    theme: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    done: String,
}

async fn draw(
    web: &Web,
    person: &Person,
    headers: &HeaderMap,
    form: Option<SettingsForm>,
    (done, problem): (Option<&'static str>, Option<Problem>),
) -> Result<Response> {
    let session = &person.session;
    let own = SettingsForm {
        name: session.name.clone(),
        zone: session.settings.0.zone.clone().unwrap_or_default(),
        theme: session.settings.0.theme.clone().unwrap_or_default(),
    };
    let form = form.unwrap_or(own);
    let themes = [("auto", "as the system says"), ("light", "light"), ("dark", "dark")];
    let row = |s: OpenSession| SessionRow {
        id: s.id(),
        agent: if s.agent.is_empty() { "unknown browser".into() } else { brief(&s.agent, 80) },
        here: s.token.0 == session.token.0,
        s,
    };
    let sessions = accounts::open_sessions(web, session.member).await?.into_iter().map(row).collect();
    let status = problem.as_ref().map(Problem::status);
    let page = Page {
        frame: Frame::of_person(web, headers, "Your account", session),
        email: session.email.clone(),
        themes: themes.iter().map(|(v, t)| Choice::new(*v, *t, form.theme == *v)).collect(),
        form,
        sessions,
        done,
        problem,
    };
    let mut response = frame::page(&page)?;
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    Ok(response)
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
        "session" => Some("The session has ended."),
        "settings" => Some("Saved."),
        _ => None,
    };
    draw(&web, &person, &headers, None, (done, None)).await
}

async fn settings(
    State(web): State<Web>,
    person: Person,
    Whence(from): Whence,
    headers: HeaderMap,
    Form(form): Form<SettingsForm>,
) -> Result<Response> {
    let saved = match Settings::read(&form.zone, &form.theme) {
        Ok(new) => accounts::change_settings(&web, &person.session, &form.name, &new, &from).await,
        Err(problem) => Err(problem),
    };
    match saved {
        Ok(()) => {
            let mut response = frame::redirect(&web, "/account?done=settings");
            // This browser's own choice gives way to what was just saved.
            let path = if web.base().is_empty() { "/" } else { web.base() };
            let cookie = format!("theme=; Path={path}; Max-Age=0; SameSite=Lax");
            let cookie = HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static("theme="));
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(problem) if problem.status < 500 => {
            draw(&web, &person, &headers, Some(form), (None, Some(problem))).await
        }
        Err(problem) => Err(problem),
    }
}

#[derive(Deserialize)]
struct PasswordForm {
    old: String,
    new: String,
}

async fn password(
    State(web): State<Web>,
    person: Person,
    Whence(from): Whence,
    headers: HeaderMap,
    Form(form): Form<PasswordForm>,
) -> Result<Response> {
    match accounts::change_password(&web, &person.session, &form.old, &form.new, &from).await {
        Ok(()) => Ok(frame::redirect(&web, "/account?done=password")),
        Err(problem) if problem.status < 500 => {
            draw(&web, &person, &headers, None, (None, Some(problem))).await
        }
        Err(problem) => Err(problem),
    }
}

async fn end_others(State(web): State<Web>, person: Person, Whence(from): Whence) -> Result<Response> {
    accounts::end_others(&web, &person.session, &from).await?;
    Ok(frame::redirect(&web, "/account?done=others"))
}

async fn end_one(
    State(web): State<Web>,
    person: Person,
    Whence(from): Whence,
    Path(session): Path<String>,
) -> Result<Response> {
    accounts::end_one(&web, &person.session, &session, &from).await?;
    Ok(frame::redirect(&web, "/account?done=session"))
}

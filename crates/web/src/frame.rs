//! What surrounds every page: side bar, top bar, theme, and the ways a handler answers with one.

use crate::access::{Caller, Right, cookies};
use crate::accounts::Session;
use crate::assets;
use crate::problem::{Problem, Result};
use crate::state::Web;
use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;

/// A place in the side bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The last part of its address; empty for the overview.
    pub path: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// Its icon.
    pub icon: &'static str,
}

/// The group "Run" of the side bar.
pub const RUN: &[Place] = &[
    Place { path: "", name: "Overview", icon: "overview" },
    Place { path: "schedules", name: "Schedules", icon: "schedule" },
    Place { path: "jobs", name: "Jobs", icon: "jobs" },
    Place { path: "queues", name: "Queues", icon: "queue" },
    Place { path: "batches", name: "Batches", icon: "batch" },
];

/// The group "Watch".
pub const WATCH: &[Place] = &[
    Place { path: "alerts", name: "Alerts", icon: "bell" },
    Place { path: "notifications", name: "Notifications", icon: "bell" },
    Place { path: "channels", name: "Channels", icon: "mega" },
    Place { path: "deliveries", name: "Deliveries", icon: "mail" },
    Place { path: "nodes", name: "Nodes", icon: "node" },
    Place { path: "hooks", name: "Webhooks", icon: "batch" },
    Place { path: "audit", name: "Audit log", icon: "audit" },
    Place { path: "settings", name: "Settings", icon: "gauge" },
    Place { path: "reference", name: "API", icon: "code" },
];

/// What the templates know of the page around them.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The window's title, without the product's name.
    pub title: String,
    /// The path before every address of ours.
    pub base: String,
    /// The project, if the page belongs to one.
    pub project: Option<String>,
    /// Which place of the side bar it is.
    pub place: &'static str,
    /// Who is signed in.
    pub person: Option<String>,
    /// `light`, `dark`, or empty: as the system says.
    pub theme: String,
    /// The zone in which the script shows times: an IANA name, or `utc`.
    pub zone: String,
    /// In which zone times are shown: `own` (the schedule's), `utc`, or `you` (the browser's).
    pub times: String,
    /// The server's time, for the script that counts.
    pub now: Timestamp,
    /// The version shown.
    pub version: &'static str,
    /// Whether what is shown may be changed by this caller.
    pub may_change: bool,
    /// Whether this caller may enqueue, retry, cancel.
    pub may_run: bool,
    /// Whether this caller may see payloads, outputs and logs.
    pub may_see: bool,
    /// Whether this caller may change members and keys.
    pub may_manage: bool,
    /// How many notifications this caller has not seen.
    pub unread: u32,
    /// How many alerts fire in the project.
    pub firing: u64,
    /// The stylesheet's address.
    pub css: String,
    /// The script's address.
    pub js: String,
    /// The icon's address.
    pub icon: String,
}

/// The theme a browser asked for with its cookie.
pub fn theme(headers: &HeaderMap) -> String {
    let theme = cookies::named(headers, "theme").filter(|theme| matches!(*theme, "light" | "dark"));
    theme.unwrap_or_default().to_owned()
}

/// Whether this browser has a choice of its own.
fn theme_named(headers: &HeaderMap) -> bool {
    cookies::named(headers, "theme").is_some()
}

/// The zone of times it asked for.
fn times(headers: &HeaderMap) -> String {
    let times = cookies::named(headers, "times").filter(|times| matches!(*times, "utc" | "you"));
    times.unwrap_or("own").to_owned()
}

impl Frame {
    /// The frame of a page outside of all projects.
    pub fn outside(web: &Web, headers: &HeaderMap, title: &str) -> Frame {
        Frame {
            title: title.to_owned(),
            base: web.base().to_owned(),
            project: None,
            place: "",
            person: None,
            theme: theme(headers),
            zone: "utc".to_owned(),
            times: times(headers),
            now: web.now(),
            version: web.config().version,
            may_change: false,
            may_run: false,
            may_see: false,
            may_manage: false,
            unread: 0,
            firing: 0,
            css: assets::address(web, "app.css"),
            js: assets::address(web, "app.js"),
            icon: assets::address(web, "icon.svg"),
        }
    }

    /// The same for a person who is signed in.
    pub fn of_person(web: &Web, headers: &HeaderMap, title: &str, session: &Session) -> Frame {
        let outside = Frame::outside(web, headers, title);
        let settings = &session.settings.0;
        // What somebody chose in this browser goes before what they chose for all.
        let theme = match &settings.theme {
            Some(theme) if !theme_named(headers) => theme.clone(),
            _ => outside.theme.clone(),
        };
        let zone = settings.zone.clone().unwrap_or_else(|| outside.zone.clone());
        Frame { person: Some(session.name.clone()), theme, zone, ..outside }
    }

    /// The frame of a page in a project.
    pub fn of(
        web: &Web,
        headers: &HeaderMap,
        title: &str,
        place: &'static str,
        caller: &Caller,
    ) -> Result<Frame> {
        let frame = Frame::of_person(web, headers, title, caller.session()?);
        Ok(Frame {
            project: Some(caller.project.clone()),
            place,
            may_change: caller.has(Right::Change),
            may_run: caller.has(Right::Run),
            may_see: caller.has(Right::Payloads),
            may_manage: caller.has(Right::Manage),
            unread: caller.unread,
            firing: caller.firing,
            ..frame
        })
    }

    /// An address within the page's project.
    pub fn link(&self, path: &str) -> String {
        let project = self.project.as_deref().unwrap_or_default();
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{}/p/{}{slash}{path}", self.base, segment(project))
    }

    /// Where the project's events are streamed.
    pub fn events(&self) -> String {
        let project = self.project.as_deref().unwrap_or_default();
        format!("{}/api/v1/projects/{}/events/live", self.base, segment(project))
    }

    /// The number in the badge: `3`, `99+`.
    pub fn badge(&self) -> String {
        mainspring::notify::badge(self.unread)
    }

    /// How many alerts fire, beside the place that shows them; empty when there is nothing to say.
    pub fn beside(&self, place: &Place) -> String {
        let firing = if place.path == "alerts" { self.firing } else { 0 };
        match firing {
            0 => String::new(),
            n => mainspring::notify::badge(u32::try_from(n).unwrap_or(u32::MAX)),
        }
    }

    /// The places of the side bar's first group.
    pub fn run(&self) -> &'static [Place] {
        RUN
    }

    /// The places of its second group that this caller may open.
    pub fn watch(&self) -> Vec<Place> {
        WATCH.iter().copied().filter(|p| !matches!(p.path, "nodes" | "hooks") || self.may_manage).collect()
    }

    /// Whether the page is the one of this place.
    pub fn at(&self, place: &Place) -> bool {
        self.project.is_some() && self.place == place.path
    }
}

/// Draws a page.
pub fn page(template: &impl Template) -> Result<Response> {
    match template.render() {
        Ok(html) => Ok(Html(html).into_response()),
        Err(e) => Err(mainspring_core::StoreError::Internal(format!("drawing a page: {e}")).into()),
    }
}

/// Draws a page with a form; `refused`: what was typed into it cannot be used, and it says why.
pub fn form(template: &impl Template, refused: bool) -> Result<Response> {
    let mut response = page(template)?;
    if refused {
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(response)
}

/// Sends a browser to an address of ours (POST, then redirect).
pub fn redirect(web: &Web, path: &str) -> Response {
    let to = HeaderValue::from_str(&format!("{}{path}", web.base()));
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, to.unwrap_or(HeaderValue::from_static("/")));
    response
}

/// A refusal as a page.
#[derive(Template)]
#[template(path = "problem.html")]
struct Refusal<'a> {
    frame: Frame,
    problem: &'a Problem,
}

/// Draws a refusal.
pub fn refusal(web: &Web, problem: &Problem) -> Response {
    let frame = Frame::outside(web, &HeaderMap::new(), problem.title);
    page(&Refusal { frame, problem }).unwrap_or_else(|_| problem.detail.clone().into_response())
}

/// Text as a part of an address: everything but letters, digits and `-._~/` in percent signs.
pub fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Text as one segment of an address: a name may hold a slash.
pub fn segment(text: &str) -> String {
    percent(text).replace('/', "%2F")
}

/// An address of ours that a form or a link named as the next one; anything else is refused, so that
/// nobody is sent to another site.
pub fn next_path(next: Option<&str>) -> String {
    let own = |p: &&str| {
        p.starts_with('/') && !p.starts_with("//") && !p.contains('\\') && !p.contains(char::is_control)
    };
    next.filter(own).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        assert_eq!(next_path(Some("/p/default/jobs?state=failed")), "/p/default/jobs?state=failed");
        for foreign in ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\r\nb"] {
            assert_eq!(next_path(Some(foreign)), "/", "{foreign:?}");
        }
        assert_eq!(percent("a b/ü"), "a%20b/%C3%BC");
        assert_eq!(segment("a/b"), "a%2Fb");
    }
}

//! Every page, in both themes and at both widths: accessible, no wider than the screen, without a
//! complaint of the browser. With `MAINSPRING_SCREENSHOTS` naming a folder (`cargo xtask
//! screenshots DIR`) the same walk writes a picture of each.
//!
//! The list of pages is not written down: it is read from the routes in the sources of the server,
//! and the walk finds an address for each by following links from the overview, as people do.

use super::desk::{Desk, axe};
use super::seed::{self, Filled};
use super::support::Place;
use mainspring_testkit::browser::Screen;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Pages that the walk through a project does not come by, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("/", "only sends people on"),
    ("/sign-in", "walked before signing in"),
    ("/setup/{token}", "walked before there is an account"),
    ("/invite/{token}", "takes a link that is shown once: opened in people.rs"),
    ("/p/{project}/mail-preview/{notice}", "a mail, drawn in a frame of its preview"),
    ("/p/{project}/alerts/{alert}", "is there once an alert has fired"),
];

/// Every rule of WCAG 2.2 at the level AA, and what is good practice beside.
const ALL: &str =
    "{ type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }";
/// What another theme can change.
const COLOURS: &str = "{ type: 'rule', values: ['color-contrast', 'link-in-text-block'] }";

#[test]
fn every_page_is_accessible_in_both_themes_and_at_both_widths() {
    let shots = std::env::var_os("MAINSPRING_SCREENSHOTS").map(PathBuf::from);
    let place = Place::new();
    seed::fill(&place, if shots.is_some() { 7 } else { 1 });
    let desk = Desk::open(place, &[]);
    let mut walk = Walk { desk: &desk, axe: axe(), shots, wrong: vec![] };
    desk.browser.go(&desk.link);
    walk.look("set-up");
    desk.browser.go(&format!("{}/sign-in", desk.url));
    walk.look("sign-in");
    desk.set_up();
    walk.pages();
    walk.end();
}

#[test]
fn pages_are_accessible_whatever_they_have_to_tell() {
    let shots = std::env::var_os("MAINSPRING_SCREENSHOTS").map(PathBuf::from);
    let place = Place::new();
    let filled = seed::fill(&place, if shots.is_some() { 7 } else { 1 });
    let desk = Desk::open(place, &[]);
    desk.set_up();
    let mut walk = Walk { desk: &desk, axe: axe(), shots, wrong: vec![] };
    walk.moments(&filled);
    walk.end();
}

#[test]
fn pages_with_nothing_on_them_are_accessible_too() {
    let shots = std::env::var_os("MAINSPRING_SCREENSHOTS").map(PathBuf::from);
    let desk = Desk::open(Place::new(), &["--no-tour"]);
    desk.set_up();
    let mut walk = Walk { desk: &desk, axe: axe(), shots, wrong: vec![] };
    let places =
        desk.browser.script("return [...document.querySelectorAll('.side nav a')].map((a) => a.href)");
    let places: Vec<String> = serde_json::from_value(places).expect("addresses");
    assert!(places.len() >= 8, "{places:?}");
    for place in places {
        desk.browser.go(&place);
        walk.look(&format!("empty-{}", name_of(&place.replace(&desk.url, ""))));
    }
    walk.end();
}

struct Walk<'a> {
    desk: &'a Desk,
    axe: String,
    shots: Option<PathBuf>,
    wrong: Vec<String>,
}

impl Walk<'_> {
    fn end(self) {
        assert!(self.wrong.is_empty(), "{} things are wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }

    /// Follows links until every route that draws a page has been looked at once.
    fn pages(&mut self) {
        let routes = routes();
        assert!(routes.len() >= 15, "the routes are not found in the sources any more: {routes:?}");
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut ways: Vec<String> = vec!["/p/default".into()];
        while let Some(path) = ways.pop() {
            // A document for programs, not a page.
            if path.starts_with("/api/") {
                continue;
            }
            let Some(route) = route_of(&routes, &path) else {
                self.wrong.push(format!("{path}: a link leads to no route"));
                continue;
            };
            if seen.contains_key(route) {
                continue;
            }
            seen.insert(route, path.clone());
            self.desk.browser.go(&format!("{}{path}", self.desk.url));
            self.look(&name_of(route));
            let links = self.desk.browser.script(
                "return [...document.querySelectorAll('a[href]')].filter((a) => a.origin === location.origin).map((a) => a.pathname)",
            );
            let links: Vec<String> = serde_json::from_value(links).expect("paths");
            ways.extend(links.into_iter().rev().filter(|l| known.insert(l.clone())));
        }
        for route in &routes {
            if !seen.contains_key(route.as_str()) && !ELSEWHERE.iter().any(|(r, _)| r == route) {
                self.wrong.push(format!(
                    "{route}: no link leads to this page. Link it, give it something to show in seed.rs, \
                     or say in ELSEWHERE why it is not walked"
                ));
            }
        }
    }

    /// States of pages that links alone do not show.
    fn moments(&mut self, filled: &Filled) {
        let Filled { failed, stepped, waiting, batch } = filled;
        for (name, path) in [
            ("job-failed", format!("jobs/{failed}")),
            ("job-steps", format!("jobs/{stepped}")),
            ("job-waiting", format!("jobs/{waiting}")),
            ("jobs-failed", "jobs?state=failed".into()),
            ("jobs-none", "jobs?kind=mail.send&queue=backups".into()),
            ("batch-partial", format!("batches/{batch}")),
            ("schedule-failing", "schedules/verify%20backups".into()),
            ("schedule-paused", "schedules/newsletter".into()),
            ("schedule-change", "schedule-form?name=close%20the%20ledger".into()),
            ("queue-paused", "queues/finance".into()),
            ("events", "audit?show=all".into()),
            ("channel-webhook", "channel-form?kind=webhook".into()),
            ("deliveries-none", "deliveries?state=unknown".into()),
            ("not-found", "jobs/999999999".into()),
            ("nowhere", "nowhere/at/all".into()),
        ] {
            self.desk.go(&path);
            // A page that is not there is answered so, which the browser notes.
            if name.starts_with("no") {
                self.desk.browser.complaints();
            }
            self.look(name);
        }
    }

    /// Looks at the page that is shown.
    fn look(&mut self, name: &str) {
        let b = &self.desk.browser;
        let mut told: Vec<String> = b.complaints();
        b.system("light", false);
        self.picture(name, "light");
        told.extend(self.violations("light", ALL));
        b.system("dark", false);
        self.picture(name, "dark");
        told.extend(self.violations("dark", COLOURS));
        b.screen(Screen::Phone);
        told.extend(self.desk.too_wide().map(|wide| format!("wider than a phone: {wide}")));
        self.picture(name, "phone-dark");
        told.extend(self.violations("phone, dark", ALL));
        if self.shots.is_some() {
            b.system("light", false);
            self.picture(name, "phone-light");
        }
        b.screen(Screen::Desktop);
        b.system("light", false);
        let address = b.address().replace(&self.desk.url, "");
        self.wrong.extend(told.into_iter().map(|text| format!("{name} ({address}): {text}")));
    }

    fn picture(&self, name: &str, how: &str) {
        if let Some(folder) = &self.shots {
            std::fs::create_dir_all(folder).expect("a folder");
            self.desk.browser.picture(&folder.join(format!("{name}-{how}.png")));
        }
    }

    /// What the checker finds, in words.
    fn violations(&self, how: &str, rules: &str) -> Vec<String> {
        let b = &self.desk.browser;
        if b.script("return typeof axe") != "object" {
            b.script(&self.axe);
        }
        let found = b.promised(&format!(
            "axe.run(document, {{ runOnly: {rules}, resultTypes: ['violations'], preload: false }})
                .then((r) => ({{ passed: r.passes.length, violations: r.violations.map((v) => ({{ id: v.id, help: v.help, nodes: v.nodes.map((n) => n.html + ' ' + n.failureSummary) }})) }}))"
        ));
        assert!(found["passed"].as_u64() > Some(0), "the checker looked at nothing: {found}");
        let text = |v: &Value| {
            let nodes: Vec<&str> =
                v["nodes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let shown =
                nodes.iter().take(3).map(|n| n.replace('\n', " ")).collect::<Vec<_>>().join("\n      ");
            format!("{how}: {} ({}), {} times:\n      {shown}", v["help"], v["id"], nodes.len())
        };
        found["violations"].as_array().expect("a list").iter().map(text).collect()
    }
}

/// A name for a file.
fn name_of(path: &str) -> String {
    let name = path.trim_start_matches("/p/{project}").trim_start_matches("/p/default");
    let name: String = name.chars().filter(|c| !"{}".contains(*c)).collect();
    let name = name.trim_matches('/').replace('/', "-");
    if name.is_empty() { "overview".into() } else { name }
}

/// The routes that draw pages, as the sources of the server declare them.
fn routes() -> Vec<String> {
    let mut found = Vec::new();
    read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../web/src"), &mut found);
    let page = |r: &String| !["/api/", "/assets/", "/health/", "/metrics"].iter().any(|p| r.starts_with(p));
    found.into_iter().filter(page).collect()
}

fn read(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources of the server").flatten() {
        let path = entry.path();
        if path.is_dir() {
            read(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for part in text.split(".route(").skip(1) {
            let mut quoted = part.split('"');
            let (Some(before), Some(route), Some(after)) = (quoted.next(), quoted.next(), quoted.next())
            else {
                continue;
            };
            let method = after.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
            if before.trim().is_empty() && method.starts_with("get(") {
                found.push(route.to_owned());
            }
        }
    }
}

/// The route of a path; one that names it whole before one with parts to fill in.
fn route_of<'a>(routes: &'a [String], path: &str) -> Option<&'a str> {
    let fits = |route: &&String| {
        let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
        route.len() == path.len() && route.iter().zip(&path).all(|(r, p)| r == p || r.starts_with('{'))
    };
    routes.iter().filter(fits).min_by_key(|r| r.matches('{').count()).map(String::as_str)
}

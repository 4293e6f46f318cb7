//! What holds for every route: it is in the document, answers whom it should, and refuses everybody
//! else. The table is the served document itself, so that a new route is asked too.
//!
//! Long because it holds the list of all routes and one of everything that they are asked for.

use crate::support::{Answer, On, World};
use mainspring::{Json, NewJob};
use mainspring_core::job::JobState;
use mainspring_web::access::{Right, Role};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const ROUTES: &[&str] = &[
    "DELETE /api/v1/projects/{project}/alert-rules/{rule}",
    "DELETE /api/v1/projects/{project}/alerts/{alert}",
    "DELETE /api/v1/projects/{project}/channels/{channel}",
    "DELETE /api/v1/projects/{project}/heartbeats/{heartbeat}",
    "DELETE /api/v1/projects/{project}/hooks/{hook}",
    "DELETE /api/v1/projects/{project}/invitations/{invitation}",
    "DELETE /api/v1/projects/{project}/keys/{key}",
    "DELETE /api/v1/projects/{project}/members/{member}",
    "DELETE /api/v1/projects/{project}/schedules/{schedule}",
    "DELETE /api/v1/projects/{project}/secrets/{secret}",
    "DELETE /api/v1/projects/{project}/workers/{worker}",
    "GET /api/v1/ping/{token}",
    "GET /api/v1/ping/{token}/fail",
    "GET /api/v1/projects",
    "GET /api/v1/projects/{project}",
    "GET /api/v1/projects/{project}/alert-rules",
    "GET /api/v1/projects/{project}/alert-rules/{rule}",
    "GET /api/v1/projects/{project}/alert-rules/{rule}/backtest",
    "GET /api/v1/projects/{project}/alerts",
    "GET /api/v1/projects/{project}/alerts/{alert}",
    "GET /api/v1/projects/{project}/audit",
    "GET /api/v1/projects/{project}/batches",
    "GET /api/v1/projects/{project}/batches/{batch}",
    "GET /api/v1/projects/{project}/bulk",
    "GET /api/v1/projects/{project}/bulk/{bulk}",
    "GET /api/v1/projects/{project}/channels",
    "GET /api/v1/projects/{project}/channels/{channel}",
    "GET /api/v1/projects/{project}/deliveries",
    "GET /api/v1/projects/{project}/deliveries/{delivery}",
    "GET /api/v1/projects/{project}/events",
    "GET /api/v1/projects/{project}/events/live",
    "GET /api/v1/projects/{project}/health",
    "GET /api/v1/projects/{project}/heartbeats",
    "GET /api/v1/projects/{project}/heartbeats/{heartbeat}",
    "GET /api/v1/projects/{project}/hooks",
    "GET /api/v1/projects/{project}/hooks/{hook}",
    "GET /api/v1/projects/{project}/hooks/{hook}/deliveries",
    "GET /api/v1/projects/{project}/invitations",
    "GET /api/v1/projects/{project}/jobs",
    "GET /api/v1/projects/{project}/jobs/{job}",
    "GET /api/v1/projects/{project}/jobs/{job}/logs",
    "GET /api/v1/projects/{project}/keys",
    "GET /api/v1/projects/{project}/members",
    "GET /api/v1/projects/{project}/nodes",
    "GET /api/v1/projects/{project}/notification-preferences",
    "GET /api/v1/projects/{project}/notifications",
    "GET /api/v1/projects/{project}/notifications/unread",
    "GET /api/v1/projects/{project}/queues",
    "GET /api/v1/projects/{project}/queues/{queue}",
    "GET /api/v1/projects/{project}/schedules",
    "GET /api/v1/projects/{project}/schedules/{schedule}",
    "GET /api/v1/projects/{project}/schedules/{schedule}/history",
    "GET /api/v1/projects/{project}/schedules/{schedule}/next",
    "GET /api/v1/projects/{project}/secrets",
    "GET /api/v1/projects/{project}/stats",
    "GET /api/v1/projects/{project}/throughput",
    "POST /api/v1/hooks/{address}",
    "POST /api/v1/ping/{token}",
    "POST /api/v1/ping/{token}/fail",
    "POST /api/v1/projects",
    "POST /api/v1/projects/{project}/alert-rules",
    "POST /api/v1/projects/{project}/alert-rules/{rule}/snooze",
    "POST /api/v1/projects/{project}/alert-rules/{rule}/test",
    "POST /api/v1/projects/{project}/alerts/{alert}/acknowledge",
    "POST /api/v1/projects/{project}/alerts/{alert}/snooze",
    "POST /api/v1/projects/{project}/archive",
    "POST /api/v1/projects/{project}/backtest",
    "POST /api/v1/projects/{project}/bulk",
    "POST /api/v1/projects/{project}/bulk/{bulk}/abort",
    "POST /api/v1/projects/{project}/callbacks/{job}/fail",
    "POST /api/v1/projects/{project}/callbacks/{job}/finish",
    "POST /api/v1/projects/{project}/callbacks/{job}/log",
    "POST /api/v1/projects/{project}/callbacks/{job}/progress",
    "POST /api/v1/projects/{project}/channels",
    "POST /api/v1/projects/{project}/channels/{channel}/test",
    "POST /api/v1/projects/{project}/deliveries/{delivery}/redeliver",
    "POST /api/v1/projects/{project}/heartbeats",
    "POST /api/v1/projects/{project}/hooks",
    "POST /api/v1/projects/{project}/hooks/{hook}/rotate",
    "POST /api/v1/projects/{project}/invitations",
    "POST /api/v1/projects/{project}/jobs",
    "POST /api/v1/projects/{project}/jobs/cancel",
    "POST /api/v1/projects/{project}/jobs/many",
    "POST /api/v1/projects/{project}/jobs/retry",
    "POST /api/v1/projects/{project}/jobs/{job}/cancel",
    "POST /api/v1/projects/{project}/jobs/{job}/retry",
    "POST /api/v1/projects/{project}/keys",
    "POST /api/v1/projects/{project}/leave",
    "POST /api/v1/projects/{project}/notifications/read-all",
    "POST /api/v1/projects/{project}/notifications/{notification}/read",
    "POST /api/v1/projects/{project}/preview",
    "POST /api/v1/projects/{project}/queues/{queue}/pause",
    "POST /api/v1/projects/{project}/queues/{queue}/resume",
    "POST /api/v1/projects/{project}/restore",
    "POST /api/v1/projects/{project}/schedules/{schedule}/backfill",
    "POST /api/v1/projects/{project}/schedules/{schedule}/backfill/preview",
    "POST /api/v1/projects/{project}/schedules/{schedule}/pause",
    "POST /api/v1/projects/{project}/schedules/{schedule}/resume",
    "POST /api/v1/projects/{project}/schedules/{schedule}/run",
    "POST /api/v1/projects/{project}/workers",
    "POST /api/v1/projects/{project}/workers/{worker}/claim",
    "POST /api/v1/projects/{project}/workers/{worker}/fail",
    "POST /api/v1/projects/{project}/workers/{worker}/finish",
    "POST /api/v1/projects/{project}/workers/{worker}/heartbeat",
    "POST /api/v1/projects/{project}/workers/{worker}/log",
    "POST /api/v1/projects/{project}/workers/{worker}/progress",
    "PUT /api/v1/projects/{project}",
    "PUT /api/v1/projects/{project}/alert-rules/{rule}",
    "PUT /api/v1/projects/{project}/channels/{channel}",
    "PUT /api/v1/projects/{project}/heartbeats/{heartbeat}",
    "PUT /api/v1/projects/{project}/members/{member}",
    "PUT /api/v1/projects/{project}/notification-preferences",
    "PUT /api/v1/projects/{project}/queues/{queue}",
    "PUT /api/v1/projects/{project}/schedules/{schedule}",
    "PUT /api/v1/projects/{project}/secrets/{secret}",
];

crate::on_both!(
    every_route_answers_its_own_project,
    another_projects_key_finds_nothing_on_any_route,
    what_another_project_owns_is_not_found_in_mine,
    each_right_is_asked_for,
    a_right_is_enough_for_its_routes,
);

/// One route of the document.
pub struct Route {
    pub method: String,
    pub path: String,
    pub id: String,
    pub right: Option<Right>,
    /// Whether it is for people alone, not for keys.
    pub person: bool,
    pub described: Value,
}

pub async fn routes(world: &World) -> Vec<Route> {
    let document = world.get("/api/v1/openapi.json", "").await.expect(200);
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let right = described["security"][0]["key"][0].as_str().map(|r| Right::parse(r).unwrap());
            routes.push(Route {
                method: method.to_uppercase(),
                path: path.clone(),
                id: described["operationId"].as_str().unwrap().to_owned(),
                right,
                person: described["security"][0]["session"].is_array(),
                described: described.clone(),
            });
        }
    }
    routes
}

/// A channel of mails, which keeps no secret.
fn channel(name: &str) -> Value {
    let settings = json!({ "kind": "email", "host": "mail.example.com", "from": "engine@example.com", "to": ["ops@example.org"] });
    json!({ "name": name, "settings": settings })
}

/// A body that the route understands.
pub fn body(route: &Route) -> Option<Value> {
    let stretch = json!({ "from": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00Z" });
    let rule = json!({ "trigger": "every 5m", "job": { "kind": "echo" } });
    let failing = json!({ "when": "failures", "of": "kinds", "in_a_row": 3 });
    Some(match route.id.as_str() {
        "enqueue_job" => json!({ "kind": "echo" }),
        "enqueue_jobs" => json!({ "jobs": [{ "kind": "echo" }] }),
        "cancel_jobs" | "retry_jobs" => json!({ "kind": "nothing" }),
        "set_queue" => json!({ "max_running": 3 }),
        "put_schedule" => rule,
        "preview_schedule" => json!({ "spec": rule }),
        "preview_backfill" | "backfill_schedule" => stretch,
        "make_alert_rule" => json!({ "name": "a new rule", "rule": failing }),
        // It looks for the same, so that what fires goes on firing.
        "set_alert_rule" => json!({ "name": "another name", "rule": failing }),
        "backtest_rule" => json!({ "rule": failing, "period": "1d" }),
        "snooze_alert" | "snooze_alert_rule" => json!({ "for": "1h" }),
        "make_heartbeat" => json!({ "name": "a new one", "period": "1d" }),
        "set_heartbeat" => json!({ "period": "2d", "grace": "1h" }),
        "make_key" => json!({ "name": "a new one", "rights": ["read"] }),
        "set_member" => json!({ "role": "viewer" }),
        "rotate_hook" => json!({ "overlap": "1h" }),
        "set_secret" => json!({ "value": "a value to be kept" }),
        "make_invitation" => json!({ "role": "viewer", "email": "new@example.com", "length": "2d" }),
        "make_project" => json!({ "name": "made-by-a-test", "title": "Made by a test" }),
        "rename_project" => json!({ "title": "Another title" }),
        "beat_worker" => json!({ "holds": [] }),
        "change_channel" => channel("changed by the contract"),
        "claim_attempts" => json!({ "limit": 1 }),
        "deliver_to_hook" => json!({ "n": 1 }),
        "fail_attempt" | "fail_call_back" => json!({ "lease": "", "message": "it broke" }),
        "finish_attempt" | "finish_call_back" => json!({ "lease": "", "output": { "n": 1 } }),
        "log_attempt" | "log_call_back" => json!({ "lease": "", "lines": [{ "seq": 0, "message": "x" }] }),
        "make_channel" => channel("made by the contract"),
        "make_hook" => json!({ "name": "a new one", "signature": "github", "kind": "echo" }),
        "progress_attempt" | "progress_call_back" => json!({ "lease": "", "done": 1 }),
        "register_worker" => json!({ "protocol": 1, "name": "w", "kinds": ["outside"] }),
        "set_preferences" => json!({ "muted": ["info"] }),
        "start_bulk" => json!({ "action": "cancel", "filter": { "kind": "nothing" } }),
        _ => return None,
    })
}

/// What a project owns, by the name of its part in a path.
pub struct Owned(Vec<(&'static str, String)>);

impl Owned {
    /// Fills a project with one of everything.
    pub async fn of(world: &World, project: &str) -> Owned {
        Owned::again(world, project, "").await
    }

    /// The same once more, under other names.
    pub async fn again(world: &World, project: &str, mark: &str) -> Owned {
        let key = world.key(project, &Right::ALL).await;
        let at = |path: &str| format!("/api/v1/projects/{project}{path}");
        let queue = format!("queue-of-{project}{mark}");
        let job = json!({ "kind": "echo", "queue": queue, "payload": { "of": project } });
        let job = world.post(&at("/jobs"), &key, job).await.expect(201)["id"].to_string();
        let hook = format!("hook-of-{project}{mark}");
        let new = json!({ "name": hook, "signature": "standard", "kind": "echo" });
        world.post(&at("/hooks"), &key, new).await.expect(201);
        let order = json!({ "action": "retry", "filter": { "kind": "nothing" } });
        let bulk = world.post(&at("/bulk"), &key, order).await.expect(201)["id"].to_string();
        let schedule = format!("nightly-of-{project}{mark}");
        let rule =
            json!({ "trigger": "every 1m", "job": { "kind": "echo" }, "starts_at": "2020-01-01T00:00:00Z" });
        world.call("PUT", &at(&format!("/schedules/{schedule}")), &key, Some(&rule)).await.expect(201);
        let stretch = json!({ "from": "2020-01-02T00:00:00Z", "until": "2020-01-02T00:03:00Z" });
        let made =
            world.post(&at(&format!("/schedules/{schedule}/backfill")), &key, stretch).await.expect(200);
        let (member, _) =
            world.member(project, &format!("{project}{mark}@example.com"), Role::Member, false).await;
        let (revoked, _) = world.key_until(project, &[Right::Read], None).await;
        let secret = format!("secret-of-{project}{mark}");
        let value = json!({ "value": format!("the value of {project}") });
        world.call("PUT", &at(&format!("/secrets/{secret}")), &key, Some(&value)).await.expect(200);
        let invited = world.post(&at("/invitations"), &key, json!({ "role": "viewer" })).await.expect(201);
        let (rule, alert) = world.alert(project, mark).await;
        let heartbeat = json!({ "name": format!("backup-of-{project}{mark}"), "period": "1d" });
        let heartbeat = world.post(&at("/heartbeats"), &key, heartbeat).await.expect(201);
        let token = heartbeat["ping_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let made_channel =
            world.post(&at("/channels"), &key, channel(&format!("ours{mark}"))).await.expect(201);
        let channel = made_channel["channel"]["id"].to_string();
        let test =
            world.call("POST", &at(&format!("/channels/{channel}/test")), &key, None).await.expect(202);
        Owned(vec![
            ("{rule}", rule.to_string()),
            ("{alert}", alert),
            ("{heartbeat}", heartbeat["name"].as_str().unwrap().to_owned()),
            ("{token}", token),
            ("{channel}", channel),
            ("{delivery}", test["id"].to_string()),
            ("{notification}", test["notification"].to_string()),
            ("{project}", project.to_owned()),
            ("{job}", job),
            ("{queue}", queue),
            ("{schedule}", schedule),
            ("{batch}", made["batch"].to_string()),
            ("{member}", member.to_string()),
            ("{key}", revoked.to_string()),
            ("{secret}", secret),
            ("{invitation}", invited["id"].to_string()),
            ("{hook}", hook),
            ("{address}", "nobody-guesses-it".into()),
            ("{bulk}", bulk),
            ("{worker}", world.worker(project).await),
        ])
    }

    /// The path with this project's own names in place of its parts; `project` may be another's.
    pub fn fill(&self, path: &str, project: Option<&str>) -> String {
        let mut path = path.to_owned();
        for (part, name) in &self.0 {
            let name = project.filter(|_| *part == "{project}").unwrap_or(name);
            path = path.replace(part, name);
        }
        assert!(
            !path.contains('{'),
            "{path}: make one of these in Owned::of of tests/api/contract.rs and name it there, so that the \
             tests of every route (own project, foreign ids, rights, audit) ask this one, too"
        );
        path
    }
}

pub async fn ask(world: &World, route: &Route, path: &str, auth: &str) -> Answer {
    let mut body = body(route);
    if let Some(lease) = body.as_mut().and_then(|body| body.get_mut("lease")) {
        *lease = new_lease(world, path).await.into();
    }
    world.call(&route.method, path, auth, body.as_ref()).await
}

/// A lease of the worker in the path, where it may get one.
async fn new_lease(world: &World, path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let [_, _, _, _, project, "workers", worker, ..] = parts.as_slice() else { return String::new() };
    let client = world.client.clone().in_project(world.project(project).await);
    client.enqueue_raw(NewJob::new("outside", Json::null())).await.expect("enqueued");
    let desk = world.web.desk();
    let claimed = desk.claim(client.project(), worker, 1, Duration::ZERO, &[]).await;
    claimed.ok().and_then(|mut c| c.pop()).map_or_else(String::new, |leased| leased.lease)
}

/// What takes things away comes last, and the archive after everything: it lets nothing be changed.
pub fn in_order(routes: &mut [Route]) {
    routes.sort_by_key(|r| match r.id.as_str() {
        "archive_project" => 2,
        "restore_project" => 3,
        _ => i32::from(r.method == "DELETE"),
    });
}

/// Who may call a route that is for people: an admin of the installation who belongs to the project.
pub async fn a_person(world: &World, project: &str) -> String {
    let session = world.admin().await;
    let project = world.project(project).await;
    let all = mainspring_web::accounts::members(&world.web, project).await.unwrap();
    if !all.iter().any(|m| m.email == crate::support::EMAIL) {
        mainspring_web::accounts::set_member(&world.web, project, 1, Role::Admin, true).await.unwrap();
    }
    session
}

#[tokio::test]
async fn the_document_names_every_route() {
    let world = World::still().await;
    let document = world.get("/api/v1/openapi.json", "").await.expect(200);
    assert_eq!(&document, mainspring_web::openapi::document());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let routes = routes(&world).await;
    let mut named: Vec<String> = routes.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    named.sort();
    assert_eq!(named, ROUTES, "write down here what was added or taken away");
    let ids: BTreeSet<&str> = routes.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids.len(), routes.len(), "an operation's id is used twice");
    for route in &routes {
        let parameters = route.described["parameters"].as_array().unwrap();
        for part in route.path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')) {
            let found =
                parameters.iter().filter(|p| p["name"] == part && p["in"] == "path" && p["required"] == true);
            assert_eq!(found.count(), 1, "{} {}: {part}: {parameters:?}", route.method, route.path);
        }
        assert_eq!(
            route.described["requestBody"].is_object(),
            body(route).is_some() || takes_a_note(route),
            "{}",
            route.id
        );
        assert!(
            !route.described["summary"].as_str().unwrap_or("").is_empty()
                || route.described["description"].is_string()
        );
    }
    references(&document, &document);
}

/// Routes whose body may be left out.
fn takes_a_note(route: &Route) -> bool {
    matches!(route.id.as_str(), "pause_queue" | "pause_schedule" | "cancel_job" | "acknowledge_alert")
}

/// Whatever is referred to is there.
fn references(document: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                let pointer = to.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{to} is not in the document");
            }
            fields.values().for_each(|part| references(document, part));
        }
        Value::Array(list) => list.iter().for_each(|part| references(document, part)),
        _ => {}
    }
}

/// A route that is added beside the described ones would be in no table.
#[test]
fn no_route_of_the_api_is_added_without_a_description() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut seen = 0;
    for folder in std::fs::read_dir(source).unwrap() {
        let path = folder.unwrap().path().join("api.rs");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        assert!(!text.contains(".route("), "{}: use routes!(…)", path.display());
        seen += 1;
    }
    assert!(seen >= 11, "{seen}");
}

async fn every_route_answers_its_own_project(on: On) {
    let world = World::running_on(on).await;
    let person = a_person(&world, "default").await;
    let own = Owned::of(&world, "default").await;
    let job = own.fill("{job}", None).parse().unwrap();
    world.until(job, JobState::Completed).await;
    let key = world.key("default", &Right::ALL).await;
    let mut routes = routes(&world).await;
    in_order(&mut routes);
    for route in routes {
        let path = own.fill(&route.path, None);
        let key = if route.person { &person } else { &key };
        // Proved by a token of their own: `a_request_answered_202_finishes_by_a_call_back`.
        if route.path.contains("/callbacks/") || route.path.contains("/{address}") {
            continue;
        }
        if route.id == "follow_events" {
            let opened = world.open(world.request("GET", &path, key, None)).await;
            assert_eq!(opened.status(), 200);
            continue;
        }
        let answer = ask(&world, &route, &path, key).await;
        assert!(answer.status.is_success(), "{} {path}: {} {}", route.method, answer.status, answer.text);
        let known = route.described["responses"].get(answer.status.as_str());
        let known = known.unwrap_or_else(|| panic!("{}: {} is not described", route.id, answer.status));
        let schema = &known["content"]["application/json"]["schema"];
        assert_eq!(schema.is_object(), !answer.text.is_empty(), "{}: {}", route.id, answer.text);
        if schema.is_object() {
            fits(mainspring_web::openapi::document(), schema, &answer.json(), &route.id);
        }
    }
}

/// Whether an answer is what its schema says: the part of JSON Schema that the document uses.
fn fits(document: &Value, schema: &Value, answer: &Value, at: &str) {
    if let Some(to) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&to[1..]).unwrap(), answer, at);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, part, answer, at);
    }
    if let Some(ways) = schema["oneOf"].as_array() {
        // Of "nothing or that", whichever is meant.
        let way = ways.iter().find(|way| (way["type"] == "null") == answer.is_null());
        return fits(
            document,
            way.unwrap_or_else(|| panic!("{at}: {answer} is none of {schema}")),
            answer,
            at,
        );
    }
    let kind = match answer {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let named = |t: &Value| t == kind || t == "number" && kind == "integer";
    let right = match &schema["type"] {
        Value::Null => true,
        Value::Array(types) => types.iter().any(named),
        one => named(one),
    };
    assert!(right, "{at}: {answer} is no {}", schema["type"]);
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(answer), "{at}: {answer} is none of {allowed:?}");
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(answer.get(name).is_some(), "{at}: {name} is missing in {answer}");
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(part) = answer.get(name) {
            fits(document, schema, part, &format!("{at}.{name}"));
        }
    }
    for (i, part) in answer.as_array().into_iter().flatten().enumerate() {
        fits(document, &schema["items"], part, &format!("{at}[{i}]"));
    }
}

async fn another_projects_key_finds_nothing_on_any_route(on: On) {
    let world = World::still_on(on).await;
    let (own, foreign) = (Owned::of(&world, "default").await, Owned::of(&world, "other").await);
    let key = world.key("default", &Right::ALL).await;
    let (_, session) = world.member("default", "only-here@example.com", Role::Owner, true).await;
    let mut asked = 0;
    for route in routes(&world).await.iter().filter(|r| r.path.contains("{project}")) {
        for auth in [&key, &session] {
            // The other project with its own names, and with mine.
            for path in [foreign.fill(&route.path, None), own.fill(&route.path, Some("other"))] {
                ask(&world, route, &path, auth).await.refused(404, "MS0021");
                asked += 1;
            }
            // A project that does not exist looks the same.
            let nowhere = ask(&world, route, &own.fill(&route.path, Some("nowhere")), auth).await;
            let there = ask(&world, route, &foreign.fill(&route.path, None), auth).await;
            assert_eq!(nowhere.text.replace("nowhere", "other"), there.text, "{}", route.path);
        }
    }
    assert!(asked > 100, "{asked}");
}

async fn what_another_project_owns_is_not_found_in_mine(on: On) {
    let world = World::still_on(on).await;
    let foreign = Owned::of(&world, "other").await;
    let key = world.key("default", &Right::ALL).await;
    let mut asked = 0;
    for route in routes(&world).await {
        // These make what is not there.
        if route.path.matches('{').count() < 2
            || matches!(route.id.as_str(), "set_queue" | "put_schedule" | "set_secret")
        {
            continue;
        }
        let path = foreign.fill(&route.path, Some("default"));
        ask(&world, &route, &path, &key).await.refused(404, "MS0021");
        asked += 1;
    }
    assert!(asked >= 18, "{asked}");
    // Also where its name or number comes in a filter or a body.
    let (batch, schedule) = (foreign.fill("{batch}", None), foreign.fill("{schedule}", None));
    let listed = world.get(&format!("/api/v1/projects/default/jobs?batch={batch}"), &key).await.expect(200);
    assert_eq!(listed["items"], json!([]));
    world
        .get(&format!("/api/v1/projects/default/jobs?schedule={schedule}"), &key)
        .await
        .refused(404, "MS0021");
    let ids = json!({ "ids": [foreign.fill("{job}", None).parse::<i64>().unwrap()] });
    let did = world.post("/api/v1/projects/default/jobs/cancel", &key, ids).await.expect(200);
    assert_eq!(did["changed"], 0);
    let into = json!({ "kind": "echo", "batch": batch.parse::<i64>().unwrap() });
    let refused = world.post("/api/v1/projects/default/jobs", &key, into).await;
    assert!(refused.status.is_client_error(), "{} {}", refused.status, refused.text);
}

async fn each_right_is_asked_for(on: On) {
    let world = World::still_on(on).await;
    let own = Owned::of(&world, "default").await;
    for route in routes(&world).await {
        let Some(right) = route.right else { continue };
        let path = own.fill(&route.path, None);
        let others: Vec<Right> = Right::ALL.into_iter().filter(|r| *r != right).collect();
        let without = world.key("default", &others).await;
        let refused = ask(&world, &route, &path, &without).await.refused(403, "MS0041");
        assert!(refused["detail"].as_str().unwrap().contains(right.as_str()), "{refused}");
        // Who may not do it is not told what else was wrong.
        let nonsense = world.call(&route.method, &path, &without, Some(&json!(7))).await;
        nonsense.refused(403, "MS0041");
        // Nobody at all is asked to sign in.
        let nobody = ask(&world, &route, &path, "").await;
        nobody.refused(401, "MS0040");
        assert_eq!(nobody.header("www-authenticate"), "Bearer");
    }
}

async fn a_right_is_enough_for_its_routes(on: On) {
    let world = World::still_on(on).await;
    let own = Owned::of(&world, "default").await;
    let mut routes = routes(&world).await;
    routes.retain(|r| r.id != "follow_events");
    in_order(&mut routes);
    for route in routes {
        let Some(right) = route.right else { continue };
        let mut rights = vec![right];
        // A key gives no right that it lacks.
        if route.id == "make_key" {
            rights.push(Right::Read);
        }
        let only = world.key("default", &rights).await;
        let answer = ask(&world, &route, &own.fill(&route.path, None), &only).await;
        assert!(answer.status.is_success(), "{}: {} {}", route.id, answer.status, answer.text);
    }
}

#[tokio::test]
async fn the_guide_calls_routes_that_exist() {
    let world = World::still().await;
    let routes = routes(&world).await;
    let guide = include_str!("../../../../docs/guides/api.md");
    let mut calls = 0;
    for line in guide.lines().filter(|l| l.starts_with("curl ") && l.contains("$API")) {
        let rest = line.split("$API").nth(1).unwrap();
        let path = rest.split([' ', '"', '?']).next().unwrap();
        let method = line.split("-X ").nth(1).map_or("GET", |rest| rest.split(' ').next().unwrap());
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let same = |route: &&Route| {
            let known: Vec<&str> = route.path.split('/').skip(5).collect();
            let fits = |(known, part): (&&str, &&str)| known == part || known.starts_with('{');
            route.method == method && known.len() == parts.len() && known.iter().zip(&parts).all(fits)
        };
        assert!(routes.iter().any(|r| same(&r)), "{line}");
        calls += 1;
    }
    assert!(calls >= 35, "{calls}");
}

//! People and projects: invitations, making, naming, archiving and leaving projects, secrets.

use crate::support::{EMAIL, On, World};
use mainspring_core::job::JobState;
use mainspring_core::time::SECOND;
use mainspring_web::access::{Right, Role};
use serde_json::json;

crate::on_both!(a_secret_goes_into_jobs_and_comes_out_nowhere);

fn at(path: &str) -> String {
    format!("/api/v1/projects/default{path}")
}

/// The path of a link.
fn path_of(link: &serde_json::Value) -> String {
    let link = link.as_str().unwrap();
    link[link.find("/invite/").unwrap()..].to_owned()
}

#[tokio::test]
async fn an_invitation_makes_one_account_once() {
    let world = World::still().await;
    let admin = world.admin().await;
    let body = json!({ "role": "member", "payloads": true });
    let made = world.post(&at("/invitations"), &admin, body).await.expect(201);
    let link = path_of(&made["link"]);
    let token = link.rsplit('/').next().unwrap().to_owned();
    let shown = world.get(&link, "").await;
    assert!(shown.status.is_success() && shown.text.contains("Join default"), "{}", shown.text);
    let short = world.form(&link, "", "email=max@example.com&name=Max&password=short").await;
    assert_eq!(short.status.as_u16(), 422, "{}", short.text);
    assert!(short.text.contains("max@example.com"), "what was typed stays");
    let joined = world.form(&link, "", "email=max@example.com&name=Max&password=a+long+password").await;
    assert_eq!((joined.status.as_u16(), joined.header("location")), (303, "/p/default"), "{}", joined.text);
    let session = joined.header("set-cookie").split(['=', ';']).nth(1).unwrap().to_owned();
    let members = world.get(&at("/members"), &session).await.expect(200);
    let max = members["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["email"] == "max@example.com")
        .unwrap()
        .clone();
    assert_eq!(
        (&max["role"], &max["payloads"], &max["name"]),
        (&json!("member"), &json!(true), &json!("Max"))
    );
    // Used up, for those with an account and for those without.
    let again = world.form(&link, "", "email=eve@example.com&name=Eve&password=a+long+password").await;
    assert_eq!(again.status.as_u16(), 403, "{}", again.text);
    assert_eq!(world.get(&link, &session).await.status.as_u16(), 403);
    assert!(!world.get(&at("/members"), &session).await.text.contains("eve@example.com"));
    // Only a hash of the token was ever kept.
    for file in std::fs::read_dir(world.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(token.len()).any(|w| w == token.as_bytes()), "the token is in a file");
    }
    let audit = world.get(&at("/audit?name=member.joined"), &admin).await.expect(200);
    assert_eq!(audit["items"][0]["data"]["invited_by"], EMAIL, "{audit}");
}

#[tokio::test]
async fn an_invitation_is_for_whom_it_says_ends_and_is_withdrawn() {
    let world = World::still().await;
    let admin = world.admin().await;
    let (_, max) = world.member("other", "max@example.com", Role::Viewer, false).await;
    let (_, eve) = world.member("other", "eve@example.com", Role::Viewer, false).await;
    let invite = |body: serde_json::Value| world.post("/api/v1/projects/default/invitations", &admin, body);
    let made = invite(json!({ "role": "viewer", "email": "max@example.com" })).await.expect(201);
    let link = path_of(&made["link"]);
    let refused = world.form(&link, &eve, "").await;
    assert!(
        refused.status.as_u16() == 422 && refused.text.contains("is for max@example.com"),
        "{}",
        refused.text
    );
    let refused = world.form(&link, "", "email=eve@example.com&name=x&password=a+long+password").await;
    assert_eq!(
        refused.status.as_u16(),
        422,
        "the address is the invitation's: max has an account {}",
        refused.text
    );
    // A foreign page cannot make somebody join.
    let mut forged = world.request("POST", &link, &max, None);
    forged.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    forged.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(world.send(forged).await.status.as_u16(), 403);
    world.get(&at("/queues"), &max).await.refused(404, "MS0021");
    assert_eq!(world.form(&link, &max, "").await.header("location"), "/p/default");
    world.get(&at("/queues"), &max).await.expect(200);
    // Who belongs already keeps their role, and the invitation.
    let made = invite(json!({ "role": "admin" })).await.expect(201);
    let taken = world.form(&path_of(&made["link"]), &max, "").await;
    assert!(
        taken.status.as_u16() == 409 && taken.text.contains("belong to this project already"),
        "{}",
        taken.text
    );
    assert_eq!(world.form(&path_of(&made["link"]), &eve, "").await.status.as_u16(), 303);
    // Ended, withdrawn, never there.
    let short = invite(json!({ "role": "viewer", "length": "1h" })).await.expect(201);
    let gone = invite(json!({ "role": "viewer" })).await.expect(201);
    world.call("DELETE", &at(&format!("/invitations/{}", gone["id"])), &admin, None).await.expect(204);
    world.clock.set_offset(2 * 3600 * SECOND);
    let open = world.get(&at("/invitations"), &admin).await.expect(200);
    assert_eq!(open["items"], json!([]), "none is left");
    for link in [path_of(&short["link"]), path_of(&gone["link"]), "/invite/nothing".into()] {
        assert_eq!(world.get(&link, "").await.status.as_u16(), 403, "{link}");
    }
    for (body, field) in [
        (json!({ "role": "viewer", "length": "31d" }), "length"),
        (json!({ "role": "viewer", "length": "soon" }), "length"),
        (json!({ "role": "viewer", "email": "no address" }), "email"),
    ] {
        assert_eq!(invite(body).await.refused(422, "MS0020")["field"], field);
    }
}

#[tokio::test]
async fn owners_are_invited_by_owners_alone() {
    let world = World::still().await;
    let (_, admin) = world.member("default", "admin@example.com", Role::Admin, false).await;
    let (_, owner) = world.member("default", "owner@example.com", Role::Owner, false).await;
    let key = world.key("default", &Right::ALL).await;
    for auth in [&admin, &key] {
        world.post(&at("/invitations"), auth, json!({ "role": "owner" })).await.refused(403, "MS0041");
        world.post(&at("/invitations"), auth, json!({ "role": "admin" })).await.expect(201);
    }
    world.post(&at("/invitations"), &owner, json!({ "role": "owner" })).await.expect(201);
}

#[tokio::test]
async fn projects_are_made_by_admins_named_and_left() {
    let world = World::still().await;
    let admin = world.admin().await;
    let (_, owner) = world.member("default", "owner@example.com", Role::Owner, false).await;
    let (_, viewer) = world.member("default", "viewer@example.com", Role::Viewer, false).await;
    let new = json!({ "name": "billing", "title": "Billing & invoices" });
    world.post("/api/v1/projects", &owner, new.clone()).await.refused(403, "MS0041");
    let key = world.key("default", &Right::ALL).await;
    world.post("/api/v1/projects", &key, new.clone()).await.refused(401, "MS0040");
    let made = world.post("/api/v1/projects", &admin, new.clone()).await.expect(201);
    assert_eq!((&made["name"], &made["title"]), (&json!("billing"), &json!("Billing & invoices")));
    assert_eq!(world.post("/api/v1/projects", &admin, new).await.refused(409, "MS0022")["field"], "name");
    assert_eq!(
        world.post("/api/v1/projects", &admin, json!({ "name": "a\nb" })).await.refused(422, "MS0020")["field"],
        "name"
    );
    let members = world.get("/api/v1/projects/billing/members", &admin).await.expect(200);
    assert_eq!(
        (&members["items"][0]["email"], &members["items"][0]["role"]),
        (&json!(EMAIL), &json!("owner"))
    );
    let titled =
        world.call("PUT", "/api/v1/projects/default", &owner, Some(&json!({ "title": "Main" }))).await;
    assert_eq!(titled.expect(200)["title"], "Main");
    let listed = world.get("/api/v1/projects", &viewer).await.expect(200);
    assert_eq!(listed["items"], json!([{ "name": "default", "title": "Main", "rights": ["read"] }]));
    // Everybody may leave but the last owner.
    world.call("POST", &at("/leave"), &viewer, None).await.expect(204);
    world.get(&at(""), &viewer).await.refused(404, "MS0021");
    let last = world.call("POST", &at("/leave"), &owner, None).await.refused(409, "MS0022");
    assert!(last["detail"].as_str().unwrap().contains("last owner"), "{last}");
    world.call("POST", &at("/leave"), &key, None).await.refused(403, "MS0041");
}

#[tokio::test]
async fn an_archived_project_stands_still_until_it_is_restored() {
    let world = World::running().await;
    let key = world.key("default", &Right::ALL).await;
    let rule = json!({ "trigger": "every 1h", "job": { "kind": "echo" } });
    for name in ["nightly", "paused-before"] {
        world.call("PUT", &at(&format!("/schedules/{name}")), &key, Some(&rule)).await.expect(201);
    }
    world.post(&at("/schedules/paused-before/pause"), &key, json!({ "note": "by hand" })).await.expect(200);
    let archived = world.call("POST", &at("/archive"), &key, None).await.expect(200);
    assert!(archived["archived_at"].is_string(), "{archived}");
    let refused = world.post(&at("/jobs"), &key, json!({ "kind": "echo" })).await.refused(409, "MS0022");
    assert!(refused["detail"].as_str().unwrap().contains("mainspring project restore default"), "{refused}");
    world.call("DELETE", &at("/schedules/nightly"), &key, None).await.refused(409, "MS0022");
    let nightly = world.get(&at("/schedules/nightly"), &key).await.expect(200);
    assert_eq!(nightly["paused"]["note"], "the project is archived", "{nightly}");
    // What is enqueued beside the server waits.
    let job = world.enqueue("echo", json!(1)).await;
    assert!(world.client.queue_settings("*").await.unwrap().paused.is_some());
    let restored = world.call("POST", &at("/restore"), &key, None).await.expect(200);
    assert!(restored.get("archived_at").is_none(), "{restored}");
    world.until(job, JobState::Completed).await;
    let paused = |s: serde_json::Value| s["paused"]["note"].clone();
    assert_eq!(paused(world.get(&at("/schedules/nightly"), &key).await.expect(200)), json!(null));
    assert_eq!(paused(world.get(&at("/schedules/paused-before"), &key).await.expect(200)), json!("by hand"));
}

/// Everything that is kept, as one text.
fn kept(world: &World) -> Vec<u8> {
    match &world.database {
        None => {
            let files = std::fs::read_dir(world.dir.path()).unwrap();
            files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
        }
        Some(database) => {
            let tables = database
                .sql("SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
                .unwrap();
            let rows =
                tables.lines().map(|table| database.sql(&format!("SELECT t::text FROM {table} t")).unwrap());
            rows.collect::<Vec<_>>().join("\n").into_bytes()
        }
    }
}

async fn a_secret_goes_into_jobs_and_comes_out_nowhere(on: On) {
    const VALUE: &str = "sk-live/4eC39HqLyjWDarjtT1zdp7dc";
    let world = World::running_on(on).await;
    let key = world.key("default", &Right::ALL).await;
    let set = world.call("PUT", &at("/secrets/stripe"), &key, Some(&json!({ "value": VALUE }))).await;
    assert_eq!(set.expect(200)["version"], 1);
    let payload = json!({ "authorization": { "$secret": "stripe", "before": "Bearer " } });
    let mut jobs = Vec::new();
    for (kind, end) in [("echo", JobState::Completed), ("tell", JobState::Failed)] {
        let job = world.enqueue(kind, payload.clone()).await;
        world.until(job, end).await;
        jobs.push(job);
    }
    let mut answers = set.text;
    for path in
        ["/secrets", "/jobs", "/events", "/audit", "/stats", "/health", "/queues", "/schedules", "/members"]
    {
        answers.push_str(&world.get(&at(path), &key).await.text);
    }
    for job in &jobs {
        for path in ["", "/logs"] {
            answers.push_str(&world.get(&at(&format!("/jobs/{job}{path}")), &key).await.text);
        }
    }
    let session = world.admin().await;
    for path in ["/p/default", "/p/default/settings", "/p/default/audit?show=all", "/p/default/jobs"] {
        answers.push_str(&world.get(path, &session).await.text);
    }
    for job in &jobs {
        answers.push_str(&world.get(&format!("/p/default/jobs/{job}"), &session).await.text);
    }
    assert!(answers.contains("Bearer [redacted]") && answers.contains("$secret"), "{answers}");
    assert!(answers.contains("the token is [redacted]"), "the error is there: {answers}");
    let kept = kept(&world);
    assert!(kept.windows(10).any(|w| w == b"[redacted]"), "what was searched holds what was written");
    for part in [VALUE, "4eC39HqLyjWDarjtT1zdp7dc"] {
        assert!(!answers.contains(part), "the value is in an answer");
        assert!(!kept.windows(part.len()).any(|w| w == part.as_bytes()), "the value is in the store");
    }
    let listed = world.get(&at("/secrets"), &key).await.expect(200);
    assert!(listed["items"][0]["used_at"].is_string(), "{listed}");
    let again =
        world.call("PUT", &at("/secrets/stripe"), &key, Some(&json!({ "value": "another value" }))).await;
    assert_eq!(again.expect(200)["version"], 2);
    world.call("DELETE", &at("/secrets/stripe"), &key, None).await.expect(204);
    world.call("DELETE", &at("/secrets/stripe"), &key, None).await.refused(404, "MS0021");
    let job = world.enqueue("echo", payload).await;
    world.until(job, JobState::Failed).await;
    let failed = world.get(&at(&format!("/jobs/{job}")), &key).await.expect(200);
    assert!(failed["error"].to_string().contains("mainspring secret set stripe"), "{failed}");
    for (value, field) in
        [(json!({ "value": "short" }), "value"), (json!({ "value": "x".repeat(40_000) }), "value")]
    {
        let refused = world.call("PUT", &at("/secrets/other"), &key, Some(&value)).await;
        assert_eq!(refused.refused(422, "MS0020")["field"], field);
    }
    let (_, viewer) = world.member("default", "viewer@example.com", Role::Viewer, true).await;
    world.get(&at("/secrets"), &viewer).await.refused(403, "MS0041");
}

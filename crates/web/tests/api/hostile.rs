//! Whatever is sent, the server answers with a refusal of its own and never with a failure: every
//! parameter and every field of every route, one after the other, holds what nobody would send.

use crate::contract::{Owned, Route, body, routes};
use crate::support::{Answer, World};
use mainspring_web::access::Right;
use serde_json::{Value, json};

const TEXTS: [&str; 12] = [
    "",
    "-1",
    "0",
    "1.5",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "a%00b",
    "%ff%fe",
    "%F0%9F%92%A5%27%22%3B--%5C",
    "-009999-01-01T00:00:00Z",
    "9999-12-30T22:00:00Z",
];

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(i64::MAX),
        json!(4_294_967_295u32),
        json!(1e308),
        json!(""),
        json!("a\u{0}b"),
        json!("x".repeat(600)),
        json!("'; DROP TABLE jobs; --"),
        json!("9999-12-30T22:00:00Z"),
        json!([]),
        json!([null]),
        json!({}),
        json!({ "a": { "b": [] } }),
    ]
}

fn judge(route: &Route, sent: &str, answer: &Answer) {
    let status = answer.status.as_u16();
    assert!(status < 500, "{} {sent}: {status} {}", route.id, answer.text);
    if status >= 400 {
        let problem = answer.refused(status, answer.json()["code"].as_str().expect("a code"));
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
    }
}

#[tokio::test]
async fn no_parameter_of_any_route_makes_the_server_fail() {
    let world = World::still().await;
    let own = Owned::of(&world, "default").await;
    let key = world.key("default", &Right::ALL).await;
    let mut asked = 0;
    for route in routes(&world).await.iter().filter(|r| r.id != "follow_events") {
        for parameter in route.described["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            for text in TEXTS {
                let path = match parameter["in"].as_str().unwrap() {
                    "path" => own.fill(&route.path.replace(&format!("{{{name}}}"), text), None),
                    "query" => format!("{}?{name}={text}", own.fill(&route.path, None)),
                    _ => continue,
                };
                let answer = world.call(&route.method, &path, &key, body(route).as_ref()).await;
                judge(route, &path, &answer);
                asked += 1;
            }
        }
    }
    assert!(asked > 700, "{asked}");
}

#[tokio::test]
async fn no_body_of_any_route_makes_the_server_fail() {
    let world = World::still().await;
    let own = Owned::of(&world, "default").await;
    let key = world.key("default", &Right::ALL).await;
    let document = mainspring_web::openapi::document();
    let mut asked = 0;
    for route in routes(&world).await.iter().filter(|r| r.described["requestBody"].is_object()) {
        let path = own.fill(&route.path, None);
        let usual = body(route).unwrap_or_else(|| json!({}));
        let mut fields: Vec<String> = usual.as_object().unwrap().keys().cloned().collect();
        fields.extend(described(
            document,
            &route.described["requestBody"]["content"]["application/json"]["schema"],
        ));
        for value in values() {
            judge(route, "all", &world.call(&route.method, &path, &key, Some(&value)).await);
            for field in &fields {
                let mut sent = usual.clone();
                sent[field] = value.clone();
                let answer = world.call(&route.method, &path, &key, Some(&sent)).await;
                judge(route, &sent.to_string(), &answer);
                asked += 1;
            }
        }
    }
    assert!(asked > 700, "{asked}");
}

/// The fields of a described body.
fn described(document: &Value, schema: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect();
    if let Some(to) = schema["$ref"].as_str() {
        names.extend(described(document, document.pointer(&to[1..]).unwrap()));
    }
    for one in schema["oneOf"].as_array().into_iter().flatten() {
        names.extend(described(document, one));
    }
    names
}

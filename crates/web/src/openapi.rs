//! The OpenAPI document: made from the routes themselves, so that it cannot leave one out. What is the
//! same for all of them (the project in the path, who may call, what a refusal looks like) is added
//! here once.

use crate::state::Web;
use crate::{
    alert_rules, alerts, audit, batches, bulk, channels, deliveries, events, heartbeats, hooks, invitations,
    jobs, keys, members, nodes, notifications, problem, projects, queues, schedules, secrets, stats, workers,
};
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// Where the API lies.
pub const PREFIX: &str = "/api/v1";

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Mainspring",
        description = "Schedules, jobs and what became of them. A key is bound to one project; what belongs to \
                       another looks as if it did not exist (404). The right that a call takes is named in its \
                       `security`. Listings answer `{\"items\": […], \"next\": cursor or null}`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(problem::Problem))
)]
struct Document;

/// The API's routes with their descriptions.
pub fn api() -> OpenApiRouter<Web> {
    let all = projects::api::routes()
        .merge(jobs::api::routes())
        .merge(schedules::api::routes())
        .merge(queues::api::routes())
        .merge(batches::api::routes())
        .merge(bulk::api::routes())
        .merge(nodes::api::routes())
        .merge(channels::api::routes())
        .merge(deliveries::api::routes())
        .merge(notifications::api::routes())
        .merge(stats::api::routes())
        .merge(events::api::routes())
        .merge(audit::api::routes())
        .merge(alerts::api::routes())
        .merge(alert_rules::api::routes())
        .merge(heartbeats::api::routes())
        .merge(hooks::api::routes())
        .merge(keys::api::routes())
        .merge(members::api::routes())
        .merge(invitations::api::routes())
        .merge(secrets::api::routes())
        .merge(workers::api::routes())
        .merge(workers::callbacks::routes());
    OpenApiRouter::with_openapi(Document::openapi()).nest(PREFIX, all)
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::to_value(api().split_for_parts().1).unwrap_or_default();
    complete(&mut document);
    document
});

/// The document.
pub fn document() -> &'static Value {
    &DOCUMENT
}

fn complete(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({
        "key": { "type": "http", "scheme": "bearer", "description": "an API key: `Authorization: Bearer msk_…`" },
        "session": { "type": "apiKey", "in": "cookie", "name": "mainspring_session", "description": "a browser that is signed in" },
    });
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
            if let Some(operation) = operation.as_object_mut() {
                name_parts(path, operation);
                say_who(operation);
                let refusal = json!({
                    "description": "a refusal; `code` has a page of its own",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                });
                for status in ["4XX", "5XX"] {
                    operation["responses"][status] = refusal.clone();
                }
            }
        }
    }
}

/// Every `{part}` of the path is a parameter, also where the handler leaves it to the check of the caller.
fn name_parts(path: &str, operation: &mut Map<String, Value>) {
    let known = operation.entry("parameters").or_insert_with(|| json!([]));
    let Some(known) = known.as_array_mut() else { return };
    for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        if !known.iter().any(|p| p["in"] == "path" && p["name"] == part) {
            let schema = json!({ "type": "string" });
            known.push(json!({ "name": part, "in": "path", "required": true, "schema": schema }));
        }
    }
}

/// A session does as well as a key.
fn say_who(operation: &mut Map<String, Value>) {
    if let Some(ways) = operation.get_mut("security").and_then(Value::as_array_mut) {
        // Some things are for people alone.
        if ways.first().is_some_and(|way| way.get("session").is_some()) {
            return;
        }
        let rights = ways.first().map_or(json!([]), |way| way["key"].clone());
        ways.push(json!({ "session": rights }));
    }
}

/// Serves it. It tells nothing about anybody, so nobody need be signed in.
pub fn routes() -> Router<Web> {
    Router::new().route("/api/v1/openapi.json", get(serve))
}

async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document().to_string())
}

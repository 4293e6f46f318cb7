//! Every route, resource by resource. The API's are described where they are written; together they
//! are the OpenAPI document.

use crate::state::Web;
use crate::{assets, people, queues};
use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// What the OpenAPI document says of the whole.
#[derive(OpenApi)]
#[openapi(info(
    title = "Mainspring",
    description = "Schedules, jobs and what became of them. Every path but /health begins with a project.",
    license(name = "Apache-2.0")
))]
struct Document;

/// The API, described.
fn api() -> OpenApiRouter<Web> {
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", queues::api::routes())
}

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    api().split_for_parts().1
}

/// All routes.
pub fn all() -> Router<Web> {
    let (api, _) = api().split_for_parts();
    api.merge(people::routes()).merge(queues::pages::routes()).merge(assets::routes())
}

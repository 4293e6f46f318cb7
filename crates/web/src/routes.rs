//! Every route, resource by resource. Those of the API are gathered in [`crate::openapi`].

use crate::state::Web;
use crate::{assets, health, openapi, people, queues};
use axum::Router;

/// All routes.
pub fn all() -> Router<Web> {
    let (api, _) = openapi::api().split_for_parts();
    let api = api.merge(openapi::routes()).merge(health::routes());
    api.merge(people::routes()).merge(queues::pages::routes()).merge(assets::routes())
}

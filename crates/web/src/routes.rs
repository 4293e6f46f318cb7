//! Every route, resource by resource. Those of the API are gathered in [`crate::openapi`].

use crate::state::Web;
use crate::{
    alert_rules, alerts, assets, audit, batches, channels, deliveries, health, heartbeats, hooks,
    invitations, jobs, nodes, notifications, openapi, overview, people, projects, queues, reference,
    schedules, settings,
};
use axum::Router;

/// All routes.
pub fn all() -> Router<Web> {
    let (api, _) = openapi::api().split_for_parts();
    let api = api.merge(openapi::routes()).merge(health::routes());
    let people = people::routes().merge(projects::pages::routes()).merge(invitations::pages::routes());
    api.merge(people).merge(pages()).merge(assets::routes())
}

/// The pages of a project.
fn pages() -> Router<Web> {
    Router::new()
        .merge(overview::pages::routes())
        .merge(jobs::pages::routes())
        .merge(schedules::pages::routes())
        .merge(queues::pages::routes())
        .merge(batches::pages::routes())
        .merge(nodes::pages::routes())
        .merge(alerts::pages::routes())
        .merge(alert_rules::pages::routes())
        .merge(heartbeats::pages::routes())
        .merge(notifications::pages::routes())
        .merge(channels::pages::routes())
        .merge(deliveries::pages::routes())
        .merge(audit::pages::routes())
        .merge(hooks::pages::routes())
        .merge(settings::pages::routes())
        .merge(reference::pages::routes())
}

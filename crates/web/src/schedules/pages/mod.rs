//! Schedules as pages.

mod calendar;
mod detail;
mod form;
mod list;

pub use detail::ends;

use crate::state::Web;
use axum::Router;
use axum::routing::{get, post};

/// Their routes. The form has a name of its own beside the list, so that no schedule's name can
/// stand in its way.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/schedules", get(list::show))
        .route("/p/{project}/schedule-form", get(form::show).post(form::send))
        .route("/p/{project}/schedule-calendar", get(calendar::show))
        .route("/p/{project}/schedules/{schedule}", get(detail::show))
        .route("/p/{project}/schedules/{schedule}/pause", post(detail::pause))
        .route("/p/{project}/schedules/{schedule}/resume", post(detail::resume))
        .route("/p/{project}/schedules/{schedule}/run", post(detail::run))
        .route("/p/{project}/schedules/{schedule}/delete", post(detail::delete))
        .route("/p/{project}/schedules/{schedule}/backfill", post(detail::backfill))
}

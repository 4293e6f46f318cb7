//! Jobs as pages.

pub(crate) mod detail;
mod list;

use crate::state::Web;
use axum::Router;
use axum::routing::{get, post};

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/p/{project}/jobs", get(list::show))
        .route("/p/{project}/jobs/bulk", post(list::chosen))
        .route("/p/{project}/jobs/{job}", get(detail::show))
        .route("/p/{project}/jobs/{job}/retry", post(detail::retry))
        .route("/p/{project}/jobs/{job}/cancel", post(detail::cancel))
}

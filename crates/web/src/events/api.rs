//! Events as JSON.

use crate::state::Web;
use utoipa_axum::router::OpenApiRouter;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
}

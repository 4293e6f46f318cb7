//! Style, script and icon: embedded, served under a name that holds a hash of the content, so that a
//! browser may keep them for ever.

use crate::problem::Problem;
use crate::state::Web;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, header};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset { name: "app.css", kind: "text/css; charset=utf-8", content: include_bytes!("../assets/app.css") },
    Asset {
        name: "app.js",
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../assets/app.js"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", content: include_bytes!("../assets/icon.svg") },
];

static HASHES: LazyLock<[String; 3]> = LazyLock::new(|| {
    ASSETS.each_ref().map(|a| Sha256::digest(a.content).iter().take(6).map(|b| format!("{b:02x}")).collect())
});

/// The address of an asset.
pub fn address(web: &Web, name: &str) -> String {
    let at = ASSETS.iter().position(|a| a.name == name).unwrap_or(0);
    format!("{}/assets/{}/{name}", web.base(), HASHES[at])
}

/// Their routes.
pub fn routes() -> Router<Web> {
    Router::new().route("/assets/{hash}/{name}", get(serve))
}

async fn serve(Path((hash, name)): Path<(String, String)>) -> Response {
    let found = ASSETS.iter().zip(HASHES.iter()).find(|(a, h)| a.name == name && **h == hash);
    let Some((asset, _)) = found else {
        return Problem::not_found("asset", name).into_response();
    };
    let mut response = asset.content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    response
}

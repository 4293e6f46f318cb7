//! Reading requests: axum's extractors with our refusals, so that a mistyped body, path or query is
//! answered like every other mistake, as a [`Problem`] with a code.

use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use mainspring_core::code::Code;
use mainspring_core::limits;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A body of JSON, in and out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

/// A body of JSON that may be left out altogether.
#[derive(Clone, Copy, Debug, Default)]
pub struct MaybeJson<T>(pub T);

/// The parts of an address that have names.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// What follows the question mark.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<T>(pub T);

fn refused(status: StatusCode, field: &str, text: &str) -> Problem {
    let code = match status {
        StatusCode::NOT_FOUND => Code::NOT_FOUND,
        StatusCode::PAYLOAD_TOO_LARGE => Code::INVALID_VALUE,
        _ => Code::BAD_REQUEST,
    };
    let mut problem = Problem::new(status, code, limits::cut(text, limits::NOTE));
    problem.field = Some(field.to_owned());
    problem
}

impl<T: DeserializeOwned> FromRequest<Web> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<Json<T>> {
        if !is_json(request.headers()) {
            let text = "send JSON, with the header Content-Type: application/json";
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body", text));
        }
        let bytes = Bytes::from_request(request, web).await;
        let bytes = bytes.map_err(|e| match slow(&e) {
            Some(text) => refused(StatusCode::REQUEST_TIMEOUT, "body", &text),
            None => refused(e.status(), "body", &e.body_text()),
        })?;
        // A list would be read as an object's fields in the order in which we happen to have them.
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "body", "is a list; an object is wanted"));
        }
        match axum::Json::<T>::from_bytes(&bytes) {
            Ok(axum::Json(value)) => Ok(Json(value)),
            Err(e) => Err(refused(e.status(), "body", &e.body_text())),
        }
    }
}

/// Whether the body was waited for in vain.
fn slow(e: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(e);
    while let Some(e) = cause {
        if let Some(slow) = e.downcast_ref::<crate::server::limits::TooSlow>() {
            return Some(slow.to_string());
        }
        cause = e.source();
    }
    None
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

impl<T: DeserializeOwned + Default> FromRequest<Web> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<MaybeJson<T>> {
        let typed = request.headers().contains_key(header::CONTENT_TYPE);
        let empty = axum::body::HttpBody::size_hint(request.body()).exact() == Some(0);
        if empty && !typed {
            return Ok(MaybeJson(T::default()));
        }
        Json::from_request(request, web).await.map(|Json(value)| MaybeJson(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Web> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Path<T>> {
        if let Ok(params) = RawPathParams::from_request_parts(parts, web).await
            && let Some((name, _)) = params.iter().find(|(_, value)| value.contains(char::is_control))
        {
            // No name holds one, so there is nothing of this name.
            return Err(refused(StatusCode::NOT_FOUND, name, "contains a control character; no name does"));
        }
        match axum::extract::Path::<T>::from_request_parts(parts, web).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(PathRejection::FailedToDeserializePathParams(e)) => {
                Err(refused(StatusCode::NOT_FOUND, "path", &e.body_text()))
            }
            Err(e) => Err(refused(e.status(), "path", &e.body_text())),
        }
    }
}

impl<T: DeserializeOwned> FromRequestParts<Web> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Query<T>> {
        match axum::extract::Query::<T>::from_request_parts(parts, web).await {
            Ok(axum::extract::Query(value)) => Ok(Query(value)),
            Err(e) => Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "query", &e.body_text())),
        }
    }
}

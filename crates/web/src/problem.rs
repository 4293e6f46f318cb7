//! What a refusal looks like: `application/problem+json` (RFC 9457) for programs, a page for people.
//! Both carry the same code, and the code has a page `docs/errors/MSnnnn.md`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use mainspring::ClientError;
use mainspring_core::StoreError;
use mainspring_core::code::Code;
use mainspring_core::tables::TablesError;
use serde::Serialize;
use std::time::Duration;

/// A refusal.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// The page about the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about, the same for all of this code.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// `MS0021`.
    #[schema(value_type = String)]
    pub code: Code,
    /// What was wrong here, and what to do instead.
    pub detail: String,
    /// Which value: `trigger`, `jobs[3].queue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Seconds after which the same may succeed; also sent as `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// The result of every handler.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    /// A refusal with this code.
    pub fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Problem {
        let title = Code::ALL.iter().find(|(c, _)| *c == code).map_or("", |(_, title)| *title);
        Problem {
            kind: format!("https://mainspring.invalid/errors/{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    /// A value that cannot be used.
    pub fn invalid(field: &str, detail: impl Into<String>) -> Problem {
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Code::INVALID_VALUE, detail);
        problem.field = Some(field.to_owned());
        problem
    }

    /// A thing that is not there, or that the caller may not know of: both look the same.
    pub fn not_found(what: &str, name: impl std::fmt::Display) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, Code::NOT_FOUND, format!("there is no {what} {name}"))
    }

    /// Nobody is signed in.
    pub fn sign_in() -> Problem {
        let text = "sign in, or send an API key as Authorization: Bearer msk_…";
        Problem::new(StatusCode::UNAUTHORIZED, Code::NOT_SIGNED_IN, text)
    }

    /// Somebody is signed in who may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, Code::NOT_ALLOWED, detail)
    }

    /// Too much at once.
    pub fn too_many(detail: impl Into<String>, after: Duration) -> Problem {
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, Code::TOO_MANY, detail);
        problem.retry_after = Some(after.as_secs().max(1));
        problem
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Problem {
        let status = match &e {
            StoreError::NotFound { .. } => StatusCode::NOT_FOUND,
            StoreError::Conflict(_) => StatusCode::CONFLICT,
            StoreError::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            StoreError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            e if e.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let field = match &e {
            StoreError::Invalid { field, .. } => Some((*field).to_owned()),
            _ => None,
        };
        let mut problem = Problem::new(status, e.code(), e.to_string());
        problem.field = field;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after = Some(2);
        }
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %e, "a request failed");
        }
        problem
    }
}

impl From<ClientError> for Problem {
    fn from(e: ClientError) -> Problem {
        match e {
            ClientError::Store(e) => e.into(),
            ClientError::Invalid { code, field, text } => {
                let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, text);
                problem.field = Some(field);
                problem
            }
        }
    }
}

impl From<TablesError> for Problem {
    fn from(e: TablesError) -> Problem {
        match e {
            TablesError::Store(e) => e.into(),
            TablesError::Broken(_) | TablesError::Unexpected { .. } => {
                Problem::new(StatusCode::CONFLICT, Code::CONFLICT, e.to_string())
            }
            other => StoreError::Internal(other.to_string()).into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, after) = (self.status(), self.retry_after);
        // Kept for the layer that turns a refusal into a page where a person asked for one.
        let kept = self.clone();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(kept);
        response
    }
}

//! What a redirect makes of a request, for those who asked for redirects to be followed.
//!
//! The new address is parsed, resolved and judged like the first. Headers that may hold credentials go
//! to no other site, a way from TLS to plain text is not taken, and what was sent as a body is sent
//! again only where the answer says so (307, 308).

use crate::client::{Request, Response};
use crate::error::Error;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{Method, StatusCode};

/// Headers that describe a body.
const OF_THE_BODY: [HeaderName; 3] =
    [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE];
/// Headers that any site may see.
const HARMLESS: [HeaderName; 4] =
    [header::ACCEPT, header::ACCEPT_LANGUAGE, header::USER_AGENT, header::CONTENT_TYPE];

/// Where an answer sends to.
pub(crate) fn location(answer: &Response) -> Option<&str> {
    let status = answer.status;
    let sends = matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    answer.headers.get(header::LOCATION).filter(|_| sends)?.to_str().ok()
}

/// The request that follows `answer`, if it is a redirect; `request` is the one it answers.
pub(crate) fn next(request: Request, answer: &Response) -> Result<Option<Request>, Error> {
    let Some(location) = location(answer) else { return Ok(None) };
    let target = request.target.follow(location)?;
    if request.target.is_tls() && !target.is_tls() {
        let text = format!("the redirect to {} gives up TLS and is not followed", target.shown());
        return Err(Error::Invalid { field: "url", text });
    }
    let mut next = Request { follow: request.follow.saturating_sub(1), ..request.clone() };
    let keeps_body = matches!(answer.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    if !keeps_body && !matches!(next.method, Method::GET | Method::HEAD) {
        next.method = Method::GET;
        next.body = Bytes::new();
        for name in OF_THE_BODY {
            next.headers.remove(name);
        }
    }
    if !request.target.same_site(&target) {
        let kept =
            HARMLESS.into_iter().filter_map(|name| Some((name.clone(), next.headers.get(name)?.clone())));
        next.headers = kept.collect();
    }
    next.target = target;
    Ok(Some(next))
}

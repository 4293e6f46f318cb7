//! Cookies: how all are read, and how the session's is given.

use crate::state::Web;
use http::{HeaderMap, HeaderValue, header};
use std::time::Duration;

const NAME: &str = "mainspring_session";

/// The token a browser sent.
pub fn read(headers: &HeaderMap) -> Option<String> {
    named(headers, NAME).map(str::to_owned)
}

/// The value of the first cookie of this name.
pub fn named<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(other, _)| *other == name).map(|(_, value)| value)
}

/// Gives a browser its token. Scripts cannot read it, other sites cannot send it.
pub fn of_session(web: &Web, token: &str, age: Duration) -> HeaderValue {
    build(web, token, age.as_secs())
}

/// Takes it away.
pub fn cleared(web: &Web) -> HeaderValue {
    build(web, "", 0)
}

fn build(web: &Web, token: &str, seconds: u64) -> HeaderValue {
    let secure = if web.secure() { "; Secure" } else { "" };
    let path = if web.base().is_empty() { "/" } else { web.base() };
    let text = format!("{NAME}={token}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

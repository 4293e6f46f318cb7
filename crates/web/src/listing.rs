//! What listings are asked with and how they answer: pages by a cursor (never by an offset), limits,
//! instants and words from addresses. Both faces read them here, so that they refuse alike.

use crate::problem::{Problem, Result};
use jiff::Timestamp;
use mainspring_core::limits;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Rows of a page when nobody says how many.
pub const ROWS: u32 = 50;

/// Where a listing without conditions begins, and how much of it is wanted.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Rows of the page, 1 to 1,000; 50 if absent.
    pub limit: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins: pass it as `cursor`. Null on the last. It may come with few rows
    /// or none when a filter let little through.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page of rows and the key of the next one.
    pub fn new(items: Vec<T>, next: Option<impl ToString>) -> Page<T> {
        Page { items, next: next.map(|key| key.to_string()) }
    }
}

/// A word of an address: None when it is absent or empty, as forms send fields nobody filled in.
pub fn given<'a>(field: &str, text: &'a Option<String>) -> Result<Option<&'a str>> {
    let Some(text) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.contains(char::is_control) {
        return Err(Problem::invalid(field, "contains a control character"));
    }
    Ok(Some(text))
}

/// Where a page of the dashboard begins: `before` in its address, empty for the newest rows. One that
/// was never given is refused, as the API does, and not taken for the newest.
pub fn before<T: FromStr>(text: &str) -> Result<Option<T>> {
    read("before", &Some(text.to_owned()))
}

/// How many rows were asked for.
pub fn rows(field: &str, limit: &Option<String>) -> Result<u32> {
    match read::<u32>(field, limit)? {
        None => Ok(ROWS),
        Some(n) if (1..=limits::PAGE as u32).contains(&n) => Ok(n),
        Some(n) => Err(Problem::invalid(field, format!("{n} is not in 1 to {}", limits::PAGE))),
    }
}

/// A number, an instant, a cursor.
pub fn read<T: FromStr>(field: &str, text: &Option<String>) -> Result<Option<T>> {
    let Some(text) = given(field, text)? else { return Ok(None) };
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => {
            let shown = limits::cut(text, 60);
            let wanted = match std::any::type_name::<T>() {
                name if name.ends_with("Timestamp") => "an instant such as 2026-11-22T18:00:00Z",
                _ => "a number, or a cursor as it was given",
            };
            Err(Problem::invalid(field, format!("{shown:?} is not {wanted}")))
        }
    }
}

/// An instant.
pub fn instant(field: &str, text: &Option<String>) -> Result<Option<Timestamp>> {
    read(field, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_or_refused_by_name() {
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(given("kind", &text("  ")).unwrap(), None);
        assert_eq!(given("kind", &text(" mail ")).unwrap(), Some("mail"));
        assert_eq!(given("kind", &text("a\0b")).unwrap_err().field.as_deref(), Some("kind"));
        assert_eq!(rows("limit", &None).unwrap(), ROWS);
        assert_eq!(rows("limit", &text("1000")).unwrap(), 1000);
        for wrong in ["0", "1001", "x", "-1"] {
            assert_eq!(rows("limit", &text(wrong)).unwrap_err().field.as_deref(), Some("limit"), "{wrong}");
        }
        assert!(instant("from", &text("2026-11-22T18:00:00Z")).unwrap().is_some());
        assert!(instant("from", &text("yesterday")).unwrap_err().detail.contains("2026-11-22T18:00:00Z"));
    }
}

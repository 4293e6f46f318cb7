//! JSON text that is known to be valid: payloads, outputs, step results, stored specifications.
//!
//! Kept as text because a store neither looks inside nor should pay for building a tree.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

/// A valid JSON document as text. Cheap to move; cloning copies the text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Json(Box<str>);

impl Json {
    /// Checks `text`: one JSON value, nested at most 128 deep. The error gives line and column.
    pub fn parse(text: impl Into<String>) -> Result<Json, String> {
        let text = text.into();
        match serde_json::from_str::<&serde_json::value::RawValue>(&text) {
            // A raw value is checked without recursion; the depth is checked by building it.
            Ok(_) => match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
                Ok(_) if depth(&text) <= crate::limits::JSON_DEPTH => Ok(Json(text.into())),
                Ok(_) => Err(format!("nested more than {} deep", crate::limits::JSON_DEPTH)),
                Err(e) => Err(e.to_string()),
            },
            Err(e) => Err(e.to_string()),
        }
    }

    /// Text that a store wrote itself: known to be valid, not checked again.
    pub fn trusted(text: impl Into<Box<str>>) -> Json {
        Json(text.into())
    }

    /// The JSON of a serialisable value. Fails only on values JSON cannot hold (map keys that are
    /// not text, a `Serialize` that refuses).
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Json, String> {
        serde_json::to_string(value).map(|s| Json(s.into())).map_err(|e| e.to_string())
    }

    /// `null`.
    pub fn null() -> Json {
        Json("null".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Builds a typed value.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Builds a tree.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or(serde_json::Value::Null)
    }
}

/// The deepest nesting of valid JSON text.
fn depth(text: &str) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0usize, 0usize, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' if !quoted => now -= 1,
            _ => {}
        }
    }
    most
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Json, D::Error> {
        let value = serde_json::Value::deserialize(d)?;
        Json::of(&value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_valid_text_and_refuses_the_rest_with_its_place() {
        assert_eq!(Json::parse(r#"{"a":[1,"]"]}"#).unwrap().as_str(), r#"{"a":[1,"]"]}"#);
        assert!(Json::parse("{\"a\":}").unwrap_err().contains("line 1 column 6"));
        assert!(Json::parse("1 2").is_err());
        assert!(Json::parse("[".repeat(129) + &"]".repeat(129)).is_err());
        assert!(Json::parse("[".repeat(120) + &"]".repeat(120)).is_ok());
    }
}

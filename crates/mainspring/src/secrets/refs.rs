//! What a payload says instead of a secret: `{"$secret": "github_token"}`, anywhere where a text may
//! stand, with text around it if need be: `{"$secret": "github_token", "before": "Bearer "}`.
//!
//! Read twice: when a job comes in (is it well written? the handler's check sees a stand-in), and when
//! an attempt starts ([`super::Vault::resolve`]).

use super::{Result, SecretError, check_name};
use mainspring_core::Json;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The field that makes an object a reference.
pub const FIELD: &str = "$secret";
/// What stands in a secret's place where only the form is looked at: an address, since any text that
/// must be one is then good, too.
pub const STAND_IN: &str = "https://secret.invalid/";

/// Whether a payload may name a secret: a quick look that is right whenever it says no.
pub fn mentions(payload: &Json) -> bool {
    let text = payload.as_str();
    // Any of its characters may be escaped.
    text.contains("$secret\"") || text.contains("\\u00")
}

/// The payload as a handler's check can read it: every reference replaced by a text. The error is
/// about a reference that is not well written, as (field, text).
pub fn stand_in(payload: &Json) -> Result<Option<Json>, (String, String)> {
    if !mentions(payload) {
        return Ok(None);
    }
    let mut value = payload.value();
    let replaced = replace(&mut value, &mut |_| Ok(STAND_IN.to_owned()));
    replaced.map_err(|e| ("payload".to_owned(), e.to_string()))?;
    Ok(Some(Json::trusted(value.to_string())))
}

/// The names in a payload, each once.
pub(super) fn names(value: &Value) -> Result<Vec<String>> {
    let mut found = BTreeMap::new();
    let mut copy = value.clone();
    replace(&mut copy, &mut |name| {
        found.insert(name.to_owned(), ());
        Ok(String::new())
    })?;
    Ok(found.into_keys().collect())
}

/// Replaces every reference by what `value_of` gives for its name. Payloads are nested 128 deep at
/// most, so this may call itself.
pub(super) fn replace(value: &mut Value, value_of: &mut impl FnMut(&str) -> Result<String>) -> Result<()> {
    match value {
        Value::Object(map) => match map.contains_key(FIELD) {
            true => *value = Value::String(one(map, value_of)?),
            false => {
                for part in map.values_mut() {
                    replace(part, value_of)?;
                }
            }
        },
        Value::Array(list) => {
            for part in list {
                replace(part, value_of)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn one(map: &Map<String, Value>, value_of: &mut impl FnMut(&str) -> Result<String>) -> Result<String> {
    let wrong = |text: String| SecretError::Invalid { field: "payload", text };
    let form = "write {\"$secret\": \"NAME\"}, with \"before\" and \"after\" for text around it";
    let text = |field: &str| match map.get(field) {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(wrong(format!("the field {field:?} of a secret is not a text; {form}"))),
    };
    if let Some(other) = map.keys().find(|key| ![FIELD, "before", "after"].contains(&key.as_str())) {
        return Err(wrong(format!("a secret has no field {other:?}; {form}")));
    }
    let name = text(FIELD)?;
    check_name(name)?;
    Ok(format!("{}{}{}", text("before")?, value_of(name)?, text("after")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolved(value: Value) -> Result<Value> {
        let mut value = value;
        replace(&mut value, &mut |name| Ok(format!("<{name}>")))?;
        Ok(value)
    }

    #[test]
    fn references_are_replaced_wherever_they_stand() {
        let payload = json!({
            "headers": {"authorization": {"$secret": "token", "before": "Bearer "}},
            "list": [1, {"$secret": "b", "after": "!"}, "$secret"],
        });
        assert_eq!(names(&payload).unwrap(), ["b", "token"]);
        assert_eq!(
            resolved(payload).unwrap(),
            json!({"headers": {"authorization": "Bearer <token>"}, "list": [1, "<b>!", "$secret"]})
        );
    }

    #[test]
    fn a_reference_that_is_not_well_written_is_refused_by_name() {
        for (wrong, why) in [
            (json!({"$secret": 7}), "not a text"),
            (json!({"$secret": "a", "default": "x"}), "no field \"default\""),
            (json!({"$secret": "a", "before": 1}), "\"before\""),
            (json!({"$secret": "channel/7"}), "is not the name"),
            (json!([{"$secret": ""}]), "is not the name"),
        ] {
            let error = resolved(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
            let (field, _) = stand_in(&Json::of(&wrong).unwrap()).unwrap_err();
            assert_eq!(field, "payload");
        }
    }

    #[test]
    fn only_payloads_that_may_hold_one_are_looked_through() {
        let may = |text: &str| mentions(&Json::parse(text).unwrap());
        assert!(!may(r#"{"a":"secret","b":"costs $5"}"#));
        assert!(may(r#"{"$secret":"a"}"#) && may(r#"{"\u0024secret":"a"}"#));
        assert!(stand_in(&Json::parse(r#"{"a":1}"#).unwrap()).unwrap().is_none());
        let stood = stand_in(&Json::parse(r#"{"url":{"\u0024secret":"a"}}"#).unwrap()).unwrap().unwrap();
        assert_eq!(stood.as_str(), r#"{"url":"https://secret.invalid/"}"#);
    }
}

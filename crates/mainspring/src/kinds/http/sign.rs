//! Signatures by Standard Webhooks 1 (symmetric): the receiver can tell that a request is ours, is
//! fresh, and whether it is a repetition.
//!
//! `webhook-id` is the job's delivery id, the same for every attempt; `webhook-timestamp` is the
//! second of this attempt; `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over
//! `id.timestamp.body`, one for each secret while one takes over from another, with a blank between.
//!
//! A secret is `whsec_` and the base64 of 24 to 64 bytes. A payload only names it: one of the project
//! as `{"$secret": "billing"}`, put in when the attempt starts, or one of the node as `"billing"`, from
//! the configuration or from the environment (`MAINSPRING_SECRET_BILLING`). One value may hold two
//! secrets with a blank between, so that rotating needs no change of jobs.

use crate::secrets::{Secret, refs};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::collections::BTreeMap;

/// The headers of a signature.
pub const NAMES: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
/// How the environment's secrets begin.
pub const PREFIX: &str = "MAINSPRING_SECRET_";

/// Secrets by name.
#[derive(Clone, Default)]
pub struct Secrets {
    given: BTreeMap<String, Secret>,
    environment: bool,
}

impl Secrets {
    /// None at all.
    pub fn none() -> Secrets {
        Secrets::default()
    }

    /// Those of the environment, looked up when they are needed.
    pub fn from_env() -> Secrets {
        Secrets { environment: true, ..Secrets::default() }
    }

    /// These and one more, which goes before one of the environment.
    pub fn with(mut self, name: &str, secret: Secret) -> Secrets {
        self.given.insert(variable(name), secret);
        self
    }

    /// All values there are, each also without its `whsec_`: what must not be seen anywhere.
    pub fn known(&self) -> Vec<Secret> {
        let mut found: Vec<String> = self.given.values().map(|s| s.expose().to_owned()).collect();
        if self.environment {
            let set = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX));
            found.extend(set.map(|(_, value)| value.to_string_lossy().into_owned()));
        }
        let words = found.iter().flat_map(|value| value.split_whitespace());
        words.flat_map(|w| [w, w.strip_prefix("whsec_").unwrap_or(w)]).map(Secret::new).collect()
    }

    fn get(&self, name: &str) -> Option<Secret> {
        let variable = variable(name);
        let own = self.given.get(&variable).cloned();
        own.or_else(|| self.environment.then(|| std::env::var(&variable).ok().map(Secret::new)).flatten())
    }

    /// The signing keys of the secret `name`. The error names the variable, never the value.
    pub fn keys(&self, name: &str) -> Result<Vec<Key>, String> {
        check_name(name)?;
        let secret = self.get(name).ok_or_else(|| {
            format!(
                "there is no secret {name:?}; set {} to whsec_ and the base64 of 24 to 64 bytes",
                variable(name)
            )
        })?;
        parsed(&format!("the secret {name:?} ({})", variable(name)), &secret)
    }
}

/// The keys of a value, or what is wrong with it, told of `whose` and never with the value.
fn parsed(whose: &str, secret: &Secret) -> Result<Vec<Key>, String> {
    let keys: Result<Vec<Key>, &str> = secret.expose().split_whitespace().map(Key::parse).collect();
    let keys = keys.map_err(|why| format!("{whose} {why}"))?;
    match keys.len() {
        1 | 2 => Ok(keys),
        n => Err(format!("{whose} holds {n} values; it takes one, or two while rotating")),
    }
}

/// Whose secret signs.
#[derive(Clone)]
pub enum Signer {
    /// The node's, by its name.
    Node(String),
    /// The project's: its name, and the value that was put in its place.
    Project(String, Secret),
}

impl Signer {
    /// Tells names from values: `texts` is what stands at `sign.secret` now, `written` what stood there
    /// when the job was enqueued.
    pub(super) fn told(texts: Vec<String>, written: &Value) -> Result<Vec<Signer>, String> {
        let signer = |(n, text): (usize, String)| {
            let own = if let Value::Array(list) = written { list.get(n) } else { Some(written) };
            match own.and_then(|own| own.get(refs::FIELD)).and_then(Value::as_str) {
                Some(name) => Ok(Signer::Project(name.to_owned(), Secret::new(text))),
                // Only the form is looked at.
                None if text.contains(refs::STAND_IN) => {
                    Ok(Signer::Project(String::new(), Secret::new(text)))
                }
                None => check_name(&text).map(|()| Signer::Node(text)),
            }
        };
        texts.into_iter().enumerate().map(signer).collect()
    }

    /// Its keys; the error names the secret, never the value.
    pub(super) fn keys(&self, node: &Secrets) -> Result<Vec<Key>, String> {
        match self {
            Signer::Node(name) => node.keys(name),
            Signer::Project(name, value) => parsed(&format!("the project's secret {name:?}"), value),
        }
    }
}

/// The environment's name of a secret.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// The name of a secret: letters, digits, `-` and `_`.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.starts_with("whsec_") {
        return Err(
            "write the name of a secret, not the secret itself: payloads can be read by others".into()
        );
    }
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 100 || !name.bytes().all(ok) {
        return Err(format!("{name:?} is not the name of a secret: 1 to 100 letters, digits, - and _"));
    }
    Ok(())
}

/// A signing key.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    fn parse(text: &str) -> Result<Key, &'static str> {
        let encoded = text.strip_prefix("whsec_").ok_or("does not begin with whsec_")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "is not base64 after whsec_")?;
        if (24..=64).contains(&bytes.len()) { Ok(Key(bytes)) } else { Err("is not 24 to 64 bytes long") }
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The three headers of a request.
pub fn headers(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> [(&'static str, String); 3] {
    let signatures: Vec<String> = keys.iter().map(|key| key.sign(id, timestamp, body)).collect();
    [(NAMES[0], id.to_owned()), (NAMES[1], timestamp.to_string()), (NAMES[2], signatures.join(" "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    #[test]
    fn the_published_examples_come_out() {
        let secrets = Secrets::none().with("a", Secret::new(SECRET)).with("b", Secret::new(OTHER));
        let body = br#"{"test": 2432232314}"#;
        let made = headers(&secrets.keys("a").unwrap(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(made[0], ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
        assert_eq!(made[1], ("webhook-timestamp", "1614265330".to_owned()));
        assert_eq!(
            made[2],
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned())
        );
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let made =
            headers(&secrets.keys("b").unwrap(), "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(made[2].1, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn two_secrets_give_two_signatures() {
        let secrets = Secrets::none().with("a", Secret::new(format!("{SECRET} {OTHER}")));
        let [.., (_, both)] = headers(&secrets.keys("a").unwrap(), "msg_1", 5, b"x");
        let alone = |s: &str| headers(&[Key::parse(s).unwrap()], "msg_1", 5, b"x")[2].1.clone();
        assert_eq!(both, format!("{} {}", alone(SECRET), alone(OTHER)));
    }

    #[test]
    fn an_unusable_secret_is_named_but_not_shown() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        let three = [SECRET; 3].join(" ");
        for (value, why) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"),
            ("whsec_!!!", "base64"),
            (short.as_str(), "24 to 64"),
            (long.as_str(), "24 to 64"),
            (three.as_str(), "3 values"),
            ("", "0 values"),
        ] {
            let secrets = Secrets::none().with("bill-ing", Secret::new(value));
            let error = secrets.keys("bill-ing").err().unwrap();
            assert!(error.contains("MAINSPRING_SECRET_BILL_ING") && error.contains(why), "{value}: {error}");
            assert!(value.is_empty() || !error.contains(value), "{error}");
        }
        let error = Secrets::from_env().keys("no-such").err().unwrap();
        assert!(error.contains("set MAINSPRING_SECRET_NO_SUCH"), "{error}");
        assert!(Secrets::none().keys(SECRET).err().unwrap().contains("not the secret itself"));
    }
}

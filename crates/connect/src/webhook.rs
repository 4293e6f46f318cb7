//! Any address, signed by Standard Webhooks 1.
//!
//! `webhook-id` stays the same over all tries of a message, `webhook-timestamp` is the second of this
//! try, `webhook-signature` is one signature for each secret: two while one takes over from the other.
//! Redirects are failures, 410 means "no more", `retry-after` is kept.

use crate::error::{Error, Result};
use crate::{Receipt, Secret, judge, post, target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use mainspring_outbound::Client;
use sha2::Sha256;

/// What is sent.
pub struct Event<'a> {
    /// Where to.
    pub url: &'a str,
    /// One or two secrets with a blank between, each `whsec_` and the base64 of 24 to 64 bytes.
    pub secret: &'a Secret,
    /// The message's own name, the same for every try.
    pub id: &'a str,
    /// This try's moment.
    pub now: Timestamp,
    /// The body: JSON.
    pub body: Vec<u8>,
}

/// The keys in a secret's text; the error does not hold it.
pub fn check_secret(secret: &Secret) -> Result<()> {
    keys(secret).map(drop)
}

fn keys(secret: &Secret) -> Result<Vec<Vec<u8>>> {
    let wrong = |why: &str| Error::fatal(format!("the signing secret {why}"));
    let mut keys = Vec::new();
    for word in secret.expose().split_whitespace() {
        let encoded = word.strip_prefix("whsec_").ok_or_else(|| wrong("does not begin with whsec_"))?;
        let key = STANDARD.decode(encoded).map_err(|_| wrong("is not base64 after whsec_"))?;
        if !(24..=64).contains(&key.len()) {
            return Err(wrong("is not 24 to 64 bytes long"));
        }
        keys.push(key);
    }
    match keys.len() {
        1 | 2 => Ok(keys),
        n => Err(wrong(&format!("holds {n} values; it takes one, or two while rotating"))),
    }
}

fn sign(key: &[u8], id: &str, second: i64, body: &[u8]) -> Result<String> {
    let mac = Hmac::<Sha256>::new_from_slice(key);
    let mut mac = mac.map_err(|_| Error::fatal("the signing secret cannot be used"))?;
    mac.update(format!("{id}.{second}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

fn headers(event: &Event<'_>) -> Result<HeaderMap> {
    let second = event.now.as_second();
    let signed: Result<Vec<String>> =
        keys(event.secret)?.iter().map(|key| sign(key, event.id, second, &event.body)).collect();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("webhook-id", event.id.to_owned()),
        ("webhook-timestamp", second.to_string()),
        ("webhook-signature", signed?.join(" ")),
    ] {
        let value = HeaderValue::from_str(&value);
        headers.insert(name, value.map_err(|_| Error::fatal("the message's id holds a control character"))?);
    }
    Ok(headers)
}

/// Sends it.
pub async fn send(client: &Client, event: Event<'_>) -> Result<Receipt> {
    let (target, headers, now) = (target(event.url)?, headers(&event)?, event.now);
    let host = target.host().to_owned();
    let response = post(client, target, headers, event.body).await?;
    judge(&host, &response, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    #[test]
    fn the_published_example_comes_out_and_two_secrets_sign_twice() {
        let both = Secret::new(format!("{SECRET} {OTHER}"));
        let event = Event {
            url: "https://example.com/",
            secret: &both,
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            now: Timestamp::from_second(1_614_265_330).unwrap(),
            body: br#"{"test": 2432232314}"#.to_vec(),
        };
        let headers = headers(&event).unwrap();
        let signatures: Vec<&str> = headers["webhook-signature"].to_str().unwrap().split(' ').collect();
        assert_eq!(signatures[0], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(signatures.len() == 2 && signatures[1].starts_with("v1,") && signatures[1] != signatures[0]);
        assert_eq!(headers["webhook-timestamp"], "1614265330");
    }

    #[test]
    fn an_unusable_secret_is_told_without_being_shown() {
        for bad in ["", "hunter2", "whsec_!!", "whsec_c2hvcnQ=", &[SECRET; 3].join(" ")] {
            let error = check_secret(&Secret::new(bad)).unwrap_err();
            assert!(bad.is_empty() || !error.to_string().contains(bad), "{error}");
        }
        assert!(check_secret(&Secret::new(SECRET)).is_ok());
    }
}

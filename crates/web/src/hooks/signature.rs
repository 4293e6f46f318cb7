//! Whether a delivery was signed with the hook's secret.
//!
//! `github`: `X-Hub-Signature-256: sha256=` and the hex of HMAC-SHA256 over the body; `X-GitHub-Delivery`
//! names the delivery. It has no time in it: what keeps a recorded delivery from counting again is that
//! its name is known.
//!
//! `standard` (Standard Webhooks 1): `webhook-id`, `webhook-timestamp`, and in `webhook-signature` one or
//! more `v1,` with the base64 of HMAC-SHA256 over `id.timestamp.body`. Older or newer than
//! [`TOLERANCE`] it is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How far a delivery's time may be from ours, in seconds.
pub const TOLERANCE: i64 = 300;
/// Signatures looked at in one header.
const SIGNATURES: usize = 10;

/// How deliveries are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// As GitHub does.
    Github,
    /// By Standard Webhooks.
    Standard,
}

/// What a delivery says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) event: String,
}

impl Signature {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Signature::Github => "github",
            Signature::Standard => "standard",
        }
    }

    /// The delivery, if it was signed with `secret`; else why it counts for nothing.
    pub(super) fn check(
        self,
        secret: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: i64,
    ) -> Result<Delivery, String> {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
            value.filter(|v| !v.is_empty()).ok_or_else(|| format!("the header {name} is missing"))
        };
        let wrong = || "the signature was not made with this hook's secret over this body".to_owned();
        let (id, event) = match self {
            Signature::Github => {
                let id = header("x-github-delivery")?;
                let signed = header("x-hub-signature-256")?;
                let hex = signed
                    .strip_prefix("sha256=")
                    .ok_or("X-Hub-Signature-256 does not begin with sha256=")?;
                let made = unhex(hex).ok_or_else(wrong)?;
                if !signed_by(secret.as_bytes(), &[body], &made) {
                    return Err(wrong());
                }
                (id, header("x-github-event").unwrap_or_default())
            }
            Signature::Standard => {
                let (id, at) = (header("webhook-id")?, header("webhook-timestamp")?);
                let seconds: i64 = at.parse().map_err(|_| "webhook-timestamp is not a number of seconds")?;
                let key =
                    STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).map_err(|_| wrong())?;
                let all = header("webhook-signature")?;
                let made = all.split(' ').filter_map(|s| s.strip_prefix("v1,")).take(SIGNATURES);
                let head = format!("{id}.{at}.");
                let ours = |made: &str| {
                    STANDARD.decode(made).is_ok_and(|made| signed_by(&key, &[head.as_bytes(), body], &made))
                };
                if !made.into_iter().any(ours) {
                    return Err(wrong());
                }
                if seconds.abs_diff(now) > TOLERANCE as u64 {
                    return Err(format!("its time is more than {TOLERANCE} seconds from ours"));
                }
                (id, "")
            }
        };
        if id.chars().count() > 200 {
            return Err("the delivery's name has more than 200 characters".into());
        }
        Ok(Delivery { id: id.to_owned(), event: mainspring_core::limits::cut(event, 100) })
    }
}

/// Compared in a time that does not tell where they differ.
fn signed_by(key: &[u8], parts: &[&[u8]], made: &[u8]) -> bool {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(made).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_testkit::fuzz::Fuzz;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// What a sender may say, `signature|id|time|body`, for both ways to sign: nothing panics, and what
    /// holds was signed with the secret.
    #[test]
    fn fuzz_signatures_of_deliveries() {
        let (plain, standard) = ("It's a Secret to Everybody", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key = STANDARD.decode(&standard[6..]).unwrap();
        let now = 1_614_265_330;
        let made = |key: &[u8], parts: &[&[u8]]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().to_vec()
        };
        let words =
            ["GOOD", "sha256=", "v1,", "v1a,", "|", " ", "=", "==", "1614265330", "msg_", "GOOD GOOD"];
        let mut held = 0;
        let tried = Fuzz::new(env!("CARGO_MANIFEST_DIR"), "signatures", &words).run(|bytes| {
            let mut parts = bytes.splitn(4, |b| *b == b'|');
            let mut part = || parts.next().unwrap_or_default();
            let (signed, id, at, body) = (part(), part(), part(), part());
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            let hex: String = made(plain.as_bytes(), &[body]).iter().map(|b| format!("{b:02x}")).collect();
            let head = format!("{}.{}.", text(id), text(at));
            let good = STANDARD.encode(made(&key, &[head.as_bytes(), body]));
            let mut became = vec![];
            for (way, secret, good) in
                [(Signature::Github, plain, hex), (Signature::Standard, standard, good)]
            {
                // Most of what is tried would never be signed well otherwise.
                let signed = text(signed).replace("GOOD", &good);
                let names = [
                    "x-hub-signature-256",
                    "x-github-delivery",
                    "webhook-signature",
                    "webhook-id",
                    "webhook-timestamp",
                ];
                let values = [&signed, &text(id), &signed, &text(id), &text(at)];
                let mut given = HeaderMap::new();
                for (name, value) in names.into_iter().zip(values) {
                    if let Ok(value) = http::HeaderValue::from_str(value) {
                        given.insert(name, value);
                    }
                }
                let found = way.check(secret, &given, body, now);
                if let Ok(delivery) = &found {
                    held += 1;
                    assert!(
                        signed.to_ascii_lowercase().contains(&good.to_ascii_lowercase()),
                        "{signed} holds"
                    );
                    assert!(!delivery.id.is_empty() && delivery.id.chars().count() <= 200);
                    assert!(way.check("whsec_bm90IHRoaXMgc2VjcmV0IGF0IGFsbA==", &given, body, now).is_err());
                    let longer = [body, b" "].concat();
                    assert!(way.check(secret, &given, &longer, now).is_err(), "another body holds");
                }
                became.push(found.map(|_| ()).map_err(|why| why.chars().take(30).collect::<String>()));
            }
            became
        });
        assert!(tried >= 4_000 && held >= 50, "{tried} {held}");
    }

    /// The example that GitHub publishes.
    #[test]
    fn githubs_own_example_holds_and_nothing_near_it() {
        let signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let secret = "It's a Secret to Everybody";
        let check = |signed: &str, secret: &str, body: &[u8]| {
            let given = headers(&[
                ("x-hub-signature-256", signed),
                ("x-github-delivery", "d1"),
                ("x-github-event", "push"),
            ]);
            Signature::Github.check(secret, &given, body, 0)
        };
        let found = check(signed, secret, b"Hello, World!").unwrap();
        assert_eq!((found.id.as_str(), found.event.as_str()), ("d1", "push"));
        assert!(check(signed, secret, b"Hello, World").is_err());
        assert!(check(signed, "another", b"Hello, World!").is_err());
        for wrong in ["sha256=", "sha1=757107ea", "757107ea", &signed[..70], &signed.replace('7', "8")] {
            assert!(check(wrong, secret, b"Hello, World!").is_err(), "{wrong}");
        }
        let bare = headers(&[("x-hub-signature-256", signed)]);
        assert!(
            Signature::Github
                .check(secret, &bare, b"Hello, World!", 0)
                .unwrap_err()
                .contains("x-github-delivery")
        );
    }

    /// The example of the specification.
    #[test]
    fn the_standards_example_holds_for_its_time() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let check = |signed: &str, at: &str, now: i64| {
            let given = headers(&[
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", at),
                ("webhook-signature", signed),
            ]);
            Signature::Standard.check(secret, &given, body, now)
        };
        let at = "1614265330";
        assert_eq!(check(good, at, 1_614_265_330).unwrap().id, "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert!(
            check(&format!("v1,AAAA v2,x {good}"), at, 1_614_265_330).is_ok(),
            "one of several is enough"
        );
        assert!(check(good, at, 1_614_265_330 + TOLERANCE).is_ok());
        assert!(check(good, at, 1_614_265_331 + TOLERANCE).unwrap_err().contains("300 seconds"));
        assert!(check(good, at, 1_614_265_329 - TOLERANCE).is_err());
        assert!(check(good, "1614265331", 1_614_265_330).is_err(), "the time is signed, too");
        assert!(check("v1,AAAA", at, 1_614_265_330).is_err());
        assert!(check(good, "soon", 1_614_265_330).is_err());
    }
}

//! What people and programs may type, changed in every way: nothing of it may panic or run away.
//! Bodies of the API are in the tests of `web`, the configuration file in those of `cli`.

use jiff::Timestamp;
use mainspring::Handler;
use mainspring::kinds::http::Http;
use mainspring::kinds::http::sign::{self, Secrets};
use mainspring::redact::{MARK, Redactor};
use mainspring::secrets::Secret;
use mainspring_core::Json;
use mainspring_core::cron::{ClockChange, CronExpr, MinuteLoad, lint};
use mainspring_core::rate::Rate;
use mainspring_core::trigger::Trigger;
use mainspring_core::zone::Zone;
use mainspring_core::{duration, time};
use mainspring_outbound::{Allow, Guard, Target};
use mainspring_testkit::fuzz::Fuzz;
use std::net::IpAddr;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn fuzz_cron_expressions_and_their_next_fires() {
    let zones = ["UTC", "America/New_York", "Africa/Casablanca", "Pacific/Apia"];
    let zones = zones.map(|name| Zone::get(name).unwrap());
    let from: Timestamp = "2027-03-13T22:59:30Z".parse().unwrap();
    let words = [
        "@every ", "@yearly", "L", "LW", "W", "#5", "?", "H(1-5)", "*/", "-", "jan", "sun", "daily ", " at ",
    ];
    let tried = Fuzz::new(HERE, "cron", &words).rounds(1_500).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let zone = &zones[bytes.len() % zones.len()];
        if let Ok(expr) = CronExpr::parse(&text) {
            assert!(!expr.explain().is_empty());
            lint(&expr, zone, from, &MinuteLoad::default());
        }
        let Ok(trigger) = Trigger::parse(&text) else { return (text.len().min(40), 0, 0) };
        if trigger.check().is_err() {
            return (0, 1, 0);
        }
        assert!(!trigger.explain("a schedule").is_empty());
        let moments = trigger.resolve("a schedule", zone, ClockChange::default());
        let (mut at, mut n) = (from, 0);
        while let Some(fire) = moments.next_after(at) {
            assert!(fire.at > at, "{text}: {} does not come after {at}", fire.at);
            (at, n) = (fire.at, n + 1);
            if n == 5 {
                break;
            }
        }
        (0, 2, n)
    });
    assert!(tried >= 1_500, "{tried}");
}

#[test]
fn fuzz_zones_durations_and_rates() {
    let words = ["Europe/", "GMT", "..", "/etc/", "ms", "h", "/1s", "∞"];
    let tried = Fuzz::new(HERE, "zone", &words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let zone = Zone::get(&text).map(|zone| {
            for at in [i64::MIN / 2, -1, 0, 1_800_000_000, 253_402_207_200] {
                zone.segment(at);
            }
            zone.show("2027-03-28T01:30:00Z".parse().unwrap())
        });
        let length = duration::parse(&text);
        if let Ok(length) = length {
            // What is written is read back as the same.
            assert_eq!(duration::parse(&duration::format(length)), Ok(length), "{text}");
            time::plus("2027-01-01T00:00:00Z".parse().unwrap(), length);
        }
        let rate = Rate::parse(&text).is_ok_and(|rate| rate.check().is_ok());
        (zone.is_ok(), length.is_ok(), rate, text.len().min(20))
    });
    assert!(tried >= 4_000, "{tried}");
}

#[test]
fn fuzz_addresses_and_the_guard() {
    let guard = Guard::default();
    let words =
        ["http://", "https://", "@", "\\", "[::ffff:", "%00", "0x7f", "127.1", "。", "//", ":80", "#", "/8"];
    let tried = Fuzz::new(HERE, "url", &words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let allow = text.parse::<Allow>();
        if let Ok(allow) = &allow {
            assert_eq!(allow.to_string().parse::<Allow>().as_ref(), Ok(allow), "{text}");
        }
        let Ok(target) = Target::parse(&text) else { return (allow.is_ok(), 0) };
        let again = Target::parse(target.as_str()).expect("what is used can be read again");
        assert_eq!(again, target, "{text}");
        assert!(!target.authority().contains(['@', '/', '\\', ' ']), "{text}");
        match target.address() {
            None => (allow.is_ok(), 1),
            Some(address) => {
                let inside = |a: IpAddr| match a.to_canonical() {
                    IpAddr::V4(a) => {
                        a.is_loopback() || a.is_private() || a.is_link_local() || a.is_unspecified()
                    }
                    IpAddr::V6(a) => a.is_loopback() || a.is_unspecified() || a.is_unique_local(),
                };
                let open = guard.judge(target.host(), address, target.port()).is_ok();
                assert!(!(open && inside(address)), "{text} leads to {address}");
                (allow.is_ok(), 2 + u8::from(open))
            }
        }
    });
    assert!(tried >= 4_000, "{tried}");
}

#[test]
fn fuzz_secrets_and_payloads_of_signed_requests() {
    let client = mainspring_outbound::Client::new(mainspring_outbound::Settings::default()).unwrap();
    let http = Http::new(client, Secrets::none());
    let words = ["whsec_", "\"sign\":", "==", "\"url\":", "\"expect\":", "2xx", "\u{0}", "{\"", "\"}"];
    let tried = Fuzz::new(HERE, "signature", &words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let secrets = Secrets::none().with("billing", Secret::new(text.clone()));
        let keys = secrets.keys("billing");
        match &keys {
            Ok(keys) => {
                let made = sign::headers(keys, "msg_1", 1_800_000_000, bytes);
                assert_eq!(made.len(), 3);
                assert!(made[2].1.split(' ').all(|one| one.starts_with("v1,")), "{text}");
            }
            // Errors name the variable, never the value.
            Err(e) => assert!(text.trim().len() < 8 || !e.contains(text.trim()), "{e}"),
        }
        assert_eq!(sign::check_name(&text).is_ok(), text.len() <= 100 && named(&text), "{text}");
        let Some(payload) = Json::parse(text.as_ref()).ok() else { return (keys.is_ok(), 0) };
        (keys.is_ok(), 1 + u8::from(http.check(&payload).is_ok()))
    });
    assert!(tried >= 4_000, "{tried}");
}

fn named(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with("whsec_")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[test]
fn fuzz_the_redactor() {
    let known = ["hunter2hunter2", "hunter2hunter2more", "päss wörd", "12345678"];
    let mut redactor = Redactor::default();
    redactor.add(known.map(Secret::new));
    let words = [
        "hunter2",
        "hunter2hunter2",
        "p\\u00e4ss w\\u00f6rd",
        "1234",
        "5678",
        "\\",
        "\\u00",
        "\"",
        "[redacted]",
    ];
    let tried = Fuzz::new(HERE, "redactor", &words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let clean = redactor.text(&text).into_owned();
        // A mark that is put in may make a new one of its surroundings; the rule is for what was there.
        assert!(!clean.contains("hunter2hunter2"), "{clean}");
        let Ok(json) = Json::parse(text.as_ref()) else { return (clean.contains(MARK), 0) };
        let clean = redactor.json(json);
        let value = clean.value().to_string();
        for secret in known {
            assert!(!value.contains(secret) && !clean.as_str().contains(secret), "{clean:?}");
        }
        (value.contains(MARK), 1)
    });
    assert!(tried >= 4_000, "{tried}");
}

#[test]
fn a_crash_is_kept_and_told() {
    let folder = std::path::Path::new(HERE).join("tests/corpus/fuzz");
    let before = std::fs::read_dir(&folder).unwrap().count();
    let told = std::panic::catch_unwind(|| {
        Fuzz::new(HERE, "fuzz", &["needle"]).rounds(200_000).run(|bytes| {
            assert!(!bytes.windows(6).any(|w| w == b"needle"), "it was found");
            bytes.len().min(9)
        })
    });
    let told = *told.unwrap_err().downcast::<String>().unwrap();
    assert!(told.contains("it was found") && told.contains("needle"), "{told}");
    let mut kept = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("crash-") {
            assert!(String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("needle"));
            std::fs::remove_file(path).unwrap();
            kept += 1;
        }
    }
    assert_eq!((before, kept), (1, 1));
}

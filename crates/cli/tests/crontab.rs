//! A crontab that really runs: every nominal fire, recomputed from outside, ends in exactly one
//! place. The short form of `demos/crontab`, which does the same for minutes and on both stores.

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use support::Place;

/// As FreeBSD's cron and the like take seconds; what overlaps, fails or waits is among it.
const TAB: &str = "SHELL=/bin/sh\nPATH=/usr/bin:/bin\n\n@every 1s echo often\n@every 2s sleep 3\n\
                   @every 3s cat > /dev/null%input\n@every 4s exit 3\n@reboot true\n\
                   17 * * * * cd / && run-parts --report /etc/cron.hourly\n";

/// A server that answers everybody and remembers the delivery ids.
fn server() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let ids = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0u8; 4096];
            let n = stream.read(&mut buffer).unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..n]).to_ascii_lowercase();
            let id = text.lines().find_map(|l| l.strip_prefix("webhook-id: ")).unwrap_or("").to_owned();
            ids.lock().expect("not poisoned").push(id);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    (port, seen)
}

fn micros(text: &Value) -> i64 {
    let text = text.as_str().expect("an instant");
    text.parse::<jiff::Timestamp>().expect("an instant").as_microsecond()
}

/// The fires of a schedule's rule between its making and its next fire; None for `@reboot`.
fn nominal(place: &Place, schedule: &Value) -> Option<BTreeSet<i64>> {
    let trigger = &schedule["spec"]["trigger"];
    let (begin, end) = (micros(&schedule["created_at"]), &schedule["next_fire"]);
    match trigger["type"].as_str().expect("a type") {
        "reboot" => None,
        "cron" => {
            let (expr, from) = (trigger["expr"].as_str().unwrap(), schedule["created_at"].as_str().unwrap());
            let answer = place.json(&["cron", "next", expr, "--from", from, "-n", "1000"]);
            let fires = answer["fires"].as_array().unwrap().iter().map(|fire| micros(&fire["at"]));
            Some(fires.filter(|at| *at < micros(end)).collect())
        }
        "every" => {
            let text = trigger["interval"].as_str().unwrap();
            let step = text.trim_end_matches('s').parse::<i64>().expect("seconds") * 1_000_000;
            let first = (begin / step + 1) * step;
            Some((first..micros(end)).step_by(step as usize).collect())
        }
        other => panic!("what is a trigger {other}?"),
    }
}

/// Every nominal fire to what became of it; panics when one is lost, doubled or of no rule.
fn account(place: &Place, schedule: &Value, jobs: &[Value]) -> BTreeMap<i64, String> {
    let name = schedule["name"].as_str().unwrap();
    let mut found: BTreeMap<i64, String> = BTreeMap::new();
    let mut add = |at: i64, what: String| {
        let before = found.insert(at, what.clone());
        assert_eq!(before, None, "{name}: {what} is a second outcome of the fire {at}");
    };
    for job in jobs.iter().filter(|j| j["schedule"] == schedule["id"] && j["origin"] == "fire") {
        add(micros(&job["scheduled_for"]), format!("job {}", job["id"]));
    }
    let Some(rule) = nominal(place, schedule) else {
        assert_eq!(found.len(), 1, "{name}: once for the one start");
        return found;
    };
    for row in place.json(&["schedule", "show", name])["without_job"].as_array().unwrap() {
        let inside: Vec<i64> = rule.range(micros(&row["first"])..=micros(&row["last"])).copied().collect();
        assert_eq!(inside.len() as u64, row["count"].as_u64().unwrap(), "{name}: {row}");
        assert_ne!(row["reason"], "", "{name}: {row}");
        inside.into_iter().for_each(|at| add(at, row["outcome"].to_string()));
    }
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), rule, "{name}: lost, or of no rule");
    found
}

#[test]
fn every_fire_of_an_imported_crontab_is_accounted_for() {
    let mut place = Place::new();
    let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5";
    place.env.push(("MAINSPRING_SECRET_TEST".into(), secret.into()));
    place.write("tab", TAB);
    let (port, ids) = server();
    let http = format!("{{ url = \"http://127.0.0.1:{port}/\", sign = {{ secret = \"test\" }} }}");
    place.write(
        "mainspring.toml",
        &format!(
            "[commands]\nenabled = true\nshell = true\n[outbound]\nallow = [\"127.0.0.1/32\"]\n\
             [[schedule]]\nname = \"http\"\ncron = \"*/2 * * * * *\"\nhttp = {http}\n\
             [[schedule]]\nname = \"longer than its interval\"\ncron = \"* * * * * *\"\n\
             command = {{ argv = [\"sleep\", \"2\"] }}\n"
        ),
    );
    place.ok(&["import", "crontab", "tab", "--user-format", "user", "--zone", "UTC", "--plan"]);
    assert!(!place.path().join("mainspring.db").exists(), "a plan writes nothing");
    place.ok(&["import", "crontab", "tab", "--user-format", "user", "--zone", "UTC"]);
    place.ok(&["up", "--for", "10s", "--quiet"]);

    let (schedules, jobs) = (place.json(&["schedule", "list"]), place.json(&["job", "list", "-n", "10000"]));
    let jobs = jobs.as_array().unwrap();
    let mut made = BTreeMap::new();
    for schedule in schedules.as_array().unwrap() {
        made.insert(schedule["name"].as_str().unwrap().to_owned(), account(&place, schedule, jobs));
    }
    assert_eq!(made.len(), 8, "{:?}", made.keys());
    assert!(made["tab/echo-often"].len() >= 8 && made["http"].len() >= 4, "{made:#?}");
    let skipped = made["longer than its interval"].values().filter(|what| *what == "\"skipped\"").count();
    assert!(skipped >= 3, "{made:#?}");
    for job in jobs {
        let (state, why) = (job["state"].as_str().unwrap(), job["error"]["message"].as_str());
        let exits = job["payload"]["shell"] == "exit 3";
        assert_eq!((state, why.is_some()), (if exits { "failed" } else { "completed" }, exits), "{job:#}");
    }
    let called = jobs.iter().filter(|j| j["kind"] == "http").map(|j| format!("msg_{}", j["id"]));
    let ids = ids.lock().expect("not poisoned").clone();
    assert_eq!(ids.iter().cloned().collect::<BTreeSet<_>>(), called.collect());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "nobody was killed, yet {ids:?}");
    assert!(place.call(&["doctor", "--deep"]).out.contains("0 differences found"));
}

//! A secret that a server or a command says aloud is nowhere in what is kept.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use support::Place;

/// The key of the secret: what must not be found.
const KEY: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0/+s=";

/// Answers with the secret: done for `/done`, a failure for the rest. JSON as PHP writes it.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0u8; 4096];
            let n = stream.read(&mut buffer).unwrap_or(0);
            let asked = String::from_utf8_lossy(&buffer[..n]).into_owned();
            let escaped = KEY.replace('/', "\\/");
            let (status, body) = match asked.split_whitespace().nth(1) {
                Some("/done") => (
                    "200 OK",
                    format!(
                        "{{\"mainspring\":{{\"outcome\":\"done\",\"output\":{{\"k\":\"whsec_{escaped}\"}}}}}}"
                    ),
                ),
                Some("/fatal") => (
                    "200 OK",
                    format!("{{\"mainspring\":{{\"outcome\":\"fatal\",\"reason\":\"bad key {KEY}\"}}}}"),
                ),
                // Cut in the middle of the secret where it is kept with the error.
                Some("/long") => ("404 Not Found", format!("{}{KEY}{}", "b".repeat(960), "c".repeat(500))),
                _ => ("404 Not Found", format!("no such key: {KEY}")),
            };
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: {KEY}\r\n");
            let _ = write!(stream, "{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    });
    port
}

#[test]
fn a_secret_said_aloud_is_kept_nowhere() {
    let mut place = Place::new();
    place.env.push(("MAINSPRING_SECRET_BILLING".into(), format!("whsec_{KEY}")));
    place.write("leak", &format!("the key is whsec_{KEY}!\n"));
    place.write(
        "mainspring.toml",
        "[commands]\nenabled = true\nshell = true\n[outbound]\nallow = [\"127.0.0.1/32\"]\n",
    );
    let port = server();
    let leak = place.path().join("leak").display().to_string();
    let mut ids = Vec::new();
    let mut put = |kind: &str, payload: serde_json::Value| {
        let made = place.json(&["job", "enqueue", kind, &payload.to_string(), "--attempts", "1"]);
        ids.push(made["id"].to_string());
    };
    place.ok(&["up", "--no-tour", "--exit-when-idle"]);
    for path in ["done", "fatal", "missing"] {
        let url = format!("http://127.0.0.1:{port}/{path}");
        put("http", serde_json::json!({ "url": url, "json": {}, "sign": { "secret": "billing" } }));
    }
    put("command", serde_json::json!({ "argv": ["cat", leak] }));
    put("command", serde_json::json!({ "shell": format!("cat {leak} >&2; exit 3") }));
    let said = place.ok(&["up", "--exit-when-idle"]);
    assert!(said.contains("2 succeeded") && said.contains("3 failed"), "{said}");
    let mut shown = said;
    for id in &ids {
        for what in ["show", "logs"] {
            let text = place.ok(&["job", what, id]);
            shown.push_str(&text);
        }
        let job = place.json(&["job", "show", id]);
        let kept = format!("{}{}", job["job"]["output"], job["job"]["error"]);
        assert!(kept.contains("[redacted]"), "job {id}: {kept}");
    }
    shown.push_str(&place.ok(&["events", "-n", "1000"]));
    assert!(!shown.contains(KEY) && shown.contains("the key is [redacted]!"), "{shown}");
    // The store itself, and what lies beside it.
    let mut files = 0;
    for entry in std::fs::read_dir(place.path()).expect("the folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("mainspring.db") {
            let bytes = std::fs::read(entry.path()).expect("readable");
            for needle in [KEY.as_bytes(), KEY.replace('/', "\\/").as_bytes()] {
                assert!(!bytes.windows(needle.len()).any(|w| w == needle), "{name} holds the secret");
            }
            files += 1;
        }
    }
    assert!(files > 0, "there is a store");
}

/// The command line's secrets: in by the standard input, out in a job alone, and never shown.
#[test]
fn a_projects_secret_is_set_used_listed_and_turned_over_without_being_shown() {
    const VALUE: &str = "correct-horse/battery";
    let place = Place::new();
    place.write(
        "mainspring.toml",
        "[commands]\nenabled = true\nshell = true\n[[schedule]]\nname = \"never\"\ncron = \"0 0 30 2 *\"\ncommand = \"true\"\n",
    );
    let up = || place.ok(&["up", "--no-tour", "--exit-when-idle", "--listen", "off"]);
    let said = up();
    assert!(said.contains("mainspring.db.key: keep a copy"), "{said}");
    assert!(!up().contains("keep a copy"), "said once");
    let set = place.call_with(&["secret", "set", "token"], &format!("{VALUE}\n"));
    assert_eq!((set.code, set.out.trim()), (0, "secret token: version 1"), "{set:?}");
    let short = place.call_with(&["secret", "set", "token"], "short\n");
    assert!(short.code == 2 && short.err.contains("at least 8 bytes"), "{short:?}");
    let payload = serde_json::json!({"shell": "echo \"$TOKEN\"; test ${#TOKEN} = 21",
        "env": {"TOKEN": {"$secret": "token"}}});
    let job = place.json(&["job", "enqueue", "command", &payload.to_string(), "--attempts", "1"]);
    let wrong =
        place.json(&["job", "enqueue", "command", r#"{"shell":"true","env":{"A":{"$secret":"tokn"}}}"#]);
    up();
    let id = job["id"].to_string();
    let shown = place.json(&["job", "show", &id]);
    assert!(shown.to_string().contains("\"completed\"") && shown.to_string().contains("$secret"), "{shown}");
    let logs = place.ok(&["job", "logs", &id]);
    assert!(logs.contains("[redacted]") && !logs.contains(VALUE), "{logs}");
    let failed = place.ok(&["job", "show", &wrong["id"].to_string()]);
    assert!(failed.contains("MS0034") && failed.contains("mainspring secret set tokn"), "{failed}");
    let listed = place.json(&["secret", "list"]);
    assert_eq!((&listed[0]["name"], &listed[0]["version"]), (&"token".into(), &1.into()), "{listed}");
    assert!(!listed[0]["used_at"].is_null(), "{listed}");
    let turned = place.ok(&["secret", "rotate-key"]);
    assert!(turned.contains("1 secret sealed anew") && turned.contains("The older key stays"), "{turned}");
    place.ok(&["job", "retry", &id]);
    up();
    assert!(place.ok(&["job", "show", &id]).contains("completed"));
    for file in ["mainspring.db", "mainspring.db-wal"] {
        let bytes = std::fs::read(place.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(VALUE.len()).any(|w| w == VALUE.as_bytes()), "{file} holds it");
    }
    // Without its key nothing opens, and the error says what to do.
    std::fs::remove_file(place.path().join("mainspring.db.key")).unwrap();
    let lost = place.call_with(&["secret", "set", "other"], "another value");
    assert!(
        lost.code == 1 && lost.err.contains("MS0033") && lost.err.contains("secrets.key_file"),
        "{lost:?}"
    );
    assert!(place.refused(1, &["secret", "delete", "tokn"]).contains("token, if that was meant"));
    assert_eq!(place.ok(&["secret", "delete", "token"]).trim(), "secret token: deleted");
}

#[test]
fn a_part_of_a_secret_that_a_limit_left_is_kept_nowhere() {
    let mut place = Place::new();
    place.env.push(("MAINSPRING_SECRET_BILLING".into(), KEY.into()));
    // A line that is cut in the middle of the secret, and an output whose kept end begins there.
    let line = 4 << 10;
    for before in (0..200).step_by(9) {
        let room = line - 64 - before;
        place.write(&format!("line-{before}"), &format!("{}{KEY}{}\n", "x".repeat(room), "y".repeat(100)));
    }
    place.write("end", &format!("{}{KEY}{}", "x".repeat(5_000), "z".repeat((4 << 10) - 20)));
    place.write(
        "mainspring.toml",
        "[commands]\nenabled = true\nshell = true\n[outbound]\nallow = [\"127.0.0.1/32\"]\n",
    );
    place.ok(&["up", "--no-tour", "--exit-when-idle"]);
    let folder = place.path().display().to_string();
    let port = server();
    let put = |kind: &str, payload: serde_json::Value| {
        place.json(&["job", "enqueue", kind, &payload.to_string(), "--attempts", "1"])["id"].to_string()
    };
    let lines = put("command", serde_json::json!({ "shell": format!("cat {folder}/line-*") }));
    let end = put("command", serde_json::json!({ "argv": ["cat", format!("{folder}/end")] }));
    let body = put("http", serde_json::json!({ "url": format!("http://127.0.0.1:{port}/long") }));
    place.ok(&["up", "--exit-when-idle"]);
    let said = [&lines, &end, &body].map(|id| {
        format!("{}{}", place.ok(&["job", "show", id, "--json"]), place.ok(&["job", "logs", id, "--json"]))
    });
    for (said, what) in said.iter().zip(["a line", "an end", "a body"]) {
        assert!(said.contains("[redacted]"), "{what}: {said}");
        for part in [&KEY[..6], &KEY[KEY.len() - 8..]] {
            assert!(!said.contains(part), "{what}: {said}");
        }
    }
}

//! What the program says: help, the reference page, error texts. Snapshots, so that a change of
//! words is seen by whoever reviews it.

mod support;

use support::Place;

/// Every command with its help, found by reading the help itself.
fn all_help(place: &Place, path: &[&str], into: &mut String) {
    let mut args = path.to_vec();
    args.push("--help");
    let help = place.ok(&args);
    into.push_str(&format!("$ mainspring {}\n{help}\n", args.join(" ")));
    let Some((_, rest)) = help.split_once("\nCommands:\n") else { return };
    let names: Vec<String> = rest
        .lines()
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next().map(str::to_owned))
        .collect();
    for name in &names {
        let mut path = path.to_vec();
        path.push(name);
        all_help(place, &path, into);
    }
}

#[test]
fn help_is_worth_reading() {
    let place = Place::new();
    let mut text = String::new();
    all_help(&place, &[], &mut text);
    // The settings of every command are the same: shown once.
    let begin = text.find("\nSettings:\n").expect("the settings are in the help");
    let end = begin + text[begin..].find("\nBegin with:").expect("examples follow");
    let settings = text[begin..end].to_owned();
    let short = text.replace(&settings, "\nSettings: …\n");
    insta::assert_snapshot!("help", format!("{short}\n{settings}"));
}

#[test]
fn shells_complete_every_command_and_setting() {
    let place = Place::new();
    place.write("mainspring.toml", "this is broken");
    for (shell, mark) in
        [("bash", "complete -F"), ("zsh", "#compdef mainspring"), ("fish", "complete -c mainspring")]
    {
        let text = place.ok(&["completions", shell]);
        for word in [mark, "backfill", "exit-when-idle", "crontab", "store"] {
            assert!(text.contains(word), "{shell}: {word} is missing");
        }
    }
    let refused = place.refused(2, &["completions", "tcsh"]);
    assert!(refused.contains("bash"), "{refused}");
}

#[test]
fn the_description_of_the_api_is_the_servers_own() {
    let place = Place::new();
    place.write("mainspring.toml", "this is broken");
    let said: serde_json::Value = serde_json::from_str(&place.ok(&["openapi"])).expect("it is JSON");
    assert_eq!(&said, mainspring_web::openapi::document());
    assert!(said["paths"]["/api/v1/projects/{project}/jobs"]["post"].is_object(), "the routes are in it");
}

#[test]
fn the_reference_page_is_made_from_the_table_of_settings() {
    let page = Place::new().ok(&["config", "reference"]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("MAINSPRING_TEST_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("writes the page");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is not what `mainspring config reference` says; \
         write it with MAINSPRING_TEST_WRITE_DOCS=1"
    );
}

#[test]
fn what_is_typed_wrongly_is_told_with_what_to_type() {
    let place = Place::new();
    let said: Vec<String> = [
        &["job", "lst"][..],
        &["job", "enqueue"],
        &["--stor", "x", "job", "list"],
        &["job", "list", "--state", "done"],
        &["job", "list", "-n", "0"],
        &["cron", "next", "61 * * * *"],
        &["cron", "next", "5/15 * * * *"],
        &["cron", "next", "* * * *"],
        &["cron", "explain", "0 0 * fbe *"],
        &["cron", "next", "H 2 * * *"],
        &["cron", "next", "* * * * *", "--tz", "Europe/Berln"],
        &["cron", "next", "* * * * *", "--tz", "America/New_York", "--from", "2027-03-14 02:30"],
        &["cron", "next", "* * * * *", "--from", "2027-02-30"],
        &["config", "show", "--store", "postgers://u:hunter2@db/app"],
        &["config", "show", "--config", "nothing.toml"],
        &["up", "--slots", "0"],
    ]
    .iter()
    .map(|args| {
        let said = place.refused(2, args);
        assert!(!said.contains("hunter2"), "{said}");
        format!("$ mainspring {}\n{said}", args.join(" "))
    })
    .collect();
    let said = said.join("\n");
    insta::assert_snapshot!("wrongly_typed", said);
}

#[test]
fn the_settings_are_shown_with_their_origin_and_without_secrets() {
    let mut place = Place::new();
    place.write("mainspring.toml", "slots = 3\n[commands]\nenabled = true\n");
    place.env = vec![
        ("MAINSPRING_STORE".into(), "postgres://app:hunter2@db/app?sslpassword=hunter2".into()),
        ("MAINSPRING_SECRET_BILLING".into(), "hunter2".into()),
    ];
    let shown = place.ok(&["config", "show"]);
    assert!(!shown.contains("hunter2"), "{shown}");
    insta::assert_snapshot!("config_show", shown);
    let json = place.json(&["config", "show"]);
    assert!(!json.to_string().contains("hunter2"));
    assert_eq!(json[0]["from"], "MAINSPRING_STORE");
}

#[test]
fn a_reader_who_has_enough_is_no_error() {
    let place = Place::new();
    let mut child =
        place.command(&["cron", "next", "* * * * *", "-n", "10000"]).spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn cron_is_answered_for_people_and_for_programs() {
    let place = Place::new();
    let next = [
        "cron",
        "next",
        "30 2 * * *",
        "--tz",
        "America/New_York",
        "--from",
        "2027-03-13T12:00:00Z",
        "-n",
        "2",
    ];
    let json = place.json(&next);
    assert_eq!(json["fires"][0]["at"], "2027-03-14T07:00:00Z");
    let note = json["fires"][0]["note"].as_str().unwrap();
    assert_eq!(note, "2027-03-14 02:30 does not exist in America/New_York: runs 03:00");
    let table = place.ok(&next);
    assert!(table.contains("Sun 2027-03-14 03:00:00 EDT") && table.contains(note), "{table}");
    assert!(place.ok(&["cron", "next", "0 0 30 2 *"]).contains("never fires"));
    let words = place.ok(&["cron", "explain", "0 2 * * mon-fri"]);
    assert!(words.contains("02:00") && words.contains("Monday"), "{words}");
    let lint = place.call(&["cron", "lint", "0 0 31 * *"]);
    assert_eq!(lint.code, 1);
    assert!(lint.out.contains("short-months"), "{}", lint.out);
}

#[test]
fn every_vector_is_answered_through_the_command_line() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/data/cron_vectors.jsonl");
    let vectors = std::fs::read_to_string(path).expect("the vectors are there");
    let said = Place::new().call_with(&["cron", "next", "--jsonl"], &vectors);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let mut n = 0;
    for (question, answer) in vectors.lines().zip(said.out.lines()) {
        let question: serde_json::Value = serde_json::from_str(question).unwrap();
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer["id"], question["id"]);
        match &question["expected"] {
            serde_json::Value::Null => assert!(answer["error"].is_string(), "{question} {answer}"),
            expected => assert_eq!(&answer["times"], expected, "{question}"),
        }
        n += 1;
    }
    assert!(n >= 250 && n == vectors.lines().count(), "only {n} answers");
}

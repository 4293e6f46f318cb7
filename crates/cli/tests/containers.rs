//! What `Dockerfile` and `compose.yaml` run, run here: the same commands with the same variables, over a
//! real PostgreSQL server. Only what cannot be the same is replaced: the server's address, the port, and
//! the values a person sets.

mod support;

use mainspring_testkit::pg;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use support::Place;

const COMPOSE: &str = include_str!("../../../compose.yaml");
const DOCKERFILE: &str = include_str!("../../../Dockerfile");
const KEY: &str = "bWFpbnNwcmluZ21haW5zcHJpbmdtYWluc3ByaW5nMTI=";

/// `["up", "--no-tour"]` in a line that begins with `before`.
fn words(text: &str, before: &str) -> Vec<String> {
    let line = text.lines().map(str::trim).find_map(|l| l.strip_prefix(before)).expect("the line is there");
    serde_json::from_str(line.trim()).expect("a list of texts")
}

/// The variables of the service `mainspring`.
fn variables() -> BTreeMap<String, String> {
    let service =
        COMPOSE.split("\n  mainspring:\n").nth(1).and_then(|s| s.split("\n\n").next()).expect("a service");
    let inside = service.split("    environment:\n").nth(1).expect("variables");
    let pairs = inside.lines().take_while(|l| l.starts_with("      ")).map(str::trim);
    let pairs = pairs.filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(": "));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn ready(port: u16, host: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET /sign-in HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.lines().next().unwrap_or_default().to_owned())
}

/// Starts it and asks for its first page by these names.
fn serves(place: &Place, args: &[String], hosts: &[&str]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut up = place.start(&args);
    let port = place.until("the port", || {
        let log = place.log();
        let rest = log.split("http://0.0.0.0:").nth(1)?;
        rest.split('/').next()?.parse::<u16>().ok()
    });
    for host in hosts {
        let said = place.until("an answer", || ready(port, host));
        assert_eq!(said, "HTTP/1.1 200 OK", "{host}");
    }
    up.signal(rustix::process::Signal::TERM);
    assert_eq!(up.end(std::time::Duration::from_secs(60)), Some(0), "{}", place.log());
}

#[test]
fn the_services_command_serves_and_works_on_a_real_database() {
    let database = pg::fresh_database();
    let mut place = Place::new();
    let mut given = variables();
    let store = given.insert("MAINSPRING_STORE".into(), database.url()).expect("the store is set");
    assert!(store.starts_with("postgres://mainspring:${POSTGRES_PASSWORD:?"), "{store}");
    let key = given.insert("MAINSPRING_SECRETS_KEY".into(), KEY.into()).expect("the key is set");
    assert!(key.starts_with("${MAINSPRING_SECRETS_KEY:?"), "{key}");
    let listen = given.insert("MAINSPRING_LISTEN".into(), "0.0.0.0:0".into()).expect("the address is set");
    assert!(
        COMPOSE.contains(&format!(":{}\"]", listen.rsplit(':').next().unwrap())),
        "{listen} is published"
    );
    place.env = given.into_iter().collect();
    serves(&place, &words(COMPOSE, "command: "), &["localhost:8420", "mainspring:8420"]);
    // A secret can be sealed with what the file sets.
    assert_eq!(place.call_with(&["secret", "set", "token"], "hunter2hunter2").code, 0);
}

#[test]
fn the_images_command_serves_with_nothing_set() {
    let mut place = Place::new();
    let listen =
        DOCKERFILE.lines().find_map(|l| l.strip_prefix("ENV MAINSPRING_LISTEN=")).expect("it listens");
    let exposed = DOCKERFILE.lines().find_map(|l| l.strip_prefix("EXPOSE ")).expect("a port");
    assert_eq!(listen, format!("0.0.0.0:{exposed}"));
    assert_eq!(words(DOCKERFILE, "ENTRYPOINT "), ["mainspring"]);
    place.env = vec![("MAINSPRING_LISTEN".into(), "0.0.0.0:0".into())];
    serves(&place, &words(DOCKERFILE, "CMD "), &["localhost"]);
    assert!(place.path().join("mainspring.db").exists(), "in the folder that is the volume");
}

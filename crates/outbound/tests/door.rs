//! The door's manners, against real servers on loopback; time is the test's own, so nothing waits.

mod serve;

use jiff::Timestamp;
use mainspring_core::clock::{Clock, ManualClock};
use mainspring_core::rate::Rate;
use mainspring_outbound::{
    Call, Client, Door, Error, Guard, Manners, Meter, Pace, Settings, Time, Transport, Usage, Waiting,
};
use serve::{Server, client, get};
use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// Waiting moves it; a wait that races with something else gets its turn last.
struct Virtual(ManualClock);

impl Time for Virtual {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep(&self, wait: Duration) -> Waiting<'_> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.0.advance(wait);
        })
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<Usage>>);

impl Meter for Told {
    fn told(&self, usage: Usage) {
        self.0.lock().unwrap().push(usage);
    }
}

struct Set {
    time: Arc<Virtual>,
    told: Arc<Told>,
    door: Door,
}

fn set(transport: Transport, pace: Pace) -> Set {
    let time = Arc::new(Virtual(ManualClock::new("2026-07-01T12:00:00Z".parse().unwrap())));
    let told = Arc::new(Told::default());
    let mut manners = Manners::new(time.clone());
    (manners.transport, manners.usual) = (transport, pace);
    manners.meter = Some(told.clone());
    manners.contact = Some("https://example.com/bot".into());
    Set { door: Door::new(client(), manners).unwrap(), time, told }
}

fn fast() -> Pace {
    Pace { rate: Rate { count: 100_000, per: Duration::from_secs(1) }, ..Pace::default() }
}

/// Gives these in turn, the last for ever, and keeps what it was asked.
async fn script(answers: &[&str]) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, answers) = (asked.clone(), answers.iter().map(|a| (*a).to_owned()).collect::<VecDeque<_>>());
    let answers = Arc::new(Mutex::new(answers));
    let server = Server::start(move |mut stream, request| {
        log.lock().unwrap().push(request);
        let mut left = answers.lock().unwrap();
        let answer = if left.len() > 1 { left.pop_front() } else { left.front().cloned() }.unwrap();
        async move {
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (server.await, asked)
}

fn say(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn call(server: &Server, path: &str) -> Call {
    Call::new("test", get(&server.url(path)))
}

#[tokio::test]
async fn a_pace_is_kept_and_a_long_wait_is_told_instead_of_slept() {
    let (server, _) = script(&[&say(200, "", "ok")]).await;
    let rate = Rate { count: 2, per: Duration::from_secs(10) };
    let set = set(Transport::Live, Pace { rate, at_once: 1, patience: Duration::from_secs(6) });
    let start = set.time.now();
    for _ in 0..3 {
        set.door.call(call(&server, "/")).await.unwrap();
    }
    assert_eq!(set.time.now().duration_since(start).as_secs(), 10, "two in any ten seconds");
    let slow = Pace { rate: Rate { count: 1, per: Duration::from_secs(60) }, ..fast() };
    let set = self::set(Transport::Live, slow);
    set.door.call(call(&server, "/")).await.unwrap();
    let error = set.door.call(call(&server, "/")).await.unwrap_err();
    assert_eq!(error.until(), Some(start + Duration::from_secs(60)), "{error}");
    assert_eq!(set.time.now(), start, "it did not wait");
    let other = Call { account: "another".into(), ..call(&server, "/") };
    set.door.call(other).await.unwrap();
}

#[tokio::test]
async fn a_host_that_said_when_is_not_asked_before() {
    let limit = say(403, "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 1782907500\r\n", "API rate limit");
    let (server, asked) = script(&[&say(429, "retry-after: 120\r\n", ""), &limit, &say(200, "", "ok")]).await;
    let set = set(Transport::Live, fast());
    let start = set.time.now();
    for _ in 0..2 {
        let error = set.door.call(call(&server, "/")).await.unwrap_err();
        assert_eq!((error.class(), error.until()), ("limited", Some(start + Duration::from_secs(120))));
    }
    assert_eq!(asked.lock().unwrap().len(), 1, "the second was not sent");
    set.time.0.advance(Duration::from_secs(121));
    let error = set.door.call(call(&server, "/")).await.unwrap_err();
    assert_eq!(error.until(), Some("2026-07-01T12:05:00Z".parse().unwrap()), "{error}");
    set.time.0.set("2026-07-01T12:05:00Z".parse().unwrap());
    assert_eq!(set.door.call(call(&server, "/")).await.unwrap().body, "ok");
}

#[tokio::test]
async fn what_is_unchanged_comes_from_the_shelf_and_is_free() {
    let first = say(200, "etag: \"a\"\r\nlink: <http://x/2>; rel=\"next\"\r\n", "body");
    let (server, asked) = script(&[&first, "HTTP/1.1 304 X\r\netag: \"a\"\r\n\r\n", &first]).await;
    let set = set(Transport::Live, fast());
    let kept = || Call { keep: true, account: "octo".into(), ..call(&server, "/repo") };
    assert!(!set.door.call(kept()).await.unwrap().unchanged);
    let again = set.door.call(kept()).await.unwrap();
    assert!(
        again.unchanged && again.status == 200 && again.body == "body" && again.headers.contains_key("link")
    );
    set.door.call(Call { account: "another".into(), ..kept() }).await.unwrap();
    let asked = asked.lock().unwrap();
    assert!(asked[1].contains("if-none-match: \"a\"") && !asked[2].contains("if-none-match"), "{asked:?}");
    assert!(asked[0].contains("user-agent: mainspring/") && asked[0].contains("(+https://example.com/bot)"));
    let told = set.told.0.lock().unwrap();
    let seen: Vec<_> = told.iter().map(|u| (u.status, u.counted, u.bytes, u.account.as_str())).collect();
    let free = (Some(304), false, 0, "octo");
    assert_eq!(seen, [(Some(200), true, 4, "octo"), free, (Some(200), true, 4, "another")]);
    assert!(told[0].connector == "test" && told[0].host == "127.0.0.1" && told[0].class.is_none());
}

#[tokio::test]
async fn a_host_that_fails_five_times_rests_for_a_minute() {
    let (server, asked) = script(&[&say(500, "", "")]).await;
    let set = set(Transport::Live, fast());
    for _ in 0..5 {
        assert_eq!(set.door.call(call(&server, "/")).await.unwrap().status, 500);
    }
    let error = set.door.call(call(&server, "/")).await.unwrap_err();
    assert_eq!((error.class(), error.until()), ("resting", Some(set.time.now() + Duration::from_secs(60))));
    assert_eq!(asked.lock().unwrap().len(), 5);
    set.time.0.advance(Duration::from_secs(60));
    assert_eq!(set.door.call(call(&server, "/")).await.unwrap().status, 500, "one may try");
    assert_eq!(set.door.call(call(&server, "/")).await.unwrap_err().class(), "resting");
}

#[tokio::test]
async fn robots_txt_is_asked_once_a_day_and_only_where_it_applies() {
    let rules = say(200, "", "user-agent: mainspring\ndisallow: /private");
    let (server, asked) =
        script(&[&rules, &say(200, "", "page"), &say(200, "", "page"), &say(503, "", "")]).await;
    let set = set(Transport::Live, fast());
    let page = |path: &str| Call { robots: true, ..call(&server, path) };
    assert_eq!(set.door.call(page("/a")).await.unwrap().body, "page");
    let error = set.door.call(page("/private/x?token=s3cret")).await.unwrap_err();
    assert!(error.class() == "robots" && !error.to_string().contains("s3cret"), "{error}");
    assert_eq!(set.door.call(call(&server, "/private")).await.unwrap().body, "page", "not asked to ask");
    assert_eq!(asked.lock().unwrap().len(), 3);
    set.time.0.advance(Duration::from_secs(86_401));
    assert_eq!(set.door.call(page("/a")).await.unwrap_err().class(), "robots", "5xx allows nothing");
    let (server, _) = script(&[&say(404, "", ""), &say(200, "", "page")]).await;
    assert_eq!(set.door.call(Call { robots: true, ..call(&server, "/a") }).await.unwrap().body, "page");
}

#[tokio::test]
async fn what_was_recorded_replays_without_a_network_and_without_secrets() {
    let answer = say(200, "set-cookie: s=hunter2hunter2\r\n", r#"{"id":7,"access_token":"ghs_topsecret"}"#);
    let (server, asked) = script(&[&answer, &say(200, "", "it was ghp_hunter2hunter2")]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("github.jsonl");
    let ask = |path: &str| {
        let mut call = call(&server, path);
        call.request.headers.insert("authorization", "Bearer ghp_hunter2hunter2".parse().unwrap());
        call
    };
    let live = set(Transport::record(&path).unwrap(), fast());
    live.door.call(ask("/a?token=s3cret&page=2")).await.unwrap();
    live.door.call(ask("/b")).await.unwrap();
    let written = std::fs::read_to_string(&path).unwrap();
    for secret in ["hunter2", "topsecret", "s3cret"] {
        assert!(!written.contains(secret), "{secret}: {written}");
    }
    let replay = set(Transport::replay(&path).unwrap(), fast());
    let a = replay.door.call(ask("/a?token=other&page=2")).await.unwrap();
    assert!(
        a.status == 200 && a.body.starts_with(b"{") && String::from_utf8_lossy(&a.body).contains("\"id\":7")
    );
    assert_eq!(replay.door.call(ask("/b")).await.unwrap().body, "it was [scrubbed]");
    let miss = replay.door.call(ask("/c?token=s3cret")).await.unwrap_err();
    assert!(miss.class() == "missing" && miss.to_string().contains("/c?token=[scrubbed]"), "{miss}");
    assert_eq!(asked.lock().unwrap().len(), 2, "the replay asked nobody");
    std::fs::write(&path, "{").unwrap();
    assert!(Transport::replay(&path).unwrap_err().to_string().contains("line 1"));
}

#[tokio::test]
async fn simulated_services_stand_in_and_nothing_else_is_reached() {
    let moved = say(301, "location: https://api.example.com/v3/new?x=1\r\n", "");
    let (server, asked) = script(&[&moved, &say(200, "", "simulated")]).await;
    let pairs = [("https://api.example.com/v3", server.url("/sim"))];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (*a, b.as_str())).collect();
    let set = set(Transport::simulated(&pairs).unwrap(), fast());
    let mut old = get("https://api.example.com/v3/old");
    old.follow = 3;
    let answer = set.door.call(Call::new("test", old)).await.unwrap();
    assert_eq!((answer.body.as_ref(), answer.hops.len()), (b"simulated".as_ref(), 1));
    assert_eq!(answer.target.as_str(), "https://api.example.com/v3/new?x=1");
    assert!(asked.lock().unwrap()[1].starts_with("GET /sim/new?x=1 HTTP/1.1"));
    for outside in ["https://api.example.com/v30/x", "https://example.com/", "http://api.example.com/v3/x"] {
        let error = set.door.call(Call::new("test", get(outside))).await.unwrap_err();
        assert_eq!(error.class(), "missing", "{outside}");
    }
    assert!(Transport::simulated(&[("https://a.example", "https://b.example")]).is_err());
}

#[tokio::test]
async fn packed_answers_come_unpacked_within_the_cap() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![b'x'; 30 << 20]).unwrap();
    let packed = packer.finish().unwrap();
    let head =
        format!("HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
    let server = Server::fixed([head.into_bytes(), packed.clone()].concat()).await;
    let set = set(Transport::Live, fast());
    let answer = set.door.call(call(&server, "/")).await.unwrap();
    assert!(
        answer.cut
            && answer.body.len() == mainspring_outbound::BODY
            && answer.body.iter().all(|b| *b == b'x')
    );
    assert_eq!(
        client().send(get(&server.url("/"))).await.unwrap().body,
        packed,
        "who did not ask gets it as sent"
    );
}

#[tokio::test]
async fn offline_reaches_this_machine_alone() {
    let server = Server::fixed(say(200, "", "here")).await;
    let settings =
        || Settings { guard: Guard::new(&["0.0.0.0/0"]).unwrap(), offline: true, ..Settings::default() };
    let client = Client::new(settings()).unwrap();
    assert_eq!(client.send(get(&server.url("/"))).await.unwrap().body, "here");
    // The name is not even looked up: that would ask somebody.
    let resolver = serve::Script::new(&[&["127.0.0.1"]]);
    let named = Client::new(Settings { resolver: resolver.clone(), ..settings() }).unwrap();
    for (client, url) in
        [(&named, "https://example.com/"), (&client, "http://192.0.2.1/"), (&client, "http://10.0.0.1/")]
    {
        let error = client.send(get(url)).await.unwrap_err();
        assert!(
            matches!(error, Error::Offline { .. }) && error.to_string().contains("offline is set"),
            "{error}"
        );
        let target = mainspring_outbound::Target::parse(url).unwrap();
        assert!(
            matches!(client.dial(&target, Duration::from_secs(5)).await, Err(Error::Offline { .. })),
            "mail too"
        );
    }
    assert_eq!(resolver.asked.load(std::sync::atomic::Ordering::SeqCst), 0);
    let door = Door::new(client, Manners::new(set(Transport::Live, fast()).time)).unwrap();
    let error = door.call(Call::new("test", get("https://api.github.com/"))).await.unwrap_err();
    assert_eq!((error.class(), error.is_transient()), ("offline", false));
}

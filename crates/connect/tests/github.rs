//! GitHub: its recorded answers, which were not made by us, and its limits, through the real client.
//!
//! The recordings are PyGithub's (`tests/ReplayData` of its source package), which `.ci/setup` fetches: they
//! are under another licence and no part of the program.

use jiff::Timestamp;
use mainspring_connect::Secret;
use mainspring_connect::github::{Error, GitHub, Problem, RepoName, Settings};
use mainspring_core::clock::{Clock as _, ManualClock};
use mainspring_outbound::{Client, Door, Guard, Manners, Time, Transport, Waiting};
use mainspring_testkit::outside::{Answer, Got, Stub};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A client of GitHub for which `stub` stands in.
fn github(stub: &Stub, pages: usize) -> (GitHub, Arc<Virtual>) {
    let guard = Guard::new(&["127.0.0.0/8"]).unwrap();
    let client =
        Client::new(mainspring_outbound::Settings { guard, ..mainspring_outbound::Settings::default() })
            .unwrap();
    let time = Arc::new(Virtual(ManualClock::new(at("2013-09-01T00:00:00Z"))));
    let mut manners = Manners::new(time.clone());
    manners.transport = Transport::simulated(&[("https://api.github.com", &stub.url("/"))]).unwrap();
    let token = Some(Secret::new("ghp_hunter2"));
    let settings = Settings { token, account: "octo".into(), pages, ..Settings::default() };
    (GitHub::new(Door::new(client, manners).unwrap(), settings).unwrap(), time)
}

fn repo(name: &str) -> RepoName {
    name.parse().unwrap()
}

/// An exchange of a recording: method and path asked, and the answer.
struct Recorded {
    method: String,
    path: String,
    answer: Answer,
}

/// Headers that mean something to the client; others describe a connection that is no more.
const MEANT: [&str; 8] = [
    "content-type",
    "etag",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

fn recorded(name: &str) -> Vec<Recorded> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/pygithub-2.10.0/tests/ReplayData");
    let path = folder.join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}. Type: ./.ci/setup", path.display()));
    let lines: Vec<&str> = text.lines().collect();
    // Scheme, method, host, port, path, headers, body, status, headers, body, and an empty line.
    let exchanges = lines.chunks(11).filter(|lines| lines.len() >= 9).map(|lines| {
        let mut answer = Answer::of(lines[7].parse().unwrap(), lines.get(9).unwrap_or(&""));
        let texts = python_texts(lines[8]);
        for pair in texts.chunks_exact(2) {
            if let Some(name) = MEANT.iter().find(|name| pair[0].eq_ignore_ascii_case(name)) {
                answer = answer.with(name, &pair[1]);
            }
        }
        Recorded { method: lines[1].into(), path: lines[4].into(), answer }
    });
    exchanges.collect()
}

/// The texts in a list of pairs as Python writes it.
fn python_texts(list: &str) -> Vec<String> {
    let (mut texts, mut signs) = (Vec::new(), list.chars());
    while let Some(quote) = signs.find(|c| *c == '\'' || *c == '"') {
        let mut text = String::new();
        while let Some(c) = signs.next().filter(|c| *c != quote) {
            text.extend(if c == '\\' { signs.next() } else { Some(c) });
        }
        texts.push(text);
    }
    texts
}

/// What was asked is what the recording was asked: the path, and at least its query.
fn same(got: &Got, recorded: &Recorded) {
    let (path, query) = recorded.path.split_once('?').unwrap_or((&recorded.path, ""));
    let (got_path, got_query) = got.path.split_once('?').unwrap_or((&got.path, ""));
    assert_eq!(
        (&got.method, got_path.trim_start_matches("//")),
        (&recorded.method, path.trim_start_matches("//"))
    );
    for part in query.split('&').filter(|part| !part.is_empty()) {
        assert!(got_query.split('&').any(|p| p == part), "{} lacks {part}", got.path);
    }
    assert_eq!(got.headers["authorization"], "Bearer ghp_hunter2");
}

fn stub(recorded: &[Recorded]) -> Stub {
    Stub::start(recorded.iter().map(|r| r.answer.clone()).collect())
}

#[tokio::test]
async fn recorded_commits_of_a_month_are_read_over_opaque_pages() {
    let played = recorded("Repository.testGetCommitsWithSinceUntil");
    let stub = stub(&played);
    let (github, _) = github(&stub, 50);
    let (since, until) = (at("2013-03-01T00:00:00Z"), at("2013-03-31T00:00:00Z"));
    let read = github.commits(&repo("PyGithub/PyGithub"), Some(since), Some(until)).await.unwrap();
    let got = stub.all();
    assert!(got.len() == played.len() && played.len() >= 2);
    got.iter().zip(&played).for_each(|(got, played)| same(got, played));
    assert!(!read.truncated && !read.unchanged && read.value.len() > 30, "{}", read.value.len());
    assert_eq!(read.value[0].sha, "db5560bd658b5d8057a864f7037ace4d5f618f1b");
    for commit in &read.value {
        let date = commit.commit.committer.as_ref().and_then(|c| c.date).unwrap();
        assert!(since <= date && date <= until, "{date}");
    }
}

#[tokio::test]
async fn a_recorded_304_is_what_was_kept() {
    let mut played = recorded("ConditionalRequestUpdate.setUp");
    played.retain(|r| r.path.starts_with("/repos/"));
    played.extend(recorded("ConditionalRequestUpdate.testDidNotUpdate"));
    let stub = stub(&played);
    let (github, _) = github(&stub, 50);
    let name = repo("akfish/PyGithub");
    let first = github.repository(&name).await.unwrap();
    let again = github.repository(&name).await.unwrap();
    assert!(!first.unchanged && again.unchanged);
    assert_eq!((again.value.id, again.value.full_name.as_str()), (12_156_762, "akfish/PyGithub"));
    let got = stub.all();
    got.iter().zip(&played).for_each(|(got, played)| same(got, played));
    assert!(!got[0].headers.contains_key("if-none-match") && got[1].headers.contains_key("if-none-match"));
}

#[tokio::test]
async fn recorded_refusals_have_their_class() {
    for (name, status, wanted) in [
        ("Exceptions.testUnknownObject", 404, Problem::NotFound),
        ("Exceptions.testBadAuthentication", 401, Problem::Auth),
        ("Exceptions.testNonJsonDataReturnedByGithub", 503, Problem::Server),
    ] {
        let played: Vec<_> = recorded(name)
            .into_iter()
            .filter(|r| matches!(&r.answer, Answer::Say(said, ..) if *said == status))
            .collect();
        assert!(!played.is_empty(), "{name} has no {status}");
        let error = github(&stub(&played), 50).0.repository(&repo("jacquev6/Xxx")).await.unwrap_err();
        assert!(error.problem == wanted && !error.text.contains("hunter2"), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn merged_pulls_end_at_the_first_that_is_older_and_issues_drop_pulls() {
    let pull = |n: u64, updated: &str, merged: &str| {
        format!(
            r#"{{"number":{n},"title":"t","state":"closed","html_url":"h","user":null,"body":null,"created_at":"2013-01-01T00:00:00Z","updated_at":"{updated}","merged_at":{merged}}}"#
        )
    };
    let first = format!(
        "[{},{}]",
        pull(9, "2013-08-09T00:00:00Z", "\"2013-08-08T00:00:00Z\""),
        pull(8, "2013-08-08T00:00:00Z", "null")
    );
    let second = format!(
        "[{},{},{}]",
        pull(7, "2013-08-07T00:00:00Z", "\"2013-02-01T00:00:00Z\""),
        pull(6, "2013-07-31T23:59:59Z", "\"2013-07-31T00:00:00Z\""),
        pull(5, "2013-08-20T00:00:00Z", "\"2013-08-20T00:00:00Z\"")
    );
    let issues = r#"[{"number":1,"title":"bug","state":"open","html_url":"h","created_at":"2013-01-01T00:00:00Z","updated_at":"2013-01-01T00:00:00Z","labels":[{"name":"bug"}]},
        {"number":2,"title":"pull","state":"open","html_url":"h","created_at":"2013-01-01T00:00:00Z","updated_at":"2013-01-01T00:00:00Z","pull_request":{"url":"x"}}]"#;
    let next =
        |page: &str| format!("<https://api.github.com/repositories/7/pulls?page={page}>; rel=\"next\"");
    let stub = Stub::start(vec![
        Answer::of(200, &first).with("link", &next("2")),
        Answer::of(200, &second).with("link", &next("3")),
        Answer::of(200, issues),
        Answer::of(200, issues).with("link", &next("2")),
        Answer::of(409, r#"{"message":"Git Repository is empty."}"#),
    ]);
    let (github, _) = github(&stub, 2);
    let name = repo("a/b");
    let read = github.merged_since(&name, at("2013-08-01T00:00:00Z")).await.unwrap();
    assert_eq!(read.value.iter().map(|p| p.number).collect::<Vec<_>>(), [9], "merged since then");
    assert_eq!(stub.all().len(), 2, "the third page is not read");
    assert!(stub.all()[0].path.contains("/pulls?state=closed&sort=updated&direction=desc&per_page=100"));
    let issues = github.issues(&name, None).await.unwrap();
    assert_eq!(
        issues.value.iter().map(|i| (i.number, i.labels[0].name.as_str())).collect::<Vec<_>>(),
        [(1, "bug")]
    );
    let error = github.issues(&name, None).await.unwrap_err();
    assert_eq!(error.problem, Problem::Broken, "{error}: 409 means something for commits alone");
    assert!(github.commits(&name, None, None).await.unwrap().value.is_empty(), "a repository without any");
}

#[tokio::test]
async fn a_list_that_is_longer_than_is_read_says_so() {
    let next = "<https://api.github.com/repositories/7/releases?page=2>; rel=\"next\"";
    let release = r#"[{"id":1,"tag_name":"v1","name":null,"body":null}]"#;
    let stub = Stub::start(vec![
        Answer::of(200, release).with("link", next),
        Answer::of(200, release).with("link", "<https://evil.example/2>; rel=\"next\""),
    ]);
    let (github, _) = github(&stub, 1);
    let read = github.releases(&repo("a/b")).await.unwrap();
    assert!(read.truncated && read.value.len() == 1 && read.value[0].tag_name == "v1");
    let error = github.releases(&repo("a/b")).await.unwrap_err();
    assert!(
        error.problem == Problem::Broken && error.text.contains("evil.example"),
        "the token goes nowhere else"
    );
}

#[tokio::test]
async fn a_renamed_repository_is_followed_and_told() {
    let moved = "https://api.github.com/repositories/7";
    let body = r#"{"id":7,"full_name":"new/name","html_url":"h"}"#;
    let stub = Stub::start(vec![Answer::of(301, "").with("location", moved), Answer::of(200, body)]);
    let read = github(&stub, 50).0.repository(&repo("old/name")).await.unwrap();
    assert_eq!((read.value.full_name.as_str(), read.moved.as_deref()), ("new/name", Some(moved)));
    assert!(stub.all()[1].headers.contains_key("authorization"), "the same host");
}

#[tokio::test]
async fn limits_close_the_way_until_they_end() {
    let until = |error: Error| match error.problem {
        Problem::Until(at) => at,
        _ => panic!("{error:?}"),
    };
    let quota = at("2013-09-01T00:30:00Z");
    let said = r#"{"message":"You have exceeded a secondary rate limit. Please wait."}"#;
    let stub = Stub::start(vec![
        Answer::of(403, r#"{"message":"API rate limit exceeded"}"#)
            .with("x-ratelimit-remaining", "0")
            .with("x-ratelimit-reset", &quota.as_second().to_string()),
        Answer::of(403, said),
        Answer::of(403, r#"{"message":"Resource not accessible by personal access token"}"#),
        Answer::of(
            422,
            r#"{"message":"Validation Failed","errors":[{"resource":"Issue","field":"since","code":"invalid"}]}"#,
        ),
        Answer::of(
            200,
            r#"{"resources":{"core":{"limit":5000,"remaining":4999,"reset":1377997200,"used":1}}}"#,
        ),
    ]);
    let ((github, time), name) = (github(&stub, 50), repo("a/b"));
    for _ in 0..2 {
        assert_eq!(until(github.repository(&name).await.unwrap_err()), quota);
    }
    assert_eq!(stub.all().len(), 1, "the second was not sent");
    time.0.set(quota);
    for _ in 0..2 {
        assert_eq!(until(github.repository(&name).await.unwrap_err()), quota + Duration::from_secs(60));
    }
    assert_eq!(stub.all().len(), 2, "a secondary limit closes too");
    time.0.advance(Duration::from_secs(60));
    assert_eq!(github.repository(&name).await.unwrap_err().problem, Problem::Auth);
    match github.issues(&name, None).await.unwrap_err().problem {
        Problem::Validation(fields) => {
            assert_eq!((fields[0].field.as_str(), fields[0].code.as_str()), ("since", "invalid"))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(github.rate_limit().await.unwrap().remaining, 4999);
    assert!(
        "a".parse::<RepoName>().is_err()
            && "a/..".parse::<RepoName>().is_err()
            && "a/b/c".parse::<RepoName>().is_err()
    );
}

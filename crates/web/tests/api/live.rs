//! The stream of events: live, resumed without a gap, ended with its reader's rights and with the server.

use crate::support::World;
use http::header;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mainspring_web::access::Right;
use serde_json::{Value, json};
use std::time::Duration;

const LIVE: &str = "/api/v1/projects/default/events/live";

/// A stream as a reader sees it.
struct Reader {
    body: Incoming,
    text: String,
}

impl Reader {
    async fn open(world: &World, key: &str, last: Option<&str>) -> Reader {
        let mut request = world.request("GET", LIVE, key, None);
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.parse().unwrap());
        }
        let opened = world.open(request).await;
        assert_eq!(opened.status().as_u16(), 200);
        assert_eq!(opened.headers()[header::CONTENT_TYPE], "text/event-stream");
        Reader { body: opened.into_body(), text: String::new() }
    }

    /// The next event: its id, its name, its data. None when the stream has ended.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let line = |name: &str| {
                    event.lines().find_map(|l| l.strip_prefix(name)).map(|l| l.trim().to_owned())
                };
                let Some(data) = line("data:") else { continue };
                return Some((line("id:")?, line("event:")?, serde_json::from_str(&data).unwrap()));
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await;
            let frame = frame.expect("something comes or the stream ends")?.ok()?;
            self.text.push_str(&String::from_utf8_lossy(frame.data_ref()?));
        }
    }
}

async fn pause(world: &World, queue: &str) {
    world.client.pause_queue(queue, None, None).await.unwrap();
}

#[tokio::test]
async fn events_come_as_they_happen_and_none_is_missed_on_coming_back() {
    let world = World::still().await;
    let key = world.key("default", &[Right::Read]).await;
    pause(&world, "before").await;
    let mut reader = Reader::open(&world, &key, None).await;
    pause(&world, "first").await;
    let (id, name, data) = reader.next().await.unwrap();
    assert_eq!(
        (name.as_str(), &data["subject"], &data["actor"]),
        ("queue.paused", &json!("queue/first"), &json!("test"))
    );
    assert_eq!(data["id"].to_string(), id);
    drop(reader);
    for queue in ["second", "third"] {
        pause(&world, queue).await;
    }
    // Another project's events are not among them.
    let other = world.project("other").await;
    world.client.clone().in_project(other).pause_queue("foreign", None, None).await.unwrap();
    pause(&world, "fourth").await;
    let mut reader = Reader::open(&world, &key, Some(&id)).await;
    for queue in ["second", "third", "fourth"] {
        assert_eq!(reader.next().await.unwrap().2["subject"], format!("queue/{queue}"));
    }
    let listed =
        world.get(&format!("/api/v1/projects/default/events?after={id}&limit=2"), &key).await.expect(200);
    let subjects: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|e| &e["subject"]).collect();
    assert_eq!(subjects, ["queue/second", "queue/third"]);
    let rest = world
        .get(&format!("/api/v1/projects/default/events?after={}", listed["next"].as_str().unwrap()), &key)
        .await
        .expect(200);
    assert_eq!((&rest["items"][0]["subject"], &rest["next"]), (&json!("queue/fourth"), &json!(null)));
    world.get(&format!("{LIVE}?after=x"), &key).await.refused(422, "MS0020");
}

#[tokio::test]
async fn a_stream_ends_with_the_key_it_was_opened_with() {
    let world = World::still().await;
    let (id, key) = world.key_until("default", &[Right::Read], None).await;
    let mut reader = Reader::open(&world, &key, None).await;
    pause(&world, "first").await;
    assert!(reader.next().await.is_some());
    let project = world.client.project();
    mainspring_web::accounts::revoke_key(&world.web, project, id, "test").await.unwrap();
    // What happens from now on is not for it; within moments it is told so by the end.
    let ended =
        tokio::time::timeout(Duration::from_secs(8), async { while reader.next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "the stream goes on without a key");
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_does_not_wait_for_them() {
    let mut world = World::still().await;
    let key = world.key("default", &[Right::Read]).await;
    let mut reader = Reader::open(&world, &key, None).await;
    assert!(world.shut_down().await, "the server waits for a stream that never ends");
    assert!(reader.next().await.is_none());
}

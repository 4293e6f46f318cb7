//! The pages over a real server and a real store: what they show, what their forms do, what they
//! keep from those without the right.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod alerts;
mod channels;
mod jobs;
mod notifications;
mod others;
mod overview;
mod people;
mod reference;
mod schedules;

use mainspring_web::access::Role;
use support::{Answer, World};

/// Text that would be markup if it were not escaped.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'&";

/// A page that answers 200.
pub async fn page(world: &World, path: &str, cookie: &str) -> String {
    let answer = world.get(path, cookie).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text);
    assert!(answer.header("content-type").starts_with("text/html"), "{path}");
    assert!(answer.text.contains("</html>"), "{path} is not whole");
    for part in ["<script>alert", " style=", " onclick="] {
        assert!(!answer.text.contains(part), "{path} holds {part}");
    }
    answer.text
}

/// Where an answer sends the browser.
pub fn sent_to(answer: &Answer) -> &str {
    assert_eq!(answer.status.as_u16(), 303, "{}", answer.text);
    answer.header("location")
}

/// A viewer of the default project who may not see payloads.
pub async fn viewer(world: &World) -> String {
    world.member("default", "vera@example.com", Role::Viewer, false).await.1
}

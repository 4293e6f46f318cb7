//! What one project may ask of the server: a rate and a number at a time, each refused with 429 and the
//! time to come again, without touching other projects.

use crate::support::World;
use mainspring_core::time::SECOND;
use mainspring_web::Config;
use mainspring_web::access::{Right, Share};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn world(share: Share) -> World {
    World::with(|config| Config { share, ..config }, false).await
}

#[tokio::test]
async fn a_project_that_asks_too_often_waits_and_no_other_does() {
    let world = world(Share { per_second: 1, at_once: 100 }).await;
    let (greedy, other) = (world.key("default", &Right::ALL).await, world.key("other", &Right::ALL).await);
    let mut refused = None;
    for _ in 0..100 {
        let answer = world.get("/api/v1/projects/default/jobs", &greedy).await;
        if answer.status.as_u16() != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a hundred requests are more than one a second");
    let problem = refused.refused(429, "MS0042");
    assert_eq!((refused.header("retry-after"), &problem["retry_after"]), ("1", &json!(1)));
    assert!(problem["detail"].as_str().unwrap().contains("1 times a second"), "{problem}");
    world.get("/api/v1/projects/other/jobs", &other).await.expect(200);
    // Pages of the project share its rate; what belongs to no project does not.
    world.get("/health/live", "").await.expect(200);
    world.clock.set_offset(10 * SECOND);
    world.get("/api/v1/projects/default/jobs", &greedy).await.expect(200);
}

#[tokio::test]
async fn a_project_with_too_many_requests_at_a_time_is_refused_the_next() {
    let world = world(Share { per_second: 1000, at_once: 2 }).await;
    let (key, other) = (world.key("default", &Right::ALL).await, world.key("other", &Right::ALL).await);
    // Requests whose bodies do not come are under way until they do.
    let head = format!(
        "POST /api/v1/projects/default/jobs HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 15\r\nconnection: close\r\n\r\n",
        world.at
    );
    // One that meets the look below is refused itself: then another takes its place.
    let mut slow = Vec::new();
    let mut answer = world.get("/api/v1/projects/default/jobs", &key).await;
    while answer.status.as_u16() == 200 && slow.len() < 50 {
        let mut stream = TcpStream::connect(world.at).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
        crate::support::nap(20).await;
        answer = world.get("/api/v1/projects/default/jobs", &key).await;
    }
    let problem = answer.refused(429, "MS0042");
    assert!(problem["detail"].as_str().unwrap().contains("2 requests"), "{problem}");
    world.get("/api/v1/projects/other/jobs", &other).await.expect(200);
    let mut made = 0;
    for mut stream in slow {
        // One that was refused is closed already.
        let _ = stream.write_all(br#"{"kind":"echo"}"#).await;
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        made += usize::from(text.starts_with("HTTP/1.1 201"));
    }
    assert!(made >= 2, "{made}");
    world.get("/api/v1/projects/default/jobs", &key).await.expect(200);
}

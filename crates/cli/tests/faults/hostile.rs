//! F26: targets that mean no good. Whatever a server does, the job that calls it ends in its time.

use crate::machine::{PATIENCE, look_for};
use crate::world::World;
use mainspring::{NewJob, RetryPolicy};
use mainspring_core::Json;
use mainspring_core::ids::{JobId, ProjectId};
use mainspring_core::job::{AttemptOutcome, JobState};
use mainspring_core::time;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// The time limit of every job here.
const LIMIT: Duration = Duration::from_secs(1);
/// What its end may come later.
const LATE: Duration = Duration::from_millis(500);

/// What a server does with a call, by the last part of its path.
fn mistreat(mut stream: TcpStream, how: &str) -> std::io::Result<()> {
    let drip = Duration::from_millis(50);
    match how {
        "hang" => std::thread::sleep(Duration::from_secs(20)),
        "head" => loop {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-drip: y\r\n")?;
            std::thread::sleep(drip);
        },
        "body" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
            loop {
                stream.write_all(b".")?;
                std::thread::sleep(drip);
            }
        }
        "flood" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            // As fast as it is taken, for ever.
            loop {
                stream.write_all(&[b'x'; 65_536])?;
            }
        }
        "bomb" => {
            // It says that it is gzip; whoever unpacked it would get gigabytes.
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n")?;
            stream.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])?;
            loop {
                stream.write_all(&[0xed; 65_536])?;
            }
        }
        "headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-huge: ")?;
            loop {
                stream.write_all(&[b'h'; 65_536])?;
            }
        }
        "loop" => {
            stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: loop\r\ncontent-length: 0\r\n\r\n")?;
        }
        _ => {}
    }
    Ok(())
}

/// The server; its threads end with the test program.
fn listen() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut head = [0u8; 4096];
                let n = stream.read(&mut head).unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..n]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or("/").trim_matches('/').to_owned();
                // Whoever has had enough hangs up: nothing to do.
                drop(mistreat(stream, &path));
            });
        }
    });
    format!("http://{address}")
}

/// F26: each ends within its limit and half a second, and the node goes on as if nothing had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_hostile_target_ends_in_time() {
    let mut world = World::on_sqlite(None);
    world.up("only").await;
    let server = listen();
    let mut jobs: Vec<(&str, JobId)> = Vec::new();
    for how in ["hang", "head", "body", "flood", "bomb", "headers", "loop", "reset"] {
        let payload = serde_json::json!({ "url": format!("{server}/{how}"), "timeout": "1s" });
        let mut job = NewJob::new("http", Json::trusted(payload.to_string()));
        job.retry = RetryPolicy::never();
        job.timeout = Some(LIMIT);
        jobs.push((how, world.client.enqueue_raw(job).await.expect("enqueued").id));
    }
    for (how, id) in jobs {
        let ended = look_for(PATIENCE, async || {
            let detail = world.store.job(ProjectId::DEFAULT, id).await.ok()??;
            detail.job.state.is_final().then_some(detail)
        });
        let detail = ended.await.unwrap_or_else(|| panic!("{how} never ends: {}", world.nodes[0].said()));
        let attempt = detail.attempts.first().expect("an attempt");
        let took = time::since(attempt.started_at, attempt.finished_at.expect("an end"));
        println!("{how}: {:?} after {took:?}: {:?}", attempt.outcome, attempt.error);
        assert!(took < LIMIT + LATE, "{how} ended after {took:?}: {attempt:?}");
        let size = detail.job.output.as_ref().map_or(0, |output| output.as_str().len());
        assert!(size <= 1 << 20, "{how}: {size} bytes were kept");
        match how {
            "hang" | "head" | "body" => {
                assert_eq!(attempt.outcome, Some(AttemptOutcome::TimedOut), "{how}: {attempt:?}");
            }
            "headers" | "loop" | "reset" => {
                assert_eq!(attempt.outcome, Some(AttemptOutcome::Failed), "{how}: {attempt:?}");
            }
            // What came in time is kept, cut, and counts; what is too much may also be a failure.
            _ => assert!(detail.job.state != JobState::Cancelled, "{how}: {attempt:?}"),
        }
    }
    world.all_live();
    let good = world.load.one(&world.client, &world.receiver.url(""), "/ok").await;
    let ended = look_for(PATIENCE, async || {
        let detail = world.store.job(ProjectId::DEFAULT, good).await.ok()??;
        (detail.job.state == JobState::Completed).then_some(())
    });
    assert!(ended.await.is_some(), "the node does nothing more: {}", world.nodes[0].said());
}

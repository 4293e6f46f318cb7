//! Those who are to be told cannot be reached: a mail server and a webhook that are down for a while,
//! and a mailbox that is refused for good.

use crate::machine::{look_for, now, program, wait};
use crate::world::World;
use mainspring::notify::{self, Delivery, DeliveryState, Notice, NoticeState, Severity};
use mainspring_core::ids::ProjectId;
use mainspring_core::tables::Write;
use mainspring_testkit::outside::{Answer, MailServer, Stub};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// A try that comes too early waits longer for its next: five seconds, fifteen, a minute.
const PATIENCE: Duration = Duration::from_secs(150);

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address")
}

fn notice(n: usize) -> Notice {
    Notice {
        project: ProjectId::DEFAULT,
        key: format!("rule/{n}"),
        severity: Severity::Critical,
        state: NoticeState::Firing,
        title: format!("Alarm {n}"),
        text: "Look at it.".into(),
        facts: vec![],
        path: "/jobs".into(),
        at: now(),
        urgent: true,
    }
}

async fn deliveries(world: &World, channel: i64) -> Vec<Delivery> {
    notify::deliveries(&world.client, Some(channel), None, None, 100).await.expect("deliveries")
}

fn mail_channel(name: &str, at: SocketAddr, to: &str) -> Value {
    json!({ "name": name, "settings": {
        "kind": "email", "host": "127.0.0.1", "port": at.port(), "security": "none",
        "from": "mainspring@example.com", "to": [to],
    } })
}

/// What a command says, as JSON; `health` exits with 1 when something is unhealthy.
fn said(world: &World, arguments: &[&str]) -> Value {
    let all = [arguments, &["--json", "--store", &world.address]].concat();
    let output = program(&world.dir(), &all).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
}

fn silent(health: &Value) -> BTreeSet<String> {
    let all = health["silent_channels"].as_array().expect("a list");
    assert!(all.iter().all(|c| !c["reason"].as_str().unwrap_or_default().is_empty()), "{health:#}");
    all.iter().filter_map(|c| c["channel"].as_str()).map(str::to_owned).collect()
}

/// F32: what cannot be told waits and is tried again, is not called sent, stands in the dashboard at
/// once, and is seen in the health; all of it arrives when the other side is back, though the node
/// was killed meanwhile. What is refused for good is said to be so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_alerts_whose_targets_are_down_arrive_once_they_are_back() {
    let mut world = World::on_sqlite(None);
    let served = world.serve("", "").await;
    let (hook_at, mail_at, refusing) = (free(), free(), MailServer::start(&[]));
    let refusing_at = SocketAddr::from(([127, 0, 0, 1], refusing.port));
    let hook =
        json!({ "name": "hook", "settings": { "kind": "webhook", "url": format!("http://{hook_at}/told") } });
    let mut channels = Vec::new();
    for body in [
        hook,
        mail_channel("mail", mail_at, "ops@example.com"),
        mail_channel("wrong mailbox", refusing_at, "nobody@example.com"),
    ] {
        let made = served.call("POST", "/channels", &body);
        assert_eq!(made.status, 201, "{}", made.json());
        channels.push(made.json()["channel"]["id"].as_i64().expect("a number"));
    }
    let (hook, mail, wrong) = (channels[0], channels[1], channels[2]);

    let tables = world.client.tables().expect("tables");
    for n in 0..3 {
        let notice = notice(n);
        let write = notice.announce(&channels).into_write(Write::new(), now(), notice.project);
        tables.write(write).await.expect("it is written");
    }
    let seen = notify::notifications(&world.client, 0, true, None, 10).await.expect("notifications");
    assert_eq!(seen.len(), 3, "the dashboard has them at once");

    let tried = look_for(PATIENCE, async || {
        let (hook, mail) = (deliveries(&world, hook).await, deliveries(&world, mail).await);
        hook.iter().chain(&mail).all(|d| d.tries > 0 && d.error.is_some()).then_some(())
    });
    assert!(tried.await.is_some(), "{:#?}", deliveries(&world, hook).await);
    let refused = look_for(PATIENCE, async || {
        let all = deliveries(&world, wrong).await;
        all.iter().all(|d| d.state == DeliveryState::Failed).then_some(all)
    });
    let refused = refused.await.expect("what is refused for good is given up");
    assert!(
        refused.iter().all(|d| d.tries == 1 && d.error.as_deref().unwrap_or("").contains("no such mailbox"))
    );
    let all = ["hook", "mail", "wrong mailbox"].map(str::to_owned);
    let told = served.call("GET", "/health", &Value::Null).json();
    assert_eq!(silent(&told), BTreeSet::from(all.clone()));
    let told = said(&world, &["health"]);
    assert!(silent(&told) == BTreeSet::from(all) && told["state"] != "healthy", "{told:#}");
    let lines = said(&world, &["delivery", "list", "--state", "failed"]);
    assert_eq!(lines.as_array().map(Vec::len), Some(3), "{lines:#}");

    world.kill9(0).await;
    world.up_again(0).await;
    for d in deliveries(&world, hook).await.iter().chain(&deliveries(&world, mail).await) {
        assert!(d.state == DeliveryState::Queued && d.sent.is_none() && d.receipt.is_none(), "{d:?}");
    }
    let stub = Stub::start_at(hook_at, vec![Answer::of(200, "")]);
    let post = MailServer::start(&[&format!("--port={}", mail_at.port())]);
    let sent = look_for(PATIENCE, async || {
        let (hook, mail) = (deliveries(&world, hook).await, deliveries(&world, mail).await);
        hook.iter().chain(&mail).all(|d| d.state == DeliveryState::Sent && d.sent.is_some()).then_some(())
    });
    assert!(sent.await.is_some(), "{:#?}", deliveries(&world, mail).await);
    let ids: BTreeSet<String> = stub.all().iter().map(|got| got.headers["webhook-id"].clone()).collect();
    let subjects: BTreeSet<String> = post.all().into_iter().map(|got| got.subject).collect();
    assert!(ids.len() == 3 && subjects.len() == 3, "{ids:?} {subjects:?}");
    assert!((0..3).all(|n| subjects.iter().any(|s| s.contains(&format!("Alarm {n}")))), "{subjects:?}");
    assert!(refusing.all().is_empty());
    // The last answer is on its way into the channel's row.
    wait(Duration::from_millis(100)).await;
    let told = said(&world, &["health"]);
    assert_eq!(silent(&told), BTreeSet::from(["wrong mailbox".to_owned()]), "{told:#}");
    world.all_live();
}

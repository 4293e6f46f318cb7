//! `mainspring channel`, `mainspring delivery` and what `mainspring health` says of them, through the
//! real program and a real mail server.

mod support;

use mainspring::Client;
use mainspring::notify::{self, NewChannel, Security, Setup, Timing};
use mainspring_core::store::Store;
use mainspring_core::tables::Statement;
use mainspring_store_sqlite::{Options, SqliteStore};
use mainspring_testkit::outside::MailServer;
use serde_json::json;
use std::sync::Arc;
use support::{Place, Running};

/// Does something to the store of a place.
fn in_store(place: &Place, work: impl AsyncFnOnce(Client)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = SqliteStore::open(place.path().join("mainspring.db"), Options::default());
        let store = Arc::new(store.expect("opens"));
        let shared: Arc<dyn Store> = store.clone();
        work(Client::new(shared)).await;
        store.close().await;
    });
}

/// Channels of mails, made as the dashboard would.
fn make(place: &Place, channels: &[(&str, u16)]) {
    in_store(place, async |client| {
        notify::migrate(&*client.tables().expect("tables")).await.expect("migrated");
        for (name, port) in channels {
            let settings = Setup::Email {
                host: "127.0.0.1".into(),
                port: *port,
                security: Security::None,
                user: None,
                from: "engine@example.com".into(),
                to: vec!["ops@example.org".into()],
                reply_to: None,
            };
            let timing = Timing { gather: 60, ..Timing::default() };
            let new = NewChannel { name: (*name).into(), settings, timing, enabled: true, secret: None };
            notify::make(&client, &client.vault(), new).await.expect("a channel");
        }
    });
}

/// A place with these channels and a node that delivers.
fn delivering(channels: &[(&str, u16)]) -> (Place, Running) {
    let mut place = Place::new();
    place.env.push(("MAINSPRING_OUTBOUND_ALLOW".into(), "127.0.0.0/8".into()));
    make(&place, channels);
    let up = place.start(&["up", "--no-tour", "--listen", "127.0.0.1:0"]);
    (place, up)
}

#[test]
fn channels_are_shown_and_tested_and_what_was_sent_is_sent_again() {
    let mail = MailServer::start(&[]);
    let (place, _up) = delivering(&[("ops mail", mail.port), ("nowhere", 1)]);
    let list = place.ok(&["channel", "list"]);
    assert!(
        list.contains("ops mail") && list.contains("ops@example.org") && list.contains("never"),
        "{list}"
    );
    let said = place.ok(&["channel", "test", "ops mail"]);
    assert!(said.starts_with("ops mail: sent. It answered: 250"), "{said}");
    assert!(mail.wait_for(1)[0].subject.contains("Test of the channel ops mail"));
    let one = place.json(&["channel", "show", "ops mail"]);
    assert_eq!((&one["state"], &one["settings"]["host"]), (&json!("ok"), &json!("127.0.0.1")), "{one}");
    assert_eq!(one["deliveries"][0]["state"], "sent", "{one}");
    let text = place.ok(&["channel", "show", "ops mail"]);
    for part in ["channel ops mail  email  ok", "gathers    60 s", "leads to   ops@example.org", "250"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // One that leads nowhere says why, everywhere.
    let refused = place.refused(1, &["channel", "test", "nowhere"]);
    assert!(refused.contains("nowhere: "), "{refused}");
    let failing = place.json(&["channel", "show", "nowhere"]);
    assert_eq!(failing["state"], "failing", "{failing}");
    assert!(failing["failing"].as_i64() > Some(0) && failing["last_failed"].is_string(), "{failing}");
    assert!(place.ok(&["channel", "show", "nowhere"]).contains("in a row"));
    let near = place.refused(1, &["channel", "show", "nowher"]);
    assert!(near.contains("is it nowhere?"), "{near}");

    let sent = place.json(&["delivery", "list", "--state", "sent"]);
    assert_eq!((sent.as_array().map(Vec::len), &sent[0]["channel"]), (Some(1), &json!("ops mail")), "{sent}");
    let id = sent[0]["id"].to_string();
    let shown = place.json(&["delivery", "show", &id]);
    assert_eq!(shown["notice"]["state"], "test", "{shown}");
    assert_eq!(shown["attempts"].as_array().map(Vec::len), Some(1), "{shown}");
    let text = place.ok(&["delivery", "show", &id]);
    assert!(
        text.contains(&format!("delivery {id}  ops mail  sent")) && text.contains("answer     250"),
        "{text}"
    );
    assert!(text.contains("ntc_") && text.contains("succeeded"), "{text}");
    let again = place.json(&["delivery", "retry", &id]);
    assert_ne!(again["id"].to_string(), id);
    let both = mail.wait_for(2);
    assert_eq!(both[0].id, both[1].id, "the receiver sees the same message");
    let again = again["id"].to_string();
    place.until("that it counts as sent", || {
        (place.json(&["delivery", "show", &again])["state"] == "sent").then_some(())
    });
    let text = place.ok(&["delivery", "retry", &id]);
    assert!(text.contains("sends it again: mainspring delivery show "), "{text}");
    for call in [["delivery", "show", "999"], ["delivery", "retry", "999"]] {
        assert!(place.refused(1, &call).contains("no delivery 999"), "{call:?}");
    }
    let waiting = place.ok(&["delivery", "list", "--channel", "nowhere", "--state", "sent"]);
    assert!(waiting.contains("Nothing of what was sent is so."), "{waiting}");
}

#[test]
fn health_names_the_channels_by_which_nobody_hears() {
    let place = Place::new();
    make(&place, &[("nowhere", 1), ("well", 1)]);
    let before = place.json(&["health"]);
    assert_eq!((&before["state"], &before["silent_channels"]), (&json!("unknown"), &json!([])), "{before}");
    in_store(&place, async |client| {
        let ill = Statement::new(
            "UPDATE notify_channels SET failing = 2, last_error = 'no such mailbox' WHERE name = 'nowhere'",
        );
        client.tables().expect("tables").write(ill.into()).await.expect("written");
    });
    let after = place.json(&["health"]);
    let silent = json!([{ "channel": "nowhere", "reason": "no such mailbox" }]);
    assert_eq!((&after["state"], &after["silent_channels"]), (&json!("degraded"), &silent), "{after}");
    let text = place.ok(&["health"]);
    assert!(text.contains("channel nowhere does not deliver: no such mailbox"), "{text}");
    assert!(text.contains("mainspring channel test \"nowhere\""), "{text}");
}

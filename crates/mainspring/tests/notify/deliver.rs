//! Deliveries to real servers on loopback, over both stores.

use crate::on_both;
use crate::support::{Running, Stores};
use mainspring::notify::{self, DeliveryState, Security, Setup, Timing};
use mainspring_core::job::JobState;
use mainspring_core::tables::Statement;
use mainspring_testkit::outside::{Answer, MailServer, Stub};
use std::time::Duration;

on_both! {
    every_kind_of_channel_delivers_and_keeps_the_receipt
    what_was_not_taken_is_sent_again_under_the_same_id
    what_was_cut_off_in_the_middle_is_not_sent_and_comes_again
    who_is_gone_is_asked_no_more
    nobody_is_believed_to_have_what_nobody_confirmed
    notices_that_are_gathered_go_as_one_message
    quiet_hours_hold_what_is_not_urgent
}

const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn hook(stub: &Stub) -> Setup {
    Setup::Webhook { url: stub.url("/hook") }
}

async fn every_kind_of_channel_delivers_and_keeps_the_receipt(stores: Stores) {
    let mail = MailServer::start(&["--start-tls", "--login=ada:hunter2hunter2"]);
    let resend = Stub::start(vec![Answer::of(200, r#"{"id":"re_1"}"#)]);
    let slack = Stub::start(vec![Answer::of(200, "ok")]);
    let discord = Stub::start(vec![Answer::of(200, r#"{"id":"77"}"#)]);
    let signed = Stub::start(vec![Answer::of(204, "")]);
    let node = Running::start(stores);
    let email = Setup::Email {
        host: "127.0.0.1".into(),
        port: mail.port,
        security: Security::StartTls,
        user: Some("ada".into()),
        from: "Mainspring <engine@example.com>".into(),
        to: vec!["ops@example.org".into()],
        reply_to: None,
    };
    let api = Setup::Resend {
        from: "engine@example.com".into(),
        to: vec!["ops@example.org".into()],
        reply_to: None,
        api: Some(resend.url("/")),
    };
    let secrets = [
        "hunter2hunter2",
        "re_hunter2hunter2",
        &slack.url("/services/s3cret-1"),
        &discord.url("/api/webhooks/s3cret-2"),
        SIGNING,
    ];
    let setups = [email, api, Setup::Slack {}, Setup::Discord {}, hook(&signed)];
    let mut channels = Vec::new();
    for (setup, secret) in setups.into_iter().zip(secrets) {
        channels.push(
            node.channel(&format!("to {}", setup.kind()), setup, Some(secret), Timing::default()).await.id,
        );
    }
    let deliveries = node.say("Import failed", false, &channels).await;
    assert_eq!(deliveries.len(), 5);
    for (delivery, receipt) in deliveries.iter().zip(["queued as 4F1", "re_1", "200 OK: ok", "77", "204"]) {
        let sent = node.becomes(*delivery, DeliveryState::Sent).await;
        assert!(sent.receipt.as_deref().is_some_and(|r| r.contains(receipt)) && sent.tries == 1, "{sent:?}");
        let job = node.stores.store.job(node.client.project(), sent.job.unwrap()).await.unwrap().unwrap();
        let told = format!("{job:?}");
        assert!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
    }
    let got = mail.wait_for(1).remove(0);
    assert_eq!(got.subject, "Warning: Import failed · default");
    assert!(got.encrypted && got.signed_in && got.html.contains("https://m.example/p/default/jobs/12"));
    assert!(got.text.contains("queue: mail"), "{}", got.text);
    assert_eq!(resend.all()[0].json()["subject"], "Warning: Import failed · default");
    assert_eq!(slack.all()[0].json()["text"], "Warning: Import failed");
    assert_eq!(discord.all()[0].json()["embeds"][0]["url"], "https://m.example/p/default/jobs/12");
    assert_eq!(signed.all()[0].json()["data"]["notices"][0]["facts"]["queue"], "mail");
    let channel = notify::channel(&node.client, channels[0]).await.unwrap();
    assert!(channel.last_sent.is_some() && channel.state() == "ok");
    node.stop().await;
}

async fn what_was_not_taken_is_sent_again_under_the_same_id(stores: Stores) {
    let stub = Stub::start(vec![Answer::of(503, "busy").with("retry-after", "1"), Answer::of(200, "fine")]);
    let node = Running::start(stores);
    let channel = node.channel("hook", hook(&stub), None, Timing::default()).await;
    let delivery = node.say("Import failed", false, &[channel.id]).await[0];
    let waits = node.until(delivery, |d| d.tries == 1 && d.error.is_some()).await;
    assert_eq!(waits.state, DeliveryState::Queued);
    let trouble = notify::trouble(&*node.stores.tables).await.unwrap();
    assert!(trouble[0].1 == "hook" && trouble[0].2.contains("busy"), "{trouble:?}");
    let sent = node.becomes(delivery, DeliveryState::Sent).await;
    assert!(sent.tries == 2 && sent.error.is_none() && sent.sent.is_some(), "{sent:?}");
    let got = stub.wait_for(2);
    assert_eq!(got[0].headers["webhook-id"], got[1].headers["webhook-id"]);
    assert_eq!(got[0].body, got[1].body);
    assert!(got[0].headers["webhook-timestamp"] < got[1].headers["webhook-timestamp"]);
    assert!(notify::trouble(&*node.stores.tables).await.unwrap().is_empty(), "it is well again");
    let again = notify::redeliver(&node.client, delivery).await.unwrap();
    let again = node.becomes(again, DeliveryState::Sent).await;
    assert_ne!(again.uid, sent.uid);
    assert_eq!(stub.wait_for(3)[2].headers["webhook-id"], got[0].headers["webhook-id"], "receivers know it");
    node.stop().await;
}

async fn what_was_cut_off_in_the_middle_is_not_sent_and_comes_again(stores: Stores) {
    let stub = Stub::start(vec![Answer::Silence, Answer::of(200, "fine")]);
    let node = Running::start(stores);
    let channel = node.channel("hook", hook(&stub), None, Timing::default()).await;
    let delivery = node.say("Import failed", false, &[channel.id]).await[0];
    let stub = tokio::task::spawn_blocking(move || (stub.wait_for(1), stub)).await.unwrap().1;
    let begun = node.until(delivery, |d| d.tries == 1).await;
    assert_eq!((begun.state, begun.sent), (DeliveryState::Queued, None));
    let client = node.client.clone();
    let stores = node.stop().await;
    let left = notify::delivery(&client, delivery).await.unwrap().0;
    assert_eq!((left.state, left.sent), (DeliveryState::Queued, None), "nobody has said that it was taken");
    let node = Running::start(stores);
    let sent = node.becomes(delivery, DeliveryState::Sent).await;
    assert_eq!(sent.tries, 2);
    let got = stub.all();
    assert_eq!((got.len(), &got[0].headers["webhook-id"]), (2, &got[1].headers["webhook-id"]));
    node.stop().await;
}

async fn who_is_gone_is_asked_no_more(stores: Stores) {
    let stub = Stub::start(vec![Answer::of(410, "closed"), Answer::of(200, "back")]);
    let node = Running::start(stores);
    let channel = node.channel("hook", hook(&stub), None, Timing::default()).await;
    let first = node.say("one", false, &[channel.id]).await[0];
    let failed = node.becomes(first, DeliveryState::Failed).await;
    assert!(failed.tries == 1 && failed.error.unwrap().contains("closed"));
    let stopped = notify::channel(&node.client, channel.id).await.unwrap();
    assert_eq!(stopped.state(), "stopped");
    let second = node.say("two", false, &[channel.id]).await[0];
    let failed = node.becomes(second, DeliveryState::Failed).await;
    assert!(failed.tries == 0 && failed.error.unwrap().contains("stopped"));
    assert_eq!(stub.all().len(), 1, "it was not asked again");
    // A person's test is asked for, and a good answer opens the channel.
    let test = notify::test(&node.client, channel.id).await.unwrap();
    node.becomes(test, DeliveryState::Sent).await;
    assert_eq!(notify::channel(&node.client, channel.id).await.unwrap().state(), "ok");
    let third = node.say("three", false, &[channel.id]).await[0];
    node.becomes(third, DeliveryState::Sent).await;
    notify::delete(&node.client, channel.id).await.unwrap();
    assert!(node.say("four", false, &[channel.id]).await.is_empty());
    node.stop().await;
}

async fn nobody_is_believed_to_have_what_nobody_confirmed(stores: Stores) {
    let (cut, busy) = (Stub::start(vec![Answer::HangUp]), Stub::start(vec![Answer::of(500, "")]));
    let node = Running::start(stores);
    let cut_off = node.channel("cut off", hook(&cut), None, Timing::default()).await.id;
    let refusing = node.channel("busy", hook(&busy), None, Timing::default()).await.id;
    let ids = node.say("Import failed", false, &[cut_off, refusing]).await;
    for id in &ids {
        let waits = node.until(*id, |d| d.error.is_some()).await;
        assert_eq!((waits.state, waits.tries), (DeliveryState::Queued, 1));
        // Given up from outside, without the handler's knowing: a person's cancel, or poison.
        let job = waits.job.unwrap();
        node.job_becomes(job, JobState::Scheduled).await;
        node.client.cancel(job, "enough").await.unwrap();
        node.job_becomes(job, JobState::Cancelled).await;
    }
    let store = &*node.stores.store;
    notify::upkeep(store, &*node.stores.tables, node.client.now()).await.unwrap();
    assert_eq!(
        notify::delivery(&node.client, ids[0]).await.unwrap().0.state,
        DeliveryState::Queued,
        "not yet"
    );
    let later = mainspring_core::time::plus(node.client.now(), Duration::from_secs(3600));
    notify::upkeep(store, &*node.stores.tables, later).await.unwrap();
    assert_eq!(notify::delivery(&node.client, ids[0]).await.unwrap().0.state, DeliveryState::Unknown);
    assert_eq!(notify::delivery(&node.client, ids[1]).await.unwrap().0.state, DeliveryState::Failed);
    assert_eq!((cut.all().len(), busy.all().len()), (1, 1));
    // What is older than anybody asks for goes, with the notices.
    let much_later = mainspring_core::time::plus(node.client.now(), notify::KEEP + Duration::from_secs(60));
    notify::upkeep(store, &*node.stores.tables, much_later).await.unwrap();
    assert_eq!(
        (node.stores.count("notify_deliveries").await, node.stores.count("notify_notices").await),
        (0, 0)
    );
    node.stop().await;
}

async fn notices_that_are_gathered_go_as_one_message(stores: Stores) {
    let stub = Stub::start(vec![Answer::of(200, "fine")]);
    let node = Running::start(stores);
    let timing = Timing { gather: 2, ..Timing::default() };
    let channel = node.channel("hook", hook(&stub), None, timing).await.id;
    let mut ids = Vec::new();
    for title in ["one", "two", "three"] {
        ids.extend(node.say(title, false, &[channel]).await);
    }
    let urgent = node.say("four", true, &[channel]).await[0];
    node.becomes(urgent, DeliveryState::Sent).await;
    assert_eq!(stub.all()[0].json()["data"]["notices"][0]["title"], "four", "urgent ones do not wait");
    let mut sent = Vec::new();
    for id in &ids {
        sent.push(node.becomes(*id, DeliveryState::Sent).await);
    }
    let got = stub.wait_for(2);
    let titles: Vec<String> =
        got[1].json()["data"]["notices"].as_array().unwrap().iter().map(|n| n["title"].to_string()).collect();
    assert_eq!((got.len(), titles), (2, ["\"one\"", "\"two\"", "\"three\""].map(String::from).to_vec()));
    assert_eq!(
        (sent[0].carried_by.as_deref(), sent[2].carried_by.as_deref()),
        (None, Some(sent[0].uid.as_str()))
    );
    node.stop().await;
}

async fn quiet_hours_hold_what_is_not_urgent(stores: Stores) {
    let stub = Stub::start(vec![Answer::of(200, "fine")]);
    let node = Running::start(stores);
    let clock = |minutes: i64| {
        let at = node.client.now().checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap();
        Some(at.strftime("%H:%M").to_string())
    };
    let timing = Timing { quiet_from: clock(-60), quiet_to: clock(60), ..Timing::default() };
    let channel = node.channel("hook", hook(&stub), None, timing.clone()).await;
    let held = node.say("one", false, &[channel.id]).await[0];
    let urgent = node.say("two", true, &[channel.id]).await[0];
    node.becomes(urgent, DeliveryState::Sent).await;
    let waits = node.until(held, |d| d.held_until.is_some()).await;
    assert_eq!((waits.state, waits.tries), (DeliveryState::Queued, 0));
    let job = node.stores.store.job(node.client.project(), waits.job.unwrap()).await.unwrap().unwrap().job;
    assert_eq!((job.state, job.run_at), (JobState::Scheduled, waits.held_until.unwrap().0));
    assert_eq!(stub.all().len(), 1);
    let count = Statement::new("SELECT count(*) FROM notify_deliveries WHERE state = 'queued'");
    assert_eq!(node.stores.tables.read(count).await.unwrap().one::<i64>().unwrap(), 1);
    node.stop().await;
}

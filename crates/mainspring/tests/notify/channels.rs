//! Channels: what is refused, what is kept, and that secrets stay secret.

use crate::on_both;
use crate::support::{Running, Stores};
use mainspring::notify::{self, Kind, NewChannel, NotifyError, Security, Setup, Timing};
use mainspring::secrets::Secret;
use mainspring_core::tables::Statement;

on_both! {
    a_channel_is_made_changed_and_deleted
    what_cannot_work_is_refused_by_field
}

fn new(name: &str, settings: Setup, secret: Option<&str>) -> NewChannel {
    NewChannel {
        name: name.into(),
        settings,
        timing: Timing::default(),
        enabled: true,
        secret: secret.map(Secret::new),
    }
}

fn email() -> Setup {
    Setup::Email {
        host: "mail.example.com".into(),
        port: 587,
        security: Security::StartTls,
        user: Some("ada".into()),
        from: "engine@example.com".into(),
        to: vec!["ops@example.org".into()],
        reply_to: None,
    }
}

async fn a_channel_is_made_changed_and_deleted(stores: Stores) {
    let node = Running::start(stores);
    let (client, vault) = (&node.client, node.client.vault());
    let other = client.clone().in_project_named("other").await.unwrap();
    let hook = Setup::Webhook { url: "https://hooks.example.com/in?token=x".into() };
    let (channel, made) = notify::make(client, &vault, new(" Ops hook ", hook.clone(), None)).await.unwrap();
    let made = made.expect("a signing secret was made").expose().to_owned();
    assert!(made.starts_with("whsec_") && channel.name == "Ops hook" && channel.kind() == Kind::Webhook);
    assert_eq!(channel.settings.0.target(), "https://hooks.example.com/in", "no query is shown in lists");
    let again = notify::make(client, &vault, new("Ops hook", hook.clone(), None)).await;
    assert!(matches!(again, Err(NotifyError::Taken(_))), "{:?}", again.err());
    notify::make(&other, &other.vault(), new("Ops hook", hook.clone(), None)).await.unwrap();
    let (mail, none) =
        notify::make(client, &vault, new("mail", email(), Some("hunter2hunter2"))).await.unwrap();
    assert!(none.is_none() && mail.has_secret());
    // Without a new secret the old one stays; what it leads to stays, too.
    let quiet =
        Timing { quiet_from: Some("22:00".into()), quiet_to: Some("07:00".into()), ..Timing::default() };
    let change = NewChannel { name: "Mail".into(), timing: quiet.clone(), ..new("", email(), None) };
    let changed = notify::change(client, &vault, mail.id, change).await.unwrap();
    assert_eq!((changed.name.as_str(), &changed.timing.0, changed.has_secret()), ("Mail", &quiet, true));
    let kind = notify::change(client, &vault, mail.id, new("Mail", Setup::Slack {}, None)).await.unwrap_err();
    assert!(matches!(&kind, NotifyError::Invalid { field, .. } if field == "kind"), "{kind}");
    // Other projects know nothing of it.
    for gone in [
        notify::channel(&other, mail.id).await.err(),
        notify::delete(&other, mail.id).await.err(),
        notify::test(&other, mail.id).await.err(),
        notify::change(&other, &vault, mail.id, new("x", email(), None)).await.err(),
    ] {
        assert!(matches!(gone, Some(NotifyError::NotFound { .. })), "{gone:?}");
    }
    let tables = &node.stores.tables;
    let kept: Vec<(String, String)> = tables
        .read(Statement::new("SELECT settings, coalesce(secret, '') FROM notify_channels"))
        .await
        .unwrap()
        .into_typed()
        .unwrap();
    let told = format!("{kept:?}{changed:?}{channel:?}");
    assert!(!told.contains("hunter2hunter2") && !told.contains(&made), "{told}");
    notify::delete(client, mail.id).await.unwrap();
    assert_eq!(notify::channels(client).await.unwrap().len(), 1);
    let secrets =
        Statement::new("SELECT count(*) FROM secrets_values WHERE project = ?1").bind(client.project());
    assert_eq!(tables.read(secrets).await.unwrap().one::<i64>().unwrap(), 1, "its secret went with it");
    let events = node.stores.store.events(client.project(), 0, 100).await.unwrap();
    let acts: Vec<&str> = events
        .iter()
        .filter(|e| e.event.actor.as_deref() == Some("ada"))
        .map(|e| e.event.name.as_str())
        .collect();
    assert_eq!(acts, ["channel.created", "channel.created", "channel.changed", "channel.deleted"]);
    node.stop().await;
}

#[allow(clippy::too_many_lines, reason = "a table of what is refused, and why")]
async fn what_cannot_work_is_refused_by_field(stores: Stores) {
    let node = Running::start(stores);
    let vault = node.client.vault();
    let slack = |url: &str| new("a", Setup::Slack {}, Some(url));
    let hook = |url: &str, secret: Option<&str>| new("a", Setup::Webhook { url: url.into() }, secret);
    let mail = |change: &dyn Fn(&mut Setup)| {
        let mut setup = email();
        change(&mut setup);
        new("a", setup, Some("hunter2hunter2"))
    };
    for (wrong, field) in [
        (new("", Setup::Slack {}, None), "name"),
        (new("a\nb", Setup::Slack {}, None), "name"),
        (slack("ftp://x"), "secret"),
        (slack("not a url"), "secret"),
        (new("a", Setup::Discord {}, None), "secret"),
        (hook("javascript:alert(1)", None), "url"),
        (hook("https://user:pw@example.com/", None), "url"),
        (hook("https://example.com/", Some("hunter2hunter2")), "secret"),
        (
            mail(&|s| {
                if let Setup::Email { host, .. } = s {
                    *host = "a b".into()
                }
            }),
            "host",
        ),
        (
            mail(&|s| {
                if let Setup::Email { port, .. } = s {
                    *port = 0
                }
            }),
            "port",
        ),
        (
            mail(&|s| {
                if let Setup::Email { from, .. } = s {
                    *from = "a\r\nBcc: b@example.com".into()
                }
            }),
            "from",
        ),
        (
            mail(&|s| {
                if let Setup::Email { to, .. } = s {
                    to.clear()
                }
            }),
            "to",
        ),
        (
            mail(&|s| {
                if let Setup::Email { to, .. } = s {
                    to.push("x".into())
                }
            }),
            "to",
        ),
        (
            mail(&|s| {
                if let Setup::Email { reply_to, .. } = s {
                    *reply_to = Some("x\ny".into())
                }
            }),
            "reply_to",
        ),
        (
            mail(&|s| {
                if let Setup::Email { security, .. } = s {
                    *security = Security::None
                }
            }),
            "security",
        ),
        (NewChannel { secret: None, ..mail(&|_| ()) }, "secret"),
        (NewChannel { timing: Timing { zone: "Mars".into(), ..Timing::default() }, ..mail(&|_| ()) }, "zone"),
    ] {
        match notify::make(&node.client, &vault, wrong).await {
            Err(NotifyError::Invalid { field: named, text }) => {
                assert!(named == field && !text.contains("hunter2"), "{named} instead of {field}: {text}");
            }
            other => panic!("{field}: {:?}", other.map(|(channel, _)| channel)),
        }
    }
    assert!(notify::channels(&node.client).await.unwrap().is_empty());
    node.stop().await;
}

//! The pages of channels and deliveries: what their forms take and refuse, what became of what was sent.

use super::support::{World, encoded};
use super::{HOSTILE, page, sent_to, viewer};
use mainspring_core::tables::Statement;
use mainspring_web::access::Role;

const FORM: &str = "/p/default/channel-form";

/// The fields of a mail channel, as a browser sends them.
fn mail(name: &str, more: &str) -> String {
    let to = encoded("ops@example.org\r\nnight@example.org");
    format!(
        "kind=email&name={}&host=mail.example.com&port=587&security=start_tls&user=&secret=&from=engine%40example.com\
         &to={to}&reply_to=&zone=UTC&quiet_from=&quiet_to=&digest=none&digest_at=&gather=0s&enabled=true{more}",
        encoded(name)
    )
}

async fn write(world: &World, statement: &'static str) {
    world.web.tables().write(Statement::new(statement).into()).await.unwrap();
}

/// A mail channel that was made through the form: its page.
async fn made(world: &World, admin: &str, name: &str) -> String {
    sent_to(&world.form(FORM, admin, &mail(name, "")).await).to_owned()
}

#[tokio::test]
async fn a_channel_is_made_tried_changed_and_deleted_by_its_pages() {
    let world = World::still().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/channels", &admin).await;
    assert!(
        empty.contains("No channel yet") && empty.contains("href=\"/p/default/channel-form\""),
        "{empty}"
    );
    let channel = made(&world, &admin, HOSTILE).await;
    let list = page(&world, "/p/default/channels", &admin).await;
    assert!(
        list.contains("ops@example.org, night@example.org") && list.contains("Nothing sent yet"),
        "{list}"
    );
    assert!(list.contains("&#60;script&#62;"), "{list}");
    // A test, and what became of it.
    let test = sent_to(&world.form(&format!("{channel}/test"), &admin, "").await).to_owned();
    assert!(test.starts_with(&format!("{channel}?test=")), "{test}");
    assert!(page(&world, &test, &admin).await.contains("The test is on its way"));
    write(&world, "UPDATE notify_deliveries SET error = '451 try again later', tries = 1").await;
    assert!(page(&world, &test, &admin).await.contains("is tried again: 451 try again later"));
    write(&world, "UPDATE notify_deliveries SET state = 'failed', error = '550 no such mailbox'").await;
    write(
        &world,
        "UPDATE notify_channels SET failing = 2, last_error = '550 no such mailbox', last_failed = 1000000",
    )
    .await;
    let failed = page(&world, &test, &admin).await;
    assert!(failed.contains("The test failed</strong>: 550 no such mailbox"), "{failed}");
    assert!(failed.contains("The last 2 tries failed") && failed.contains("Failing"), "{failed}");
    let list = page(&world, "/p/default/channels", &admin).await;
    assert!(list.contains("does not deliver</strong>, so nobody hears by it: 550 no such mailbox"), "{list}");
    write(&world, "UPDATE notify_deliveries SET state = 'sent', receipt = '250 queued', error = NULL").await;
    write(&world, "UPDATE notify_channels SET failing = 0, last_error = NULL, last_sent = 2000000").await;
    let sent = page(&world, &test, &admin).await;
    assert!(sent.contains("The test was sent.</strong> The service answered: 250 queued"), "{sent}");
    assert!(sent.contains(">Delivers<"), "{sent}");
    // What is set comes back, and can be changed.
    let form = page(&world, &format!("{FORM}?id={}", channel.rsplit('/').next().unwrap()), &admin).await;
    assert!(form.contains("ops@example.org\nnight@example.org") && form.contains("Change channel"), "{form}");
    let id = channel.rsplit('/').next().unwrap();
    let night = mail("night", "&quiet_from=22:00&quiet_to=7:00").replace("&quiet_from=&quiet_to=", "");
    let night = format!("id={id}&{}", night.replace("zone=UTC", "zone=Europe%2FBerlin"));
    assert_eq!(sent_to(&world.form(FORM, &admin, &night).await), channel);
    let one = page(&world, &channel, &admin).await;
    assert!(one.contains("<h1>night</h1>") && one.contains("22:00 to 7:00, Europe/Berlin"), "{one}");
    for (deed, shows) in [("off", "It is switched off"), ("on", "Switch off")] {
        assert_eq!(sent_to(&world.form(&format!("{channel}/{deed}"), &admin, "").await), channel);
        assert!(page(&world, &channel, &admin).await.contains(shows), "{deed}");
    }
    write(&world, "UPDATE notify_channels SET stopped = 'the receiver answered 410'").await;
    let stopped = page(&world, &channel, &admin).await;
    assert!(stopped.contains("Nothing is sent any more") && stopped.contains("answered 410"), "{stopped}");
    assert_eq!(sent_to(&world.form(&format!("{channel}/delete"), &admin, "").await), "/p/default/channels");
    for gone in [channel.as_str(), "/p/default/channels/x", "/p/default/channels/99"] {
        assert_eq!(world.get(gone, &admin).await.status.as_u16(), 404, "{gone}");
    }
    let audit = page(&world, "/p/default/audit", &admin).await;
    assert!(audit.contains("href=\"/p/default/channels\"") && audit.contains("channel.deleted"), "{audit}");
}

#[tokio::test]
async fn each_kind_has_its_form_and_no_secret_comes_back() {
    let world = World::still().await;
    let admin = world.admin().await;
    for (kind, field) in [
        ("email", "name=\"host\""),
        ("resend", "name=\"api\""),
        ("slack", "Address of the webhook"),
        ("discord", "Address of the webhook"),
        ("webhook", "name=\"url\""),
    ] {
        let form = page(&world, &format!("{FORM}?kind={kind}"), &admin).await;
        assert!(form.contains(field) && form.contains(&format!("name=\"kind\" value=\"{kind}\"")), "{kind}");
    }
    let rest = "zone=UTC&quiet_from=&quiet_to=&digest=none&digest_at=&gather=0s&enabled=true";
    let slack = format!("kind=slack&name=team&secret=https%3A%2F%2Fhooks.example%2Fhush&{rest}");
    let team = sent_to(&world.form(FORM, &admin, &slack).await).to_owned();
    let text = page(&world, &team, &admin).await;
    assert!(text.contains("kept sealed") && !text.contains("hush"), "{text}");
    let resend =
        format!("kind=resend&name=mails&secret=re_hushhush&from=a%40example.com&to=b%40example.com&{rest}");
    sent_to(&world.form(FORM, &admin, &resend).await);
    let discord = format!("kind=discord&name=guild&secret=https%3A%2F%2Fdiscord.example%2Fhush&{rest}");
    sent_to(&world.form(FORM, &admin, &discord).await);
    // A signing secret that was made is shown in the answer and nowhere else.
    let hook = format!("kind=webhook&name=hook&url=https%3A%2F%2Fexample.com%2Fin&secret=&{rest}");
    let made = world.form(FORM, &admin, &hook).await;
    assert_eq!(made.status.as_u16(), 200);
    let at = made.text.find("whsec_").expect("the secret");
    let secret: String = made.text[at..].chars().take_while(|c| *c != '<').collect();
    assert!(secret.len() > 40, "{secret}");
    let list = page(&world, "/p/default/channels", &admin).await;
    for name in ["team", "mails", "guild", "hook"] {
        let at = list.find(&format!("\">{name}</a>")).unwrap_or_else(|| panic!("{name}: {list}"));
        let path = list[..at].rsplit("href=\"").next().unwrap();
        let (shown, id) = (page(&world, path, &admin).await, path.rsplit('/').next().unwrap());
        let form = page(&world, &format!("{FORM}?id={id}"), &admin).await;
        for text in [&list, &shown, &form] {
            assert!(!text.contains(&secret) && !text.contains("hush"), "{name}: {text}");
        }
    }
    // What is wrong stands at its field; what was typed as a secret does not come back.
    for (fields, error) in [
        (mail("x", "").replace("mail.example.com", "a/b"), "error-f-host"),
        (mail("x", "").replace("port=587", "port=many"), "many&#34; is not a port"),
        (mail("x", "").replace("secret=", "secret=hunter2").replace("engine%40", "engine"), "error-from"),
        (mail("x", "").replace("gather=0s", "gather=soon"), "error-gather"),
        (mail("x", "").replace("digest=none", "digest=daily"), "error-digest_at"),
        (mail("team", ""), "error-name"),
        (slack.replace("name=team", "name=y").replace("https", "ftp"), "error-secret"),
        (resend.replace("name=mails", "name=y").replace("re_hushhush", "short"), "at least 8 bytes"),
    ] {
        let refused = world.form(FORM, &admin, &fields).await;
        assert_eq!(refused.status.as_u16(), 422, "{fields}: {}", refused.text);
        let error = error.replace("error-f-", "error-");
        assert!(
            refused.text.contains(&error) && !refused.text.contains("hunter2"),
            "{error}: {}",
            refused.text
        );
        assert!(!refused.text.contains("ftp://"), "{}", refused.text);
    }
}

#[tokio::test]
async fn deliveries_are_found_looked_into_and_sent_again() {
    let world = World::still().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/deliveries", &admin).await;
    assert!(empty.contains("Nothing was sent yet"), "{empty}");
    let (ops, night) = (made(&world, &admin, "ops").await, made(&world, &admin, "night").await);
    for channel in [&ops, &night] {
        sent_to(&world.form(&format!("{channel}/test"), &admin, "").await);
    }
    write(
        &world,
        "UPDATE notify_deliveries SET state = 'unknown', tries = 3, error = '<b>hung up',
             job = (SELECT max(id) FROM notify_deliveries) WHERE channel_name = 'night'",
    )
    .await;
    let list = page(&world, "/p/default/deliveries", &admin).await;
    assert!(list.contains("Test of the channel ops") && list.contains("Test of the channel night"), "{list}");
    assert!(list.contains("&#60;b&#62;hung up"), "{list}");
    let unknown = page(&world, "/p/default/deliveries?state=unknown", &admin).await;
    assert!(!unknown.contains("channel ops") && unknown.contains("channel night"), "{unknown}");
    let id = ops.rsplit('/').next().unwrap();
    let of_ops = page(&world, &format!("/p/default/deliveries?channel={id}"), &admin).await;
    assert!(of_ops.contains("channel ops") && !of_ops.contains("Test of the channel night"), "{of_ops}");
    let none = page(&world, &format!("/p/default/deliveries?channel={id}&state=sent"), &admin).await;
    assert!(none.contains("Nothing matches"), "{none}");
    for wrong in ["state=lost", "channel=x", "before=x"] {
        let refused = world.get(&format!("/p/default/deliveries?{wrong}"), &admin).await;
        assert_eq!(refused.status.as_u16(), 422, "{wrong}");
    }
    let at = unknown.find("/p/default/deliveries/").expect("its page");
    let path: String = unknown[at..].chars().take_while(|c| *c != '"').collect();
    let one = page(&world, &path, &admin).await;
    assert!(one.contains("It was handed over") && one.contains("3 times") && one.contains("ntc_"), "{one}");
    assert!(one.contains("/p/default/jobs/") && one.contains(&format!("href=\"{night}\"")), "{one}");
    let again = sent_to(&world.form(&format!("{path}/redeliver"), &admin, "").await).to_owned();
    assert_ne!(again, path);
    assert!(page(&world, &again, &admin).await.contains("not yet"));
    // Without its channel it cannot be sent again, and says so.
    sent_to(&world.form(&format!("{night}/delete"), &admin, "").await);
    let one = page(&world, &path, &admin).await;
    assert!(one.contains("night (deleted)") && one.contains("its channel is gone"), "{one}");
    assert!(!one.contains("/redeliver\""), "{one}");
    assert_eq!(world.form(&format!("{path}/redeliver"), &admin, "").await.status.as_u16(), 404);
    for gone in ["/p/default/deliveries/99999", "/p/default/deliveries/x"] {
        assert_eq!(world.get(gone, &admin).await.status.as_u16(), 404, "{gone}");
    }
}

#[tokio::test]
async fn channels_of_others_are_not_there_and_who_may_look_changes_none() {
    let world = World::still().await;
    let (admin, vera) = (world.admin().await, viewer(&world).await);
    let (_, other) = world.member("other", "otto@example.com", Role::Owner, true).await;
    let channel = made(&world, &admin, "ops").await;
    let test = sent_to(&world.form(&format!("{channel}/test"), &admin, "").await).to_owned();
    let list = page(&world, "/p/default/deliveries", &admin).await;
    let at = list.find("/p/default/deliveries/").expect("a delivery");
    let delivery: String = list[at..].chars().take_while(|c| *c != '"').collect();
    for path in [&channel, &delivery] {
        let own = path.replace("/p/default/", "/p/other/");
        assert_eq!(world.get(path, &other).await.status.as_u16(), 404, "{path}");
        assert_eq!(world.get(&own, &other).await.status.as_u16(), 404, "{own}");
    }
    let own = channel.replace("/p/default/", "/p/other/");
    for deed in ["test", "on", "off", "delete"] {
        let foreign = world.form(&format!("{own}/{deed}"), &other, "").await;
        assert_eq!(foreign.status.as_u16(), 404, "{deed}");
        assert_eq!(world.form(&format!("{channel}/{deed}"), &vera, "").await.status.as_u16(), 403, "{deed}");
    }
    let foreign = delivery.replace("/p/default/", "/p/other/");
    assert_eq!(world.form(&format!("{foreign}/redeliver"), &other, "").await.status.as_u16(), 404);
    assert_eq!(world.form(&format!("{delivery}/redeliver"), &vera, "").await.status.as_u16(), 403);
    assert_eq!(world.get(FORM, &vera).await.status.as_u16(), 403);
    assert_eq!(world.form(FORM, &vera, &mail("x", "")).await.status.as_u16(), 403);
    for path in ["/p/default/channels", &channel, &delivery, &test] {
        let seen = page(&world, path, &vera).await;
        for deed in ["channel-form\"", "/test\"", "/delete\"", "/redeliver\"", "/off\""] {
            // The list of keys and places is on every page; forms and buttons are not.
            let main = seen.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
            assert!(!main.contains(deed), "{path} offers {deed}");
        }
    }
}

#[tokio::test]
async fn the_side_bar_counts_alerts_that_fire() {
    let world = World::still().await;
    let admin = world.admin().await;
    let count = "<span class=\"count count--bad\">1<span class=\"vh\"> firing</span></span>";
    assert!(!page(&world, "/p/default/jobs", &admin).await.contains("count--bad"));
    let (_, alert) = world.alert("default", "").await;
    for path in ["/p/default", "/p/default/jobs", "/p/default/channels"] {
        let text = page(&world, path, &admin).await;
        assert!(text.contains(count), "{path}: {text}");
    }
    sent_to(&world.form(&format!("/p/default/alerts/{alert}/close"), &admin, "note=").await);
    assert!(!page(&world, "/p/default/jobs", &admin).await.contains(count));
}

#[tokio::test]
async fn mails_are_shown_as_they_would_be_sent_and_can_do_nothing() {
    let world = World::still().await;
    let admin = world.admin().await;
    for (word, subject) in [
        ("critical", "Critical: Schedule nightly backup failed 3 times in a row · default"),
        ("warning", "Warning: "),
        ("info", "Info: "),
        ("recovered", "Recovered: "),
        ("test", "Test: "),
        ("message", "The weekly report is ready · default"),
    ] {
        let shown = page(&world, &format!("/p/default/mail-preview?notice={word}"), &admin).await;
        let at = format!("/p/default/mail-preview/{word}");
        assert!(
            shown.contains(subject) && shown.contains(&format!("src=\"{at}\" sandbox")),
            "{word}: {shown}"
        );
        assert!(shown.contains("node: mill-1"), "the plain text of {word}: {shown}");
        let mail = world.get(&at, &admin).await;
        assert_eq!(mail.status.as_u16(), 200);
        let csp = mail.header("content-security-policy");
        for part in ["sandbox;", "default-src 'none'", "frame-ancestors 'self'", "form-action 'none'"] {
            assert!(csp.contains(part), "{part} is not in {csp}");
        }
        assert!(mail.text.contains("max-width:600px") && mail.text.contains("mill-1"), "{}", mail.text);
        assert!(!mail.text.contains("<script"), "{}", mail.text);
    }
    // Only a mail may bring styles of its own, and only into a frame of ours.
    let own = world.get("/p/default/mail-preview", &admin).await;
    assert!(!own.header("content-security-policy").contains("unsafe"));
    for gone in ["/p/default/mail-preview?notice=pigeon", "/p/default/mail-preview/pigeon"] {
        assert_eq!(world.get(gone, &admin).await.status.as_u16(), 404, "{gone}");
    }
    assert_eq!(world.get("/p/default/mail-preview/critical", "").await.status.as_u16(), 401);
    assert!(page(&world, "/p/default/channels", &admin).await.contains("href=\"/p/default/mail-preview\""));
}

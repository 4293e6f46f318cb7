//! Somebody is told: a channel made and tried by its pages, a rule that tells it, a job that fails, an
//! alert that arrives in the badge of a page that stays open and as a mail in a real mail server.

use super::desk::Desk;
use super::support::{Place, now};
use mainspring_testkit::browser::Screen;
use mainspring_testkit::outside::MailServer;
use std::time::Duration;

#[test]
fn an_alert_arrives_in_the_badge_and_as_a_mail() {
    let mail = MailServer::start(&[]);
    let mut place = Place::new();
    place.env.push(("MAINSPRING_OUTBOUND_ALLOW".into(), "127.0.0.0/8".into()));
    let desk = Desk::open_known(place, &[]);
    desk.set_up();
    make_the_channel(&desk, &mail);
    make_the_rule(&desk);
    // It fails for good; the rule looks at whole minutes.
    desk.place.json(&["job", "enqueue", "tour.slow", "{}", "--timeout", "1s", "--attempts", "1"]);
    channels_and_keys(&desk, &mail);
    it_arrives(&desk, &mail);
    assert_eq!(desk.browser.complaints(), Vec::<String>::new());
}

fn make_the_channel(desk: &Desk, mail: &MailServer) {
    let b = &desk.browser;
    desk.go("");
    b.press(&["g", "c"]);
    b.see("h1", "Channels");
    b.see("#channels", "No channel yet");
    b.click(".head a.btn--primary");
    b.see("h1", "New channel");
    b.fill("#name", "operations");
    b.fill("#f-host", "127.0.0.1");
    b.fill("#f-port", "many");
    b.fill("#f-from", "Mainspring <engine@example.com>");
    b.fill("#f-to", "ops@example.org");
    b.script("document.querySelector('#f-security').value = 'none'");
    b.click("#channel-form button");
    // What is wrong stands at its field, and what is right stays.
    b.see("#error-port", "is not a port");
    // The refusal of a form is an answer that the browser notes.
    assert_eq!(b.complaints().len(), 1);
    b.fill("#f-port", &mail.port.to_string());
    b.click("#channel-form button");
    b.see("h1", "operations");
    b.see("#state", "Nothing sent yet");
    b.click("#send-test");
    b.see("#told", "The test was sent.");
    b.see("#state", "Delivers");
    b.see("#last", "Test of the channel operations");
    let test = mail.wait_for(1).remove(0);
    assert!(test.subject.contains("Test of the channel operations"), "{test:?}");
    assert_eq!(test.recipients, ["ops@example.org"]);
}

fn make_the_rule(desk: &Desk) {
    let b = &desk.browser;
    desk.go("alert-rule-form?when=failures");
    b.fill("#name", "The slow one fails");
    b.fill("#f-of", "kind/tour.slow");
    b.fill("#f-in_a_row", "1");
    b.click("[name=severity][value=critical]");
    b.click("[name=channel]");
    b.click("button[value=save]");
    b.see("h1", "The slow one fails");
    b.see("main", "operations");
    // The channel knows who tells it.
    desk.go("channels");
    b.click("#channels a.title");
    b.see("main", "The slow one fails");
}

/// While the minute goes by: the width of a phone, and the way by keys alone.
fn channels_and_keys(desk: &Desk, mail: &MailServer) {
    let b = &desk.browser;
    b.screen(Screen::Phone);
    let begin = now();
    for path in ["channels", "channels/1", "channel-form?id=1", "deliveries", "deliveries/1", "notifications"]
    {
        desk.go(path);
        assert_eq!(desk.too_wide(), None, "{path} at the width of a phone");
    }
    // Each page follows the project's events; pages that were left must leave their connections, too.
    for path in ["jobs", "queues", "batches", "alerts", "schedules", "nodes", "audit", "channels"] {
        desk.go(path);
    }
    assert!(begin.elapsed() < Duration::from_secs(35), "pages wait for connections: {:?}", begin.elapsed());
    b.screen(Screen::Desktop);
    for (key, title) in [("d", "Deliveries"), ("i", "Notifications"), ("l", "alert")] {
        b.press(&["g", key]);
        b.see("h1", title);
    }
    // A second one that leads nowhere: it says so itself.
    desk.go("channel-form?id=1");
    b.fill("#f-port", "1");
    b.click("#channel-form button");
    b.see("h1", "operations");
    b.click("#send-test");
    b.see("#told", "The test was not taken");
    b.see("#state", "Failing");
    desk.go("channels");
    b.see("#silent", "operations does not deliver");
    desk.go("channel-form?id=1");
    b.fill("#f-port", &mail.port.to_string());
    b.click("#channel-form button");
    b.see("h1", "operations");
}

fn it_arrives(desk: &Desk, mail: &MailServer) {
    let b = &desk.browser;
    // A page that stays open, with no word about alerts on it.
    desk.go("queues");
    b.script("window.same = true");
    let alert = desk.place.until_for(Duration::from_secs(180), "the alert's mail", || {
        mail.all().into_iter().find(|m| m.subject.starts_with("Critical: "))
    });
    b.until("the badge", "Number(document.querySelector('#unread .badge')?.innerText) >= 1");
    b.until(
        "the count of alerts",
        "Number.parseInt(document.querySelector('#firing .count')?.innerText) >= 1",
    );
    assert_eq!(b.script("return window.same"), true, "the page was not loaded anew");
    assert!(alert.subject.contains("tour.slow"), "{alert:?}");
    assert_eq!(alert.recipients, ["ops@example.org"]);
    assert!(
        alert.id.starts_with("<ntc_") && alert.html.contains(&format!("href=\"{}/p/default/", desk.url)),
        "{alert:?}"
    );
    // From the badge to the notification, the alert, and back to what was sent of it.
    b.click("#unread");
    b.see("#notifications", "tour.slow");
    b.click("#notifications a.title");
    b.see("h1", "tour.slow");
    // The mail leads to the same page.
    let at = alert.text.find(&desk.url).expect("a link");
    let link: String = alert.text[at..].chars().take_while(|c| !c.is_whitespace()).collect();
    assert_eq!(link, b.address(), "{}", alert.text);
    b.go(&link);
    b.see("h1", "tour.slow");
    desk.go("deliveries?state=sent");
    b.see("#deliveries", "tour.slow");
    b.click("#deliveries a.title");
    b.see("#became", "Sent");
    b.see("#became", "250");
    b.see("#attempts", "Succeeded");
    desk.go("notifications");
    b.click(".head form button");
    b.until("nothing new", "!document.querySelector('#unread .badge')");
}

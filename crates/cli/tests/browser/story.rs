//! From the first start to a schedule that fires, a failure that is looked into, and a pause.

use super::desk::{Desk, EMAIL, PASSWORD};
use super::support::Place;
use mainspring_testkit::browser::{Screen, keys};

const LIVE: &str = "document.documentElement.dataset.live";
/// How many jobs of the schedule the page shows.
const ROWS: &str = "document.querySelectorAll('#history tbody tr').length";

#[test]
fn from_the_first_start_to_a_schedule_a_failure_and_a_pause() {
    let desk = Desk::open(Place::new(), &[]);
    desk.set_up();
    let b = &desk.browser;
    // The first page is not empty: the tour runs.
    b.see("#activity", "tour.");
    assert!(b.text("h1").len() > 5, "{}", b.text("h1"));
    sign_in_again(&desk);
    make_a_schedule(&desk);
    watch_it_fire(&desk);
    look_into_a_failure(&desk);
    pause_and_resume(&desk);
    assert_eq!(b.complaints(), Vec::<String>::new());
}

fn sign_in_again(desk: &Desk) {
    let b = &desk.browser;
    b.click(".side__foot form button");
    b.see("h1", "Sign in");
    // What needs an account leads back to where it was asked for.
    desk.go("queues");
    b.fill("[name=email]", EMAIL);
    b.fill("[name=password]", PASSWORD);
    b.press(&[keys::ENTER]);
    b.see("h1", "Queues");
}

fn make_a_schedule(desk: &Desk) {
    let b = &desk.browser;
    b.press(&["g", "s"]);
    b.see("h1", "Schedules");
    b.click(".head a.btn--primary");
    b.see("h1", "New schedule");
    b.fill("#name", "beat");
    b.fill("#when", "every 5 parsecs");
    b.see("#preview", "before the marked fields are put right");
    b.fill("#when", "every 2s");
    b.click("[name=what][value=kind]");
    b.fill("#kind", "tour.heartbeat");
    // It says in words what it will do before anything is saved.
    b.see("#preview", "every 2s, counted from midnight");
    b.click("button[value=save]");
    b.see("h1", "beat");
}

fn watch_it_fire(desk: &Desk) {
    let b = &desk.browser;
    b.script("window.same = true");
    b.until("two jobs of the schedule", &format!("{ROWS} >= 2"));
    b.see("#history", "Succeeded");
    // A pause of the page really pauses it, and nothing is lost by it.
    b.press(&["p"]);
    b.see("[data-act=live]", "Paused");
    let before = b.script(&format!("return {ROWS}")).as_u64().expect("a number");
    let shown = b.text("#history");
    desk.place.until("more jobs", || {
        let jobs = desk.place.json(&["job", "list", "-n", "1000"]);
        let made =
            jobs.as_array()?.iter().filter(|j| j["schedule"] == "beat" || j["kind"] == "tour.heartbeat");
        (made.count() as u64 > before + 3).then_some(())
    });
    assert_eq!(b.text("#history"), shown, "a paused page must stand still");
    b.press(&["p"]);
    b.until("what was missed meanwhile", &format!("{ROWS} > {}", before + 1));
    assert_eq!(b.script("return window.same"), true, "a page that follows does not load anew");
    // Without the server it says so, and goes on by itself.
    b.network(false);
    b.until("that it is offline", &format!("{LIVE} === 'disconnected'"));
    b.see("[data-act=live]", "Offline");
    b.network(true);
    b.until("that it is live again", &format!("{LIVE} === 'live'"));
    b.complaints();
}

fn look_into_a_failure(desk: &Desk) {
    let b = &desk.browser;
    desk.go("jobs?state=failed");
    b.see("#jobs", "tour.slow");
    b.click("#jobs tbody a.title");
    b.see("h1", "tour.slow");
    b.see("#head", "Timed out");
    b.see("#log", "only two seconds are allowed");
    b.see("#why", "How did it end?");
    assert_eq!(b.count("#attempts tbody tr"), 1);
    b.click("#head .btn--primary");
    b.until("the second attempt", "document.querySelectorAll('#attempts tbody tr').length === 2");
    // One that takes its time is followed while it runs, and ended.
    let slow = desk.place.json(&["job", "enqueue", "tour.slow", "{}", "--timeout", "5m"]);
    desk.go(&format!("jobs/{}", slow["id"]));
    b.see("#head", "Running");
    b.see("#log", "this takes a minute");
    b.click("#cancel summary");
    b.fill("#cancel [name=reason]", "seen enough");
    b.click("#cancel button");
    b.see("#head", "Cancelled");
    b.see("#why", "How did it end?");
}

fn pause_and_resume(desk: &Desk) {
    let b = &desk.browser;
    desk.go("schedules/beat");
    b.click("#pause summary");
    b.fill("#pause [name=note]", "moving house");
    b.click("#pause button");
    b.see(".banner", "moving house");
    b.see("#state", "Paused");
    b.click(".banner button");
    b.until("the end of the pause", "!document.querySelector('.banner.is-warn')");
}

#[test]
fn themes_phones_and_keys() {
    let desk = Desk::open(Place::new(), &[]);
    desk.set_up();
    let b = &desk.browser;
    themes(&desk);
    key_by_key(&desk);
    b.screen(Screen::Phone);
    for path in ["", "schedules", "jobs", "queues", "nodes", "audit", "settings", "schedule-form", "jobs/1"] {
        desk.go(path);
        assert_eq!(desk.too_wide(), None, "{path} at the width of a phone");
    }
    // The places are at the thumb there.
    b.click(".tabbar a[href$='/jobs']");
    b.see("h1", "Jobs");
    assert_eq!(b.complaints(), Vec::<String>::new());
}

/// How light the page's ground is, 0 to 255.
const GROUND: &str =
    "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))";

fn themes(desk: &Desk) {
    let b = &desk.browser;
    b.system("dark", false);
    b.until("a dark ground, as the system wants", &format!("{GROUND} < 60"));
    b.press(&["t"]);
    b.until("a light ground, as the person wants", &format!("{GROUND} > 200"));
    b.press(&["t"]);
    b.until("a dark ground, as the person wants", &format!("{GROUND} < 60"));
    b.system("light", false);
    desk.go("jobs");
    // The server draws it so at once: there is no flash.
    assert_eq!(b.script("return document.documentElement.dataset.theme"), "dark");
    b.until("a dark ground on the next page", &format!("{GROUND} < 60"));
    // Whoever wants stillness gets it.
    let moving =
        "return document.getAnimations().filter((a) => a.effect.getComputedTiming().duration > 0).length";
    desk.go("");
    assert_eq!(b.script(moving), 0, "something moves");
    b.press(&["t"]);
}

fn key_by_key(desk: &Desk) {
    let b = &desk.browser;
    desk.go("");
    // The first thing the tab key finds is the way past the side bar.
    b.press(&[keys::TAB]);
    assert_eq!(b.script("return document.activeElement.className"), "skip");
    b.press(&[keys::ENTER, keys::TAB]);
    assert_eq!(b.script("return Boolean(document.activeElement.closest('main'))"), true);
    b.press(&[&format!("{}+k", keys::CONTROL)]);
    b.until("the palette", "document.querySelector('#palette').open");
    b.press(&["s", "c", "h", "e", "d", keys::ENTER]);
    b.see("h1", "Schedules");
    b.press(&["?"]);
    b.until("the list of keys", "document.querySelector('#help').open");
    b.press(&[keys::ESCAPE]);
    b.until("its end", "!document.querySelector('#help').open");
    for (key, title) in [("j", "Jobs"), ("q", "Queues"), ("b", "Batches"), ("a", "Audit log")] {
        b.press(&["g", key]);
        b.see("h1", title);
    }
    // A single key does nothing while one types.
    desk.go("schedules");
    b.press(&["/"]);
    b.press(&["t", "p", "?"]);
    let typed = "return [document.activeElement.value, document.documentElement.dataset.live]";
    assert_eq!(b.script(typed), serde_json::json!(["tp?", "live"]));
}

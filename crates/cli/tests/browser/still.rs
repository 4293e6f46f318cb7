//! Without scripts: everything can still be read and done.

use super::desk::{Desk, EMAIL, PASSWORD};
use super::support::Place;

#[test]
fn everything_can_be_done_without_scripts() {
    let desk = Desk::open(Place::new(), &[]);
    desk.browser.scripts(false);
    desk.set_up();
    let b = &desk.browser;
    let ran = b.script("return document.documentElement.hasAttribute('data-script')");
    assert_eq!(ran, false, "scripts are off");
    // What only a script could do is not offered.
    for css in ["[data-act=live]", "[data-act=theme]", "[data-act=palette]"] {
        let shown = b.script(&format!("return document.querySelector('{css}').checkVisibility()"));
        assert_eq!(shown, false, "{css}");
    }
    desk.go("schedule-form");
    b.fill("#name", "by hand");
    b.fill("#when", "daily at 02:30");
    b.fill("#url", "http://127.0.0.1:9/nobody");
    b.click("button[value=preview]");
    b.see("#preview", "02:30:00");
    b.click("button[value=save]");
    b.see("h1", "by hand");
    b.click("#pause summary");
    b.fill("#pause [name=note]", "not yet");
    b.click("#pause button");
    b.see(".banner", "not yet");
    b.click(".banner button");
    b.see("#state", "Has not run");
    // One runs by hand, and a page is loaded anew to follow it.
    b.click(".head form .btn--primary");
    b.see("h1", "http");
    desk.go("jobs?kind=tour.greet");
    b.click("#jobs tbody tr:first-child [name=id]");
    b.click("button[value=retry]");
    b.see(".banner", "1 job will run again");
    b.click(".side__foot form button");
    b.fill("[name=email]", EMAIL);
    b.fill("[name=password]", PASSWORD);
    b.click("main form button");
    b.until("the overview", "location.pathname === '/p/default'");
    assert_eq!(b.complaints(), Vec::<String>::new());
}

//! What people do with their hands and eyes: a query that completes itself, an invitation that another
//! opens, and pages that stand still for those who ask for it.

use super::desk::Desk;
use super::support::Place;
use mainspring_testkit::browser::{Browser, keys};
use serde_json::Value;

/// What the list of completions offers.
const OFFERED: &str = "[...document.querySelectorAll('#terms option')].map((o) => o.value)";

#[test]
fn a_query_completes_itself_word_by_word() {
    let desk = Desk::open(Place::new(), &[]);
    desk.set_up();
    let b = &desk.browser;
    b.see("#activity", "tour.");
    let offered = || -> Vec<String> {
        serde_json::from_value(b.script(&format!("return {OFFERED}"))).expect("completions")
    };
    // It offers what there is: the tour's first job has ended within seconds.
    let mut all = vec![];
    for _ in 0..60 {
        desk.go("jobs");
        all = offered();
        if all.iter().any(|o| o == "state:completed") {
            break;
        }
    }
    assert!(all.iter().any(|o| o == "state:completed") && all.iter().any(|o| o == "key:"), "{all:?}");
    assert!(all.iter().any(|o| o.starts_with("kind:tour.")), "{all:?}");
    // The keyboard leads to it; what does not fit goes while one types.
    b.press(&["/"]);
    b.press(&["s", "t", "a", "t", "e", ":", "c", "o"]);
    b.until(
        "only what fits",
        &format!("{OFFERED}.length > 0 && {OFFERED}.every((o) => o.includes('state:co'))"),
    );
    assert_eq!(offered(), ["state:completed"]);
    // A second word is completed behind the first.
    b.fill("[name=q]", "state:completed kind:tour.");
    b.until("the second word", &format!("{OFFERED}.length > 0"));
    let second = offered();
    assert!(second.iter().all(|o| o.starts_with("state:completed kind:tour.")), "{second:?}");
    b.fill("[name=q]", "state:completed nothing-has-this-name");
    b.until("nothing that fits", &format!("{OFFERED}.length === 0"));
    b.fill("[name=q]", &second[0]);
    b.press(&[keys::ENTER]);
    let kind = second[0].rsplit(':').next().expect("a kind");
    b.until("the list", "location.search.includes('state=completed')");
    assert!(b.address().contains(&format!("kind={kind}")), "{}", b.address());
    assert_eq!(b.complaints(), Vec::<String>::new());
}

#[test]
fn an_invitation_is_opened_in_another_browser_and_its_role_holds() {
    let desk = Desk::open(Place::new(), &[]);
    desk.set_up();
    let b = &desk.browser;
    desk.go("settings");
    b.click("#new-invitation summary");
    b.script("document.querySelector('#invite-role').value = 'viewer'");
    b.click("#new-invitation form button");
    b.see("#link-title", "The invitation");
    let link = b.text("[aria-labelledby=link-title] code");
    assert!(link.starts_with(&format!("{}/invite/", desk.url)), "{link}");
    // Somebody else, somewhere else.
    let guest = Browser::start();
    guest.go(&link);
    guest.see("h1", "Join ");
    guest.see("main", "invites you to be viewer");
    guest.fill("[name=email]", "grace@example.com");
    guest.fill("[name=name]", "Grace");
    guest.fill("[name=password]", "another long password");
    guest.click("main form button");
    guest.until("the project", "location.pathname === '/p/default'");
    guest.see("#activity", "tour.");
    // Who may look, looks.
    guest.go(&format!("{}/p/default/jobs", desk.url));
    guest.see("#jobs", "tour.");
    guest.see("main", "You may look");
    assert_eq!(guest.count("[name=act], [name=all]"), 0);
    guest.go(&format!("{}/p/default/settings", desk.url));
    guest.see("#members", "Grace");
    assert_eq!(guest.count("#new-invitation"), 0, "a viewer invites nobody");
    assert_eq!(guest.complaints(), Vec::<String>::new());
    guest.go(&format!("{}/p/default/schedule-form", desk.url));
    assert_eq!(guest.count("button[value=save]"), 0, "{}", guest.text("main"));
    // The link has done its work.
    guest.go(&link);
    assert!(!guest.text("main").contains("invites you"), "{}", guest.text("main"));
    // The admin sees who came, and lets them do more.
    desk.go("settings");
    b.see("#members", "Grace");
    let field = "[...document.querySelectorAll('#members tr')].find((r) => r.innerText.includes('Grace'))";
    b.script(&format!("const row = {field}; row.querySelector('select').value = 'member'; row.querySelector('form').requestSubmit()"));
    b.until("the role", &format!("{field}?.querySelector('select')?.value === 'member'"));
    guest.go(&format!("{}/p/default/jobs", desk.url));
    guest.see("#jobs", "tour.");
    assert!(guest.count("[name=act]") > 0, "a member runs jobs: {}", guest.text("main"));
}

#[test]
fn nothing_moves_for_those_who_ask_for_less_motion() {
    let desk = Desk::open(Place::new(), &[]);
    desk.set_up();
    let b = &desk.browser;
    // Everything on the page, what stands before and behind it included, and what is still to load.
    let moving = "const probe = document.createElement('div'); probe.className = 'skeleton'; document.body.append(probe);
        const found = [];
        for (const e of document.querySelectorAll('*')) for (const part of [undefined, '::before', '::after']) {
            const style = getComputedStyle(e, part);
            if (style.animationName !== 'none' || style.transitionDuration.split(', ').some((d) => parseFloat(d) > 0))
                found.push(`${e.tagName} ${e.className} ${part ?? ''}: ${style.animationName} ${style.transitionDuration}`);
        }
        const running = document.getAnimations().filter((a) => a.playState === 'running').length;
        probe.remove();
        return [found, running]";
    let look = |path: &str| -> (Vec<String>, u64) {
        desk.go(path);
        let found: Value = b.script(moving);
        serde_json::from_value(found).expect("what moves")
    };
    // Every element of a page is asked, which takes its time: few pages, of which each has all the parts.
    for (theme, path) in [("light", "schedule-form"), ("dark", "jobs?state=running")] {
        b.system(theme, false);
        assert_eq!(look(path), (vec![], 0), "{path}, {theme}");
    }
    // The question is a real one: with motion some of it moves.
    b.system("light", true);
    let (found, _) = look("jobs?state=running");
    assert!(found.iter().any(|f| f.contains("skeleton") && f.contains("pulse")), "{found:?}");
}

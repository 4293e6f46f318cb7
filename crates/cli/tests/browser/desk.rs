//! A program that serves its dashboard, and a browser in front of it.

use super::support::{Place, Running};
use mainspring_testkit::browser::Browser;
use std::net::TcpListener;
use std::path::PathBuf;

/// The first account.
pub const EMAIL: &str = "ada@example.com";
pub const PASSWORD: &str = "a long enough password";

/// The program and the browser. The browser goes first when it ends.
pub struct Desk {
    pub browser: Browser,
    pub place: Place,
    /// `http://127.0.0.1:…`, without a slash at the end.
    pub url: String,
    /// The set-up link it printed.
    pub link: String,
    _up: Running,
}

impl Desk {
    /// Starts `mainspring up` in this place, and a browser.
    pub fn open(place: Place, args: &[&str]) -> Desk {
        Desk::open_at(place, "127.0.0.1:0", args)
    }

    /// The same at a port of its own, whose address is in what the program sends out.
    pub fn open_known(mut place: Place, args: &[&str]) -> Desk {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        place.env.push(("MAINSPRING_PUBLIC_URL".into(), format!("http://{free}")));
        Desk::open_at(place, &free.to_string(), args)
    }

    fn open_at(place: Place, at: &str, args: &[&str]) -> Desk {
        let mut all = vec!["up", "--listen", at];
        all.extend(args);
        let up = place.start(&all);
        let browser = Browser::start();
        let link = place.until("the set-up link", || {
            let log = place.log();
            let line = log.lines().find_map(|l| l.split_once("Dashboard: "))?.1.to_owned();
            line.split_whitespace().next().filter(|l| l.contains("/setup/")).map(str::to_owned)
        });
        let url = link.split("/setup/").next().expect("an address").to_owned();
        Desk { browser, place, url, link, _up: up }
    }

    /// Makes the first account, which is then signed in, and waits for the overview.
    pub fn set_up(&self) {
        self.browser.go(&self.link);
        self.browser.fill("[name=name]", "Ada");
        self.browser.fill("[name=email]", EMAIL);
        self.browser.fill("[name=password]", PASSWORD);
        self.browser.click("main form button");
        self.browser.see("h1", "");
        self.browser.until("the overview", "location.pathname === '/p/default'");
    }

    /// Goes to a page of the project.
    pub fn go(&self, path: &str) {
        let slash = if path.is_empty() { "" } else { "/" };
        self.browser.go(&format!("{}/p/default{slash}{path}", self.url));
    }

    /// Whether the page is wider than the screen.
    pub fn too_wide(&self) -> Option<String> {
        let wide = self.browser.script(
            "const most = document.documentElement.clientWidth;
             if (document.documentElement.scrollWidth <= most) return null;
             const wide = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > most + 1 && !e.closest('.scroll-x, pre, .log, .tabs'));
             return `${document.documentElement.scrollWidth} of ${most}: ` + wide.slice(0, 4).map((e) => e.outerHTML.slice(0, 120)).join(' | ');",
        );
        wide.as_str().map(str::to_owned)
    }
}

/// The checker of accessibility, as `.ci/setup` fetched it.
pub fn axe() -> String {
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let found = std::fs::read_dir(&tools).into_iter().flatten().flatten().map(|e| e.path());
    let found =
        found.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("axe-"))).max();
    let path = found.unwrap_or_else(|| panic!("axe-core is not in {}. Type: ./.ci/setup", tools.display()));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

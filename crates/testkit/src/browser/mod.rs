//! A real browser for tests: Chromium, driven through its own driver by the WebDriver protocol.
//!
//! [`Browser::start`] starts `chromedriver` on a port it picks itself and opens one window without a
//! screen. What a test asks is what a person would do (go, click, type, press) and what a person
//! would see; waiting is always for a condition, with a generous limit. Themes, sizes of screens and
//! reduced motion are asked of the browser itself, not pretended by the page.
//!
//! The protocol is spoken by hand ([`wire`]): it is a few requests with JSON bodies, and the crates
//! that know all of it bring a second library for dates and several dozen others.
//!
//! What this module does not do: it finds no elements by anything but CSS, keeps no handles to them
//! (a page that follows the server replaces them), and it never skips. Every failure panics with
//! what to type.
#![allow(clippy::disallowed_methods, reason = "a browser runs in real time; nothing here is simulated")]

mod wire;

use base64::Engine;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take to become true.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long is waited between two looks.
const LOOK: Duration = Duration::from_millis(60);
/// What names an element in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that have no letter, as the protocol writes them.
pub mod keys {
    /// Enter.
    pub const ENTER: &str = "\u{e007}";
    /// Tab.
    pub const TAB: &str = "\u{e004}";
    /// Escape.
    pub const ESCAPE: &str = "\u{e00c}";
    /// Control, to be held.
    pub const CONTROL: &str = "\u{e009}";
    /// The arrow that points down.
    pub const DOWN: &str = "\u{e015}";
}

/// A size of screens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// 1440 by 900, a mouse.
    Desktop,
    /// 390 by 844, a finger.
    Phone,
}

/// One browser with one window; ended when dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// When Chromium or its driver is not installed or does not start; the text says what to do.
    pub fn start() -> Browser {
        let program = find("MAINSPRING_TEST_CHROMEDRIVER", &["chromedriver"]);
        let mut command = Command::new(&program);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver =
            command.spawn().unwrap_or_else(|e| panic!("{} does not start: {e}", program.display()));
        let port = port_of(&mut driver);
        let binary = find("MAINSPRING_TEST_CHROMIUM", &["chromium", "chromium-browser", "google-chrome"]);
        let mut args = vec![
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--font-render-hinting=none",
            "--lang=en-GB",
            "--window-size=1440,900",
        ];
        // As root, as in a container of the tests, Chromium's own cage cannot be built.
        if rustix::process::getuid().is_root() {
            args.push("--no-sandbox");
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": binary, "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let mut browser = Browser { driver, port, session: String::new() };
        let made = browser.ask("POST", "/session", Some(&wanted));
        browser.session = made["sessionId"].as_str().expect("a session").to_owned();
        browser.screen(Screen::Desktop);
        // Still, unless a test wants motion: a cross-fade of pages takes a machine without a screen long.
        browser.system("light", false);
        browser
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|text| panic!("{method} {path}: {text}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        wire::ask(self.port, method, path, body)
    }

    fn path(&self, rest: &str) -> String {
        format!("/session/{}{rest}", self.session)
    }

    fn post(&self, rest: &str, body: Value) -> Value {
        self.ask("POST", &self.path(rest), Some(&body))
    }

    /// Asks the browser by its own protocol (what the standard one has no word for).
    pub fn devtools(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params }))
    }

    /// Goes to an address and waits until the page is loaded.
    pub fn go(&self, address: &str) {
        self.post("/url", json!({ "url": address }));
    }

    /// The address it shows.
    pub fn address(&self) -> String {
        self.ask("GET", &self.path("/url"), None).as_str().unwrap_or_default().to_owned()
    }

    /// What a script gives (`return …`).
    pub fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// What a promise gives in the end.
    pub fn promised(&self, promise: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             ({promise}).then((v) => done({{ok: v}}), (e) => done({{error: String(e)}}));"
        );
        let answer = self.post("/execute/async", json!({ "script": script, "args": [] }));
        assert!(answer["error"].is_null(), "{promise}: {}", answer["error"]);
        answer["ok"].clone()
    }

    /// Waits until an expression of the page is true, and gives what it is.
    pub fn until(&self, what: &str, expression: &str) -> Value {
        let script = format!("return ({expression});");
        let begin = Instant::now();
        let mut last = String::new();
        while begin.elapsed() < PATIENCE {
            // In the middle of a change of pages there is nothing to ask.
            match self.try_ask(
                "POST",
                &self.path("/execute/sync"),
                Some(&json!({ "script": script, "args": [] })),
            ) {
                Ok(Value::Null | Value::Bool(false)) => {}
                Ok(Value::String(text)) if text.is_empty() => {}
                Ok(value) => return value,
                Err(text) => last = text,
            }
            std::thread::sleep(LOOK);
        }
        panic!("{what} did not come. {last}\nAt {}:\n{}", self.address(), self.text("body"));
    }

    /// Waits until an element shows this text.
    pub fn see(&self, css: &str, text: &str) {
        let expression = format!(
            "[...document.querySelectorAll({})].some((e) => e.innerText.includes({}))",
            json!(css),
            json!(text)
        );
        self.until(&format!("{text:?} in {css}"), &expression);
    }

    /// The visible text of the first element; empty when there is none.
    pub fn text(&self, css: &str) -> String {
        let found = self.script(&format!("return document.querySelector({})?.innerText ?? ''", json!(css)));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// How many elements there are.
    pub fn count(&self, css: &str) -> u64 {
        let found = self.script(&format!("return document.querySelectorAll({}).length", json!(css)));
        found.as_u64().unwrap_or_default()
    }

    /// Waits for an element that can be seen.
    fn element(&self, css: &str) -> String {
        let find = json!({ "using": "css selector", "value": css });
        let expression = format!("document.querySelector({})?.checkVisibility() ?? false", json!(css));
        self.until(css, &expression);
        let found = self.post("/element", find);
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Does something to an element, again when the page replaced it meanwhile.
    fn to_element(&self, css: &str, deed: &str, body: &Value) {
        let begin = Instant::now();
        loop {
            let id = self.element(css);
            match self.try_ask("POST", &self.path(&format!("/element/{id}/{deed}")), Some(body)) {
                Ok(_) => return,
                Err(text) if text.contains("stale element") && begin.elapsed() < PATIENCE => {}
                // What rises into place is hit by the next look.
                Err(text) if text.contains("intercepted") && begin.elapsed() < Duration::from_secs(5) => {
                    std::thread::sleep(LOOK);
                }
                Err(text) => panic!("{deed} on {css} at {}: {text}", self.address()),
            }
        }
    }

    /// Clicks an element as a mouse does: what lies over it is what is hit.
    pub fn click(&self, css: &str) {
        self.to_element(css, "click", &json!({}));
    }

    /// Types into a field, which is emptied first.
    pub fn fill(&self, css: &str, text: &str) {
        self.to_element(css, "clear", &json!({}));
        self.to_element(css, "value", &json!({ "text": text }));
    }

    /// Presses keys one after the other, wherever the focus is. What stands before `+` is held.
    pub fn press(&self, pressed: &[&str]) {
        for chord in pressed {
            let parts: Vec<&str> =
                if chord.chars().count() > 1 { chord.split('+').collect() } else { vec![*chord] };
            let mut actions: Vec<Value> =
                parts.iter().map(|k| json!({ "type": "keyDown", "value": k })).collect();
            actions.extend(parts.iter().rev().map(|k| json!({ "type": "keyUp", "value": k })));
            // One request each: a key may lead to another page.
            let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
            self.post("/actions", body);
        }
    }

    /// Shows pages as on such a screen.
    pub fn screen(&self, screen: Screen) {
        let (width, height, phone) = match screen {
            Screen::Desktop => (1440, 900, false),
            Screen::Phone => (390, 844, true),
        };
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        self.devtools("Emulation.setTouchEmulationEnabled", json!({ "enabled": phone }));
    }

    /// What the system wants: `light` or `dark`, and whether things may move.
    pub fn system(&self, theme: &str, motion: bool) {
        let motion = if motion { "no-preference" } else { "reduce" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": motion },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Whether pages may run scripts, from the next page on.
    pub fn scripts(&self, allowed: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !allowed }));
    }

    /// Whether the network is there.
    pub fn network(&self, there: bool) {
        self.devtools("Network.enable", json!({}));
        let how =
            json!({ "offline": !there, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.devtools("Network.emulateNetworkConditions", how);
    }

    /// What the page complained about since the last call: errors of scripts, what the policy kept
    /// out, what could not be loaded.
    pub fn complaints(&self) -> Vec<String> {
        let lines = self.post("/se/log", json!({ "type": "browser" }));
        let severe = lines.as_array().into_iter().flatten().filter(|l| l["level"] == "SEVERE");
        let texts = severe.map(|l| l["message"].as_str().unwrap_or_default().to_owned());
        // A cross-fade between pages that a slow machine gives up is nobody's mistake.
        texts.filter(|text| !text.contains("Transition was")).collect()
    }

    /// Writes a picture of the whole page.
    pub fn picture(&self, path: &Path) {
        let size = self.devtools("Page.getLayoutMetrics", json!({}));
        let size = &size["cssContentSize"];
        // What sticks to the window must reach as far as the page.
        let phone = size["width"].as_f64().unwrap_or(0.0) < 1000.0;
        let whole = json!({ "width": size["width"], "height": size["height"], "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", whole);
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let how = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let shot = self.devtools("Page.captureScreenshot", how);
        let data = shot["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        std::fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.screen(if phone { Screen::Phone } else { Screen::Desktop });
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.try_ask("DELETE", &self.path(""), None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port that the driver says it took.
fn port_of(driver: &mut Child) -> u16 {
    let mut out = BufReader::new(driver.stdout.take().expect("piped"));
    let mut line = String::new();
    let port = loop {
        line.clear();
        let read = out.read_line(&mut line).expect("the driver speaks");
        assert!(read > 0, "chromedriver ended without naming its port; is it of the browser's version?");
        if let Some((_, rest)) = line.split_once("started successfully on port ") {
            break rest.trim().trim_end_matches('.').parse().expect("a port");
        }
    };
    // Nobody reads the rest; it must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    port
}

/// A program: named by a variable, or the first of these names in PATH.
fn find(variable: &str, names: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let found = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name))).find(|p| p.is_file());
    found.unwrap_or_else(|| {
        panic!("there is no {} in PATH. Type: ./.ci/setup (or name it in {variable})", names[0])
    })
}

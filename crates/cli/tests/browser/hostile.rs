//! What people and programs write may be anything. In the browser it stays text: nothing of it runs,
//! nothing of it pushes the page apart.
//!
//! Every page is fetched and taken apart by the browser's own parser, which takes milliseconds; of the
//! sorts that show the most of it one page each is opened, which takes seconds.

use super::desk::Desk;
use super::seed;
use super::support::Place;
use mainspring::{Json, NewJob};
use mainspring_core::batch::NewBatch;
use mainspring_core::decide::{Outcome, decide};
use mainspring_core::job::{ErrorRecord, LogLevel, LogLine, Progress};
use mainspring_core::queue::QueueSettings;
use mainspring_core::store::ClaimRequest;
use mainspring_testkit::browser::Screen;
use serde::Deserialize;
use serde_json::json;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Each would set `window.ran` if it were taken for anything but text.
const TRICKS: [&str; 6] = [
    "<script>window.ran=1</script>",
    "\"><img src=x onerror=\"window.ran=1\">",
    "'-window.ran=1-'</title><svg onload=window.ran=1>",
    "javascript:window.ran=1//{{constructor}}${window.ran=1}",
    "</pre></textarea></details></dialog><!--",
    "\u{202e}gnp.exe\u{202c} \u{0301}\u{0301} Z\u{0335}\u{0327}A\u{0338} 𓀀 🕰️ ﷽ %00 &lt;b&gt; &#x3c;",
];

/// A name that nothing can break into lines.
fn long() -> String {
    "unbreakable".repeat(18)
}

/// Pages of one sort that are taken apart; their names take turns.
const OF_A_SORT: usize = 8;

/// Sorts of pages of which one is opened: those that show the most.
const OPENED: usize = 8;

/// A page, taken apart by the browser's own parser, which runs nothing.
#[derive(Deserialize)]
struct Page {
    way: String,
    /// Markup that is none of ours.
    odd: Vec<String>,
    /// Protocol and, of our own addresses, path of each link.
    links: Vec<(String, String)>,
    /// How many of the texts are there to be read.
    shown: usize,
}

#[test]
fn hostile_text_stays_text_on_every_page() {
    let place = Place::new();
    let jobs = fill(&place);
    let desk = Desk::open(place, &[]);
    desk.set_up();
    let b = &desk.browser;
    let mut ways: Vec<String> = jobs.iter().map(|id| format!("/p/default/jobs/{id}")).collect();
    ways.extend(["/p/default".into(), "/p/default/audit?show=all".into()]);
    ways.push("/p/default/jobs/%3Cscript%3Ewindow.ran=1%3C%2Fscript%3E".into());
    let pages = ["jobs?key=", "jobs?kind=", "jobs?class=", "schedules?name=", "jobs?state=", "jobs?q="];
    for (trick, page) in TRICKS.iter().zip(pages) {
        let text: String = trick.bytes().map(|byte| format!("%{byte:02X}")).collect();
        ways.push(format!("/p/default/{page}{text}"));
    }
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut sorts: BTreeMap<String, usize> = BTreeMap::new();
    let mut looked: Vec<(String, String, usize)> = Vec::new();
    while !ways.is_empty() {
        let some = ways.split_off(ways.len().saturating_sub(6));
        for page in apart(&desk, &some) {
            assert_eq!(page.odd, Vec::<String>::new(), "markup of others at {}", page.way);
            for (protocol, path) in page.links {
                assert!(matches!(protocol.as_str(), "http:" | "https:"), "{protocol} at {}", page.way);
                let ours = path.starts_with("/p/default/") && !path.starts_with("/p/default/jobs/");
                if ours && known.insert(path.clone()) {
                    let seen = sorts.entry(sort(&path)).or_default();
                    *seen += 1;
                    if *seen <= OF_A_SORT {
                        ways.push(path);
                    }
                }
            }
            looked.push((sort(&page.way), page.way, page.shown));
        }
    }
    assert!(looked.len() >= 40, "only {} pages were looked at", looked.len());
    // Of the sorts that show the most of it one page each is met as people meet it.
    looked.sort_by_key(|(_, _, shown)| Reverse(*shown));
    let mut met: BTreeSet<String> = BTreeSet::new();
    looked.retain(|(sort, _, shown)| *shown > 0 && met.insert(sort.clone()));
    assert!(looked.len() >= 8, "only these pages show any of it: {looked:?}");
    assert!(looked[0].2 >= TRICKS.len(), "no page shows all of it: {looked:?}");
    for (_, way, _) in looked.iter().take(OPENED) {
        b.go(&format!("{}{way}", desk.url));
        assert_eq!(b.script("return window.ran ?? null"), serde_json::Value::Null, "{way}");
        assert_eq!(desk.too_wide(), None, "{way}");
        b.screen(Screen::Phone);
        assert_eq!(desk.too_wide(), None, "{way} on a phone");
        b.screen(Screen::Desktop);
        let complaints: Vec<String> =
            b.complaints().into_iter().filter(|c| !c.contains("Failed to load resource")).collect();
        assert_eq!(complaints, Vec::<String>::new(), "{way}");
    }
}

/// What sort of page an address leads to.
fn sort(path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    let parts: Vec<&str> = path.split('/').collect();
    format!("{}/{}", parts.iter().take(4).copied().collect::<Vec<_>>().join("/"), parts.len())
}

/// Fetches pages in the browser and takes them apart.
fn apart(desk: &Desk, ways: &[String]) -> Vec<Page> {
    let script = format!(
        "Promise.all({ways}.map(async (way) => {{
            const answer = await fetch(way, {{ headers: {{ accept: 'text/html' }} }});
            const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
            const alien = ['SCRIPT', 'IMG', 'IFRAME', 'OBJECT', 'EMBED', 'BASE', 'META', 'STYLE'];
            // A mail is shown in a frame of its own, in which nothing may run.
            const mail = 'iframe.mail[sandbox=\"\"][src^=\"/p/default/mail-preview/\"]';
            const odd = [...page.querySelectorAll('*')].filter((e) => !e.matches(mail)).filter((e) =>
                [...e.attributes].some((a) => a.name.startsWith('on') || a.name === 'srcdoc') ||
                (e.closest('main') && (alien.includes(e.tagName) || e.hasAttribute('style'))));
            const links = [...page.querySelectorAll('a[href]')];
            const fields = [...page.querySelectorAll('input, textarea')].map((e) => e.value).join(' ');
            const text = page.body.textContent + ' ' + fields;
            return {{
                way,
                odd: odd.map((e) => e.outerHTML.slice(0, 200)),
                links: links.map((a) => [a.protocol, a.origin === location.origin ? a.pathname : '']),
                shown: {texts}.filter((t) => text.includes(t)).length,
            }};
        }}))",
        ways = json!(ways),
        texts = json!(TRICKS),
    );
    serde_json::from_value(desk.browser.promised(&script)).expect("pages")
}

/// Schedules, queues, keys, payloads, outputs, errors, logs, steps and notes of such text.
fn fill(place: &Place) -> Vec<i64> {
    seed::with_store(place, async |seed| {
        let mut texts: Vec<String> = TRICKS.map(str::to_owned).into();
        texts.push(long());
        let mut jobs = Vec::new();
        for text in &texts {
            let name: String = text.chars().take(150).collect();
            seed.schedule(&name, "daily at 03:00", "Europe/Berlin", &name, &name).await;
            seed.client.pause_schedule(&name, None, Some(text)).await.expect("paused");
            seed.client.pause_queue(&name, None, Some(text)).await.expect("paused");
            let payload = Json::trusted(json!({ text.as_str(): [text, { "x": text }] }).to_string());
            let job = NewJob {
                queue: name.as_str().into(),
                key: Some(name.as_str().into()),
                payload,
                ..seed.job(&name, json!({}))
            };
            let batch = NewBatch { name: name.clone(), follow_up: None, parent: None, sealed: true };
            let (_, made) = seed.client.open_batch(batch, vec![job]).await.expect("a batch");
            jobs.push(made[0].id.0);
            seed.client.set_queue(&name, QueueSettings::default()).await.expect("open again");
        }
        end(seed, &texts).await;
        for text in &texts {
            let name: String = text.chars().take(150).collect();
            seed.client.pause_queue(&name, None, Some(text)).await.expect("paused");
        }
        jobs
    })
}

/// Every job runs on a node of such a name and fails with such words, or gives them.
async fn end(seed: &mut seed::Seed, texts: &[String]) {
    let kinds: Vec<String> = texts.iter().map(|t| t.chars().take(150).collect()).collect();
    seed.join(TRICKS[1], kinds.clone()).await;
    let (store, now) = (seed.client.store().clone(), seed.now());
    let kinds = kinds.iter().map(|k| k.as_str().into()).collect();
    let request = ClaimRequest { node: seed.node, limit: 100, kinds, queues: vec![], project: None };
    let claimed = store.claim(now, request).await.expect("claimed").jobs;
    assert_eq!(claimed.len(), texts.len(), "every job is claimed");
    for (n, (job, text)) in claimed.iter().zip(texts).enumerate() {
        let (id, attempt) = (job.facts.job, job.facts.attempt);
        let line = LogLine {
            job: id,
            attempt,
            seq: 0,
            at: now,
            level: LogLevel::Error,
            message: format!("{text} \u{1b}[31mred\u{1b}[0m"),
            fields: Some(Json::trusted(json!({ text.as_str(): text }).to_string())),
        };
        store.append_logs(now, vec![line]).await.expect("logged");
        let output = Json::trusted(json!(text).to_string());
        store.save_step(now, id, attempt, text, output.clone()).await.expect("a step");
        let progress = Progress { done: 1, total: Some(3), note: Some(text.clone()) };
        store.set_progress(now, id, attempt, progress).await.expect("progress");
        let outcome = if n % 2 == 0 {
            let error = ErrorRecord::new(text, text, vec![text.clone()]);
            Outcome::Failed { error, retryable: false, after: None }
        } else {
            Outcome::Partial { output: Some(output), failures: 2 }
        };
        store.finish(now, vec![decide(&job.facts, outcome, now, 0.5)]).await.expect("finished");
    }
    seed.leave().await;
}

//! The log of what happened, and values kept by name.

use super::bench::*;
use mainspring_core::event::NewEvent;
use mainspring_core::reader::Fact;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every field; by project; from a place on.
pub async fn an_event_comes_back_as_it_was_recorded(b: &Bench) {
    assert_eq!(b.store.last_event(P).await.unwrap(), 0);
    let data = serde_json::json!({ "text": "añ 🌍", "list": [1, null] });
    let first = NewEvent::new("alert.matched", "alert/über".into(), data.clone()).by("ann");
    b.store.record(at(1), P, first.clone()).await.unwrap();
    b.store.record(at(2), P, NewEvent::new("b", "s".into(), serde_json::json!({}))).await.unwrap();
    let events = b.events().await;
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].project, events[0].at, &events[0].event.name), (P, at(1), &first.name));
    assert_eq!((&events[0].event.subject, &events[0].event.actor), (&first.subject, &first.actor));
    assert_eq!((events[0].event.data.value(), &events[1].event.actor), (data, &None));
    assert!(events[0].id > 0 && events[0].id < events[1].id);
    assert_eq!(b.store.last_event(P).await.unwrap(), events[1].id);
    let rest = b.store.events(P, events[0].id, 10).await.unwrap();
    assert_eq!(rest, events[1..]);
    assert_eq!(b.store.events(P, 0, 1).await.unwrap(), events[..1]);
    assert!(b.store.events(P, events[1].id, 10).await.unwrap().is_empty());
}

/// A reader that follows the tail beside many writers sees every event, in order, once.
pub async fn a_tailing_reader_misses_nothing(b: &Bench) {
    const WRITERS: usize = 4;
    const EACH: usize = 40;
    let other = b.second().await;
    let done = Arc::new(AtomicBool::new(false));
    let tail = {
        let (store, done) = (other.clone(), done.clone());
        tokio::spawn(async move {
            let (mut seen, mut after) = (Vec::new(), 0);
            loop {
                let was_done = done.load(Ordering::SeqCst);
                let page = store.events(P, after, 13).await.unwrap();
                if page.is_empty() && was_done {
                    return seen;
                }
                if let Some(last) = page.last() {
                    after = last.id;
                }
                seen.extend(page.into_iter().map(|e| (e.id, e.event.subject)));
                tokio::task::yield_now().await;
            }
        })
    };
    let mut writers = Vec::new();
    for w in 0..WRITERS {
        let store = if w % 2 == 0 { b.store.clone() } else { other.clone() };
        let node = b.join(0).await;
        writers.push(tokio::spawn(async move {
            for n in 0..EACH {
                if n % 4 == 0 {
                    // Events also come with changes of state.
                    store.enqueue(at(0), P, vec![job()]).await.unwrap();
                    for c in store.claim(at(0), request(node, 1)).await.unwrap().jobs {
                        store.finish(at(0), vec![decided(&c.facts, fatal(), 0)]).await.unwrap();
                    }
                }
                let event = NewEvent::new("test", format!("w{w}/{n}"), serde_json::json!({}));
                store.record(at(0), P, event).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let seen = tail.await.unwrap();
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "the numbers do not rise");
    let subjects: BTreeSet<&str> = seen.iter().map(|(_, s)| s.as_str()).collect();
    for w in 0..WRITERS {
        for n in 0..EACH {
            assert!(subjects.contains(format!("w{w}/{n}").as_str()), "w{w}/{n} was missed");
        }
    }
    let all: Vec<i64> = b.events().await.iter().map(|e| e.id).collect();
    assert_eq!(seen.iter().map(|(id, _)| *id).collect::<Vec<_>>(), all);
}

/// Written, replaced, deleted; seen from another handle.
pub async fn values_are_kept_by_name(b: &Bench) {
    let other = b.second().await;
    assert_eq!(b.store.meta("tz_version").await.unwrap(), None);
    b.store.set_meta(at(0), "tz_version", Some("2026a")).await.unwrap();
    b.store.set_meta(at(1), "tz_version", Some("2026b 🕰")).await.unwrap();
    b.store.set_meta(at(1), "tour_done", Some("")).await.unwrap();
    assert_eq!(other.meta("tz_version").await.unwrap().as_deref(), Some("2026b 🕰"));
    assert_eq!(other.meta("tour_done").await.unwrap().as_deref(), Some(""));
    other.set_meta(at(2), "tz_version", None).await.unwrap();
    other.set_meta(at(2), "never", None).await.unwrap();
    assert_eq!(b.store.meta("tz_version").await.unwrap(), None);
}

/// What tells of the server and the machine rather than of the store: a test's server may run
/// without flushing, and its clock is not the simulated one.
const OF_THE_SERVER: [&str; 3] = ["clock offset", "durability", "notifications"];

/// A store tells something of itself; a fresh one has nothing to complain of.
pub async fn a_fresh_store_has_facts_and_no_problem(b: &Bench) {
    let facts = b.store.facts(at(0)).await.unwrap();
    assert!(!facts.is_empty());
    let well = |f: &Fact| f.problem.is_none() || OF_THE_SERVER.contains(&f.name.as_str());
    assert!(facts.iter().all(|f| !f.name.is_empty() && well(f)), "{facts:#?}");
}

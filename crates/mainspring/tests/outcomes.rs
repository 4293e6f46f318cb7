//! What a handler can answer or suffer, run by a real node.

mod common;

use common::{error, logs, once, stand, start, start_with, thrice};
use mainspring::context::StopReason;
use mainspring::core::job::{AttemptOutcome as A, JobState as S};
use mainspring::core::limits;
use mainspring::core::reader::Reader;
use mainspring::{Context, Job, JobError, Json, KindSpec, Registry};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[derive(serde::Serialize, serde::Deserialize)]
struct Double {
    n: u32,
}

impl Job for Double {
    const KIND: &'static str = "double";
    type Output = u32;
    async fn run(self, cx: Context) -> Result<u32, JobError> {
        let factor: &u32 = cx.state()?;
        cx.info("doubling");
        Ok(self.n * factor)
    }
}

#[tokio::test]
async fn a_typed_job_succeeds_with_its_output() {
    let node = start(Registry::new().job::<Double>().state(2u32));
    let id = node.client.enqueue(&Double { n: 21 }).await.unwrap().id;
    let detail = node.finished(id).await;
    assert_eq!(stand(&detail), (S::Completed, Some(A::Succeeded), 1));
    assert_eq!(detail.job.output, Some(Json::trusted("42")));
    let store = node.store.clone();
    assert_eq!(node.stop().await.finished, 1);
    assert_eq!(logs(&store, id).await, ["doubling"]);
    assert!(store.audit().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_failure_is_retried_until_it_succeeds_or_the_budget_ends() {
    let tries = Arc::new(AtomicU32::new(0));
    let seen = tries.clone();
    let flaky = move |cx: Context| {
        let seen = seen.clone();
        async move {
            seen.fetch_add(1, Ordering::SeqCst);
            match cx.attempt() {
                3 => Ok(None),
                _ => Err(JobError::retry("not yet")),
            }
        }
    };
    let never = |cx: Context| async move {
        assert_eq!(cx.is_last_attempt(), cx.attempt() == 3);
        let text = String::from_utf8(vec![0xff])?;
        Ok(Some(Json::of(&text).unwrap()))
    };
    let node = start(Registry::new().function("flaky", thrice(), flaky).function("never", thrice(), never));
    let (good, bad) = (node.enqueue("flaky").await, node.enqueue("never").await);
    assert_eq!(stand(&node.finished(good).await), (S::Completed, Some(A::Succeeded), 3));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    let bad = node.finished(bad).await;
    assert_eq!(stand(&bad), (S::Failed, Some(A::Failed), 3));
    assert_eq!(bad.job.reason.as_deref(), Some("out of attempts: 3 of 3 failed"));
    assert_eq!(bad.attempts.len(), 3);
    assert!(error(&bad).1.contains("invalid utf-8"));
    node.stop().await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_own_class_and_costs_nobody_else() {
    let dropped = |_: Context| async {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the destructor");
            }
        }
        let bomb = Bomb;
        std::future::pending::<()>().await;
        drop(bomb);
        Ok(None)
    };
    let registry = Registry::new()
        .function("panics", once(), |_| async { panic!("the bottom fell out") })
        .function("bomb", once().timeout(Duration::from_millis(50)), dropped)
        .function("fine", once(), |_| async { Ok(None) });
    let node = start_with(MemoryStore::new(), registry, |b| b.slots(1));
    let (bad, bomb, fine) =
        (node.enqueue("panics").await, node.enqueue("bomb").await, node.enqueue("fine").await);
    let bad = node.finished(bad).await;
    assert_eq!(stand(&bad), (S::Failed, Some(A::Failed), 1));
    assert_eq!(error(&bad), ("panic".into(), "the bottom fell out".into()));
    assert_eq!(stand(&node.finished(bomb).await), (S::Failed, Some(A::TimedOut), 1));
    assert_eq!(stand(&node.finished(fine).await), (S::Completed, Some(A::Succeeded), 1));
    node.stop().await;
}

#[tokio::test]
async fn an_attempt_that_runs_too_long_times_out() {
    let registry = Registry::new()
        .function("slow", once().timeout(Duration::from_secs(60)), |cx| async move {
            cx.cancelled().await;
            std::future::pending().await
        })
        .function("quick", once(), |_| async { Ok(None) });
    let node = start(registry);
    // The job's own limit wins over the kind's.
    let slow = node.enqueue_with("slow", |job| job.timeout = Some(Duration::from_millis(80))).await;
    let detail = node.finished(slow).await;
    assert_eq!(stand(&detail), (S::Failed, Some(A::TimedOut), 1));
    assert_eq!(error(&detail).0, "timeout");
    assert!(error(&detail).1.contains("80ms"), "{detail:?}");
    assert_eq!(stand(&node.finished(node.enqueue("quick").await).await).0, S::Completed);
    node.stop().await;
}

#[tokio::test]
async fn a_running_job_is_cancelled_with_or_without_its_help() {
    let registry = Registry::new()
        .function("heeds", thrice(), |cx| async move {
            assert_eq!(cx.cancelled().await, StopReason::Cancelled);
            Err(JobError::retry("the connection was closed"))
        })
        .function("deaf", thrice(), |_| std::future::pending())
        .function("finishes", thrice(), |cx| async move {
            cx.cancelled().await;
            Ok(None)
        });
    let node = start_with(MemoryStore::new(), registry, |b| b.cancel_grace(Duration::from_millis(100)));
    let mut ids = Vec::new();
    for kind in ["heeds", "deaf", "finishes"] {
        ids.push(node.enqueue(kind).await);
    }
    for id in &ids {
        node.until(*id, |d| d.job.state == S::Running).await;
        common::nap(20).await;
        assert!(node.client.cancel(*id, "not needed").await.unwrap());
    }
    assert_eq!(stand(&node.finished(ids[0]).await), (S::Cancelled, Some(A::Cancelled), 1));
    assert_eq!(stand(&node.finished(ids[1]).await), (S::Cancelled, Some(A::Cancelled), 1));
    assert_eq!(stand(&node.finished(ids[2]).await), (S::Completed, Some(A::Succeeded), 1));
    node.stop().await;
}

#[tokio::test]
async fn snooze_skip_partial_cancel_and_fatal_end_as_they_say() {
    let registry = Registry::new()
        .function("snooze", once(), |cx| async move {
            let later = mainspring::core::time::plus(cx.now(), Duration::from_millis(30));
            if cx.attempt() == 1 { Err(JobError::Snooze(later)) } else { Ok(None) }
        })
        .function("skip", once(), |_| async { Err(JobError::Skip("nothing new".into())) })
        .function("partial", once(), |_| async { Err(JobError::partial(&"half", 3)) })
        .function("cancel", thrice(), |_| async { Err(JobError::Cancel("pointless".into())) })
        .function("fatal", thrice(), |_| async { Err(JobError::fatal("no such customer")) });
    let node = start(registry);
    let mut got = Vec::new();
    for kind in ["snooze", "skip", "partial", "cancel", "fatal"] {
        let detail = node.finished(node.enqueue(kind).await).await;
        got.push((stand(&detail), detail.job.reason.unwrap_or_default(), detail.job.output));
    }
    let want = [
        ((S::Completed, Some(A::Succeeded), 2), "", None),
        ((S::Completed, Some(A::Skipped), 1), "skipped: nothing new", None),
        ((S::Completed, Some(A::Partial), 1), "partial: 3 failed", Some(Json::trusted("\"half\""))),
        ((S::Cancelled, Some(A::Cancelled), 1), "pointless", None),
        ((S::Failed, Some(A::Failed), 1), "not retryable", None),
    ];
    for (got, want) in got.iter().zip(want) {
        assert_eq!((got.0, got.1.as_str(), got.2.clone()), want);
    }
    node.stop().await;
}

#[tokio::test]
async fn what_a_handler_gives_is_bounded() {
    let registry = Registry::new()
        .function("big", thrice(), |_| async { Ok(Some(Json::of(&"x".repeat(limits::OUTPUT)).unwrap())) })
        .function("chatty", once(), |cx| async move {
            for i in 0..limits::LOG_LINES + 50 {
                cx.log(mainspring::core::job::LogLevel::Debug, format!("line {i}")).field("i", i);
            }
            for i in 0..1000u64 {
                cx.progress(i, 1000, None);
            }
            Ok(None)
        })
        .function("odd", once(), |_| async { Ok(None) })
        .job_with::<Double>(KindSpec::of::<Double>());
    let node = start(registry);
    let big = node.finished(node.enqueue("big").await).await;
    assert_eq!((stand(&big), error(&big).0.as_str()), ((S::Failed, Some(A::Failed), 1), "output_too_large"));
    // A payload its handler cannot read is refused at the door, and fails for good behind it.
    let refused = node.client.new_job_of("double", Json::trusted("{}"));
    let refused = node.client.enqueue_raw(refused).await.unwrap_err();
    assert_eq!(refused.field(), Some("payload"));
    let unchecked = mainspring::Client::new(Arc::new(node.store.clone()));
    let id = unchecked.enqueue_raw(mainspring::NewJob::new("double", Json::trusted("{}"))).await.unwrap().id;
    assert_eq!(error(&node.finished(id).await).0, "bad_payload");
    // State that was not given is named.
    let id = node.client.enqueue(&Double { n: 1 }).await.unwrap().id;
    assert!(error(&node.finished(id).await).1.contains("no state of type u32"));
    let chatty = node.enqueue("chatty").await;
    node.finished(chatty).await;
    let store = node.store.clone();
    node.stop().await;
    let lines = logs(&store, chatty).await;
    assert_eq!(lines.len(), limits::LOG_LINES + 1);
    assert!(lines[limits::LOG_LINES].contains("the rest of this attempt's log was dropped"));
}

#[tokio::test]
async fn a_node_leaves_alone_what_it_does_not_know() {
    let node = start(Registry::new().function("known", once(), |_| async { Ok(None) }));
    let strange = node.enqueue("strange").await;
    let known = node.enqueue("known").await;
    assert_eq!(stand(&node.finished(known).await).0, S::Completed);
    common::nap(300).await;
    let detail = node.until(strange, |_| true).await;
    assert_eq!(stand(&detail), (S::Available, None, 0));
    node.stop().await;
}

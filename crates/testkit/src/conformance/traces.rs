//! What an attempt leaves on its way: steps, log lines, progress.

use super::bench::*;
use mainspring_core::ids::JobId;
use mainspring_core::job::{LogLevel, LogLine, Progress};
use mainspring_core::json::Json;
use mainspring_core::store::Finished;
use mainspring_core::{StoreError, limits};

fn line(job: JobId, attempt: u32, seq: u32, message: &str) -> LogLine {
    let at = at(100 - i64::from(seq));
    LogLine { job, attempt, seq, at, level: LogLevel::Info, message: message.into(), fields: None }
}

fn number(n: i64) -> Json {
    Json::of(&n).unwrap()
}

/// In the order in which they were done, over all attempts, until the job goes.
pub async fn steps_are_remembered_across_attempts(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    for (n, name) in ["zoo", "apple", "mañana 🍎"].into_iter().enumerate() {
        let told = b.store.save_step(at(1 + n as i64), id, 1, name, number(n as i64)).await.unwrap();
        assert_eq!(told, Finished::Applied);
    }
    b.ended(5, &c, failed()).await;
    b.promote(10).await;
    let c = b.claim_one(10, node).await;
    b.store.save_step(at(11), id, 2, "last", number(9)).await.unwrap();
    let steps = b.store.steps(id).await.unwrap();
    let expected = [("zoo", 0), ("apple", 1), ("mañana 🍎", 2), ("last", 9)];
    assert_eq!(steps, expected.map(|(name, n)| (name.to_owned(), number(n))));
    b.ended(12, &c, succeeded()).await;
    let detail = b.detail(id).await.steps;
    assert_eq!(detail.iter().map(|s| s.2).collect::<Vec<_>>(), [at(1), at(2), at(3), at(11)]);
    assert!(b.store.steps(JobId(987_654)).await.unwrap().is_empty());
}

/// The first result stays.
pub async fn a_step_keeps_its_first_result(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    b.claim_one(0, node).await;
    for n in [1, 2] {
        let told = b.store.save_step(at(n), id, 1, "charge", number(n)).await.unwrap();
        assert_eq!(told, Finished::Applied);
    }
    assert_eq!(b.store.steps(id).await.unwrap(), [("charge".to_owned(), number(1))]);
}

/// Only the attempt that runs may write.
pub async fn steps_and_progress_are_fenced(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let progress = || Progress { done: 1, total: None, note: None };
    let stale = async |attempt| {
        let step = b.store.save_step(at(1), id, attempt, "s", number(1)).await.unwrap();
        let far = b.store.set_progress(at(1), id, attempt, progress()).await.unwrap();
        (step, far) == (Finished::Stale, Finished::Stale)
    };
    assert!(stale(0).await && stale(1).await);
    let c = b.claim_one(0, node).await;
    assert!(stale(0).await && stale(2).await);
    b.ended(1, &c, failed()).await;
    assert!(stale(1).await);
    b.promote(6).await;
    b.claim_one(6, node).await;
    assert!(stale(1).await, "a zombie of the first attempt");
    let detail = b.detail(id).await;
    assert!(detail.steps.is_empty() && detail.progress.is_none());
    assert_eq!(b.store.set_progress(at(7), JobId(987_654), 1, progress()).await.unwrap(), Finished::Stale);
}

/// Refused, and nothing of it is written.
pub async fn steps_have_limits(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    b.claim_one(0, node).await;
    let text = |n: usize| Json::of(&"x".repeat(n - 2)).unwrap();
    let largest = b.store.save_step(at(1), id, 1, "s", text(limits::STEP_RESULT)).await.unwrap();
    assert_eq!(largest, Finished::Applied);
    for (name, result) in [("t", text(limits::STEP_RESULT + 1)), ("", number(1)), (" x", number(1))] {
        let refused = b.store.save_step(at(1), id, 1, name, result).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    }
    for n in 1..limits::STEPS {
        b.store.save_step(at(2), id, 1, &format!("s{n}"), number(1)).await.unwrap();
    }
    let refused = b.store.save_step(at(3), id, 1, "one more", number(1)).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    let known = b.store.save_step(at(3), id, 1, "s1", number(2)).await.unwrap();
    assert_eq!((known, b.store.steps(id).await.unwrap().len()), (Finished::Applied, limits::STEPS));
}

/// By attempt and number, whatever order they came in.
pub async fn log_lines_come_back_in_order(b: &Bench) {
    let id = b.put(0, job()).await;
    let other = b.put(0, job()).await;
    let fields = Json::parse("{\"n\": 1.50}").unwrap();
    let rich = LogLine {
        level: LogLevel::Error,
        fields: Some(fields),
        ..line(id, 1, 1, "naïve 🦀\nsecond line\ttab")
    };
    b.store
        .append_logs(at(1), vec![line(id, 2, 0, "d"), rich.clone(), line(other, 1, 0, "x")])
        .await
        .unwrap();
    b.store.append_logs(at(2), vec![line(id, 1, 2, "c"), line(id, 1, 0, "a")]).await.unwrap();
    let lines = b.store.logs(P, id, None, 10).await.unwrap();
    assert_eq!(
        lines.iter().map(|l| (l.attempt, l.seq)).collect::<Vec<_>>(),
        [(1, 0), (1, 1), (1, 2), (2, 0)]
    );
    assert_eq!(lines[1], rich);
    let page = b.store.logs(P, id, Some((1, 1)), 1).await.unwrap();
    assert_eq!((page.len(), page[0].message.as_str()), (1, "c"));
    let page = b.store.logs(P, id, Some((1, 2)), 10).await.unwrap();
    assert_eq!((page.len(), page[0].message.as_str()), (1, "d"));
}

/// Sent twice after a lost reply, from a lost lease, of a job that is gone.
pub async fn log_lines_are_written_once_and_not_fenced(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    b.ended(1, &c, succeeded()).await;
    let lines = vec![line(id, 1, 0, "first"), line(id, 1, 0, "again"), line(JobId(987_654), 1, 0, "gone")];
    b.store.append_logs(at(2), lines.clone()).await.unwrap();
    b.store.append_logs(at(3), lines).await.unwrap();
    let kept = b.store.logs(P, id, None, 10).await.unwrap();
    assert_eq!(kept, [line(id, 1, 0, "first")]);
    b.store.append_logs(at(4), vec![]).await.unwrap();
}

/// A line is cut, an attempt's log ends with one line beyond the cap, a call takes a thousand.
pub async fn logs_have_limits(b: &Bench) {
    let id = b.put(0, job()).await;
    b.store.append_logs(at(1), vec![line(id, 1, 0, &"é".repeat(limits::LOG_LINE))]).await.unwrap();
    let kept = &b.store.logs(P, id, None, 10).await.unwrap()[0].message;
    assert!(kept.len() <= limits::LOG_LINE && kept.contains("[cut"), "{} bytes", kept.len());
    let cap = limits::LOG_LINES as u32;
    let many: Vec<_> = (1..=1000).map(|seq| line(id, 1, seq, "x")).collect();
    b.store.append_logs(at(2), many).await.unwrap();
    b.store.append_logs(at(2), vec![line(id, 1, cap + 1, "beyond"), line(id, 2, 0, "next")]).await.unwrap();
    let first = b.store.logs(P, id, None, u32::MAX).await.unwrap();
    assert_eq!(first.len(), limits::PAGE);
    let rest = b.store.logs(P, id, Some((1, 999)), 100).await.unwrap();
    assert_eq!(rest.iter().map(|l| (l.attempt, l.seq)).collect::<Vec<_>>(), [(1, cap), (2, 0)]);
    let too_many = vec![line(id, 3, 0, "x"); limits::BATCH + 1];
    let refused = b.store.append_logs(at(3), too_many).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}

/// The last word counts; a new attempt begins anew.
pub async fn progress_is_the_last_attempts(b: &Bench) {
    let node = b.join(0).await;
    let id = b.put(0, job()).await;
    let c = b.claim_one(0, node).await;
    assert_eq!(b.detail(id).await.progress, None);
    let far =
        |done| Progress { done, total: Some(u64::from(u32::MAX) * 9), note: Some("añadir 🛒".into()) };
    for done in [3, 7] {
        let told = b.store.set_progress(at(1), id, 1, far(done)).await.unwrap();
        assert_eq!(told, Finished::Applied);
        assert_eq!(b.detail(id).await.progress, Some(far(done)));
    }
    b.ended(2, &c, failed()).await;
    b.promote(7).await;
    let c = b.claim_one(7, node).await;
    assert_eq!(b.detail(id).await.progress, None);
    let bare = Progress { done: 0, total: None, note: None };
    b.store.set_progress(at(8), id, 2, bare.clone()).await.unwrap();
    assert_eq!(b.detail(id).await.progress, Some(bare));
    b.ended(9, &c, succeeded()).await;
}

//! What a handler may use while it runs: durable steps, fan-out, progress, the client.

mod common;

use common::faulty::{Faulty, StoreErrorKind};
use common::{builder, logs, nap, once, run, stand, start, thrice};
use mainspring::core::batch::BatchState;
use mainspring::core::job::{AttemptOutcome as A, JobState as S, LogLevel, Origin};
use mainspring::core::reader::Reader;
use mainspring::core::store::JobFilter;
use mainspring::core::{BatchId, ProjectId, limits};
use mainspring::{Context, JobError, Json, Registry};
use mainspring_testkit::MemoryStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const P: ProjectId = ProjectId::DEFAULT;

#[tokio::test]
async fn a_step_runs_once_and_is_remembered_across_attempts() {
    let (charged, mailed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (c, m) = (charged.clone(), mailed.clone());
    let node = start(Registry::new().function("order", thrice(), move |cx: Context| {
        let (c, m) = (c.clone(), m.clone());
        async move {
            assert_eq!(cx.step_done("charge").await?, cx.attempt() > 1);
            let receipt: u32 =
                cx.step("charge", async { Ok(c.fetch_add(1, Ordering::SeqCst) + 100) }).await?;
            if cx.attempt() < 3 {
                return Err(JobError::retry("the mail server is away"));
            }
            cx.step("mail", async { Ok(m.fetch_add(1, Ordering::SeqCst)) }).await?;
            Ok(Some(Json::of(&receipt).unwrap()))
        }
    }));
    let id = node.enqueue("order").await;
    let detail = node.finished(id).await;
    assert_eq!(stand(&detail), (S::Completed, Some(A::Succeeded), 3));
    assert_eq!((charged.load(Ordering::SeqCst), mailed.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(detail.job.output, Some(Json::trusted("100")));
    let names: Vec<_> = detail.steps.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["charge", "mail"]);
    node.stop().await;
}

#[tokio::test]
async fn a_step_that_fails_is_not_remembered_and_its_limits_hold() {
    let node = start(
        Registry::new()
            .function("fails", thrice(), |cx| async move {
                let attempt = cx.attempt();
                let n: u32 = cx
                    .step("maybe", async {
                        if attempt < 2 { Err(JobError::retry("no")) } else { Ok(attempt) }
                    })
                    .await?;
                Ok(Some(Json::of(&n).unwrap()))
            })
            .function("large", thrice(), |cx| async move {
                cx.step("large", async { Ok("x".repeat(limits::STEP_RESULT)) }).await?;
                Ok(None)
            })
            .function("changed", once(), |cx| async move {
                let _: u32 = cx.step("value", async { Ok(7) }).await?;
                let _: String = cx.step("value", async { Ok(String::new()) }).await?;
                Ok(None)
            }),
    );
    let fails = node.finished(node.enqueue("fails").await).await;
    assert_eq!((stand(&fails).2, fails.job.output), (2, Some(Json::trusted("2"))));
    let large = node.finished(node.enqueue("large").await).await;
    assert_eq!(stand(&large), (S::Failed, Some(A::Failed), 1));
    let changed = node.finished(node.enqueue("changed").await).await;
    assert_eq!(common::error(&changed).0, "step_type");
    node.stop().await;
}

#[tokio::test]
async fn a_step_waits_out_a_short_outage_instead_of_losing_its_work() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let work = Arc::new(AtomicU32::new(0));
    let done = work.clone();
    let registry = Registry::new().function("work", once(), move |cx: Context| {
        let done = done.clone();
        async move {
            cx.step("work", async { Ok(done.fetch_add(1, Ordering::SeqCst)) }).await?;
            Ok(None)
        }
    });
    faulty.set(|f| f.fail = Some(("save_step", StoreErrorKind::Transient)));
    let node = run(store, builder(faulty.store(), registry).build().unwrap());
    let id = node.enqueue("work").await;
    nap(400).await;
    assert!(faulty.calls("save_step") >= 2);
    faulty.set(|f| f.fail = None);
    assert_eq!(stand(&node.finished(id).await), (S::Completed, Some(A::Succeeded), 1));
    assert_eq!(work.load(Ordering::SeqCst), 1);
    node.stop().await;
}

/// A job that hands its work to `n` parts and one that closes the books.
fn fan(n: usize, fail_at: &'static str) -> Registry {
    Registry::new()
        .function("fan", thrice(), move |cx: Context| async move {
            let client = cx.client();
            let parts = (0..n).map(|i| client.new_job_of("part", Json::of(&i).unwrap())).collect();
            let close = client.new_job_of("close", Json::null());
            if cx.attempt() == 1 && fail_at == "before" {
                return Err(JobError::retry("too early"));
            }
            let batch = cx.fan_out("parts", parts, Some(close)).await?;
            if cx.attempt() == 1 && fail_at == "after" {
                return Err(JobError::retry("too late"));
            }
            Ok(Some(Json::of(&batch).unwrap()))
        })
        .function("part", once(), |cx| async move {
            let n: usize = cx.payload().to()?;
            if n == 1 { Err(JobError::fatal("part 1 never works")) } else { Ok(None) }
        })
        .function("close", once(), |cx| async move {
            let batch = cx.client().batch(cx.batch().expect("a follow-up knows its batch")).await?;
            Ok(Some(Json::of(&(batch.state, batch.counts)).unwrap()))
        })
}

#[tokio::test]
async fn a_fan_out_makes_each_job_once_and_its_follow_up_sees_the_counts() {
    for fail_at in ["never", "before", "after"] {
        let node = start(fan(1500, fail_at));
        let detail = node.finished(node.enqueue("fan").await).await;
        let batch: BatchId = detail.job.output.expect("the batch").to().unwrap();
        let mut record = node.client.batch(batch).await.unwrap();
        for _ in 0..1000 {
            record = node.client.batch(batch).await.unwrap();
            if record.state != BatchState::Open {
                break;
            }
            nap(10).await;
        }
        assert_eq!((record.state, record.counts.total), (BatchState::Partial, 1500), "{fail_at}");
        assert_eq!((record.counts.succeeded, record.counts.failed), (1499, 1));
        assert_eq!((record.parent, record.sealed), (Some(detail.job.id), true));
        let close = node.finished(record.follow_up.expect("it was enqueued")).await;
        assert_eq!(close.job.origin, Origin::FollowUp);
        assert!(close.job.output.unwrap().as_str().starts_with("[\"partial\",{\"total\":1500"));
        let parts = JobFilter { kind: Some("close".into()), ..JobFilter::default() };
        assert_eq!(node.store.jobs(P, &parts, None, 10).await.unwrap().rows.len(), 1);
        node.stop().await;
    }
}

#[tokio::test]
async fn progress_logs_and_ids_are_seen_from_outside() {
    let node = start(Registry::new().function("talk", once(), |cx| async move {
        assert_eq!(cx.delivery_id(), format!("msg_{}", cx.job_id()));
        assert_eq!((cx.kind(), cx.queue(), cx.attempt(), cx.project()), ("talk", "default", 1, P));
        assert!(cx.time_left() <= mainspring::registry::TIMEOUT && cx.deadline() > cx.now());
        assert!(cx.is_last_attempt() && cx.stop_reason().is_none());
        cx.log(LogLevel::Warn, "careful").field("left", 3).field("who", "ann");
        cx.debug("small");
        cx.error(format!("{}\0", "x".repeat(limits::LOG_LINE * 2)));
        for i in 1..=1000u64 {
            cx.progress(i, 1000, "reading".to_owned());
        }
        nap(500).await;
        let twice = cx.blocking(|| 21 * 2).await?;
        Ok(Some(Json::of(&(twice, cx.random().bits() == cx.random().bits())).unwrap()))
    }));
    let id = node.enqueue("talk").await;
    let seen =
        node.until(id, |d| d.progress.as_ref().is_some_and(|p| p.done == 1000)).await.progress.unwrap();
    assert_eq!((seen.done, seen.total, seen.note.as_deref()), (1000, Some(1000), Some("reading")));
    let detail = node.finished(id).await;
    assert_eq!(detail.job.output, Some(Json::trusted("[42,false]")));
    let store = node.store.clone();
    node.stop().await;
    let lines = store.logs(P, id, None, 10).await.unwrap();
    assert_eq!(
        lines.iter().map(|l| l.level).collect::<Vec<_>>(),
        [LogLevel::Warn, LogLevel::Debug, LogLevel::Error]
    );
    assert_eq!(lines[0].fields, Some(Json::trusted(r#"{"left":3,"who":"ann"}"#)));
    assert!(lines[2].message.len() <= limits::LOG_LINE && lines[2].message.contains("[cut,"));
    assert_eq!(logs(&store, id).await.len(), 3);
}

#[tokio::test]
async fn a_client_refuses_what_cannot_be_and_names_the_field() {
    let node = start(fan(1, "never"));
    let client = &node.client;
    let mut jobs = vec![client.new_job_of("part", Json::null()); 3];
    jobs[2].queue = "*".into();
    let error = client.enqueue_many(jobs).await.unwrap_err();
    assert_eq!((error.field(), error.code().to_string().as_str()), (Some("jobs[2].queue"), "MS0020"));
    assert!(node.store.counts(P).await.unwrap().is_empty(), "nothing was written");
    let error = client.cancel(mainspring::core::JobId(9), "x").await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code().to_string().as_str()), ("no job 9", "MS0021"));
    let rate = mainspring::core::rate::Rate { count: 0, per: Duration::from_secs(1) };
    let error = client.change_queue("lane", |q| q.rate = Some(rate)).await.unwrap_err();
    assert_eq!(error.field(), Some("rate"));
    let other = client.clone().in_project_named("tenant").await.unwrap();
    assert_ne!(other.project(), P);
    let id = client.enqueue_raw(client.new_job_of("close", Json::null())).await.unwrap().id;
    assert!(other.job(id).await.is_err(), "projects do not see each other");
    node.stop().await;
}

#[tokio::test]
async fn many_jobs_are_retried_and_cancelled_by_filter() {
    let node = start(Registry::new().function("bad", once(), |_| async { Err(JobError::fatal("no")) }));
    let jobs = (0..1200).map(|_| node.client.new_job_of("bad", Json::null())).collect();
    let made = node.client.enqueue_many(jobs).await.unwrap();
    for job in &made {
        node.finished(job.id).await;
    }
    node.client.pause_queue("default", None, Some("look into it")).await.unwrap();
    let failed = JobFilter { states: vec![S::Failed], ..JobFilter::default() };
    let mut told = Vec::new();
    let changed = node.client.retry_where(&failed, |p| told.push(p.changed)).await.unwrap();
    assert_eq!((changed.len(), told.last().copied()), (1200, Some(1200)));
    assert!(told.len() >= 2, "progress is told between the steps");
    let all = JobFilter { kind: Some("bad".into()), ..JobFilter::default() };
    let changed = node.client.cancel_where(&all, "never mind", |_| ()).await.unwrap();
    assert_eq!(changed.len(), 1200);
    assert!(node.client.cancel_where(&all, "again", |_| ()).await.unwrap().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn a_fan_out_that_loses_its_answers_is_completed_by_the_next_attempt() {
    for losing in ["open_batch", "enqueue", "seal_batch", "save_step"] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let node = builder(faulty.store(), fan(1500, "never")).build().unwrap();
        let node = run(store, node);
        node.client.pause_queue("default", None, None).await.unwrap();
        let id = node.enqueue("fan").await;
        faulty.set(|f| f.lose_reply = Some((losing, 1)));
        node.client.resume_queue("default").await.unwrap();
        let detail = node.finished(id).await;
        assert_eq!(detail.job.state, S::Completed, "{losing}");
        let batch: BatchId = detail.job.output.expect("the batch").to().unwrap();
        let parts = JobFilter { kind: Some("part".into()), ..JobFilter::default() };
        let (mut n, mut before) = (0, None);
        loop {
            let page = node.store.jobs(P, &parts, before, 1000).await.unwrap();
            n += page.rows.iter().filter(|j| j.batch == Some(batch)).count();
            assert!(page.rows.iter().all(|j| j.batch == Some(batch)), "{losing}: a job of another batch");
            match page.next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        assert_eq!((n, node.client.batch(batch).await.unwrap().counts.total), (1500, 1500), "{losing}");
        let batches = node.store.batches(P, None, 10).await.unwrap().rows.len();
        assert_eq!(batches, 1, "{losing}: a batch was opened twice");
        node.stop().await;
    }
}

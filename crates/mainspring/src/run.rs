//! Runs one attempt: calls the handler, and makes sure that whatever it does (return, fail, panic,
//! go on for ever) becomes exactly one outcome.

use crate::context::{Context, StopReason};
use crate::engine::{Done, Ended, Engine, NextJob, NodeEvent, Slot};
use crate::job::JobError;
use crate::registry::{Class, Entry, Handler, check_output};
use mainspring_core::decide::Outcome;
use mainspring_core::job::{Claimed, ErrorRecord};
use mainspring_core::{Json, duration, time};
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

type Answer = Result<Option<Json>, JobError>;
type Handling<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// After so many jobs in a row the task lets others of its thread have a turn.
const TURN: u32 = 32;

/// The task of a slot: runs what waits on the board until nothing does.
pub async fn slot_task(engine: Arc<Engine>, slot: usize, generation: u64) {
    let mut served = 0u32;
    loop {
        let (next, hungry) = engine.board.next(slot, generation, served == 0);
        if hungry {
            engine.signals.dispatch.notify_one();
        }
        match next {
            NextJob::Run(claimed) => attempt(&engine, slot, *claimed).await,
            // Another generation of threads may have work for the slot that has just become free.
            NextJob::Done => return engine.start(),
            NextJob::Gone => return,
        }
        served = served.wrapping_add(1).max(1);
        if served.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
    }
}

/// Runs one attempt in a slot and hands its outcome to the finisher.
pub(crate) async fn attempt(engine: &Arc<Engine>, slot: usize, claimed: Claimed) {
    let registry = engine.services.registry.clone();
    let Some(entry) = registry.get(&claimed.kind) else {
        // Only known kinds are claimed; a store that breaks that loses nothing by it.
        return engine.give_back(vec![claimed], "this node does not know the kind");
    };
    let started_at = engine.now();
    let cx = Context::new(engine.services.clone(), claimed, started_at);
    let deadline = time::plus(engine.steady.now(), cx.attempt_inner().timeout);
    let serial = engine.board.begin(slot, &cx, deadline);
    engine.watch(deadline);
    engine.events.tell(|| {
        let c = &cx.attempt_inner().claimed;
        NodeEvent::Started {
            job: c.facts.job,
            attempt: c.facts.attempt,
            kind: c.kind.clone(),
            schedule: c.schedule.map(|(id, _)| id),
            at: started_at,
        }
    });
    let answer = call(entry, &cx, engine.board.slot(slot), serial).await;
    // Whoever ended it before (time-out, cancel, shutdown) has told its outcome, too.
    let Some(answer) = answer else { return };
    if engine.board.end(slot, serial) {
        if cx.stop_reason() == Some(StopReason::HandedOver) {
            engine.services.inbox.forget_progress(cx.job_id(), cx.attempt());
            return engine.let_go(std::iter::once((cx.job_id(), cx.attempt())));
        }
        let outcome = cx.redactor().outcome(outcome_of(answer, cx.stop_reason()));
        engine.outbox.push(Done { attempt: Ended::Ran(cx), outcome, at: engine.now() });
    }
}

/// What a handler's answer means, given what was asked of it meanwhile.
pub(crate) fn outcome_of(answer: Answer, asked: Option<StopReason>) -> Outcome {
    match (answer.and_then(check_output), asked) {
        (Ok(output), _) => Outcome::Succeeded { output },
        // It was told to stop, and stopping looked like a failure to it.
        (Err(JobError::Retry { .. }), Some(StopReason::Shutdown)) => {
            Outcome::Interrupted { reason: "the node is shutting down".into() }
        }
        (Err(JobError::Retry { .. }), Some(StopReason::Cancelled)) => {
            Outcome::Cancelled { reason: "cancelled while it ran".into() }
        }
        (Err(JobError::Partial { output, failures }), _) => match check_output(output) {
            Ok(output) => Outcome::Partial { output, failures },
            Err(error) => error.into_outcome(),
        },
        (Err(error), _) => error.into_outcome(),
    }
}

/// The outcome of an attempt that was ended from outside.
pub(crate) fn ended_outcome(cx: &Context, reason: StopReason) -> Outcome {
    match reason {
        StopReason::TimedOut => {
            let limit = duration::format(cx.attempt_inner().timeout);
            let text = format!("it ran longer than its time limit of {limit}");
            Outcome::TimedOut { error: ErrorRecord::new("timeout", &text, vec![]) }
        }
        StopReason::Cancelled => Outcome::Cancelled { reason: "cancelled while it ran".into() },
        StopReason::Shutdown => Outcome::Interrupted { reason: "the node is shutting down".into() },
        StopReason::LeaseLost | StopReason::HandedOver => Outcome::LeaseExpired,
    }
}

/// Calls the handler; None when it was ended from outside.
async fn call(entry: &Entry, cx: &Context, slot: &Slot, serial: u64) -> Option<Answer> {
    match entry.spec.class {
        Class::Async => {
            let handling = catch_unwind(AssertUnwindSafe(|| handling(&*entry.handler, cx)));
            match handling {
                Ok(handling) => Guarded { handling: Some(handling), slot, serial }.await,
                Err(panic) => Some(Err(panicked(panic.as_ref()))),
            }
        }
        Class::Blocking => {
            let (handler, cx) = (entry.handler.clone(), cx.clone());
            let runtime = tokio::runtime::Handle::current();
            let work = tokio::task::spawn_blocking(move || runtime.block_on(handling(&*handler, &cx)));
            // A thread cannot be ended from outside: the slot stays taken until it returns.
            Some(match work.await {
                Ok(answer) => answer,
                Err(e) => match e.try_into_panic() {
                    Ok(panic) => Err(panicked(panic.as_ref())),
                    Err(e) => Err(JobError::retry(e)),
                },
            })
        }
    }
}

/// The handler's work, with the secrets that the payload names fetched before it.
fn handling<'a>(handler: &'a dyn Handler, cx: &Context) -> Handling<'a> {
    let cx = cx.clone();
    if !cx.names_secrets() {
        return handler.run(cx);
    }
    Box::pin(async move {
        cx.resolve().await?;
        handler.run(cx).await
    })
}

/// A handler at work that can be ended at its next poll, and whose panic ends only itself.
struct Guarded<'a> {
    handling: Option<Handling<'a>>,
    slot: &'a Slot,
    serial: u64,
}

impl Guarded<'_> {
    fn killed(&self) -> bool {
        self.slot.killed.load(Ordering::Acquire) == self.serial
    }

    /// Drops the handler's future: its destructors are user code, too.
    fn discard(&mut self) -> Result<(), Box<dyn Any + Send>> {
        let handling = self.handling.take();
        catch_unwind(AssertUnwindSafe(|| drop(handling)))
    }
}

impl Future for Guarded<'_> {
    type Output = Option<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        if self.killed() {
            drop(self.discard());
            return Poll::Ready(None);
        }
        let Some(handling) = self.handling.as_mut() else { return Poll::Ready(None) };
        let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)));
        let answer = match polled {
            Ok(Poll::Ready(answer)) => answer,
            Err(panic) => Err(panicked(panic.as_ref())),
            Ok(Poll::Pending) => {
                self.slot.waker.register(cx.waker());
                // It may have been ended between the look above and the registration.
                if !self.killed() {
                    return Poll::Pending;
                }
                drop(self.discard());
                return Poll::Ready(None);
            }
        };
        let answer = self.discard().map_or_else(|panic| Err(panicked(panic.as_ref())), |()| answer);
        Poll::Ready(Some(answer))
    }
}

/// A panic as an error that may be tried again.
fn panicked(panic: &(dyn Any + Send)) -> JobError {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked with a value that is not text".into());
    JobError::Retry { error: ErrorRecord::new("panic", &text, vec![]), after: None }
}

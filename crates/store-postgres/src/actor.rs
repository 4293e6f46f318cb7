//! Group commit: calls that come while a transaction is under way gather and share the next one.
//!
//! One task for enqueues, one that takes every second long list of them, one for finishes, and one for
//! long lists of ends of every second block of jobs, each with its own connection, so that at most
//! four writing transactions of the hot path are in flight beside the claim. No timer: the commit
//! before is the timer, so a lone caller waits for nothing and sixteen callers share one flush of the
//! log. If a shared transaction is refused, each call is tried by itself: nobody pays for another's
//! mistake.

use crate::Inner;
use mainspring_core::decide::Transition;
use mainspring_core::error::Result;
use mainspring_core::job::{Enqueued, NewJob};
use mainspring_core::store::Finished;
use mainspring_core::{ProjectId, StoreError, limits};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A caller's jobs.
pub(crate) struct EnqueueCall {
    pub now: i64,
    pub project: ProjectId,
    pub jobs: Vec<NewJob>,
    /// By the second connection for long lists.
    pub beside: bool,
}

/// A caller's transitions.
pub(crate) struct FinishCall {
    pub now: i64,
    pub transitions: Vec<Transition>,
    /// By the second connection for long lists.
    pub beside: bool,
}

/// What a task gathers.
pub(crate) trait Gathered: Send + Sync + Sized + 'static {
    /// What each entry of a call is answered.
    type Answer: Send + 'static;

    /// Rows of the call.
    fn rows(&self) -> usize;

    /// Writes calls in one transaction.
    fn write(inner: &Inner, calls: &[Self]) -> impl Future<Output = Result<Vec<Vec<Self::Answer>>>> + Send;
}

impl Gathered for EnqueueCall {
    type Answer = Enqueued;

    fn rows(&self) -> usize {
        self.jobs.len()
    }

    async fn write(inner: &Inner, calls: &[Self]) -> Result<Vec<Vec<Enqueued>>> {
        inner.enqueue_calls(calls).await
    }
}

impl Gathered for FinishCall {
    type Answer = Finished;

    fn rows(&self) -> usize {
        self.transitions.len()
    }

    async fn write(inner: &Inner, calls: &[Self]) -> Result<Vec<Vec<Finished>>> {
        inner.finish_calls(calls).await
    }
}

type Letter<C> = (C, oneshot::Sender<Result<Vec<<C as Gathered>::Answer>>>);

/// The door to a gathering task.
pub(crate) struct Desk<C: Gathered>(mpsc::Sender<Letter<C>>);

/// Calls that may wait at the door; more callers wait outside.
const WAITING: usize = 4_096;

impl<C: Gathered> Desk<C> {
    /// Starts the task. It ends when the desk is gone.
    pub fn open(inner: Arc<Inner>) -> Desk<C> {
        let (send, receive) = mpsc::channel(WAITING);
        let runtime = inner.reach.runtime.clone();
        runtime.spawn(gather(inner, receive));
        Desk(send)
    }

    /// Hands in a call and waits until it is committed or refused.
    pub async fn call(&self, call: C) -> Result<Vec<C::Answer>> {
        let closed = || StoreError::Unavailable("the store was closed".into());
        let (send, receive) = oneshot::channel();
        self.0.send((call, send)).await.map_err(|_| closed())?;
        receive.await.map_err(|_| closed())?
    }
}

async fn gather<C: Gathered>(inner: Arc<Inner>, mut receive: mpsc::Receiver<Letter<C>>) {
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(letter) => letter,
            None => match receive.recv().await {
                Some(letter) => letter,
                None => return,
            },
        };
        let mut rows = first.0.rows();
        let mut letters = vec![first];
        while rows < limits::BATCH {
            let Ok(letter) = receive.try_recv() else { break };
            if rows + letter.0.rows() > limits::BATCH {
                left = Some(letter);
                break;
            }
            rows += letter.0.rows();
            letters.push(letter);
        }
        write(&inner, letters).await;
    }
}

async fn write<C: Gathered>(inner: &Inner, letters: Vec<Letter<C>>) {
    let (calls, replies): (Vec<C>, Vec<_>) = letters.into_iter().unzip();
    match C::write(inner, &calls).await {
        Ok(answers) => {
            for (reply, answer) in replies.into_iter().zip(answers) {
                let _ = reply.send(Ok(answer));
            }
        }
        Err(error) if calls.len() > 1 && !error.is_transient() => {
            for (call, reply) in calls.into_iter().zip(replies) {
                let answer = C::write(inner, std::slice::from_ref(&call)).await;
                let _ = reply.send(answer.map(|mut a| a.pop().unwrap_or_default()));
            }
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

//! Calls one step over and over: sleeps until the time it named or its bell rings, backs off while
//! the database is away.

use super::pause;
use crate::engine::{Engine, NodeEvent};
use crate::step::{Step, Wake};
use jiff::Timestamp;
use mainspring_core::time;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The first wait after an error.
const BACKOFF: Duration = Duration::from_millis(100);
/// The longest wait after errors.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Whether the database can be reached, as the loops find it.
#[derive(Default)]
pub(super) struct Weather {
    lost: AtomicBool,
}

/// How a loop is driven.
#[derive(Clone)]
pub(super) struct Driver {
    pub(super) engine: Arc<Engine>,
    pub(super) weather: Arc<Weather>,
    /// Turns true when the loop must end after its present step.
    pub(super) stop: watch::Receiver<bool>,
    /// No two steps nearer than this unless the first asked for it: bells ring more often than
    /// looking is worth.
    pub(super) gap: Duration,
    /// Whether the step goes by the clock that never jumps.
    pub(super) steady: bool,
    /// Whether this is the loop that finds out when the database is back.
    pub(super) probe: bool,
}

impl Driver {
    fn now(&self) -> Timestamp {
        if self.steady { self.engine.steady.now() } else { self.engine.now() }
    }

    /// Runs the loop until it is told to stop.
    pub(super) async fn drive<S: Step>(mut self, step: S, bell: impl Fn(&Engine) -> &Notify) {
        let mut failures = 0u32;
        loop {
            if *self.stop.borrow() {
                return;
            }
            let wait = match step.step(self.now()).await {
                Ok(wake) => {
                    failures = 0;
                    if self.probe {
                        self.back();
                    }
                    match wake {
                        Wake::Again => {
                            tokio::task::yield_now().await;
                            continue;
                        }
                        Wake::At(at) => Some(time::since(self.now(), at)),
                        Wake::Idle => None,
                    }
                }
                Err(error) => {
                    failures += 1;
                    if error.is_transient() {
                        self.lost(&error.to_string());
                    } else {
                        tracing::error!(step = S::NAME, %error, "a step failed; it will be repeated");
                    }
                    // Never so long that a database that is back would hear nothing for half a lease.
                    let most = BACKOFF_MAX.min(self.engine.settings.lease / 4);
                    let bound = BACKOFF.saturating_mul(1 << (failures - 1).min(6)).min(most);
                    // A herd of nodes should not come back at the same instant.
                    self.sleep(bound.mul_f64(0.5 + self.engine.entropy.chance() / 2.0)).await;
                    continue;
                }
            };
            let bell = bell(&self.engine);
            tokio::select! {
                () = bell.notified() => self.sleep_shortly().await,
                () = sleep_or_for_ever(wait) => {}
                _ = self.stop.changed() => return,
            }
        }
    }

    async fn sleep_shortly(&mut self) {
        if !self.gap.is_zero() {
            self.sleep(self.gap).await;
        }
    }

    async fn sleep(&mut self, wait: Duration) {
        tokio::select! {
            () = pause(wait) => {}
            _ = self.stop.changed() => {}
        }
    }

    fn lost(&self, why: &str) {
        if !self.weather.lost.swap(true, Ordering::SeqCst) {
            tracing::warn!(error = why, "the database cannot be reached; waiting for it");
            self.engine.events.tell(|| NodeEvent::StoreLost(why.to_owned()));
            self.engine.signals.heartbeat.notify_one();
        }
    }

    fn back(&self) {
        if self.weather.lost.swap(false, Ordering::SeqCst) {
            tracing::info!("the database can be reached again");
            self.engine.events.tell(|| NodeEvent::StoreBack);
            self.engine.ring_all();
        }
    }
}

async fn sleep_or_for_ever(wait: Option<Duration>) {
    match wait {
        Some(wait) => pause(wait).await,
        None => std::future::pending().await,
    }
}

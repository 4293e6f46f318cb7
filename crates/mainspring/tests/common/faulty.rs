//! A store that can be taken away, made to lose its answers, and counted.

use jiff::Timestamp;
use mainspring::core::StoreError;
use mainspring::core::error::Result;
use mainspring::core::store::{ClaimBatch, ClaimRequest, Store};
use mainspring_testkit::MemoryStore;
use mainspring_testkit::gate::{Gate, Gated};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to calls.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every call fails.
    pub down: bool,
    /// Calls of this name fail.
    pub fail: Option<(&'static str, StoreErrorKind)>,
    /// The next so many calls of this name are done, and then say that they were not.
    pub lose_reply: Option<(&'static str, u32)>,
    /// The database's clock is ahead of this machine's.
    pub server_ahead: Option<Duration>,
    /// It cannot be proved that hints of others arrive.
    pub blind: bool,
    /// Calls by name.
    pub calls: BTreeMap<&'static str, u32>,
}

#[derive(Clone, Copy, Debug)]
pub enum StoreErrorKind {
    Transient,
    Refusal,
}

/// See the module's text.
#[derive(Clone)]
pub struct Faulty {
    pub inner: MemoryStore,
    faults: Arc<Mutex<Faults>>,
}

impl Faulty {
    pub fn new(inner: MemoryStore) -> Faulty {
        Faulty { inner, faults: Arc::default() }
    }

    /// What a node is given.
    pub fn store(&self) -> Arc<Gated<Faulty>> {
        Arc::new(Gated::new(Arc::new(self.inner.clone()), self.clone()))
    }

    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap());
    }

    pub fn calls(&self, name: &str) -> u32 {
        self.faults.lock().unwrap().calls.get(name).copied().unwrap_or(0)
    }

    async fn pass<T>(&self, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let away = || StoreError::Unavailable("the test took it away".into());
        let lose = {
            let mut faults = self.faults.lock().unwrap();
            *faults.calls.entry(name).or_default() += 1;
            if faults.down {
                return Err(away());
            }
            match faults.fail {
                Some((failing, StoreErrorKind::Transient)) if failing == name => return Err(away()),
                Some((failing, StoreErrorKind::Refusal)) if failing == name => {
                    return Err(StoreError::Internal("the test refuses it".into()));
                }
                _ => {}
            }
            match &mut faults.lose_reply {
                Some((losing, n)) if *losing == name && *n > 0 => {
                    *n -= 1;
                    true
                }
                _ => false,
            }
        };
        let answer = call.await;
        if lose { Err(StoreError::Timeout("the test lost the answer".into())) } else { answer }
    }
}

impl Gate for Faulty {
    async fn read<T: Send>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.pass(name, call).await
    }

    async fn write<T: Send>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.pass(name, call).await
    }

    async fn claim(&self, base: &dyn Store, now: Timestamp, request: ClaimRequest) -> Result<ClaimBatch> {
        // Which claim finds the jobs is chance: an empty answer is not worth losing.
        let losing = self.faults.lock().unwrap().lose_reply.take_if(|(name, _)| *name == "claim");
        let answer = self.pass("claim", base.claim(now, request)).await?;
        match losing {
            Some(_) if !answer.jobs.is_empty() => Err(StoreError::Timeout("the test lost the answer".into())),
            losing => {
                if losing.is_some() {
                    self.faults.lock().unwrap().lose_reply = losing;
                }
                Ok(answer)
            }
        }
    }

    fn hints_alive(&self, base: &dyn Store) -> bool {
        !self.faults.lock().unwrap().blind && base.hints_alive()
    }

    async fn server_time(&self, _: &dyn Store) -> Result<Option<Timestamp>> {
        let ahead = self.faults.lock().unwrap().server_ahead;
        let now = mainspring::clock::SystemClock::machine_time();
        Ok(ahead.map(|ahead| mainspring::core::time::plus(now, ahead)))
    }
}

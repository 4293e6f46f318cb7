//! Looks at all schedules once, when a node starts: recomputes next fires when the time zone data
//! has changed since they were computed, and lets schedules that fire at a start fire.

use super::{Step, Wake};
use crate::engine::Engine;
use jiff::Timestamp;
use mainspring_core::error::Result;
use mainspring_core::event::NewEvent;
use mainspring_core::ids::ScheduleId;
use mainspring_core::limits;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::schedule_record::ScheduleRecord;
use mainspring_core::trigger::Trigger;
use std::sync::{Arc, Mutex, PoisonError};

/// The name under which the version of the zone data is kept.
pub const META: &str = "tz_version";

/// See the module's text.
pub struct ZoneCheck {
    engine: Arc<Engine>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    after: Option<ScheduleId>,
    /// Whether next fires are recomputed; found out by the first step.
    stale: Option<bool>,
    done: bool,
}

impl ZoneCheck {
    /// The check of a node that starts.
    pub fn new(engine: Arc<Engine>) -> ZoneCheck {
        ZoneCheck { engine, state: Mutex::new(State { after: None, stale: None, done: false }) }
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Where the next fire of a schedule belongs, if not where it is.
    fn moved(record: &ScheduleRecord, spec: &ScheduleSpec, now: Timestamp) -> Option<Timestamp> {
        let timed =
            !matches!(spec.trigger, Trigger::AfterCompletion { .. } | Trigger::Once { .. } | Trigger::Reboot);
        // What is due already is the planner's; what has no next fire is over.
        let stored = record.next_fire.filter(|at| timed && *at > now)?;
        let right = spec.first_fire(now)?;
        (right != stored).then_some(right)
    }

    async fn look(&self, now: Timestamp, record: &ScheduleRecord, stale: bool) -> Result<()> {
        // A rule that cannot be read is the scheduler's to tell.
        let Ok(spec) = record.spec.to::<ScheduleSpec>() else { return Ok(()) };
        let store = self.engine.store();
        if let Some(at) = spec.at_node_start(now).filter(|_| record.next_fire.is_none()) {
            store.reschedule(now, record.id, record.version, None, Some(at), None).await?;
        } else if let Some(to) = Self::moved(record, &spec, now).filter(|_| stale) {
            let data = serde_json::json!({
                "from": record.next_fire, "to": to, "zone": record.zone,
                "tz_version": self.engine.settings.tz_version,
            });
            let event = NewEvent::new("schedule.moved", format!("schedule/{}", record.name), data);
            let (version, from) = (record.version, record.next_fire);
            store.reschedule(now, record.id, version, from, Some(to), Some(event)).await?;
        }
        Ok(())
    }
}

impl Step for ZoneCheck {
    const NAME: &'static str = "zone_check";

    async fn step(&self, now: Timestamp) -> Result<Wake> {
        let mut state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.done || self.engine.draining() {
            return Ok(Wake::Idle);
        }
        let (store, version) = (self.engine.store(), self.engine.settings.tz_version.as_str());
        let stale = match state.stale {
            Some(stale) => stale,
            None => store.meta(META).await?.as_deref() != Some(version),
        };
        state.stale = Some(stale);
        let page = store.all_schedules(state.after, limits::PAGE as u32).await?;
        for record in &page {
            self.look(now, record, stale).await?;
        }
        self.engine.signals.schedule.notify_one();
        if page.len() >= limits::PAGE {
            state.after = page.last().map(|s| s.id);
            self.set(state);
            return Ok(Wake::Again);
        }
        if stale {
            store.set_meta(now, META, Some(version)).await?;
        }
        state.done = true;
        self.set(state);
        Ok(Wake::Idle)
    }
}

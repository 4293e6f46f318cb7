//! Queues: pause, resume, limits.

use super::{Client, ClientError, Result};
use jiff::Timestamp;
use mainspring_core::limits;
use mainspring_core::queue::{ALL_QUEUES, Pause, QueueSettings};

impl Client {
    /// What is set on a queue; the default for one that nobody has set anything on.
    pub async fn queue_settings(&self, queue: &str) -> Result<QueueSettings> {
        let found = self.store.queues(self.project).await?.into_iter().find(|q| q.name == queue);
        Ok(found.map(|q| q.settings).unwrap_or_default())
    }

    /// Replaces what is set on a queue (`*`: on all queues together).
    pub async fn set_queue(&self, queue: &str, settings: QueueSettings) -> Result<()> {
        if queue != ALL_QUEUES {
            mainspring_core::job::check_name(queue).map_err(|e| ClientError::invalid("queue", e))?;
        }
        settings.check().map_err(|(field, text)| ClientError::invalid(field, text))?;
        Ok(self.store.set_queue(self.now(), self.project, queue, settings, &self.signature()).await?)
    }

    /// Changes what is set on a queue, keeping the rest.
    pub async fn change_queue(
        &self,
        queue: &str,
        change: impl FnOnce(&mut QueueSettings),
    ) -> Result<QueueSettings> {
        let mut settings = self.queue_settings(queue).await?;
        change(&mut settings);
        self.set_queue(queue, settings.clone()).await?;
        Ok(settings)
    }

    /// Nothing new of this queue starts from now on (`*`: of any queue), until resumed or `until`.
    pub async fn pause_queue(
        &self,
        queue: &str,
        until: Option<Timestamp>,
        note: Option<&str>,
    ) -> Result<QueueSettings> {
        let pause = self.pause(until, note)?;
        self.change_queue(queue, |s| s.paused = Some(pause)).await
    }

    /// Ends a queue's pause.
    pub async fn resume_queue(&self, queue: &str) -> Result<QueueSettings> {
        self.change_queue(queue, |s| s.paused = None).await
    }

    /// A pause that begins now, by this client's actor.
    pub(super) fn pause(&self, until: Option<Timestamp>, note: Option<&str>) -> Result<Pause> {
        let now = self.now();
        if let Some(until) = until.filter(|until| *until <= now) {
            return Err(ClientError::invalid("until", format!("{until} is past; name a later time")));
        }
        Ok(Pause {
            at: now,
            by: self.actor.to_string(),
            until,
            note: note.map(|n| limits::cut(n, limits::NOTE)),
        })
    }
}

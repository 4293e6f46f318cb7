//! Scores: a value from 0 to 100 that can be taken apart.
//!
//! The parts sum to `raw`, and `value` is `raw` through the link: checked before a score is kept, so that
//! none is ever shown that does not add up. A score belongs to a model's version and to the hash of its
//! inputs; [`Kit::score`] gives none that another version made, and says when the inputs have changed.

use crate::{Kit, KitError, Result};
use mainspring_core::tables::{AsJson, At, Statement};
use serde::{Deserialize, Serialize};

mainspring_core::words! {
    /// How the sum becomes the value.
    Link {
        /// `value = raw`, cut to 0 to 100.
        Identity = "identity",
        /// `value = 100 / (1 + exp(-raw))`.
        Logistic = "logistic",
    }
}

impl Link {
    /// The value of a sum.
    pub fn value(self, raw: f64) -> f64 {
        match self {
            Link::Identity => raw.clamp(0.0, 100.0),
            Link::Logistic => 100.0 / (1.0 + (-raw).exp()),
        }
    }
}

/// What one thing adds to a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What adds it: `bugs`, `sla`.
    pub name: String,
    /// How much: may be negative.
    pub value: f64,
    /// Why, for people.
    pub note: String,
}

/// A score to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewScore {
    /// What computed it.
    pub model: &'static str,
    /// Which version of that.
    pub version: u32,
    /// The hash of what it was computed from: [`crate::hash`].
    pub inputs: String,
    /// How the sum becomes the value.
    pub link: Link,
    /// What adds up to it.
    pub parts: Vec<Part>,
    /// From 0 to 1: how much of what it wants to know was there.
    pub coverage: f64,
}

impl NewScore {
    /// The sum of the parts.
    pub fn raw(&self) -> f64 {
        self.parts.iter().map(|part| part.value).sum()
    }

    /// From 0 to 100.
    pub fn value(&self) -> f64 {
        self.link.value(self.raw())
    }
}

/// A score as it is kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Score {
    /// The hash of what it was computed from.
    pub inputs: String,
    /// How the sum became the value.
    pub link: Link,
    /// The sum of the parts.
    pub raw: f64,
    /// From 0 to 100.
    pub value: f64,
    /// From 0 to 1.
    pub coverage: f64,
    /// What adds up to it.
    pub parts: AsJson<Vec<Part>>,
    /// When it was computed.
    pub at: At,
}

const COLUMNS: &str = "inputs, link, raw, value, coverage, parts, at";

impl Kit {
    /// The statement that keeps a score.
    pub fn put_score(&self, subject: i64, new: &NewScore) -> Result<Statement> {
        let raw = new.raw();
        if !raw.is_finite() {
            return Err(KitError::invalid("parts", format!("the parts of {} sum to {raw}", new.model)));
        }
        if !(0.0..=1.0).contains(&new.coverage) {
            let text = format!("{} is no share; coverage is from 0 to 1", new.coverage);
            return Err(KitError::invalid("coverage", text));
        }
        let statement = self.own(
            "INSERT INTO kit_scores (subject, model, version, inputs, link, raw, value, coverage, parts, at)
             SELECT s.id, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM kit_subjects s
             WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3",
        );
        let statement = statement.bind(subject).bind(new.model).bind(new.version).bind(new.inputs.as_str());
        let statement = statement.bind(new.link.as_str()).bind(raw).bind(new.value()).bind(new.coverage);
        Ok(statement.bind(AsJson(&new.parts)).bind(self.now()).expect_rows(1))
    }

    /// The newest score of this version of the model that is not newer than `before`, if given.
    pub async fn score(
        &self,
        subject: i64,
        model: &str,
        version: u32,
        before: Option<jiff::Timestamp>,
    ) -> Result<Option<Score>> {
        let statement = self.own_built(format!(
            "SELECT {COLUMNS} FROM kit_scores WHERE subject = ?3 AND model = ?4 AND version = ?5 AND at <= ?6
                 AND EXISTS (SELECT 1 FROM kit_subjects s WHERE s.project = ?1 AND s.pack = ?2 AND s.id = ?3)
             ORDER BY at DESC, id DESC LIMIT 1"
        ));
        let statement = statement.bind(subject).bind(model).bind(version);
        Ok(self.read(statement.bind(before.unwrap_or(jiff::Timestamp::MAX))).await?.optional()?)
    }
}

impl Score {
    /// Whether it was computed from these inputs, so that it may be shown as current.
    pub fn is_of(&self, inputs: &str) -> bool {
        self.inputs == inputs
    }
}

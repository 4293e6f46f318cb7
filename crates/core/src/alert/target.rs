//! Whom a rule looks at, as one word.

use crate::job::check_name;
use crate::limits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What attempts are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Over {
    /// By schedule.
    Schedules,
    /// By kind.
    Kinds,
    /// By queue.
    Queues,
    /// Everything of the project together.
    Everything,
}

/// Whom a rule looks at: `schedules`, `schedule/nightly`, `kinds`, `kind/mail`, `queues`,
/// `queue/mail`, `everything`. Without a name each one is judged by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What attempts are grouped by.
    pub over: Over,
    /// One of them only.
    pub name: Option<String>,
}

impl Target {
    /// Each of these.
    pub fn each(over: Over) -> Target {
        Target { over, name: None }
    }

    /// Reads one of the forms above.
    pub fn parse(text: &str) -> Result<Target, String> {
        let wrong = || {
            format!(
                "{:?} is nobody; write schedules, kinds, queues, everything, or one of them as \
                 schedule/NAME, kind/NAME, queue/NAME",
                limits::cut(text, 60)
            )
        };
        let (over, name) = match text.split_once('/') {
            None => match text {
                "schedules" => (Over::Schedules, None),
                "kinds" => (Over::Kinds, None),
                "queues" => (Over::Queues, None),
                "everything" => (Over::Everything, None),
                _ => return Err(wrong()),
            },
            Some(("schedule", name)) => (Over::Schedules, Some(name)),
            Some(("kind", name)) => (Over::Kinds, Some(name)),
            Some(("queue", name)) => (Over::Queues, Some(name)),
            Some(_) => return Err(wrong()),
        };
        if let Some(name) = name {
            check_name(name)?;
        }
        Ok(Target { over, name: name.map(str::to_owned) })
    }

    /// Whether this one is meant.
    pub fn is(&self, name: &str) -> bool {
        self.name.as_deref().is_none_or(|own| own == name)
    }

    /// In words: `each schedule`, `the kind mail`.
    pub fn words(&self) -> String {
        let what = match self.over {
            Over::Schedules => "schedule",
            Over::Kinds => "kind",
            Over::Queues => "queue",
            Over::Everything => return "everything together".into(),
        };
        match &self.name {
            Some(name) => format!("the {what} {name}"),
            None => format!("each {what}"),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (one, many) = match self.over {
            Over::Schedules => ("schedule", "schedules"),
            Over::Kinds => ("kind", "kinds"),
            Over::Queues => ("queue", "queues"),
            Over::Everything => return f.write_str("everything"),
        };
        match &self.name {
            Some(name) => write!(f, "{one}/{name}"),
            None => f.write_str(many),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Target, D::Error> {
        Target::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

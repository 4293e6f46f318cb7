//! Identifiers: one integer type per noun, so that a job's number cannot be passed for a node's.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map($name)
            }
        }
    };
}

id! {
    /// A tenant. Every query carries one; project 1, `default`, exists in every store.
    ProjectId
}
id! {
    /// One durable unit of work. Rises in order of enqueue within a store; never reused.
    JobId
}
id! {
    /// A rule that fires.
    ScheduleId
}
id! {
    /// Jobs that belong together.
    BatchId
}
id! {
    /// One process that runs jobs. Drawn at random at every process start (a host name or a
    /// process number would be shared by two containers), so a node that comes back is a new one.
    NodeId
}

impl ProjectId {
    /// The project that exists from the first migration on.
    pub const DEFAULT: ProjectId = ProjectId(1);
}

impl JobId {
    /// The delivery id shown to the outside: the same for every attempt of a job, so that a
    /// receiver can tell a repeated delivery from a new one.
    pub fn delivery_id(self) -> String {
        format!("msg_{}", self.0)
    }
}

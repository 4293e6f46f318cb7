//! Callers with a right, checked before a handler reads the body: who may not do a thing is not
//! told what was wrong with how they asked for it.

use super::{Caller, Right};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::extract::FromRequestParts;
use http::request::Parts;
use std::ops::Deref;

macro_rules! may {
    ($($(#[$doc:meta])* $name:ident = $right:ident),+ $(,)?) => {$(
        $(#[$doc])*
        pub struct $name(pub Caller);

        impl Deref for $name {
            type Target = Caller;
            fn deref(&self) -> &Caller {
                &self.0
            }
        }

        impl FromRequestParts<Web> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<$name> {
                let caller = Caller::from_request_parts(parts, web).await?;
                caller.may(Right::$right)?;
                Ok($name(caller))
            }
        }
    )+};
}

may! {
    /// A caller who may look.
    MayRead = Read,
    /// A caller who may see payloads, outputs and logs.
    MaySee = Payloads,
    /// A caller who may enqueue, run now, retry, cancel.
    MayRun = Run,
    /// A caller who may change schedules and queues.
    MayChange = Change,
    /// A caller who may change members and keys.
    MayManage = Manage,
    /// A key that may claim and finish jobs from outside.
    MayWork = Work,
}

//! Workers outside, and call-backs: the protocol of [`mainspring::remote`] as routes. What is said is
//! read and answered here; what it means is the desk's.

pub mod api;
pub mod callbacks;

use crate::access::{Caller, Via};
use crate::problem::Problem;
use http::StatusCode;
use mainspring::remote::Refusal;

/// The queues a key is bound to; all when empty.
fn bound(caller: &Caller) -> &[String] {
    match &caller.via {
        Via::Key(_, queues) => queues,
        Via::Session(_) => &[],
    }
}

/// What is said to whoever cannot prove that a call-back is waited for.
fn no_call_back() -> Problem {
    Problem::not_found("call-back", "that this token is for")
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let (code, text) = (refusal.code(), refusal.to_string());
        match refusal {
            Refusal::Store(e) => e.into(),
            Refusal::NoWorker(name) => Problem::not_found("worker", name),
            Refusal::NoCallBack => no_call_back(),
            Refusal::Invalid { field, text } => Problem::invalid(field, text),
            Refusal::TooMany(text) => Problem::too_many(text, std::time::Duration::from_secs(5)),
            Refusal::WorkerGone => Problem::new(StatusCode::GONE, code, text),
            Refusal::Protocol(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, text),
            _ => Problem::new(StatusCode::CONFLICT, code, text),
        }
    }
}

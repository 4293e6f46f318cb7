//! What packs judge with: pure functions from facts to figures, and from figures to words.
//!
//! A pack brings facts (rows of its tables, answers of services), this says what they mean: a score that
//! adds up, what is unusual, how sure a rate is, when a service level runs out, what changed in a
//! repository. Nothing here reads a clock, a file or a network, draws a random number or knows another
//! crate of ours: the same facts give the same answer, tomorrow and in a test. Each module names the
//! source of its method and publishes its constants, so that whoever doubts a figure can redo it by hand.
//!
//! Read by need: [`health`] (over [`score`] over [`piecewise`]), [`robust`], [`intervals`],
//! [`velocity`], [`sla`], [`dora`], [`money`] for engineering; [`changes`],
//! [`writer`] and [`grounding`] for content.

pub mod changes;
pub mod dora;
pub mod grounding;
pub mod health;
pub mod intervals;
pub mod money;
pub mod piecewise;
pub mod robust;
pub mod score;
pub mod sla;
pub mod velocity;
pub mod writer;

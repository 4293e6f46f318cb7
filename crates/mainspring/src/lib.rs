//! Mainspring: schedules, a durable job queue and the workers that run it, as a library.
//!
//! A program lists what it can do in a [`Registry`], opens a store, and runs a [`Node`]; whoever
//! wants work done asks a [`Client`]. Handlers are [`Job`]s (typed) or [`Handler`]s (by name) and
//! see the world through their [`Context`].
//!
//! The way of a job through this crate: `Client::enqueue` or `step::scheduler` writes it,
//! `step::promoter` makes it available when it is due, `step::dispatcher` claims it, `run` calls the
//! handler, `step::finisher` asks `decide` what follows and writes that. Every loop body is a
//! function in [`step`]; only [`node`] sleeps between them.
//!
//! What is deliberately not here: SQL (the store crates), HTTP pages (the web crate), the rules
//! themselves (`mainspring_core`: `decide`, `plan`, `claim`).

pub mod alerts;
pub mod client;
pub mod clock;
pub mod context;
pub mod engine;
pub mod explain;
pub mod job;
pub mod kinds;
pub mod node;
pub mod notify;
pub mod projects;
pub mod redact;
pub mod registry;
pub mod remote;
pub mod run;
pub mod secrets;
pub mod stats;
pub mod step;
pub mod trace;

pub use client::{Client, ClientError};
pub use context::Context;
pub use engine::{NodeEvent, NodeEvents};
pub use job::{Job, JobError};
pub use node::{Node, NodeBuilder, NodeError};
pub use registry::{Class, Handler, KindSpec, Pack, Registry};

/// The domain: what the store keeps and the pure rules.
pub use mainspring_core as core;
pub use mainspring_core::job::NewJob;
pub use mainspring_core::retry::{Backoff, RetryPolicy};
pub use mainspring_core::{Json, StoreError};

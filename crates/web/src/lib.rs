//! The face of the engine: a REST API and a dashboard, served by one process on one port.
//!
//! ```text
//! request ▶ server: limits, headers ▶ access: who, which project, what rights ▶ a resource's folder
//!             api.rs   JSON in, JSON out, described for OpenAPI where it is written
//!             pages.rs forms in, HTML out (POST, then redirect)
//!             mod.rs   the views both show, so that they cannot disagree
//! ```
//!
//! Every resource is a folder with those files; what they share is here: [`state`] (what requests
//! share), [`access`] (the one place that decides who may do what), [`accounts`] (people, sessions,
//! keys: their tables), [`problem`] (what a refusal looks like in JSON and as a page), [`frame`] (what
//! surrounds every page) and [`views`] (numbers, times and charts as people read them).
//!
//! What is deliberately not here: work. This crate asks [`mainspring::Client`] and reads through
//! [`mainspring_core::reader::Reader`]; nothing runs because a page was opened.

pub mod access;
pub mod accounts;
pub mod alert_rules;
pub mod alerts;
pub mod assets;
pub mod audit;
pub mod batches;
pub mod bulk;
pub mod channels;
pub mod deliveries;
pub mod events;
pub mod extract;
pub mod frame;
pub mod health;
pub mod heartbeats;
pub mod hooks;
pub mod invitations;
pub mod jobs;
pub mod keys;
pub mod listing;
pub mod members;
pub mod nodes;
pub mod notifications;
pub mod openapi;
pub mod overview;
mod people;
pub mod problem;
pub mod projects;
pub mod queues;
pub mod reference;
pub mod routes;
pub mod schedules;
pub mod secrets;
pub mod server;
pub mod settings;
pub mod state;
pub mod stats;
pub mod views;
pub mod workers;

pub use problem::Problem;
pub use server::inside::Inside;
pub use server::limits::Limits;
pub use server::origin::Network;
pub use server::tls::Certificates;
pub use server::{Bound, bind, serve};
pub use state::{Config, Web};

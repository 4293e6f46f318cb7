//! The REST API over a real server and a real store.

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod audit;
mod bulk;
mod contract;
mod health;
mod hooks;
mod hostile;
mod jobs;
mod live;
mod people;
mod projects;
mod refusals;
mod schedules;
mod secrets;
mod sessions;
mod share;
mod workers;

//! The REST API over a real server and a real store.

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod audit;
mod bulk;
mod contract;
mod fuzz;
mod health;
mod hooks;
mod hostile;
mod jobs;
mod live;
mod notifications;
mod people;
mod projects;
mod refusals;
mod schedules;
mod secrets;
mod server;
mod sessions;
mod share;
mod workers;

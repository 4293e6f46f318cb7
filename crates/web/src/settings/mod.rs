//! A project's settings as people change them: its members and its API keys.

pub mod pages;

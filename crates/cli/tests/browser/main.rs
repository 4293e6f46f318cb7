//! The dashboard as people meet it: the real program, its real pages, a real browser.
//!
//! A browser takes a second or two to start and each test is a process of its own: there are few
//! tests here, and each is a whole story.

#[path = "../support/mod.rs"]
mod support;

mod desk;
mod hostile;
mod notices;
mod pages;
mod people;
mod seed;
mod still;
mod story;

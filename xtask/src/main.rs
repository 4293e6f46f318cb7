//! Chores of this repository, run as `cargo xtask <chore>`.
//!
//! `tidy` holds the rules of the house that the compiler cannot hold (see [`tidy`]); it is run by
//! `.ci/test` and is a test of this crate too. `errors` lays out the pages of the error codes. `screenshots` has the
//! browser's tests write what they see.
//! Nothing here is shipped, and nothing shipped depends on it.

use std::process::ExitCode;

mod error_pages;
mod graph;
mod lex;
mod ratchet;
mod repo;
mod screenshots;
mod tidy;

const USAGE: &str = "\
cargo xtask tidy      check the rules of the house; fails with what is wrong, where, and what to do
cargo xtask errors    lay out a page for each error code that has none, and write their index
cargo xtask screenshots DIR
                      write a picture of every page of the dashboard, in both themes and at both widths";

fn main() -> ExitCode {
    let chore = std::env::args().nth(1).unwrap_or_default();
    let done = match chore.as_str() {
        "tidy" => tidy::run(),
        "errors" => error_pages::write(),
        "screenshots" => screenshots::write(std::env::args().nth(2)),
        "" | "help" | "--help" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("there is no chore `{other}`. There are:\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(said) => {
            eprintln!("{said}");
            ExitCode::FAILURE
        }
    }
}

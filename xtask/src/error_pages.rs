//! Lays out `docs/errors`: a page to be written for each code that has none, and their index.
//!
//! Titles come from the table in `crates/core/src/code.rs`; what a page says below its title is
//! written by people and never touched here.

use std::fmt::Write as _;

use crate::repo::root;
use crate::tidy::codes;

/// Where the pages are.
pub const FOLDER: &str = "docs/errors/";
/// Their list.
pub const INDEX: &str = "docs/errors/README.md";
/// Stands in a page nobody has written yet; tidy refuses it.
pub const UNWRITTEN: &str = "<!-- not written yet -->";

/// The page of a code.
pub fn page_path(code: &str) -> String {
    format!("{FOLDER}{code}.md")
}

/// The first line of a page.
pub fn heading(code: &str, title: &str) -> String {
    format!("# {code}: {title}")
}

/// The list of all codes.
pub fn index(codes: &[(String, &str)]) -> String {
    let mut text = String::from(
        "# Error codes\n\nEvery error that reaches a person carries a code. Its meaning never changes once released.\n\
         This list is written by `cargo xtask errors`.\n\n| Code | Meaning |\n|---|---|\n",
    );
    for (code, title) in codes {
        let _ = writeln!(text, "| [{code}]({code}.md) | {title} |");
    }
    text
}

/// Writes what is missing; a page that exists is left alone.
pub fn write() -> Result<String, String> {
    let codes = codes();
    let root = root();
    let put = |path: &str, text: &str| {
        std::fs::write(root.join(path), text).map_err(|e| format!("could not write {path}: {e}"))
    };
    std::fs::create_dir_all(root.join(FOLDER)).map_err(|e| format!("could not make {FOLDER}: {e}"))?;
    let mut laid_out = Vec::new();
    for (code, title) in &codes {
        let path = page_path(code);
        if !root.join(&path).exists() {
            let text =
                format!("{}\n\n{UNWRITTEN}\n\n## What happened\n\n## What to do\n", heading(code, title));
            put(&path, &text)?;
            laid_out.push(path);
        }
    }
    put(INDEX, &index(&codes))?;
    Ok(match laid_out.as_slice() {
        [] => format!("errors: all {} codes have a page", codes.len()),
        pages => format!("errors: write these pages now:\n{}", pages.join("\n")),
    })
}

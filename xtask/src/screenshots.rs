//! Pictures of every page: the walk that the browser's tests take anyway, told to write what it sees.
//!
//! There is no second list of pages and no second way to fill a store, so a picture shows what was
//! tested. It takes a few minutes: four pictures of each page.

use std::path::PathBuf;
use std::process::Command;

/// Writes them into this folder.
pub fn write(folder: Option<String>) -> Result<String, String> {
    let folder = folder.ok_or("say where to: cargo xtask screenshots DIR")?;
    std::fs::create_dir_all(&folder).map_err(|e| format!("{folder}: {e}"))?;
    let folder: PathBuf = std::fs::canonicalize(&folder).map_err(|e| format!("{folder}: {e}"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args([
            "test",
            "--package",
            "mainspring-cli",
            "--test",
            "browser",
            "--",
            "--test-threads=1",
            "pages::",
        ])
        .env("MAINSPRING_SCREENSHOTS", &folder)
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if done.success() {
        Ok(format!("the pictures are in {}", folder.display()))
    } else {
        Err("the walk found something wrong: see above".into())
    }
}

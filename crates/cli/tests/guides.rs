//! The guides are true: every command in them is understood, every file in them is accepted.

mod support;

use std::path::{Path, PathBuf};
use support::Place;

fn pages() -> Vec<(PathBuf, String)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut pages = vec![docs.join("configuration.md"), docs.join("../README.md")];
    let guides = std::fs::read_dir(docs.join("guides")).expect("the guides are there");
    pages.extend(guides.map(|e| e.expect("readable").path()));
    pages.into_iter().map(|p| (p.clone(), std::fs::read_to_string(&p).expect("readable"))).collect()
}

/// The blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn every_command_in_the_guides_is_understood() {
    let place = Place::new();
    let program =
        Path::new(env!("CARGO_BIN_EXE_mainspring")).parent().expect("a folder").display().to_string();
    let mut n = 0;
    for (path, text) in pages() {
        for line in blocks(&text, "sh").iter().flat_map(|b| b.lines()) {
            let command = line.split(" #").next().unwrap_or("").split(" < ").next().unwrap_or("");
            // Inside a container the program has the name of its service before it.
            let command = command.strip_prefix("docker compose exec mainspring ").unwrap_or(command);
            let Some(at) = command.find("mainspring ") else { continue };
            // Help is shown once everything before it has been understood.
            let call = format!("PATH={program}:$PATH; {} --help", &command[at..]);
            let output =
                std::process::Command::new("sh").args(["-c", &call]).current_dir(place.path()).output();
            let output = output.expect("a shell");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {line}\n{said}", path.display());
            n += 1;
        }
    }
    assert!(n > 40, "only {n} commands were found");
}

#[test]
fn every_file_in_the_guides_is_accepted() {
    let place = Place::new();
    let mut n = 0;
    for (path, text) in pages() {
        for block in blocks(&text, "toml").into_iter().filter(|b| b.starts_with('[')) {
            place.write("mainspring.toml", block);
            let said = place.call(&["check"]);
            assert_eq!(said.code, 0, "{}:\n{block}\n{}", path.display(), said.err);
            n += 1;
        }
    }
    assert!(n >= 6, "only {n} files were found");
}

#[test]
fn every_key_of_a_schedule_is_in_its_guide() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/schedules.md"))
            .expect("the guide is there");
    // The error of an unknown key lists all of them.
    let place = Place::new();
    place.write("mainspring.toml", "[[schedule]]\nzzzzzzzzzzzzzzzz = 1\n");
    let said = place.refused(2, &["check"]);
    let keys = said.split("one of: ").nth(1).expect("the keys are listed").trim();
    for key in keys.split(", ") {
        assert!(
            page.contains(&format!("`{key}`")) || page.contains(&format!("{key} = ")),
            "{key} is not in the guide"
        );
    }
}

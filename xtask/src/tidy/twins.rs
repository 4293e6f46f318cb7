//! The two stores have the same files: to be opened side by side, and to be changed together.

use std::collections::BTreeSet;

use super::Finding;
use crate::repo::Repo;

const STORES: [&str; 2] = ["crates/store-sqlite/", "crates/store-postgres/"];

/// What the contract asks of every store, a file a verb.
const VERBS: [&str; 15] = [
    "lib.rs",
    "store.rs",
    "open.rs",
    "schema.rs",
    "actor.rs",
    "enqueue.rs",
    "claim.rs",
    "finish.rs",
    "effects.rs",
    "schedule.rs",
    "events.rs",
    "nodes.rs",
    "control.rs",
    "read.rs",
    "sweep.rs",
];

/// Every verb of the contract has its file in both stores. Beside them stands what one database
/// alone needs: a pool of readers here, a session for notifications there.
pub fn same_file_names(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for store in STORES {
        let there = names(repo, store);
        for verb in VERBS.iter().filter(|verb| !there.is_empty() && !there.contains(*verb)) {
            findings.push(Finding {
                rule: "twins",
                path: format!("{store}src/{verb}"),
                line: 0,
                text: "every store has this file, so that two can be read side by side".into(),
            });
        }
    }
    findings
}

fn names<'a>(repo: &'a Repo, store: &'a str) -> BTreeSet<&'a str> {
    let sources = |path: &'a str| path.strip_prefix(store)?.strip_prefix("src/");
    repo.rust_below(store).filter_map(|file| sources(&file.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_its_twin_is_found() {
        let all: Vec<(String, &str)> = STORES
            .iter()
            .flat_map(|store| VERBS.iter().map(move |verb| (format!("{store}src/{verb}"), "")))
            .collect();
        let mut files: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        files.push(("crates/store-sqlite/src/readers.rs", ""));
        assert_eq!(same_file_names(&Repo::of(&files)), []);
        files.retain(|(path, _)| *path != "crates/store-postgres/src/claim.rs");
        let found = same_file_names(&Repo::of(&files));
        let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ["crates/store-postgres/src/claim.rs"]);
    }
}

//! The two stores have the same files: to be opened side by side, and to be changed together.

use std::collections::BTreeSet;

use super::Finding;
use crate::repo::Repo;

const STORES: [&str; 2] = ["crates/store-sqlite/", "crates/store-postgres/"];

/// Every source file of one store has its twin in the other. What one database alone needs (a
/// writer thread, a pool, notifications) stands in the ratchet with its reason.
pub fn same_file_names(repo: &Repo) -> Vec<Finding> {
    let sides = STORES.map(|store| names(repo, store));
    let mut findings = Vec::new();
    for (here, there) in [(0, 1), (1, 0)] {
        for name in sides[here].difference(&sides[there]) {
            findings.push(Finding {
                rule: "twins",
                path: format!("{}src/{name}", STORES[here]),
                line: 0,
                text: format!("has no twin {}src/{name}", STORES[there]),
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
        let claim = ("crates/store-sqlite/src/claim.rs", "");
        assert_eq!(same_file_names(&Repo::of(&[claim, ("crates/store-postgres/src/claim.rs", "")])), []);
        let found = same_file_names(&Repo::of(&[claim, ("crates/store-postgres/src/fetch.rs", "")]));
        let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ["crates/store-sqlite/src/claim.rs", "crates/store-postgres/src/fetch.rs"]);
    }
}

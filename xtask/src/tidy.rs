//! The rules of the house that the compiler cannot hold, one module per rule or family of rules.
//!
//! A rule is a function from the files (and the crates) to findings: it reads no disk, so that its
//! test can plant a violation and see it go red. What breaks a rule today and is to be mended
//! stands in `xtask/ratchet.txt` ([`crate::ratchet`]).

use crate::graph::Graph;
use crate::ratchet;
use crate::repo::Repo;

mod containers;
mod errors;
mod imports;
mod papers;
mod planted;
mod size;
mod sql;
mod twins;
mod words;

pub use errors::codes;

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name, as the ratchet spells it.
    pub rule: &'static str,
    /// The file.
    pub path: String,
    /// The line from 1, or 0 for the whole file.
    pub line: usize,
    /// What is wrong and what to do.
    pub text: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {} [{}]", self.path, self.text, self.rule),
            line => write!(f, "{}:{line}: {} [{}]", self.path, self.text, self.rule),
        }
    }
}

/// Checks everything. What it says on success is worth printing too: the count of crates.
pub fn run() -> Result<String, String> {
    let repo = Repo::open()?;
    let graph = Graph::open(imports::CLOSURES)?;
    let mut findings = Vec::new();
    findings.extend(imports::layers(&graph));
    findings.extend(imports::core_is_pure(&graph));
    findings.extend(imports::network_crates(&graph));
    findings.extend(imports::sockets(&repo));
    findings.extend(imports::core_does_no_io(&repo));
    findings.extend(imports::lints_are_inherited(&repo));
    findings.extend(imports::crate_count(&graph));
    findings.extend(sql::no_clock_or_chance(&repo));
    findings.extend(size::files(&repo));
    findings.extend(twins::same_file_names(&repo));
    findings.extend(words::forbidden(&repo));
    findings.extend(errors::pages(&repo, &errors::codes()));
    findings.extend(papers::changelog(&repo));
    findings.extend(papers::readme(&repo));
    findings.extend(papers::invariants(&repo));
    findings.extend(papers::security(&repo));
    findings.extend(papers::named_tests(&repo));
    findings.extend(papers::links(&repo));
    findings.extend(containers::dockerfile(&repo, &graph));
    findings.extend(containers::compose(&repo));
    findings.extend(containers::settings(&repo));
    findings.extend(containers::commands(&repo));
    findings.extend(planted::patches_apply(&crate::repo::root()));
    let findings = ratchet::apply(repo.text(ratchet::PATH).unwrap_or_default(), findings);
    let crates = imports::outside_crates(&graph);
    if findings.is_empty() {
        return Ok(format!(
            "tidy: {} files keep the rules; the program stands on {crates} crates of others (limit {})",
            repo.files.len(),
            imports::CRATE_LIMIT,
        ));
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(format!("{}\n\ntidy: {} findings", lines.join("\n"), findings.len()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        if let Err(findings) = super::run() {
            panic!("{findings}");
        }
    }
}

//! The papers at the root say what is so: the README's two commands, the invariants and the tests
//! they name, the changelog's form, and links that lead somewhere.

use super::Finding;
use crate::lex::lines_with_word;
use crate::repo::{Repo, RepoFile};

fn complain(rule: &'static str, path: &str, line: usize, text: impl Into<String>) -> Finding {
    Finding { rule, path: path.to_owned(), line, text: text.into() }
}

/// What Keep a Changelog allows under a version.
const SECTIONS: &[&str] = &["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

/// The changelog has a place for what is not released yet, and no headings of its own making.
pub fn changelog(repo: &Repo) -> Vec<Finding> {
    const PATH: &str = "CHANGELOG.md";
    let Some(text) = repo.text(PATH) else {
        return vec![complain("changelog", PATH, 0, "is missing")];
    };
    let mut findings = Vec::new();
    let first = text.lines().find(|line| line.starts_with("## "));
    if first != Some("## [Unreleased]") {
        findings.push(complain("changelog", PATH, 0, "its first version must be `## [Unreleased]`"));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(section) = line.strip_prefix("### ").filter(|section| !SECTIONS.contains(section)) {
            findings.push(complain(
                "changelog",
                PATH,
                index + 1,
                format!("`{section}` is none of {SECTIONS:?}"),
            ));
        }
    }
    findings
}

/// The two commands of the README.
const COMMANDS: [&str; 2] = ["cargo run --release -- up", "./.ci/test"];

/// The README's first section has exactly two commands, the second exists and `.ci/run` calls it.
pub fn readme(repo: &Repo) -> Vec<Finding> {
    const PATH: &str = "README.md";
    let Some(text) = repo.text(PATH) else {
        return vec![complain("readme", PATH, 0, "is missing")];
    };
    let mut findings = Vec::new();
    let section = text.split("\n## ").find(|section| section.starts_with("Two commands"));
    let mut fenced = false;
    let mut commands: Vec<&str> = Vec::new();
    for line in section.unwrap_or_default().lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced && !line.trim().is_empty() {
            commands.push(line.split(" #").next().unwrap_or_default().trim());
        }
    }
    if commands != COMMANDS {
        let text = format!(
            "the section `## Two commands` must hold {COMMANDS:?} and no other; it holds {commands:?}"
        );
        findings.push(complain("readme", PATH, 0, text));
    }
    for script in [".ci/test", ".ci/run", ".ci/setup"] {
        if !repo.files.iter().any(|file| file.path == script && file.executable) {
            findings.push(complain("readme", script, 0, "is missing or may not be run; type: chmod +x"));
        }
    }
    if !repo.text(".ci/run").is_some_and(|text| text.contains(COMMANDS[1])) {
        findings.push(complain(
            "readme",
            ".ci/run",
            0,
            format!("must call the README's second command, {}", COMMANDS[1]),
        ));
    }
    findings
}

/// How many invariants there are.
const INVARIANTS: usize = 14;

/// Each invariant of ARCHITECTURE.md names the tests that hold it, and they exist. One that says
/// `nothing yet` is a finding: the ratchet counts them down.
pub fn invariants(repo: &Repo) -> Vec<Finding> {
    const PATH: &str = "ARCHITECTURE.md";
    let Some(text) = repo.text(PATH) else {
        return vec![complain("invariants", PATH, 0, "is missing")];
    };
    let mut findings = Vec::new();
    let mut number = 0;
    let mut held = true;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with(&format!("{}. ", number + 1)) && number < INVARIANTS {
            if !held {
                findings.push(complain(
                    "invariants",
                    PATH,
                    index,
                    format!("invariant {number} has no line `Held by:`"),
                ));
            }
            number += 1;
            held = false;
        }
        let Some(tests) = line.trim().strip_prefix("Held by:").filter(|_| !held) else { continue };
        held = true;
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(complain(
                "invariants",
                PATH,
                index + 1,
                format!("invariant {number} is held by no test yet"),
            ));
        }
        for name in names.into_iter().filter(|name| !holds_test(repo, name)) {
            let text = format!("invariant {number} names the test `{name}`, and no Rust file holds it");
            findings.push(complain("invariants", PATH, index + 1, text));
        }
    }
    if number != INVARIANTS || !held {
        let text = format!(
            "must open with {INVARIANTS} numbered invariants, each with a line `Held by:`; {number} found"
        );
        findings.push(complain("invariants", PATH, 0, text));
    }
    findings
}

fn holds_test(repo: &Repo, name: &str) -> bool {
    let last = name.rsplit("::").next().unwrap_or(name);
    repo.rust_below("").any(|file| !lines_with_word(&file.text, last, 1).is_empty())
}

/// How many defences there are.
const DEFENCES: usize = 21;

/// Each defence of `docs/security.md` has a row that names the tests that try to break it, and they
/// exist.
pub fn security(repo: &Repo) -> Vec<Finding> {
    const PATH: &str = "docs/security.md";
    let Some(text) = repo.text(PATH) else {
        return vec![complain("security", PATH, 0, "is missing")];
    };
    let mut findings = Vec::new();
    for number in 1..=DEFENCES {
        let begin = format!("| M{number} |");
        let mut rows = text.lines().enumerate().filter(|(_, line)| line.starts_with(&begin));
        let (Some((index, row)), None) = (rows.next(), rows.next()) else {
            findings.push(complain("security", PATH, 0, format!("needs one row that begins with {begin:?}")));
            continue;
        };
        let held_by = row.trim_end_matches(['|', ' ']).rsplit(" | ").next().unwrap_or_default();
        let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(complain("security", PATH, index + 1, format!("M{number} is held by no test")));
        }
        for name in names.into_iter().filter(|name| !holds_test(repo, name)) {
            let text = format!("M{number} names the test `{name}`, and no Rust file holds it");
            findings.push(complain("security", PATH, index + 1, text));
        }
    }
    findings
}

/// Papers that name tests anywhere.
const NAMERS: [&str; 3] = ["ARCHITECTURE.md", "docs/security.md", "docs/reliability.md"];

/// Every test that these papers name is there: a name of four words or more between backticks is that
/// of a function. Shorter ones are those of settings and columns too, and are held where they stand
/// behind `Held by:` or in a row of a defence.
pub fn named_tests(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in NAMERS {
        for (index, line) in repo.text(path).unwrap_or_default().lines().enumerate() {
            let names = line.split('`').skip(1).step_by(2).filter(|name| {
                name.matches('_').count() >= 3
                    && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            });
            let lost = names.filter(|name| {
                let function = format!("fn {name}");
                !repo.rust_below("").any(|file| !lines_with_word(&file.text, &function, 1).is_empty())
            });
            findings.extend(lost.map(|name| {
                complain("named-tests", path, index + 1, format!("names `{name}`, and there is no such test"))
            }));
        }
    }
    findings
}

/// A link to a file of ours leads to it.
pub fn links(repo: &Repo) -> Vec<Finding> {
    let pages = repo.files.iter().filter(|file| file.path.ends_with(".md"));
    pages.flat_map(|file| dead_links(repo, file)).collect()
}

fn dead_links(repo: &Repo, file: &RepoFile) -> Vec<Finding> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for after in line.split("](").skip(1) {
            let target = after.split([')', '#', ' ']).next().unwrap_or_default();
            let leads_out = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !leads_out && !repo.holds(&resolve(folder, target)) {
                findings.push(complain(
                    "links",
                    &file.path,
                    index + 1,
                    format!("leads to {target}, which is not here"),
                ));
            }
        }
    }
    findings
}

fn resolve(folder: &str, target: &str) -> String {
    let mut steps: Vec<&str> = folder.split('/').filter(|step| !step.is_empty()).collect();
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    steps.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_keeps_its_form() {
        let found = |text| changelog(&Repo::of(&[("CHANGELOG.md", text)])).len();
        assert_eq!(found("# Changelog\n\n## [Unreleased]\n\n### Added\n"), 0);
        assert_eq!(found("# Changelog\n\n## [1.0.0]\n"), 1);
        assert_eq!(found("# Changelog\n\n## [Unreleased]\n\n### Improved\n"), 1);
        assert_eq!(changelog(&Repo::of(&[])).len(), 1);
    }

    fn with_readme(commands: &str, run: &str) -> Vec<Finding> {
        let text = format!("# M\n\n## Two commands\n\n```sh\n{commands}\n```\n\n## More\n\n```sh\nls\n```\n");
        readme(&Repo::of(&[("README.md", &text), (".ci/test", ""), (".ci/setup", ""), (".ci/run", run)]))
    }

    #[test]
    fn the_readme_has_two_commands() {
        assert_eq!(with_readme("cargo run --release -- up   # look\n\n./.ci/test", "exec ./.ci/test"), []);
        assert_eq!(with_readme("cargo run --release -- up\n./.ci/test\nmake it", "exec ./.ci/test").len(), 1);
        assert_eq!(with_readme("cargo run --release -- up", "exec ./.ci/test").len(), 1);
        assert_eq!(with_readme("cargo run --release -- up\n./.ci/test", "cargo test").len(), 1);
        assert_eq!(readme(&Repo::of(&[("README.md", "")])).len(), 5);
    }

    fn with_architecture(change: impl Fn(String) -> String) -> Vec<Finding> {
        let one = |number: usize| format!("{number}. It holds.\n   Held by: `core::tests::it_holds`\n");
        let text: String = (1..=INVARIANTS).map(one).collect();
        invariants(&Repo::of(&[
            ("ARCHITECTURE.md", &change(text)),
            ("crates/core/src/a.rs", "fn it_holds() {}"),
        ]))
    }

    #[test]
    fn every_invariant_names_a_test_that_exists() {
        assert_eq!(with_architecture(|text| text), []);
        let found = with_architecture(|text| text.replacen("it_holds`", "it_held`", 1));
        assert!(found.len() == 1 && found[0].text.contains("it_held"), "{found:?}");
        let found = with_architecture(|text| text.replacen("`core::tests::it_holds`", "nothing yet", 1));
        assert!(found.len() == 1 && found[0].line == 2, "{found:?}");
        assert_eq!(
            with_architecture(|text| text.replacen("   Held by: `core::tests::it_holds`\n", "", 1)).len(),
            1
        );
        assert_eq!(with_architecture(|text| text.replace("14. It", "It")).len(), 1);
    }

    #[test]
    fn every_defence_names_a_test_that_exists() {
        let table = |change: &dyn Fn(String) -> String| {
            let rows: String =
                (1..=DEFENCES).map(|n| format!("| M{n} | what `it` is | `it_holds` |\n")).collect();
            security(&Repo::of(&[("docs/security.md", &change(rows)), ("crates/a.rs", "fn it_holds() {}")]))
        };
        assert_eq!(table(&|rows| rows), []);
        let found = table(&|rows| rows.replacen("it_holds", "it_held", 1));
        assert!(found.len() == 1 && found[0].text.contains("it_held"), "{found:?}");
        assert_eq!(table(&|rows| rows.replacen("`it_holds`", "nothing yet", 1)).len(), 1);
        assert_eq!(table(&|rows| rows.replacen("| M7 |", "| M8 |", 1)).len(), 2, "one lacks, one is double");
        assert_eq!(security(&Repo::of(&[])).len(), 1);
    }

    #[test]
    fn a_test_that_a_paper_names_anywhere_exists() {
        let found = |paper: &'static str, text: &str| {
            let files = [(paper, text), ("crates/a.rs", "async fn a_thing_is_held() {}")];
            named_tests(&Repo::of(&files))
        };
        for paper in NAMERS {
            assert_eq!(found(paper, "So it is (`a_thing_is_held`), by `max_connections`.\n"), []);
            let lost = found(paper, "x\nSo it is: `a_thing_is_held`,\n`a_thing_is_lost`.\n");
            assert!(lost.len() == 1 && lost[0].line == 3 && lost[0].text.contains("is_lost"), "{lost:?}");
        }
        assert_eq!(found("docs/other.md", "`a_thing_is_lost`"), []);
    }

    #[test]
    fn links_lead_somewhere() {
        let files = |link: &str| {
            links(&Repo::of(&[("docs/a.md", &format!("see [it]({link})")), ("README.md", "")])).len()
        };
        assert_eq!(files("../README.md#set-up"), 0);
        assert_eq!(files("https://host/x"), 0);
        assert_eq!(files("#here"), 0);
        assert_eq!(files("README.md"), 1);
    }
}

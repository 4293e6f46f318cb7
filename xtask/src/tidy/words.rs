//! What no committed file may hold: paths of somebody's machine, and hosts of package registries
//! (a fork behind a mirror must not have to hunt them down).

use super::Finding;
use crate::repo::Repo;

/// In two halves, so that this file does not hold them itself.
const PATHS: &[(&str, &str)] = &[("/wo", "rk/"), ("/tm", "p/"), ("/ro", "ot/"), ("/Use", "rs/")];
const HOSTS: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("static.rust-", "lang.org"),
    ("registry.npm", "js.org"),
    ("pypi", ".org"),
    ("docker", ".io"),
    ("gh", "cr.io"),
    ("quay", ".io"),
    ("deb.debian", ".org"),
];

/// Reads every file but the lock file, which cargo writes and which names the registry.
pub fn forbidden(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in repo.files.iter().filter(|file| file.path != "Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            let complain = |text| Finding { rule: "words", path: file.path.clone(), line: index + 1, text };
            for (one, two) in PATHS {
                let word = format!("{one}{two}");
                if starts_a_path(line, &word) {
                    let text = format!(
                        "`{word}` is a path of one machine; ask for the temporary folder, or write it relative"
                    );
                    findings.push(complain(text));
                }
            }
            for (one, two) in HOSTS {
                let word = format!("{one}{two}");
                if line.contains(&word) {
                    findings.push(complain(format!(
                        "`{word}` is the host of a registry: leave it to the tool's configuration"
                    )));
                }
            }
        }
    }
    findings
}

/// `/wo…` in `docs/wo…` or a URL is not the path of a machine.
fn starts_a_path(line: &str, word: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "_-.}])*".contains(c);
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(goes_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_registries_are_found() {
        for (one, two) in PATHS.iter().chain(HOSTS) {
            let text = format!("fine\nopen(\"{one}{two}x\")");
            let found = forbidden(&Repo::of(&[("docs/a.md", &text)]));
            assert!(!found.is_empty() && found[0].line == 2, "{one}{two}: {found:?}");
        }
    }

    #[test]
    fn other_paths_are_not() {
        let (one, two) = PATHS[0];
        let text = format!("docs{one}{two}x https://host/v1{one}{two}");
        assert_eq!(forbidden(&Repo::of(&[("docs/a.md", &text), ("Cargo.lock", "crates")])), []);
    }
}

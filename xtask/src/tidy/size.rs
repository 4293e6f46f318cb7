//! How long a file may be. Functions have their limit in `clippy.toml`.

use super::Finding;
use crate::repo::{Repo, RepoFile};

/// Beyond this a file must say why, in its module docs.
const GIVE_A_REASON: usize = 500;
/// Beyond this no reason helps.
const LIMIT: usize = 800;
/// What the reason begins with.
const REASON: &str = "Long because";
/// What people read as code.
const CODE: &[&str] = &[".rs", ".sql", ".js", ".css", ".html", ".sh"];

/// A file over 500 lines gives its reason; one over 800 is parted.
pub fn files(repo: &Repo) -> Vec<Finding> {
    let code = |file: &&RepoFile| CODE.iter().any(|ending| file.path.ends_with(ending));
    repo.files.iter().filter(code).filter_map(check).collect()
}

fn check(file: &RepoFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let is_doc = |line: &&str| !file.path.ends_with(".rs") || line.starts_with("//!");
    let reason = file.text.lines().take(60).filter(is_doc).any(|line| line.contains(REASON));
    let text = if lines > LIMIT {
        format!("{lines} lines; the limit is {LIMIT}. Part it by role")
    } else if lines > GIVE_A_REASON && !reason {
        format!("{lines} lines. Part it, or say in its first docs `{REASON} …` (up to {LIMIT} lines)")
    } else {
        return None;
    };
    Some(Finding { rule: "size", path: file.path.clone(), line: 0, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(head: &str, lines: usize) -> usize {
        files(&Repo::of(&[("crates/core/src/a.rs", &format!("{head}\n{}", "x\n".repeat(lines - 1)))])).len()
    }

    #[test]
    fn long_files_give_a_reason_and_longer_ones_fail() {
        assert_eq!(found("//! A.", 500), 0);
        assert_eq!(found("//! A.", 501), 1);
        assert_eq!(found("//! Long because it is a table.", 800), 0);
        assert_eq!(found("//! Long because it is a table.", 801), 1);
        assert_eq!(found("// Long because of no docs", 501), 1);
    }
}

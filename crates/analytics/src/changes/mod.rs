//! What changed in a repository, read out of commit messages, titles of pull requests, authors and
//! paths.
//!
//! - [`Subject`]: the conventional form of a message (Conventional Commits 1.0.0).
//! - [`is_bot`], [`is_merge`]: what no person did, which is kept out of what people read.
//! - [`Bump`], [`fold`]: updates of dependencies, of which the latest of each is worth one line together.
//! - [`weight`]: which change is worth the headline.
//! - [`area`]: which part of the repository a path belongs to.
//!
//! A message that follows no convention is still a change: it has no kind, and its weight comes from its
//! size and its labels.

mod bumps;
mod subject;
mod weight;

pub use bumps::{Bump, Folded, fold};
pub use subject::{Kind, Subject};
pub use weight::{Size, weight};

/// Accounts that are no people though their names do not say so, in small letters.
pub const BOTS: &[&str] = &[
    "allcontributors",
    "codecov-commenter",
    "dependabot",
    "dependabot-preview",
    "github-actions",
    "greenkeeper",
    "greenkeeperio-bot",
    "imgbot",
    "k8s-ci-robot",
    "mergify",
    "pre-commit-ci",
    "pyup-bot",
    "renovate",
    "renovate-bot",
    "semantic-release-bot",
    "snyk-bot",
    "weblate",
];

/// No person: an account that its service calls a bot (`service_says`), whose name ends in `[bot]`, or
/// that is one of [`BOTS`] or of `others` (in any case).
///
/// ```
/// use mainspring_analytics::changes::is_bot;
///
/// assert!(is_bot("renovate[bot]", false, &[]) && is_bot("Dependabot", false, &[]));
/// assert!(!is_bot("abbott", false, &[]) && is_bot("abbott", false, &["Abbott"]));
/// ```
pub fn is_bot(login: &str, service_says: bool, others: &[&str]) -> bool {
    let login = login.trim().to_lowercase();
    let named = |bot: &&str| bot.to_lowercase() == login;
    service_says || login.ends_with("[bot]") || BOTS.contains(&&*login) || others.iter().any(named)
}

/// A commit that only joins two lines of history.
pub fn is_merge(message: &str, parents: usize) -> bool {
    const STARTS: [&str; 4] =
        ["Merge pull request #", "Merge branch '", "Merge remote-tracking branch '", "Merge tag '"];
    parents > 1 || STARTS.iter().any(|start| message.starts_with(start))
}

/// Folders that hold parts: the part is named by what comes next.
const HOLDERS: &[&str] = &[
    "apps", "cmd", "crates", "internal", "lib", "libs", "modules", "packages", "pkg", "plugins", "services",
    "src",
];
/// Folders whose name in a path is not what people call the part.
const CALLED: &[(&str, &str)] = &[
    (".github", "ci"),
    (".ci", "ci"),
    (".circleci", "ci"),
    ("doc", "docs"),
    ("test", "tests"),
    ("__tests__", "tests"),
];

/// The part of a repository that a path belongs to: the first folder that is no mere holder of parts
/// (`crates/web/src/lib.rs` is `web`, `src/main.rs` is `src`), or nothing for a file at the root.
///
/// ```
/// use mainspring_analytics::changes::area;
///
/// assert_eq!(area("packages/ui/src/button.tsx"), Some("ui"));
/// assert_eq!(area(".github/workflows/test.yml"), Some("ci"));
/// assert_eq!(area("README.md"), None);
/// ```
pub fn area(path: &str) -> Option<&str> {
    let (folders, _) = path.trim_start_matches("./").rsplit_once('/')?;
    let mut folders = folders.split('/').filter(|folder| !folder.is_empty()).peekable();
    let first = *folders.peek()?;
    let part = folders.find(|folder| !HOLDERS.contains(folder)).unwrap_or(first);
    Some(CALLED.iter().find(|(folder, _)| *folder == part).map_or(part, |(_, called)| called))
}

/// The areas of changed paths, each with the lines it changed, the largest first, equals by name. Files
/// at the root are in none.
pub fn areas<'a>(paths: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<(&'a str, u64)> {
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for (area, lines) in paths.into_iter().filter_map(|(path, lines)| Some((area(path)?, lines))) {
        let sum = sums.entry(area).or_default();
        *sum = sum.saturating_add(lines);
    }
    let mut areas: Vec<_> = sums.into_iter().collect();
    areas.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    areas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_did_is_told_from_what_bots_and_merges_did() {
        assert!(is_bot("someone", true, &[]));
        assert!(!is_bot("robotnik", false, &["other"]));
        assert!(is_merge("Merge pull request #12 from a/b\n\nTitle", 1));
        assert!(is_merge("anything", 2));
        assert!(!is_merge("Merge the two parsers into one", 1));
    }

    #[test]
    fn paths_belong_to_areas() {
        let known = [
            ("crates/web/src/lib.rs", Some("web")),
            ("src/auth/mod.rs", Some("auth")),
            ("src/main.rs", Some("src")),
            ("./docs/guide.md", Some("docs")),
            ("test/unit/a.js", Some("tests")),
            ("services/lib/x", Some("services")),
            ("/", None),
            ("", None),
        ];
        for (path, expected) in known {
            assert_eq!(area(path), expected, "{path}");
        }
        let changed = [("docs/a", 5), ("src/auth/b", 7), ("docs/c", 3), ("Cargo.toml", 99), ("apps/x/d", 7)];
        assert_eq!(areas(changed), [("docs", 8), ("auth", 7), ("x", 7)]);
    }
}

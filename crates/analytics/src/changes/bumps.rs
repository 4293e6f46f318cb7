//! Updates of dependencies, out of the titles that dependabot and renovate write, and folded: fifty of
//! them are one line with the latest version of each.

/// An update of one dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bump<'a> {
    /// The dependency.
    pub name: &'a str,
    /// Its version before, where the title says.
    pub from: Option<&'a str>,
    /// Its version after, where the title says.
    pub to: Option<&'a str>,
}

/// What became of one dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded<'a> {
    /// The dependency.
    pub name: &'a str,
    /// Its version before the first of the updates, where that one says.
    pub from: Option<&'a str>,
    /// Its version after the last.
    pub to: Option<&'a str>,
    /// How many updates there were.
    pub times: usize,
    /// The place of the last one among what was folded.
    pub latest: usize,
}

impl<'a> Bump<'a> {
    /// Reads a title; nothing where it is none of an update.
    ///
    /// ```
    /// use mainspring_analytics::changes::Bump;
    ///
    /// let bump = Bump::read("build(deps): bump serde from 1.0.1 to 1.0.2 in /api").unwrap();
    /// assert_eq!((bump.name, bump.from, bump.to), ("serde", Some("1.0.1"), Some("1.0.2")));
    /// assert_eq!(Bump::read("Bump into an old friend"), None);
    /// ```
    pub fn read(title: &'a str) -> Option<Bump<'a>> {
        let first = title.lines().next()?.trim();
        // The conventional prefix says nothing that the words do not.
        let text =
            first.split_once(": ").filter(|(head, _)| !head.contains(' ')).map_or(first, |(_, text)| text);
        let words: Vec<&str> = text.split_whitespace().collect();
        let verb = words.first()?.to_lowercase();
        match (&*verb, &words[1..]) {
            ("bump" | "bumps", rest) => bumped(rest),
            ("update" | "upgrade", rest) => updated(rest),
            _ => None,
        }
    }
}

/// `x from 1 to 2 …`, `the group … group with 3 updates`.
fn bumped<'a>(words: &[&'a str]) -> Option<Bump<'a>> {
    match words {
        ["the", group, "group", ..] => Some(Bump { name: group, from: None, to: None }),
        [name, "from", from, "to", to, ..] => Some(Bump { name, from: Some(from), to: Some(to) }),
        [name, "to", to, ..] if is_version(to) => Some(Bump { name, from: None, to: Some(to) }),
        _ => None,
    }
}

/// `dependency x to v2`, `rust crate x to v2`, `x requirement from ~> 1.0 to ~> 1.1`, `x action to v4`.
fn updated<'a>(words: &[&'a str]) -> Option<Bump<'a>> {
    let (name, rest) = match words {
        ["dependency" | "module", name, rest @ ..] => (name, rest),
        ["rust", "crate", name, rest @ ..] | ["helm", "release", name, rest @ ..] => (name, rest),
        [name, rest @ ..] => (name, rest),
        [] => return None,
    };
    let kinds = rest
        .iter()
        .take_while(|word| ["requirement", "action", "docker", "digest", "tag"].contains(word))
        .count();
    let (from, to) = match &rest[kinds..] {
        ["from", rest @ ..] => {
            let at = rest.iter().position(|word| *word == "to")?;
            (rest[..at].last(), &rest[at + 1..])
        }
        ["to", to @ ..] => (None, to),
        _ => return None,
    };
    let to = to.iter().find(|word| word.chars().any(char::is_alphanumeric)).filter(|to| is_version(to))?;
    Some(Bump { name, from: from.copied(), to: Some(to) })
}

/// It begins with a digit, perhaps after a `v` or the signs of a range, or is a digest.
fn is_version(text: &str) -> bool {
    let bare = text.trim_start_matches(['v', '^', '~', '=', '>', '<']);
    let digest = text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit());
    bare.starts_with(|c: char| c.is_ascii_digit()) || digest
}

/// One entry for each dependency, in the order of their first updates. `bumps` are oldest first.
///
/// ```
/// use mainspring_analytics::changes::{Bump, fold};
///
/// let titles = ["Bump a from 1.0 to 1.1", "Update dependency b to v7", "Bump a from 1.1 to 1.2"];
/// let bumps: Vec<Bump> = titles.iter().filter_map(|title| Bump::read(title)).collect();
/// let folded = fold(&bumps);
/// assert_eq!((folded[0].name, folded[0].from, folded[0].to), ("a", Some("1.0"), Some("1.2")));
/// assert_eq!((folded[0].times, folded[0].latest, folded.len()), (2, 2, 2));
/// ```
pub fn fold<'a>(bumps: &[Bump<'a>]) -> Vec<Folded<'a>> {
    let mut folded: Vec<Folded<'a>> = Vec::new();
    let mut places = std::collections::HashMap::<&str, usize>::new();
    for (latest, bump) in bumps.iter().enumerate() {
        match places.get(bump.name) {
            Some(place) => {
                let known = &mut folded[*place];
                (known.to, known.latest) = (bump.to.or(known.to), latest);
                known.times += 1;
            }
            None => {
                places.insert(bump.name, folded.len());
                folded.push(Folded { name: bump.name, from: bump.from, to: bump.to, times: 1, latest });
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn titles_as_the_two_robots_write_them_are_read() {
        let known = [
            ("Bump lodash from 4.17.20 to 4.17.21", ("lodash", Some("4.17.20"), Some("4.17.21"))),
            (
                "chore(deps-dev): bump @types/node from 18.0.0 to 18.0.1 in /web",
                ("@types/node", Some("18.0.0"), Some("18.0.1")),
            ),
            ("Bump the production group across 1 directory with 3 updates", ("production", None, None)),
            ("Update rubocop requirement from ~> 1.0 to ~> 1.1", ("rubocop", Some("1.0"), Some("1.1"))),
            ("fix(deps): update rust crate tokio to v1.40.0", ("tokio", None, Some("v1.40.0"))),
            ("chore(deps): update dependency eslint to v9", ("eslint", None, Some("v9"))),
            ("chore(deps): update actions/checkout action to v4", ("actions/checkout", None, Some("v4"))),
            ("chore(deps): update postgres docker digest to 4aea012", ("postgres", None, Some("4aea012"))),
            ("Update module github.com/a/b to v2", ("github.com/a/b", None, Some("v2"))),
            ("Upgrade serde to 1.0.200", ("serde", None, Some("1.0.200"))),
        ];
        for (title, (name, from, to)) in known {
            assert_eq!(Bump::read(title), Some(Bump { name, from, to }), "{title}");
        }
        for title in [
            "Bump",
            "Update",
            "",
            "Update the guide to version control",
            "Bump up the volume",
            "feat: update to the new look",
        ] {
            assert_eq!(Bump::read(title), None, "{title}");
        }
    }

    proptest! {
        #[test]
        fn folding_counts_each_update_once_and_keeps_the_latest(names in prop::collection::vec(0usize..4, 0..30)) {
            const NAMES: [&str; 4] = ["a", "b", "c", "d"];
            let versions: Vec<String> = (0..names.len()).map(|n| n.to_string()).collect();
            let bumps: Vec<Bump> = names.iter().zip(&versions)
                .map(|(name, to)| Bump { name: NAMES[*name], from: None, to: Some(to) }).collect();
            let folded = fold(&bumps);
            prop_assert_eq!(folded.iter().map(|f| f.times).sum::<usize>(), bumps.len());
            for one in &folded {
                prop_assert_eq!(bumps[one.latest].name, one.name);
                prop_assert_eq!(bumps[one.latest].to, one.to);
                prop_assert!(bumps[one.latest + 1..].iter().all(|later| later.name != one.name));
            }
        }
    }
}

//! Does generated text stay with the facts? Each number, `#id`, SHA, version and name in it must occur
//! in the evidence; otherwise it is refused.
//!
//! The check is one-sided on purpose. It finds what was **made up**, not what is wrong: words in small
//! letters are free, and a true number may stand beside the wrong thing. Where it cannot tell a name
//! from an ordinary word (a capital after a full stop) it takes it for a name, unless it is one of
//! [`ORDINARY`]: what is refused in vain costs one more try or the text of the rules, what is let through
//! in vain stands under somebody's name. Scripts without capitals have names that it does not see.
//!
//! - Numbers count with their unit: `12`, `12k` and `12%` are three; `1,200` and `1200` are one; words from
//!   two to twelve are numbers too.
//! - A SHA may be shortened to seven digits and more, never lengthened.
//! - `1.2.3` and `v1.2.3` are one version; `1.2` may be a number or one.
//! - Names are `@handles`, whatever stands in backticks, addresses of pages, words with capitals,
//!   underscores, or digits among letters.

use std::collections::BTreeSet;
use std::fmt;

/// What occurs in the facts.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    found: BTreeSet<(What, String)>,
    words: BTreeSet<String>,
}

/// What must not be made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A number.
    Number,
    /// The number of an issue or a pull request.
    Id,
    /// The name of a commit.
    Sha,
    /// A version.
    Version,
    /// A name.
    Name,
    /// The address of a page.
    Address,
}

/// Something that the evidence does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MadeUp {
    /// What it is.
    pub what: What,
    /// As it was compared: numbers without separators, names in small letters.
    pub text: String,
}

impl fmt::Display for MadeUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Number => "the number",
            What::Id => "the id",
            What::Sha => "the commit",
            What::Version => "the version",
            What::Name => "the name",
            What::Address => "the address",
        };
        write!(f, "{what} {:?} occurs nowhere in the facts", self.text)
    }
}

/// Words that begin sentences and headings of such texts and are no names, in small letters.
pub const ORDINARY: &[&str] = &[
    "a",
    "about",
    "add",
    "added",
    "adding",
    "adds",
    "after",
    "all",
    "also",
    "an",
    "and",
    "another",
    "any",
    "are",
    "as",
    "at",
    "be",
    "because",
    "before",
    "behind",
    "besides",
    "better",
    "big",
    "both",
    "breaking",
    "bug",
    "bugs",
    "but",
    "by",
    "can",
    "change",
    "changed",
    "changes",
    "cleanup",
    "commits",
    "contributors",
    "documentation",
    "docs",
    "each",
    "errors",
    "even",
    "every",
    "everything",
    "faster",
    "feature",
    "features",
    "few",
    "finally",
    "first",
    "fix",
    "fixed",
    "fixes",
    "for",
    "from",
    "full",
    "get",
    "given",
    "have",
    "here",
    "how",
    "however",
    "i",
    "if",
    "improved",
    "improvements",
    "improves",
    "in",
    "instead",
    "into",
    "is",
    "issue",
    "issues",
    "it",
    "its",
    "just",
    "last",
    "less",
    "let",
    "looking",
    "made",
    "make",
    "makes",
    "many",
    "meanwhile",
    "merged",
    "more",
    "most",
    "moved",
    "new",
    "next",
    "no",
    "not",
    "note",
    "nothing",
    "now",
    "of",
    "on",
    "once",
    "one",
    "only",
    "or",
    "other",
    "our",
    "over",
    "performance",
    "please",
    "pull",
    "release",
    "removed",
    "removes",
    "request",
    "requests",
    "see",
    "several",
    "since",
    "smaller",
    "so",
    "some",
    "support",
    "supports",
    "thank",
    "thanks",
    "that",
    "the",
    "their",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "to",
    "today",
    "together",
    "under",
    "until",
    "update",
    "updated",
    "updates",
    "upgrade",
    "upgrading",
    "use",
    "users",
    "using",
    "was",
    "we",
    "week",
    "weekly",
    "welcome",
    "were",
    "what",
    "what's",
    "when",
    "where",
    "which",
    "while",
    "who",
    "why",
    "will",
    "with",
    "without",
    "work",
    "you",
    "your",
];

const SPELLED: &[(&str, &str)] = &[
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
];

impl Evidence {
    /// The facts: titles, bodies, names, paths, addresses, and the numbers that were counted from them.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Evidence {
        let mut evidence = Evidence::default();
        for text in texts {
            evidence.add(text);
        }
        evidence
    }

    /// One more fact.
    pub fn add(&mut self, text: &str) {
        for (piece, _) in pieces(text) {
            self.found.extend(claim(piece, true));
            self.words.extend(words(piece));
        }
    }

    /// What `text` says that the facts do not hold, each once.
    ///
    /// ```
    /// use mainspring_analytics::grounding::Evidence;
    ///
    /// let facts = Evidence::of(["Fix paging in the API (#12), thanks @ann", "1 pull request", "v1.4.0"]);
    /// assert!(facts.check("The API pages again since 1.4.0 (#12). Thanks, @ann!").is_empty());
    /// let made_up = facts.check("Kubernetes support and 30% less memory (#13).");
    /// assert_eq!(made_up.iter().map(|m| &*m.text).collect::<Vec<_>>(), ["30%", "13", "kubernetes"]);
    /// ```
    pub fn check(&self, text: &str) -> Vec<MadeUp> {
        let claims = pieces(text).flat_map(|(piece, code)| claim(piece, code));
        let unheld = claims.filter(|(what, text)| !self.holds(*what, text));
        unheld.collect::<BTreeSet<_>>().into_iter().map(|(what, text)| MadeUp { what, text }).collect()
    }

    fn holds(&self, what: What, text: &str) -> bool {
        let has = |what| self.found.contains(&(what, text.to_owned()));
        match what {
            What::Number => has(What::Number) || has(What::Version),
            What::Sha => {
                let from = (What::Sha, text.to_owned());
                self.found
                    .range(from..)
                    .next()
                    .is_some_and(|(what, sha)| *what == What::Sha && sha.starts_with(text))
            }
            What::Name => {
                let plain = text.trim_start_matches('@');
                let known = |word: &str| self.words.contains(word);
                let part = |part: &str| part.is_empty() || known(part) || ORDINARY.contains(&part);
                known(plain) || text == plain && plain.contains('-') && plain.split('-').all(part)
            }
            What::Id | What::Version | What::Address => has(what),
        }
    }
}

/// The pieces of a text that are looked at one by one, and whether each stands in backticks.
fn pieces(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let by_ticks = text.split('`').enumerate().map(|(i, part)| (part, i % 2 == 1));
    let blanks = |c: char| c.is_whitespace() || "[]()<>{}\"|“”„«»…—–*~=".contains(c);
    let parts = by_ticks.flat_map(move |(part, code)| part.split(blanks).map(move |piece| (piece, code)));
    parts.flat_map(|(part, code)| {
        let address = part.contains("://");
        let cut = move |c: char| !address && "/\\;&+".contains(c);
        part.split(cut).flat_map(move |piece| by_hash(piece, address)).map(move |piece| (piece, code))
    })
}

/// `repository#12` is two things.
fn by_hash(piece: &str, address: bool) -> impl Iterator<Item = &str> {
    let (head, id) = match piece.find('#').filter(|_| !address) {
        Some(at) => piece.split_at(at),
        None => (piece, ""),
    };
    [head, id].into_iter().map(trimmed).filter(|piece| !piece.is_empty())
}

fn trimmed(piece: &str) -> &str {
    let piece = piece.trim_matches([',', '.', ':', '!', '?', '\'', '’', '‘', '-', '_']);
    piece.strip_suffix("'s").or_else(|| piece.strip_suffix("’s")).unwrap_or(piece)
}

/// What a piece claims, if anything. In backticks every word is a name.
fn claim(piece: &str, code: bool) -> Option<(What, String)> {
    if piece.contains("://") {
        return Some((What::Address, piece.to_owned()));
    }
    let bare = piece.trim_start_matches('#');
    let digits = bare.trim_end_matches(|c: char| !c.is_ascii_digit());
    if bare.len() < piece.len() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Some((What::Id, digits.to_owned()));
    }
    let piece = bare;
    let lower = piece.to_lowercase();
    if let Some((_, digits)) = SPELLED.iter().find(|(word, _)| *word == lower) {
        return Some((What::Number, (*digits).to_owned()));
    }
    let hex = piece.len() >= 7 && piece.len() <= 40 && piece.bytes().all(|b| b.is_ascii_hexdigit());
    if hex && piece.bytes().any(|b| b.is_ascii_digit()) && piece.bytes().any(|b| b.is_ascii_alphabetic()) {
        return Some((What::Sha, lower));
    }
    if let Some(version) = version(&lower) {
        return Some((What::Version, version.to_owned()));
    }
    let sign = |c: char| "$€£".contains(c);
    if let Some(number) = number(lower.trim_start_matches(sign)) {
        return Some((What::Number, number));
    }
    is_name(piece, &lower, code).then_some((What::Name, lower))
}

/// `v2`, `1.2.3`, `v1.2.3-rc.1`, without its `v`.
fn version(lower: &str) -> Option<&str> {
    let bare = lower.strip_prefix('v').unwrap_or(lower);
    let core = bare.split(['-', '+']).next().unwrap_or(bare);
    let numeric = core.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    (numeric && (core.len() < lower.len() && lower.starts_with('v') || core.matches('.').count() > 1))
        .then_some(bare)
}

/// Digits without their separators, with the unit that follows at once. Where letters follow that are
/// no unit (`5-minute`) the digits count.
fn number(lower: &str) -> Option<String> {
    if !lower.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let end = lower.find(|c: char| c.is_alphabetic() || c == '%').unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(end);
    let unit = if digits.ends_with('-') { "" } else { unit };
    Some(format!("{}{unit}", digits.trim_end_matches('-').replace([',', '_', '\''], "")))
}

fn is_name(piece: &str, lower: &str, code: bool) -> bool {
    if !piece.contains(char::is_alphanumeric) {
        return false;
    }
    let marked = piece.starts_with('@') || piece.contains('_') || piece.contains("::") || code;
    let digits = piece.contains(|c: char| c.is_ascii_digit());
    marked || digits || piece.contains(char::is_uppercase) && !ORDINARY.contains(&lower)
}

/// The ways in which a name of the facts may be written: as it is, and each of its parts.
fn words(piece: &str) -> Vec<String> {
    let lower = piece.trim_start_matches(['#', '@']).to_lowercase();
    let parts =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).map(str::to_owned);
    let mut words: Vec<String> = parts.collect();
    words.push(lower);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made_up(facts: &[&str], text: &str) -> Vec<String> {
        Evidence::of(facts.iter().copied()).check(text).into_iter().map(|m| m.text).collect()
    }

    #[test]
    fn each_sort_of_invention_is_found() {
        let facts = [
            "feat(api): pages of 1,200 rows (#12) by @ann-b in a/repo",
            "3f2a9bc01d",
            "v2.0.0",
            "12 commits",
        ];
        let known = [
            ("Pages of 1200 rows", None),
            ("Pages of 1,300 rows", Some("1300")),
            ("a/repo#12", None),
            ("a/repo#14", Some("14")),
            ("a/repo#12 by Otto", Some("otto")),
            ("in 3f2a9bc", None),
            ("in 3f2a9bc01d", None),
            ("in 3f2a9bc01d7", Some("3f2a9bc01d7")),
            ("in 1234abc", Some("1234abc")),
            ("since 2.0.0", None),
            ("since v2.0.1", Some("2.0.1")),
            ("since v2", Some("2")),
            ("twelve commits", None),
            ("seven commits", Some("7")),
            ("12% faster", Some("12%")),
            ("12k rows", Some("12k")),
            ("a 12-minute test", None),
            ("a 13-minute test", Some("13")),
            ("by @ann-b", None),
            ("by @bob", Some("@bob")),
            ("Thanks to Ann's work", None),
            ("Bob fixed it", Some("bob")),
            ("the `api`", None),
            ("the `cli`", Some("cli")),
            ("a call of read_all", Some("read_all")),
            ("a PostgreSQL store", Some("postgresql")),
            ("[12](https://evil.example/12)", Some("https://evil.example/12")),
            ("## What's new\n\n- The API. Now with pages!", None),
        ];
        for (text, expected) in known {
            assert_eq!(made_up(&facts, text), Vec::from_iter(expected), "{text}");
        }
    }

    #[test]
    fn what_was_made_up_is_named() {
        let found = Evidence::of([]).check("#7").remove(0);
        assert_eq!(found.to_string(), "the id \"7\" occurs nowhere in the facts");
    }

    proptest! {
        #[test]
        fn the_facts_themselves_are_grounded(text in "([A-Za-z0-9#@v.`/:,%_-]{1,8}|\\PC{1,3})( ([A-Za-z0-9#@v.,`%_-]{1,12}|\\PC{1,3})){0,8}") {
            prop_assert_eq!(Evidence::of([&*text]).check(&text), vec![]);
        }

        #[test]
        fn an_id_outside_of_the_facts_is_always_found(known in prop::collection::btree_set(1u32..500, 0..20), id in 1u32..500) {
            let facts: Vec<String> = known.iter().map(|id| format!("Fix it (#{id})")).collect();
            let evidence = Evidence::of(facts.iter().map(String::as_str));
            let made_up = evidence.check(&format!("- it works again (#{id})"));
            prop_assert_eq!(made_up.is_empty(), known.contains(&id));
        }
    }
}

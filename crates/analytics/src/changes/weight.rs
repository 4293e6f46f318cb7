//! Which change is worth the headline: what it is comes first (breaking, feature, fix or speed, docs,
//! chore), then what its labels say, then its size on a logarithmic scale, so that ten thousand generated
//! lines do not outweigh everything.

use super::{Kind, Subject};

/// How large a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Lines added.
    pub added: u64,
    /// Lines removed.
    pub removed: u64,
}

/// Labels that make a change count more, in small letters, with what they add.
pub const LABELS: &[(&str, u32)] = &[
    ("highlight", 400),
    ("security", 300),
    ("breaking", 300),
    ("breaking change", 300),
    ("enhancement", 100),
    ("feature", 100),
    ("performance", 100),
    ("bug", 50),
];

/// What a change weighs. What it is counts in thousands, its labels (the strongest one) up to 400, its
/// size up to 500: so neither carries it over to another kind.
///
/// ```
/// use mainspring_analytics::changes::{Size, Subject, weight};
///
/// let of = |title| weight(&Subject::read(title), Size { added: 10, removed: 2 }, &[]);
/// assert!(of("fix!: refuse page 0") > of("feat: pages") && of("feat: pages") > of("fix: pages"));
/// assert!(of("fix: pages") > of("docs: pages") && of("docs: pages") > of("ci: pages"));
/// ```
pub fn weight(subject: &Subject, size: Size, labels: &[&str]) -> u32 {
    let kind = match (subject.breaking, subject.kind) {
        (true, _) => 5_000,
        (_, Some(Kind::Feature)) => 4_000,
        (_, Some(Kind::Fix | Kind::Speed)) => 3_000,
        // What does not say what it is may be anything: below what says it is a fix.
        (_, Some(Kind::Docs)) | (_, None) => 2_000,
        (_, Some(Kind::Chore)) => 1_000,
    };
    let named = |label: &&str| {
        LABELS.iter().find(|(name, _)| label.eq_ignore_ascii_case(name)).map(|(_, more)| *more)
    };
    let labels = labels.iter().filter_map(named).max().unwrap_or(0);
    // A point of 25 for each doubling: about a million lines are all 500.
    let lines = size.added.saturating_add(size.removed);
    let doublings = lines.checked_ilog2().map_or(0, |log| log + 1);
    kind + labels + (doublings * 25).min(500)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_are_worked_out_by_hand() {
        let of = |title: &str, added, labels: &[&str]| {
            weight(&Subject::read(title), Size { added, removed: 0 }, labels)
        };
        assert_eq!(of("feat: a", 0, &[]), 4_000);
        assert_eq!(of("feat: a", 1, &[]), 4_025);
        assert_eq!(of("feat: a", 1_023, &["bug", "Security", "other"]), 4_000 + 300 + 250);
        assert_eq!(of("Add a", u64::MAX, &["highlight"]), 2_000 + 400 + 500);
        assert_eq!(of("perf: a", 0, &[]), of("fix: a", 0, &[]));
    }

    proptest! {
        #[test]
        fn neither_size_nor_labels_carry_a_change_over_to_another_kind(
            small in any::<u64>(), large in any::<u64>(), label in 0..LABELS.len(),
        ) {
            let titles = ["fix!: a", "feat: a", "fix: a", "docs: a", "chore: a"];
            for pair in titles.windows(2) {
                let heavier = weight(&Subject::read(pair[0]), Size { added: small, removed: 0 }, &[]);
                let lighter = weight(&Subject::read(pair[1]), Size { added: large, removed: large }, &[LABELS[label].0]);
                prop_assert!(heavier > lighter);
            }
        }
    }
}

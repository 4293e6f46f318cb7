//! What is wrong today and may only get better: `xtask/ratchet.txt`.
//!
//! A line is `rule path count reason`. So many findings of that rule in that file are tolerated.
//! More fail, and fewer fail too, with the line to write: an improvement is kept for ever.

use crate::tidy::Finding;

/// Where the ratchet is kept.
pub const PATH: &str = "xtask/ratchet.txt";

/// Takes out the findings the ratchet tolerates, and adds one for each line that is wrong itself.
pub fn apply(ratchet: &str, mut findings: Vec<Finding>) -> Vec<Finding> {
    for (index, line) in ratchet.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let complain =
            |text: String| Finding { rule: "ratchet", path: PATH.to_owned(), line: index + 1, text };
        let mut words = line.splitn(4, char::is_whitespace);
        let (rule, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let count = words.next().and_then(|count| count.parse::<usize>().ok());
        let reason = words.next().unwrap_or_default().trim();
        let Some(count) = count.filter(|_| !reason.is_empty()) else {
            findings.push(complain(format!("`{line}` is not `rule path count reason`")));
            continue;
        };
        let meant = |finding: &Finding| finding.rule == rule && finding.path == path;
        let found = findings.iter().filter(|finding| meant(finding)).count();
        if found <= count {
            findings.retain(|finding| !meant(finding));
        }
        if found < count {
            let write = if found == 0 {
                "take the line out".to_owned()
            } else {
                format!("write: {rule} {path} {found} {reason}")
            };
            findings.push(complain(format!("{path} has {found} of the {count} findings tolerated; {write}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(count: usize) -> Vec<Finding> {
        let one = |line| Finding { rule: "size", path: "a.rs".into(), line, text: "long".into() };
        (1..=count).map(one).collect()
    }

    #[test]
    fn as_many_as_tolerated_pass() {
        assert_eq!(apply("# a comment\n\nsize a.rs 2 split with the store", findings(2)), []);
    }

    #[test]
    fn one_more_fails_with_all_of_them() {
        assert_eq!(apply("size a.rs 2 why", findings(3)).len(), 3);
    }

    #[test]
    fn one_fewer_must_be_kept() {
        let left = apply("size a.rs 2 why", findings(1));
        assert!(left.len() == 1 && left[0].text.contains("write: size a.rs 1 why"), "{left:?}");
        let left = apply("size a.rs 2 why", findings(0));
        assert!(left[0].text.contains("take the line out"), "{left:?}");
    }

    #[test]
    fn a_line_without_a_reason_fails() {
        assert_eq!(apply("size a.rs 1", findings(1)).len(), 2);
    }
}

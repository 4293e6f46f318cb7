//! The conventional form of a commit message or title: Conventional Commits 1.0.0.
//!
//! `type(scope)!: description`, and footers `BREAKING CHANGE: …` in a commit's body. The type and the
//! scope are read in any case, as the convention asks; `BREAKING CHANGE` only in capitals. What has the
//! form but a type that is none (`Note: …`, `WIP: …`) is an ordinary message.

use serde::{Deserialize, Serialize};

/// What a change is, by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `feat`: something new.
    Feature,
    /// `fix`: something mended; `revert` too, for readers.
    Fix,
    /// `perf`: something faster.
    Speed,
    /// `docs`: something explained.
    Docs,
    /// `refactor`, `style`, `test`, `build`, `ci`, `chore`: nothing that users see.
    Chore,
}

const TYPES: &[(&str, Kind)] = &[
    ("feat", Kind::Feature),
    ("feature", Kind::Feature),
    ("fix", Kind::Fix),
    ("bugfix", Kind::Fix),
    ("hotfix", Kind::Fix),
    ("revert", Kind::Fix),
    ("perf", Kind::Speed),
    ("docs", Kind::Docs),
    ("doc", Kind::Docs),
    ("refactor", Kind::Chore),
    ("style", Kind::Chore),
    ("test", Kind::Chore),
    ("tests", Kind::Chore),
    ("build", Kind::Chore),
    ("ci", Kind::Chore),
    ("chore", Kind::Chore),
    ("deps", Kind::Chore),
];

/// A message, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// What the change is; nothing where the message does not say.
    pub kind: Option<Kind>,
    /// What it is about, in the author's spelling.
    pub scope: Option<&'a str>,
    /// Users must do something about it.
    pub breaking: bool,
    /// The first line without its type and scope.
    pub text: &'a str,
    /// What the author says that users must do.
    pub breaking_note: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// Reads a commit message, or the title of a pull request.
    ///
    /// ```
    /// use mainspring_analytics::changes::{Kind, Subject};
    ///
    /// let read = Subject::read("feat(api)!: pages begin at 1\n\nBREAKING CHANGE: 0 is refused.");
    /// assert_eq!((read.kind, read.scope, read.breaking), (Some(Kind::Feature), Some("api"), true));
    /// assert_eq!((read.text, read.breaking_note), ("pages begin at 1", Some("0 is refused.")));
    /// ```
    pub fn read(message: &'a str) -> Subject<'a> {
        let first = message.lines().next().unwrap_or_default().trim();
        let note = breaking_note(message);
        let plain =
            Subject { kind: None, scope: None, breaking: note.is_some(), text: first, breaking_note: note };
        let Some((head, text)) = first.split_once(':') else { return plain };
        let (head, marked) = head.trim_end().strip_suffix('!').map_or((head, false), |head| (head, true));
        let (name, scope) = match head.split_once('(') {
            Some((name, scope)) => match scope.trim_end().strip_suffix(')') {
                Some(scope) if !scope.contains(['(', ')']) => (name, Some(scope.trim())),
                _ => return plain,
            },
            None => (head, None),
        };
        let name = name.trim().to_lowercase();
        let Some((_, kind)) = TYPES.iter().find(|(known, _)| *known == name) else { return plain };
        if text.trim().is_empty() {
            return plain;
        }
        Subject {
            kind: Some(*kind),
            scope: scope.filter(|scope| !scope.is_empty()),
            breaking: marked || note.is_some(),
            text: text.trim(),
            breaking_note: note,
        }
    }
}

/// The first paragraph line of the footer, which stands at the beginning of a line of the body.
fn breaking_note(message: &str) -> Option<&str> {
    let footers = message.lines().skip(1).filter_map(|line| {
        let rest = line.strip_prefix("BREAKING CHANGE").or_else(|| line.strip_prefix("BREAKING-CHANGE"))?;
        rest.strip_prefix(':').or_else(|| rest.strip_prefix(" #")).map(str::trim)
    });
    footers.into_iter().find(|note| !note.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(message: &str) -> (Option<Kind>, Option<&str>, bool, &str) {
        let read = Subject::read(message);
        (read.kind, read.scope, read.breaking, read.text)
    }

    /// The examples of the convention's page.
    #[test]
    fn the_conventions_examples_are_read() {
        let footer = "feat: allow provided config object to extend other configs\n\nBREAKING CHANGE: `extends` key \
                      in config file is now used for extending other config files";
        assert!(read(footer).2);
        assert!(Subject::read(footer).breaking_note.unwrap().starts_with("`extends` key"));
        let text = "send an email to the customer when a product is shipped";
        assert_eq!(read(&format!("feat!: {text}")), (Some(Kind::Feature), None, true, text));
        assert_eq!(read(&format!("feat(api)!: {text}")), (Some(Kind::Feature), Some("api"), true, text));
        let both = "chore!: drop support for Node 6\n\nBREAKING CHANGE: use JavaScript features not available in Node 6.";
        assert_eq!(read(both), (Some(Kind::Chore), None, true, "drop support for Node 6"));
        assert_eq!(
            read("docs: correct spelling of CHANGELOG"),
            (Some(Kind::Docs), None, false, "correct spelling of CHANGELOG")
        );
        assert_eq!(
            read("feat(lang): add Polish language"),
            (Some(Kind::Feature), Some("lang"), false, "add Polish language")
        );
        let fix = "fix: prevent racing of requests\n\nIntroduce a request id.\n\nReviewed-by: Z\nRefs: #123";
        assert_eq!(read(fix), (Some(Kind::Fix), None, false, "prevent racing of requests"));
    }

    #[test]
    fn what_follows_no_convention_is_left_as_it_is() {
        for plain in [
            "Add a parser",
            "Note: this is no type",
            "feat:",
            "feat(a)(b): x",
            "feat(a: x",
            "http://x.example/y",
            ": x",
            "",
        ] {
            assert_eq!(read(plain), (None, None, false, plain), "{plain}");
        }
        assert_eq!(read("FIX(Parser) : x"), (Some(Kind::Fix), Some("Parser"), false, "x"));
        assert_eq!(read("feat(): x"), (Some(Kind::Feature), None, false, "x"));
        // Only in capitals, only at the beginning of a line of the body.
        assert!(!read("fix: x\n\nbreaking change: y").2);
        assert!(!read("fix: x\n\nno BREAKING CHANGE: y").2);
        assert!(read("Drop it\n\nBREAKING-CHANGE: gone").2);
    }

    proptest! {
        #[test]
        fn no_message_panics_and_nothing_is_made_up(message in "(feat|fix|x)?[(!a):\\n é]{0,12}\\PC{0,20}") {
            let read = Subject::read(&message);
            prop_assert!(message.contains(read.text));
            prop_assert!(read.scope.is_none_or(|scope| message.contains(scope)));
        }
    }
}

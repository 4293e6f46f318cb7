//! Parts a Rust source into code, string literals and comments.
//!
//! Rules about SQL must read strings alone, rules about calls code alone: `clock.now()` is fine
//! and `"now()"` is not. This knows just enough of Rust's grammar for that; it does not parse.

/// What a stretch of source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything but the others; character literals are left out.
    Code,
    /// The inside of a string literal of any sort, escapes as written.
    Text,
    /// A comment, marks included.
    Comment,
}

/// A stretch of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// The line it begins on, from 1.
    pub line: usize,
    /// Its characters.
    pub text: String,
}

/// Parts a source. Unclosed strings and comments reach to the end.
pub fn parts(source: &str) -> Vec<Part> {
    let mut lexer = Lexer { rest: source, line: 1, parts: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    lexer.parts
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    parts: Vec<Part>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            self.take(Kind::Comment, 0, end, 0);
        } else if rest.starts_with("/*") {
            self.take(Kind::Comment, 0, block_comment_end(rest), 0);
        } else if let Some((open, close)) = raw_string_marks(rest).filter(|_| !self.inside_a_word()) {
            let end = rest[open..].find(&close).map_or(rest.len(), |at| open + at);
            self.take(Kind::Text, open, end, close.len());
        } else if rest.starts_with('"') {
            self.take(Kind::Text, 1, string_end(rest), 1);
        } else if let Some(length) = char_literal_length(rest) {
            // Left out, but it still parts what stands on its two sides.
            self.take(Kind::Code, length, length, 0);
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            self.take(Kind::Code, 0, length, 0);
        }
    }

    /// Takes `rest[from..to]` as a part and drops `rest[..from]` and `close` bytes after it.
    fn take(&mut self, kind: Kind, from: usize, to: usize, close: usize) {
        let text = &self.rest[from..to];
        match self.parts.last_mut() {
            Some(last) if last.kind == Kind::Code && kind == Kind::Code => last.text.push_str(text),
            _ => self.parts.push(Part { kind, line: self.line, text: text.to_owned() }),
        }
        let used = (to + close).min(self.rest.len());
        self.line += self.rest[..used].matches('\n').count();
        self.rest = &self.rest[used..];
    }

    /// `r"` opens a raw string only where no word is going on, as in `ptr"`.
    fn inside_a_word(&self) -> bool {
        self.parts
            .last()
            .filter(|last| last.kind == Kind::Code)
            .and_then(|last| last.text.chars().next_back())
            .is_some_and(|last| last.is_alphanumeric() || last == '_')
    }
}

fn block_comment_end(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// How long the opening of a raw string is, and what closes it.
fn raw_string_marks(rest: &str) -> Option<(usize, String)> {
    let prefix = ["r", "br", "cr"].into_iter().find(|p| {
        rest.strip_prefix(p).is_some_and(|after| after.starts_with('"') || after.starts_with('#'))
    })?;
    let hashes = rest[prefix.len()..].chars().take_while(|c| *c == '#').count();
    // `r#name` is a name.
    rest[prefix.len() + hashes..]
        .starts_with('"')
        .then(|| (prefix.len() + hashes + 1, format!("\"{}", "#".repeat(hashes))))
}

/// Where the string that opens at 0 closes.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    rest.len()
}

/// The length of `'x'` or `'\n'`; none for the lifetime `'a`.
fn char_literal_length(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        let after = inside.char_indices().nth(2)?.0;
        return inside[after..].find('\'').map(|at| 1 + after + at + 1);
    }
    let length = inside.chars().next()?.len_utf8();
    inside[length..].starts_with('\'').then_some(1 + length + 1)
}

/// The source without comments, strings and everything from the first `#[cfg(test)]` on: where
/// this project keeps the unit tests of a file.
pub fn shipped_code(source: &str) -> Vec<Part> {
    let mut kept = Vec::new();
    for part in parts(source).into_iter().filter(|part| part.kind == Kind::Code) {
        if let Some(at) = part.text.find("#[cfg(test)]") {
            kept.push(Part { text: part.text[..at].to_owned(), ..part });
            break;
        }
        kept.push(part);
    }
    kept
}

/// Each place where `word` stands in `text` as a whole word, as lines from `first_line`.
pub fn lines_with_word(text: &str, word: &str, first_line: usize) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let starts = word.starts_with(is_word);
    let ends = word.ends_with(is_word);
    text.match_indices(word)
        .filter(|(at, _)| !starts || !text[..*at].ends_with(is_word))
        .filter(|(at, _)| !ends || !text[at + word.len()..].starts_with(is_word))
        .map(|(at, _)| first_line + text[..at].matches('\n').count())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, source: &str) -> Vec<(usize, String)> {
        parts(source).into_iter().filter(|p| p.kind == kind).map(|p| (p.line, p.text)).collect()
    }

    #[test]
    fn strings_comments_and_code_are_told_apart() {
        let source = "let a = \"x \\\" // y\"; // c \"no\"\nlet b = r#\"raw \" \"#; /* a /* b */ \"z\" */ f('\"', 'a', '\\'');";
        assert_eq!(of(Kind::Text, source), [(1, "x \\\" // y".into()), (2, "raw \" ".into())]);
        assert_eq!(
            of(Kind::Comment, source),
            [(1, "// c \"no\"".into()), (2, "/* a /* b */ \"z\" */".into())]
        );
        assert!(
            of(Kind::Code, source).iter().any(|(_, code)| code.contains("f(, , )")),
            "{:?}",
            parts(source)
        );
    }

    #[test]
    fn lifetimes_and_raw_names_open_nothing() {
        assert_eq!(of(Kind::Text, "fn f<'a>(x: &'a str, r#type: u8) { ptr\"s\" }"), [(1, "s".into())]);
    }

    #[test]
    fn shipped_code_ends_where_tests_begin() {
        let kept = shipped_code("a(); // std::fs\n#[cfg(test)]\nmod tests { std::fs }");
        assert!(kept.iter().all(|part| !part.text.contains("std::fs")), "{kept:?}");
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(
            lines_with_word("current_timestamps\nCURRENT current_timestamp", "current_timestamp", 5),
            [6]
        );
    }
}

//! Foreign text made harmless: titles, names and addresses that anybody could have written.

use std::collections::BTreeSet;

use unicode_segmentation::UnicodeSegmentation;

/// A title as one line that names nothing outside of its window: ids that are not among `ids` go, and so do
/// addresses; a mention rings nobody (a sign without width follows the `@`).
pub fn line(text: &str, ids: &BTreeSet<u64>) -> String {
    let visible = |c: char| if c.is_control() || is_direction(c) { ' ' } else { c };
    let text: String = text.chars().map(visible).collect();
    let words =
        text.split_whitespace().filter(|word| !word.contains("://") && !word.to_lowercase().contains("www."));
    let kept =
        words.map(|word| without_ids(word, ids)).filter(|word| word.chars().any(|c| !"()[]{}".contains(c)));
    kept.collect::<Vec<_>>().join(" ").replace('@', "@\u{200b}")
}

/// Signs that turn the direction of what follows, by which a text can be made to look like another.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

/// A word without the ids it names: `#99`, `GH-99`, `a/b#99`. Those of `ids` stay, except in brackets by
/// themselves (`(#12)`), where the bullet's own link says it.
fn without_ids(word: &str, ids: &BTreeSet<u64>) -> String {
    if word.starts_with("(#") && word.ends_with(')') {
        return String::new();
    }
    let mut kept = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find(['#', '-']) {
        let (head, tail) = rest.split_at(at);
        let digits: String = tail[1..].chars().take_while(char::is_ascii_digit).collect();
        // Word boundary before GH: `high-12` is no id.
        let gh = tail.starts_with('-') && head.len() >= 2 && head.is_char_boundary(head.len() - 2) && {
            let (before, gh) = head.split_at(head.len() - 2);
            gh.eq_ignore_ascii_case("gh") && !before.ends_with(char::is_alphanumeric)
        };
        let known = digits.parse().is_ok_and(|id| ids.contains(&id));
        if digits.is_empty() || known || tail.starts_with('-') && !gh {
            kept.push_str(head);
            kept.push_str(&tail[..1 + digits.len()]);
        } else {
            kept.push_str(if gh { &head[..head.len() - 2] } else { head });
        }
        rest = &tail[1 + digits.len()..];
    }
    kept.push_str(rest);
    kept
}

/// The characters that names of accounts are made of, at most 60.
pub fn login(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric() || "-_.".contains(*c)).take(60).collect()
}

/// An address of the web whose signs mean nothing to markdown; nothing else is one (`javascript:`).
pub fn address(address: &str) -> Option<String> {
    let web = ["https://", "http://"].iter().any(|scheme| address.starts_with(scheme));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!$&+,;=%".contains(c);
    (web && address.len() <= 500 && address.chars().all(plain)).then(|| address.to_owned())
}

/// At most `most` letters as readers see them, with a mark where something was cut off.
pub fn cut(text: &str, most: usize) -> String {
    // A letter with a hundred accents is one letter: so that it is no way around a limit, bytes count too.
    let bytes = most.saturating_mul(12);
    if text.len() <= bytes && text.graphemes(true).count() <= most {
        return text.to_owned();
    }
    if most == 0 {
        return String::new();
    }
    let mut kept = String::new();
    for letter in text.graphemes(true).take(most - 1).take_while(|letter| letter.len() <= 100) {
        if kept.len() + letter.len() > bytes {
            break;
        }
        kept.push_str(letter);
    }
    format!("{}…", kept.trim_end())
}

/// Text whose signs markdown shows instead of obeying them. Braces become entities: a publisher runs
/// `{% … %}` as a program before it looks at any backslash.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '{' => out.push_str("&#123;"),
            '}' => out.push_str("&#125;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' => out.extend(['\\', c]),
            // A heading, a list or a rule is one only where a line begins; a title never stands there.
            c => out.push(c),
        }
    }
    out
}

//! One draft in long forms: markdown for publishers of articles, plain text for networks that know none,
//! and tags.

use super::{Bullet, Draft, clean};

/// The characters that a post on LinkedIn may have.
pub const LINKEDIN: usize = 3_000;

/// The most bullets of a section in an article, so that it stays one.
const MOST_BULLETS: usize = 60;
/// How many people are thanked by name; the others are counted.
const MOST_THANKED: usize = 12;

/// An article for DEV, Hashnode and whoever takes markdown; the title goes beside it, not into it.
pub fn markdown(draft: &Draft) -> String {
    let repository = linked(&draft.repository, draft.address.as_deref());
    let mut text = format!("What changed in {repository}.\n");
    for (name, bullets) in &draft.sections {
        text.push_str(&format!("\n## {name}\n\n"));
        for Bullet { text: what, label, address } in bullets.iter().take(MOST_BULLETS) {
            text.push_str(&format!("- {} ({})\n", clean::escaped(what), linked(label, address.as_deref())));
        }
    }
    let missing: usize =
        draft.sections.iter().map(|(_, bullets)| bullets.len().saturating_sub(MOST_BULLETS)).sum();
    if missing > 0 {
        text.push_str(&format!("\n… and {missing} more.\n"));
    }
    if let Some(thanks) = thanks(draft) {
        text.push_str(&format!("\n{}\n", clean::escaped(&thanks)));
    }
    text
}

fn linked(text: &str, address: Option<&str>) -> String {
    let text = clean::escaped(text);
    address.map_or(text.clone(), |address| format!("[{text}]({address})"))
}

/// Names without `@`: what rings people is theirs to switch on.
pub(super) fn thanks(draft: &Draft) -> Option<String> {
    let mut names: Vec<String> = draft.thanks.iter().take(MOST_THANKED).cloned().collect();
    match draft.thanks.len().saturating_sub(MOST_THANKED) {
        0 => {}
        1 => names.push("1 other".to_owned()),
        more => names.push(format!("{more} others")),
    }
    let last = names.pop()?;
    Some(if names.is_empty() {
        format!("Thanks to {last}.")
    } else {
        format!("Thanks to {} and {last}.", names.join(", "))
    })
}

/// A post of at most `most` characters ([`LINKEDIN`]). Lines that do not fit are left out from the end
/// of the weightiest section last, and counted. A character that LinkedIn wants escaped counts twice, so
/// that the escaped text fits too.
pub fn plain(draft: &Draft, most: usize) -> String {
    let length =
        |text: &str| text.chars().map(|c| if "|{}@[]()<>#\\*_~".contains(c) { 2 } else { 1 }).sum::<usize>();
    let mut text = clean::cut(&draft.title, 200);
    let close =
        [thanks(draft), draft.address.clone()].into_iter().flatten().filter(|t| length(t) <= most / 8);
    let close: String = close.map(|line| format!("\n\n{line}")).collect();
    // What is kept free for the end and for the line that counts what is missing.
    let room = most.saturating_sub(length(&close) + 40);
    let mut missing = 0;
    for (name, bullets) in &draft.sections {
        let mut head = format!("\n\n{name}\n");
        for bullet in bullets {
            let line = format!("{head}• {} ({})", bullet.text, bullet.label);
            let line = if head.is_empty() { format!("\n{line}") } else { line };
            if missing > 0 || length(&text) + length(&line) > room {
                missing += 1;
            } else {
                text.push_str(&line);
                head.clear();
            }
        }
    }
    if missing > 0 {
        text.push_str(&format!("\n\n… and {missing} more."));
    }
    // Only a title of the most unusual letters gets here.
    while length(&text) + length(&close) > most && text.pop().is_some() {}
    text + &close
}

/// At most `most` tags out of words (areas, scopes, the user's own, the dearest first): small letters and
/// digits alone, each once, none longer than thirty. DEV takes four, Hashnode fifteen.
///
/// ```
/// assert_eq!(mainspring_analytics::writer::tags(&["Open Source", "c++", "api", "API", "!"], 4), ["opensource", "c", "api"]);
/// ```
pub fn tags(words: &[&str], most: usize) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for word in words {
        let tag: String =
            word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        if !tag.is_empty() && tag.len() <= 30 && !tags.contains(&tag) && tags.len() < most {
            tags.push(tag);
        }
    }
    tags
}

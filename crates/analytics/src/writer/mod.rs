//! Writes about what changed in a repository, by rules: no key, no network, the same text each time.
//!
//! [`draft`] decides **what** is said: the headline is the weightiest change, the others follow in three
//! sections, each with the place it can be looked up, and who took part is thanked. [`markdown`],
//! [`plain`] and [`thread`] decide **how** it is said in each place. A language model may rewrite a draft; what
//! it writes is held against these facts by [`crate::grounding`].
//!
//! Titles are foreign text. What they say of other issues, pages and people is taken out (`#99` of another
//! window, addresses, mentions that would ring somebody), and in markdown their signs are shown, not
//! obeyed: see `clean.rs`. So a text names no id but those of its own window. Nothing here publishes.

mod clean;
mod forms;
mod thread;

pub use forms::{LINKEDIN, markdown, plain, tags};
pub use thread::{BLUESKY, Facet, MASTODON, Network, Post, thread};

use std::collections::BTreeSet;

use crate::changes::{Bump, Kind, Size, Subject, fold, is_merge, weight};

/// What happened in a window of time.
#[derive(Debug, Clone, Default)]
pub struct Activity<'a> {
    /// The repository, `owner/name`.
    pub repository: &'a str,
    /// Its page.
    pub address: &'a str,
    /// Pull requests merged, issues closed and commits, the oldest first. A commit that belongs to a pull
    /// request of the window is the caller's to leave out.
    pub entries: Vec<Entry<'a>>,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Where it is looked up.
    pub id: Id<'a>,
    /// A title, or a whole commit message.
    pub message: &'a str,
    /// Its page.
    pub address: &'a str,
    /// Who did it.
    pub author: Option<&'a str>,
    /// That one is no person ([`crate::changes::is_bot`]).
    pub by_bot: bool,
    /// Its labels.
    pub labels: Vec<&'a str>,
    /// How large it is.
    pub size: Size,
}

/// Where something is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id<'a> {
    /// A pull request.
    Pull(u64),
    /// An issue.
    Issue(u64),
    /// A commit, by its SHA.
    Commit(&'a str),
}

impl Id<'_> {
    /// `#12`, or the first seven digits of a commit.
    pub fn shown(&self) -> String {
        match self {
            Id::Pull(number) | Id::Issue(number) => format!("#{number}"),
            Id::Commit(sha) => sha.chars().take(7).collect(),
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Id::Pull(number) | Id::Issue(number) => Some(*number),
            Id::Commit(_) => None,
        }
    }
}

/// The three sections, in their order.
pub const SECTIONS: [&str; 3] = ["What's new", "Fixed", "For contributors"];

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// One line.
    pub title: String,
    /// The repository, `owner/name`.
    pub repository: String,
    /// Its page; nothing where that is no address of the web.
    pub address: Option<String>,
    /// Those of the [`SECTIONS`] that have something, the weightiest bullet of each first.
    pub sections: Vec<(&'static str, Vec<Bullet>)>,
    /// Who took part, in the order of their first change, each once; no bots.
    pub thanks: Vec<String>,
}

/// One line of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bullet {
    /// What changed, in one line, cleaned but not yet escaped for any form.
    pub text: String,
    /// What its link is called.
    pub label: String,
    /// Where it leads; nothing where that is no address of the web.
    pub address: Option<String>,
}

/// The most that is kept of a title, in characters.
const MOST_TEXT: usize = 160;
/// How many updates of dependencies are named; the others are counted.
const NAMED_UPDATES: usize = 5;

struct Told<'a> {
    entry: &'a Entry<'a>,
    subject: Subject<'a>,
    weight: u32,
}

/// What is to be said of an activity; nothing where there is nothing to say.
///
/// ```
/// use mainspring_analytics::writer::{Activity, Entry, Id, draft, markdown};
///
/// let entry = |number, message| Entry {
///     id: Id::Pull(number),
///     message,
///     address: "https://git.example/a/b/pull/1",
///     author: Some("ann"),
///     by_bot: false,
///     labels: vec![],
///     size: Default::default(),
/// };
/// let entries = vec![entry(1, "fix: no crash on start (#1)"), entry(2, "feat: pages in the list")];
/// let activity = Activity { repository: "a/b", address: "https://git.example/a/b", entries };
/// let draft = draft(&activity).unwrap();
/// assert_eq!(draft.title, "b: Pages in the list, and 1 more change");
/// assert!(markdown(&draft).contains("- No crash on start ([#1](https://git.example/a/b/pull/1))"));
/// ```
pub fn draft(activity: &Activity) -> Option<Draft> {
    let ids: BTreeSet<u64> = activity.entries.iter().filter_map(|entry| entry.id.number()).collect();
    let is_empty = |entry: &Entry| entry.message.lines().next().unwrap_or_default().trim().is_empty();
    let entries = activity.entries.iter().filter(|e| !is_empty(e) && !is_merge(e.message, 1));
    let (updates, others): (Vec<_>, Vec<_>) = entries.partition(|entry| Bump::read(entry.message).is_some());
    let mut told: Vec<Told> = others.into_iter().filter(|entry| !entry.by_bot).map(told).collect();
    // Stable: what weighs the same stays in its order of time.
    told.sort_by_key(|told| std::cmp::Reverse(told.weight));

    let mut sections = SECTIONS.map(|name| (name, Vec::new()));
    for told in &told {
        sections[section(told)].1.push(bullet(told, &ids));
    }
    let updated = updated(&updates);
    sections[2].1.extend(updated.clone());
    let name = activity.repository.rsplit('/').next().unwrap_or(activity.repository);
    let head = told.first().map(|told| bullet(told, &ids)).or(updated)?;
    let more = match told.len().saturating_sub(1) {
        0 => String::new(),
        1 => ", and 1 more change".to_owned(),
        more => format!(", and {more} more changes"),
    };
    let mut thanks: Vec<String> = Vec::new();
    for author in activity.entries.iter().filter(|entry| !entry.by_bot).filter_map(|entry| entry.author) {
        let author = clean::login(author);
        if !author.is_empty() && !thanks.contains(&author) {
            thanks.push(author);
        }
    }
    Some(Draft {
        title: format!("{}: {}{more}", clean::line(name, &ids), clean::cut(&head.text, 80)),
        repository: clean::line(activity.repository, &ids),
        address: clean::address(activity.address),
        sections: sections.into_iter().filter(|(_, bullets)| !bullets.is_empty()).collect(),
        thanks,
    })
}

fn told<'a>(entry: &'a Entry<'a>) -> Told<'a> {
    let subject = Subject::read(entry.message);
    Told { entry, weight: weight(&subject, entry.size, &entry.labels), subject }
}

/// By what the change says it is, else by its labels; an issue that was closed was fixed.
fn section(told: &Told) -> usize {
    let labelled =
        |names: &[&str]| told.entry.labels.iter().any(|l| names.iter().any(|n| l.eq_ignore_ascii_case(n)));
    match told.subject.kind {
        _ if told.subject.breaking => 0,
        Some(Kind::Feature) => 0,
        Some(Kind::Fix | Kind::Speed) => 1,
        Some(Kind::Docs | Kind::Chore) => 2,
        None if labelled(&["bug", "fix", "regression"]) => 1,
        None if labelled(&["documentation", "docs", "chore", "ci", "internal", "tests"]) => 2,
        None if matches!(told.entry.id, Id::Issue(_)) && !labelled(&["enhancement", "feature"]) => 1,
        None => 0,
    }
}

fn bullet(told: &Told, ids: &BTreeSet<u64>) -> Bullet {
    let text = clean::line(told.subject.text, ids);
    let mut letters = text.chars();
    let text: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    // What is left of a title that was nothing but an address.
    let text = if text.is_empty() { "A change".to_owned() } else { text };
    let text = if told.subject.breaking { format!("Breaking: {text}") } else { text };
    let address = clean::address(told.entry.address);
    Bullet { text: clean::cut(&text, MOST_TEXT), label: told.entry.id.shown(), address }
}

/// All updates of dependencies, in one line that leads to the last of them.
fn updated(updates: &[&Entry]) -> Option<Bullet> {
    let last = updates.last()?;
    let bumps: Vec<Bump> = updates.iter().filter_map(|entry| Bump::read(entry.message)).collect();
    let folded = fold(&bumps);
    let none = BTreeSet::new();
    let named = folded.iter().take(NAMED_UPDATES).map(|one| {
        let to = one.to.map(|to| format!(" {}", clean::line(to, &none))).unwrap_or_default();
        format!("{}{to}", clean::line(one.name, &none))
    });
    let mut named: Vec<String> = named.collect();
    if folded.len() > NAMED_UPDATES {
        named.push(format!("{} more", folded.len() - NAMED_UPDATES));
    }
    let what = if folded.len() == 1 { "dependency" } else { "dependencies" };
    let text = format!("{} {what} updated: {}", folded.len(), named.join(", "));
    Some(Bullet {
        text: clean::cut(&text, MOST_TEXT),
        label: last.id.shown(),
        address: clean::address(last.address),
    })
}

#[cfg(test)]
mod tests;

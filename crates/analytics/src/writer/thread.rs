//! One draft as a thread of short posts, each within what its network takes.
//!
//! Mastodon counts an address as 23 letters however long it is, and makes links of addresses by itself.
//! Bluesky counts letters as readers see them (grapheme clusters, 300) and bytes (3,000), and makes links
//! where a facet says so, by offsets into the bytes of the UTF-8 text. So the one shows addresses and
//! the other labels.

use unicode_segmentation::UnicodeSegmentation;

use super::{Draft, clean, forms};

/// What a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Letters of a post, as readers see them.
    pub letters: usize,
    /// Bytes of a post.
    pub bytes: usize,
    /// What an address counts, where the text shows addresses; nothing where facets link labels.
    pub address: Option<usize>,
}

/// Mastodon, as most of its servers are set; a server says its own number of letters.
pub const MASTODON: Network = Network { letters: 500, bytes: 100_000, address: Some(23) };
/// Bluesky.
pub const BLUESKY: Network = Network { letters: 300, bytes: 3_000, address: None };

/// A post of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Post {
    /// Its text.
    pub text: String,
    /// Its links, in order, where the network wants them apart from the text.
    pub facets: Vec<Facet>,
}

/// A link in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facet {
    /// The first byte of the linked text.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// Where it leads.
    pub address: String,
}

/// The most posts of a thread: what does not fit is counted in the last one.
const MOST_POSTS: usize = 12;

/// A line that stays together.
struct Line {
    text: String,
    link: Option<(String, String)>,
    is_bullet: bool,
}

/// The draft as a thread, the title first.
pub fn thread(draft: &Draft, network: Network) -> Vec<Post> {
    let link = |label: &str, address: &Option<String>| Some((label.to_owned(), address.clone()?));
    let line = |text: String, link, is_bullet| Line { text, link, is_bullet };
    let mut lines = vec![line(draft.title.clone(), link(&draft.repository, &draft.address), false)];
    for (name, bullets) in &draft.sections {
        lines.push(line((*name).to_owned(), None, false));
        // Without a page to link to, what it is called is part of the text.
        lines.extend(bullets.iter().map(|bullet| match link(&bullet.label, &bullet.address) {
            Some(link) => line(format!("• {}", bullet.text), Some(link), true),
            None => line(format!("• {} ({})", bullet.text, bullet.label), None, true),
        }));
    }
    lines.extend(forms::thanks(draft).map(|thanks| line(thanks, None, false)));

    let mut filling = Filling { network, posts: vec![Post::default()], letters: 0 };
    for (at, line) in lines.iter().enumerate() {
        if !filling.take(line) {
            let missing = lines[at..].iter().filter(|line| line.is_bullet).count();
            if missing > 0 {
                filling.close(&format!("… and {missing} more."));
            }
            break;
        }
    }
    filling.posts
}

struct Filling {
    network: Network,
    posts: Vec<Post>,
    letters: usize,
}

/// Letters and bytes kept free for the line that counts what is missing.
const CLOSE: usize = 30;

impl Filling {
    /// Adds a line where it fits, else in a new post; false where there may be no more posts.
    fn take(&mut self, line: &Line) -> bool {
        let (post, letters) = self.set(line);
        let last = self.posts.len() >= MOST_POSTS;
        let keep = if last { CLOSE } else { 0 };
        let here = self.posts.last().expect("a thread has a post");
        let fits = self.letters + 1 + letters + keep <= self.network.letters
            && here.text.len() + 1 + post.text.len() + keep <= self.network.bytes;
        if self.letters > 0 && !fits {
            if last {
                return false;
            }
            self.posts.push(Post::default());
            self.letters = 0;
        }
        let here = self.posts.last_mut().expect("a thread has a post");
        if self.letters > 0 {
            here.text.push('\n');
            self.letters += 1;
        }
        let offset = here.text.len();
        let moved = |f: Facet| Facet { start: f.start + offset, end: f.end + offset, address: f.address };
        here.facets.extend(post.facets.into_iter().map(moved));
        here.text.push_str(&post.text);
        self.letters += letters;
        true
    }

    fn close(&mut self, text: &str) {
        let here = self.posts.last_mut().expect("a thread has a post");
        here.text.push('\n');
        here.text.push_str(text);
    }

    /// A line as the network shows it, cut so that it fits a post of its own, and what it counts.
    fn set(&self, line: &Line) -> (Post, usize) {
        // As much as a post of its own has, with the closing line still to come.
        let room = self.network.letters.saturating_sub(CLOSE);
        let bytes = self.network.bytes.saturating_sub(CLOSE);
        let (tail, counted) = match (&line.link, self.network.address) {
            (None, _) => (String::new(), 0),
            (Some((_, address)), Some(counts)) => (format!(" {address}"), 1 + counts),
            (Some((label, _)), None) => {
                let label = clean::cut(label, 60);
                (format!(" ({label})"), 3 + label.graphemes(true).count())
            }
        };
        let mut text = clean::cut(&line.text, room.saturating_sub(counted));
        // One letter may be many bytes.
        while text.len() + tail.len() > bytes && !text.is_empty() {
            text = clean::cut(&text, text.graphemes(true).count() / 2);
        }
        let letters = text.graphemes(true).count() + counted;
        let facets = match (&line.link, self.network.address) {
            (Some((_, address)), None) => {
                let (start, end) = (text.len() + 2, text.len() + tail.len() - 1);
                vec![Facet { start, end, address: address.clone() }]
            }
            _ => vec![],
        };
        (Post { text: text + &tail, facets }, letters)
    }
}

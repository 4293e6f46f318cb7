//! Foreign text made fit to be shown: output of programs and bodies of answers are text to us,
//! never instructions to a terminal.

/// Takes bytes in pieces and gives lines without escape sequences and control characters.
///
/// What a terminal would show is what is kept: a carriage return begins the line again (progress
/// bars leave their last state), a backspace is dropped. A line longer than `max` bytes is cut and
/// says so. Memory stays below `max` however long a line or an escape sequence is.
#[derive(Debug)]
pub(super) struct Lines {
    line: Vec<u8>,
    max: usize,
    over: u64,
    state: State,
    returned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    /// After ESC.
    Escape,
    /// In a control sequence (`ESC [ … letter`).
    Control,
    /// In a string (`ESC ] … BEL`, `ESC P … ESC \`).
    Text,
    /// After ESC in a string.
    TextEscape,
}

impl Lines {
    pub(super) fn new(max: usize) -> Lines {
        Lines { line: Vec::new(), max, over: 0, state: State::Plain, returned: false }
    }

    /// Feeds `bytes`; calls `each` with every line that is complete.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(String)) {
        for &b in bytes {
            match (self.state, b) {
                // A line ends whatever went on before it: a broken sequence must not eat the rest.
                (_, b'\n') => {
                    self.state = State::Plain;
                    each(self.take());
                }
                (State::Plain | State::Escape, 0x1b) => self.state = State::Escape,
                (State::Escape, b'[') => self.state = State::Control,
                (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => self.state = State::Text,
                // `ESC ( B` and its like have one more byte.
                (State::Escape, 0x20..=0x2f) => {}
                (State::Escape, _) => self.state = State::Plain,
                (State::Control, 0x40..=0x7e) => self.state = State::Plain,
                (State::Control, _) => {}
                (State::Text, 0x07) => self.state = State::Plain,
                (State::Text, 0x1b) => self.state = State::TextEscape,
                (State::Text, _) => {}
                (State::TextEscape, b'\\') => self.state = State::Plain,
                (State::TextEscape, _) => self.state = State::Text,
                (State::Plain, b'\r') => self.returned = true,
                (State::Plain, b'\t' | 0x20..=0x7e | 0x80..) => self.push(b),
                (State::Plain, _) => {}
            }
        }
    }

    /// What is left when there is no more: a last line without its end.
    pub(super) fn rest(&mut self) -> Option<String> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn push(&mut self, b: u8) {
        if std::mem::take(&mut self.returned) {
            self.line.clear();
            self.over = 0;
        }
        if self.line.len() < self.max { self.line.push(b) } else { self.over += 1 }
    }

    fn take(&mut self) -> String {
        self.returned = false;
        let text = String::from_utf8_lossy(&self.line);
        let mut text: String = text.chars().filter(|c| !hidden(*c)).collect();
        if self.over > 0 {
            text.push_str(&format!("… [{} more bytes]", self.over));
        }
        self.line.clear();
        self.over = 0;
        text
    }
}

/// Control characters, and those that turn the direction of the text around.
fn hidden(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `bytes` as clean text, its lines kept.
pub(super) fn clean(bytes: &[u8]) -> String {
    let mut lines = Lines::new(usize::MAX);
    let mut out = String::new();
    lines.feed(bytes, |line| {
        out.push_str(&line);
        out.push('\n');
    });
    out.extend(lines.rest());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]], max: usize) -> Vec<String> {
        let (mut lines, mut out) = (Lines::new(max), Vec::new());
        for piece in pieces {
            lines.feed(piece, |l| out.push(l));
        }
        out.extend(lines.rest());
        out
    }

    #[test]
    fn escape_sequences_and_control_characters_go() {
        for (raw, clean) in [
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bPq#0;2\x1b\\after", "after"),
            ("\x1b(Bplain", "plain"),
            ("\x1b[2J\x1b[H\x1b[?25lx", "x"),
            ("a\x00b\x07c\x08d\x7fe", "abcde"),
            ("tab\tkept", "tab\tkept"),
            ("\u{9b}31mx", "31mx"),
            ("abc\u{202e}def", "abcdef"),
            ("ünï", "ünï"),
        ] {
            assert_eq!(super::clean(raw.as_bytes()), clean, "{raw:?}");
        }
        assert_eq!(super::clean(b"\xff\xfeok"), "\u{fffd}\u{fffd}ok");
    }

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let raw = "one\r\n\x1b[1mtwo ü\x1b[0m\nthree".as_bytes();
        let whole = lines(&[raw], 100);
        assert_eq!(whole, ["one", "two ü", "three"]);
        for at in 0..raw.len() {
            assert_eq!(lines(&[&raw[..at], &raw[at..]], 100), whole, "cut at {at}");
        }
    }

    #[test]
    fn a_progress_bar_leaves_what_a_terminal_would_show() {
        assert_eq!(lines(&[b"10%\r50%\r100%\ndone\n"], 100), ["100%", "done"]);
    }

    #[test]
    fn a_broken_sequence_does_not_eat_the_next_line() {
        assert_eq!(lines(&[b"\x1b]0;never ends\nnext\n\x1b[\nlast"], 100), ["", "next", "", "last"]);
    }

    #[test]
    fn a_long_line_is_cut_with_a_mark_and_takes_no_memory() {
        let mut splitter = Lines::new(10);
        for _ in 0..1000 {
            splitter.feed(&[b'x'; 1000], |_| panic!("no line ended"));
        }
        assert!(splitter.line.capacity() <= 64);
        assert_eq!(splitter.rest().unwrap(), "xxxxxxxxxx… [999990 more bytes]");
    }
}

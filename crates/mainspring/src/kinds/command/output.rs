//! What a command writes becomes its log: standard output at level info, standard error at warn, in
//! the order of arrival, as clean text (see [`super::super::text`]).
//!
//! The log has room for [`KEPT`] bytes and [`LINES`] lines. What comes after that is counted, and
//! the last of it kept, so that the log of a command that writes a gigabyte holds its beginning, a
//! mark, and its end. Memory does not grow with what is written.

use super::super::Attempt;
use super::super::text::{Lines, clean};
use mainspring_core::job::LogLevel;
use mainspring_core::limits;
use std::collections::VecDeque;

/// Bytes that go into the log before it is cut.
pub(super) const KEPT: usize = 1 << 20;
/// Lines that do; the rest of the log's room is for the end and for other lines.
pub(super) const LINES: usize = limits::LOG_LINES - 100;
/// Bytes of the end of a stream that are kept.
const TAIL: usize = 4 << 10;
/// Lines of the end that are logged.
const TAIL_LINES: usize = 20;

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// One stream on its way.
struct Side {
    level: LogLevel,
    lines: Lines,
    bytes: u64,
    /// The last bytes as they came.
    tail: VecDeque<u8>,
}

/// Both streams of one command.
pub(super) struct Output {
    sides: [Side; 2],
    logged_bytes: usize,
    logged_lines: usize,
    cut: bool,
}

impl Output {
    pub(super) fn new() -> Output {
        let side = |level| Side {
            level,
            lines: Lines::new(limits::LOG_LINE - 64),
            bytes: 0,
            tail: VecDeque::with_capacity(TAIL),
        };
        Output {
            sides: [side(LogLevel::Info), side(LogLevel::Warn)],
            logged_bytes: 0,
            logged_lines: 0,
            cut: false,
        }
    }

    /// Takes what `stream` wrote.
    pub(super) fn feed(&mut self, stream: Stream, bytes: &[u8], attempt: &dyn Attempt) {
        let Output { sides, logged_bytes, logged_lines, cut } = self;
        let side = &mut sides[stream as usize];
        side.bytes += bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        side.tail.drain(..(side.tail.len() + last.len()).saturating_sub(TAIL));
        side.tail.extend(last);
        if *cut {
            return;
        }
        let level = side.level;
        side.lines.feed(bytes, |line| {
            if *logged_lines < LINES && *logged_bytes + line.len() <= KEPT {
                *logged_lines += 1;
                *logged_bytes += line.len() + 1;
                attempt.line(level, &line);
            } else {
                *cut = true;
            }
        });
        // A line that never ends is written out when there is no more, cut to its length.
        *cut |= sides.iter().map(|s| s.bytes).sum::<u64>() > 64 * KEPT as u64;
        if *cut {
            let text = format!(
                "[output cut: more than {LINES} lines or {} MiB; its end follows when it ends]",
                KEPT >> 20
            );
            attempt.line(LogLevel::Warn, &text);
        }
    }

    /// Writes what is left, and the end if something was cut.
    pub(super) fn finish(&mut self, attempt: &dyn Attempt) {
        let written = self.written();
        for side in &mut self.sides {
            if !self.cut {
                if let Some(line) = side.lines.rest() {
                    attempt.line(side.level, &line);
                }
                continue;
            }
            let tail = tail(side);
            let lines: Vec<&str> = tail.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                attempt.line(side.level, line);
            }
        }
        if self.cut {
            attempt.line(LogLevel::Warn, &format!("[output cut: {written} bytes in all]"));
        }
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.sides.iter().map(|s| s.bytes).sum()
    }

    /// Whether something was left out of the log.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// The end of a stream as clean text.
    pub(super) fn end_of(&self, stream: Stream) -> String {
        tail(&self.sides[stream as usize])
    }
}

fn tail(side: &Side) -> String {
    let bytes: Vec<u8> = side.tail.iter().copied().collect();
    // The first line is most likely not whole.
    let from = if side.bytes > TAIL as u64 {
        bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1)
    } else {
        0
    };
    clean(&bytes[from..]).trim_end().to_owned()
}

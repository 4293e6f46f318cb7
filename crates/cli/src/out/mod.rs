//! What a command prints: aligned tables and paragraphs for people, JSON for programs.
//!
//! All output goes through [`Out`], which is buffered and reports a closed pipe as an error instead
//! of panicking. Colour is used on a terminal only, and never where `NO_COLOR` is set.

pub mod table;
pub mod when;

use crate::error::Result;
use mainspring_core::job::{AttemptOutcome, JobState};
pub use mainspring_core::text::grouped as count;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The output stream of a command.
pub struct Out {
    stream: std::io::BufWriter<std::io::Stdout>,
    colour: bool,
    /// Print JSON instead of tables.
    pub json: bool,
}

impl Out {
    /// Standard output.
    pub fn new(json: bool, colour: Colour) -> Out {
        let stdout = std::io::stdout();
        let colour = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Out { stream: std::io::BufWriter::with_capacity(64 << 10, stdout), colour: colour && !json, json }
    }

    /// One line.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<()> {
        self.stream.write_all(text.as_ref().as_bytes())?;
        self.stream.write_all(b"\n")?;
        Ok(())
    }

    /// One JSON document, indented.
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        serde_json::to_writer_pretty(&mut self.stream, value).map_err(std::io::Error::from)?;
        self.stream.write_all(b"\n")?;
        Ok(())
    }

    /// One JSON document on one line.
    pub fn json_line<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        serde_json::to_writer(&mut self.stream, value).map_err(std::io::Error::from)?;
        self.stream.write_all(b"\n")?;
        Ok(())
    }

    /// A table for people.
    pub fn table(&mut self, table: &table::Table) -> Result<()> {
        let text = table.render(self.colour);
        self.stream.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Brings everything out.
    pub fn flush(&mut self) -> Result<()> {
        self.stream.flush()?;
        Ok(())
    }

    /// Whether colour is on.
    pub fn coloured(&self) -> bool {
        self.colour
    }

    /// `text` in a colour, when colour is on.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        paint.on(text, self.colour)
    }
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Nothing.
    Plain,
    /// It went well.
    Good,
    /// Somebody may look.
    Warn,
    /// It failed.
    Bad,
    /// It goes on.
    Busy,
    /// Beside the point.
    Dim,
    /// A heading.
    Strong,
}

impl Paint {
    /// `text` in this colour.
    pub fn on(self, text: &str, colour: bool) -> String {
        let code = match self {
            _ if !colour => return text.to_owned(),
            Paint::Plain => return text.to_owned(),
            Paint::Good => "32",
            Paint::Warn => "33",
            Paint::Bad => "31",
            Paint::Busy => "36",
            Paint::Dim => "2",
            Paint::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// The colour of a job's state.
    pub fn of_state(state: JobState) -> Paint {
        match state {
            JobState::Completed => Paint::Good,
            JobState::Running => Paint::Busy,
            JobState::Failed => Paint::Bad,
            JobState::Cancelled => Paint::Dim,
            JobState::Scheduled | JobState::Available => Paint::Plain,
        }
    }

    /// The colour of an attempt's outcome.
    pub fn of_outcome(outcome: AttemptOutcome) -> Paint {
        use AttemptOutcome as A;
        match outcome {
            A::Succeeded => Paint::Good,
            A::Partial | A::TimedOut | A::Interrupted => Paint::Warn,
            A::Failed => Paint::Bad,
            A::Cancelled | A::Snoozed | A::Skipped => Paint::Dim,
        }
    }
}

/// `text` on one line, control characters shown as spaces, at most `max` characters.
pub fn one_line(text: &str, max: usize) -> String {
    let mut out: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(max + 1).collect();
    if out.chars().count() > max {
        out = out.chars().take(max.saturating_sub(1)).collect();
        out.push('…');
    }
    out
}

/// `1 job`, `2 jobs`.
pub fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_texts_are_short_and_whole() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1234567), "1,234,567");
        assert_eq!(plural(1, "job"), "1 job");
        assert_eq!(plural(2000, "job"), "2,000 jobs");
        assert_eq!(one_line("a\nb\u{1b}[31m", 40), "a b [31m");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }
}

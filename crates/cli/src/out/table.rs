//! Aligned tables: a heading, one line per row, two blanks between columns, no frames.
//!
//! Widths are counted in characters. Texts come from users, so control characters never reach the
//! terminal.

use super::{Paint, one_line};

/// The longest cell; more is cut with a mark.
const CELL: usize = 80;

/// One cell.
pub struct Cell {
    text: String,
    paint: Paint,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell { text: one_line(&text.into(), CELL), paint: Paint::Plain }
    }
}

impl Cell {
    /// A coloured cell.
    pub fn new(text: impl Into<String>, paint: Paint) -> Cell {
        Cell { paint, ..Cell::from(text) }
    }
}

/// A table.
pub struct Table {
    heads: Vec<(&'static str, bool)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings; one that begins with `>` is aligned to the right.
    pub fn new(heads: &[&'static str]) -> Table {
        let heads =
            heads.iter().map(|h| h.strip_prefix('>').map_or((*h, false), |rest| (rest, true))).collect();
        Table { heads, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its text.
    pub fn render(&self, colour: bool) -> String {
        let mut widths: Vec<usize> = self.heads.iter().map(|(h, _)| h.chars().count()).collect();
        for row in &self.rows {
            for (w, cell) in widths.iter_mut().zip(row) {
                *w = (*w).max(cell.text.chars().count());
            }
        }
        let mut out = String::new();
        let heads: Vec<Cell> =
            self.heads.iter().map(|(h, _)| Cell { text: h.to_uppercase(), paint: Paint::Dim }).collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            let mut blanks = 0;
            for (i, cell) in row.iter().enumerate() {
                let fill = widths[i].saturating_sub(cell.text.chars().count());
                let (before, after) = if self.heads[i].1 { (fill, 0) } else { (0, fill) };
                if !cell.text.is_empty() {
                    line.extend(std::iter::repeat_n(' ', blanks + before));
                    line.push_str(&cell.paint.on(&cell.text, colour));
                    blanks = after + 2;
                } else {
                    blanks += widths[i] + 2;
                }
            }
            out.push_str(&line);
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let mut t = Table::new(&["name", ">jobs", "note"]);
        t.row(["mail".into(), "7".into(), "".into()]);
        t.row(["web".into(), "12,000".into(), "a\nb".into()]);
        assert_eq!(t.render(false), "NAME    JOBS  NOTE\nmail       7\nweb   12,000  a b\n");
        assert!(t.render(true).contains("\u{1b}[2mNAME\u{1b}[0m"));
    }
}

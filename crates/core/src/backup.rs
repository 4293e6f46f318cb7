//! What a store says of a copy of itself.

use serde::Serialize;

/// A copy that was read back and found to be whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// The size of the copy.
    pub bytes: u64,
    /// Rows by table, in the order of the tables' names.
    pub rows: Vec<(String, u64)>,
}

impl Copied {
    /// All rows.
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|(_, n)| n).sum()
    }
}

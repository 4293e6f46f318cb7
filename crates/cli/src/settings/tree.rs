//! A TOML file as a tree in which every key and value knows its line and column, so that whatever
//! is wrong with it can be shown where it stands.

use crate::error::{CliError, Result, nearest};
use mainspring_core::code::Code;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file's path and text, for positions.
#[derive(Debug)]
pub struct Source {
    /// Its path as given.
    pub path: PathBuf,
    text: String,
}

impl Source {
    /// `mainspring.toml:12:8` of a byte offset; columns count characters from 1.
    pub fn place(&self, offset: usize) -> String {
        let before = &self.text[..self.text.floor_char_boundary(offset.min(self.text.len()))];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub span: Range<usize>,
    /// What it is.
    pub value: Value,
    source: Arc<Source>,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A date or time, as written.
    Time(String),
    /// An array.
    List(Vec<Node>),
    /// A table.
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub span: Range<usize>,
    /// Its value.
    pub node: Node,
}

/// Reads a TOML file.
pub fn read(path: &Path) -> Result<Node> {
    let bytes = std::fs::read(path).map_err(|e| {
        CliError::new(Code::CONFIG_UNREADABLE, format!("the configuration file cannot be read: {e}"))
            .at(path.display().to_string())
            .hint("name another with --config FILE")
    })?;
    let text = String::from_utf8(bytes).map_err(|e| {
        CliError::new(Code::CONFIG_UNREADABLE, "the configuration file is not UTF-8 text").at(format!(
            "{}, byte {}",
            path.display(),
            e.utf8_error().valid_up_to()
        ))
    })?;
    parse(path, text)
}

/// Reads TOML text that stands in `path`.
pub fn parse(path: &Path, text: String) -> Result<Node> {
    let source = Arc::new(Source { path: path.to_owned(), text });
    let root = DeTable::parse(&source.text).map_err(|e| {
        let place = source.place(e.span().map_or(0, |s| s.start));
        CliError::new(
            Code::CONFIG_UNREADABLE,
            format!("this is not TOML: {}", e.message().replace('\n', ", ")),
        )
        .at(place)
    })?;
    Ok(Node { span: root.span(), value: table(&source, root.get_ref()), source: source.clone() })
}

fn table(source: &Arc<Source>, table: &DeTable<'_>) -> Value {
    Value::Table(
        table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                span: key.span(),
                node: node(source, value),
            })
            .collect(),
    )
}

fn node(source: &Arc<Source>, from: &Spanned<DeValue<'_>>) -> Node {
    let value = match from.get_ref() {
        DeValue::String(s) => Value::Text(s.to_string()),
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => Value::Int(i),
            // Larger than any setting: kept as text, and refused as such.
            Err(_) => Value::Text(i.to_string()),
        },
        DeValue::Float(f) => Value::Float(f.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(d) => Value::Time(d.to_string()),
        DeValue::Array(list) => Value::List(list.iter().map(|v| node(source, v)).collect()),
        DeValue::Table(t) => table(source, t),
    };
    Node { span: from.span(), value, source: source.clone() }
}

impl Node {
    /// Where it stands: `mainspring.toml:12:8`.
    pub fn place(&self) -> String {
        self.source.place(self.span.start)
    }

    /// The file it stands in.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// Its entries, if it is a table.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|e| e.key == key).map(|e| &e.node)
    }

    /// What it is, in a word.
    pub fn what(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "text",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Bool(_) => "true or false",
            Value::Time(_) => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// An error at this place.
    pub fn error(&self, code: Code, message: impl Into<String>) -> CliError {
        CliError::new(code, message).at(self.place())
    }

    /// "`key` must be `want`, not `what`", at this place.
    pub fn mismatch(&self, key: &str, want: &str) -> CliError {
        self.error(Code::CONFIG_INVALID, format!("{key} must be {want}, not {}", self.what()))
    }

    /// The table's entries; refuses keys that are not `known`, naming the nearest one.
    pub fn only(&self, what: &str, known: &[&str]) -> Result<&[Entry]> {
        let Some(entries) = self.entries() else {
            return Err(self.mismatch(what, "a table"));
        };
        match entries.iter().find(|e| !known.contains(&e.key.as_str())) {
            Some(entry) => Err(entry.unknown(what, known)),
            None => Ok(entries),
        }
    }

    /// As JSON; dates as text.
    pub fn json(&self) -> serde_json::Value {
        use serde_json::Value as J;
        match &self.value {
            Value::Text(s) | Value::Time(s) => J::from(s.as_str()),
            Value::Int(i) => J::from(*i),
            Value::Float(f) => J::from(*f),
            Value::Bool(b) => J::from(*b),
            Value::List(list) => list.iter().map(Node::json).collect(),
            Value::Table(entries) => {
                J::Object(entries.iter().map(|e| (e.key.clone(), e.node.json())).collect())
            }
        }
    }

    /// The place of a value inside this one, by keys and positions in lists; the nearest outer
    /// place when it goes deeper than the file.
    pub fn place_of(&self, path: &[&str]) -> String {
        let inner = path.first().and_then(|first| match &self.value {
            Value::List(list) => first.parse::<usize>().ok().and_then(|i| list.get(i)),
            _ => self.get(first),
        });
        inner.map_or_else(|| self.place(), |n| n.place_of(&path[1..]))
    }
}

impl Entry {
    /// Where the key stands.
    pub fn place(&self) -> String {
        self.node.source.place(self.span.start)
    }

    /// "`what` has no key …".
    pub fn unknown(&self, what: &str, known: &[&str]) -> CliError {
        let error = CliError::new(Code::CONFIG_UNKNOWN_KEY, format!("{what} has no key {:?}", self.key))
            .at(self.place());
        match nearest(&self.key, known.iter().copied()) {
            Some(near) => error.hint(format!("{near}, if that was meant")),
            None => error.hint(format!("one of: {}", known.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Result<Node> {
        parse(Path::new("m.toml"), text.into())
    }

    #[test]
    fn everything_knows_its_line_and_column() {
        let root = tree("a = 1\n[b]\nc = { \"é\" = \"x\", d = [1, 2] }\n").unwrap();
        assert_eq!(root.get("a").unwrap().place(), "m.toml:1:5");
        assert_eq!(root.place_of(&["b", "c", "d", "1"]), "m.toml:3:26");
        assert_eq!(root.place_of(&["b", "c", "nothing"]), "m.toml:3:5");
        assert_eq!(root.json(), serde_json::json!({"a": 1, "b": {"c": {"é": "x", "d": [1, 2]}}}));
    }

    #[test]
    fn broken_files_and_unknown_keys_are_shown_where_they_stand() {
        let e = tree("a = 1\nb = \n").unwrap_err();
        assert_eq!((e.code, e.place.as_deref()), (Code::CONFIG_UNREADABLE, Some("m.toml:2:5")));
        let e = tree("a = 1\na = 2\n").unwrap_err();
        assert_eq!(e.place.as_deref(), Some("m.toml:2:1"), "{e}");
        let root = tree("slost = 1\n").unwrap();
        let e = root.only("the file", &["slots", "store"]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "error[MS0003]: the file has no key \"slost\"\n  where: m.toml:1:1\n  try: slots, if that was meant"
        );
    }
}

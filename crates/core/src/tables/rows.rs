//! What a statement gave, and how it becomes typed values by serde.

use super::value::Value;
use super::{Result, TablesError};
use crate::limits;
use serde::de::value::{BytesDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt::Display;

/// Rows in the order in which the statement gave them.
#[derive(Clone, Default, PartialEq)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    size: usize,
    affected: u64,
}

/// Shows no value: it may be a secret.
impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Rows");
        shown.field("columns", &self.columns).field("rows", &self.rows.len());
        shown.field("affected", &self.affected).finish()
    }
}

impl Rows {
    /// For stores: no row yet.
    pub fn new(columns: Vec<String>) -> Rows {
        Rows { columns, ..Rows::default() }
    }

    /// For stores: one more row. Refused when there are too many, or they are too large.
    pub fn push(&mut self, row: Vec<Value>) -> Result<(), String> {
        self.size += row.iter().map(Value::size).sum::<usize>();
        self.affected += 1;
        self.rows.push(row);
        if self.rows.len() > limits::TABLE_ROWS {
            return Err(format!("it gives more than {} rows; ask page by page", limits::TABLE_ROWS));
        }
        match self.size > limits::TABLE_ANSWER {
            true => Err(format!("it gives more than {} bytes; ask page by page", limits::TABLE_ANSWER)),
            false => Ok(()),
        }
    }

    /// For stores: how many rows a statement without an answer changed.
    pub fn changed(rows: u64) -> Rows {
        Rows { affected: rows, ..Rows::default() }
    }

    /// How many rows were changed or, by a statement that gives rows, given.
    pub fn affected(&self) -> u64 {
        self.affected
    }

    /// How many rows there are to read.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none to read.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values as they are, row by row.
    pub fn values(&self) -> &[Vec<Value>] {
        &self.rows
    }

    /// Every row as a `T`: a struct or a map by the columns' names (columns that it does not have are
    /// passed over), a tuple by their order, anything else from the one column there is.
    pub fn into_typed<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        let Rows { columns, rows, .. } = self;
        let typed = |(at, values)| {
            let row = Row { columns: &columns, values };
            T::deserialize(row).map_err(|e| TablesError::Row { row: at + 1, text: e.0 })
        };
        rows.into_iter().enumerate().map(typed).collect()
    }

    /// The row, or None when there is none; more than one is an error.
    pub fn optional<T: DeserializeOwned>(self) -> Result<Option<T>> {
        match self.rows.len() {
            0 | 1 => Ok(self.into_typed()?.pop()),
            n => Err(TablesError::Row { row: 0, text: format!("there are {n} where one was expected") }),
        }
    }

    /// The one row.
    pub fn one<T: DeserializeOwned>(self) -> Result<T> {
        let none = || TablesError::Row { row: 0, text: "there is none where one was expected".into() };
        self.optional()?.ok_or_else(none)
    }
}

/// Why a row is not a `T`: names columns and types, never what stands in them.
#[derive(Debug)]
struct Misfit(String);

impl std::error::Error for Misfit {}

impl Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a real number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a text",
        Unexpected::Bytes(_) | Unexpected::Seq => "bytes",
        Unexpected::Option | Unexpected::Unit => "NULL",
        _ => "a value",
    }
}

impl Error for Misfit {
    fn custom<T: Display>(text: T) -> Misfit {
        Misfit(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Misfit {
        Misfit(format!("is {}, expected {wanted}", kind(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Misfit {
        Misfit(format!("is {} that does not fit, expected {wanted}", kind(&found)))
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Misfit {
        Misfit(format!("is none of {}", known.join(", ")))
    }

    fn missing_field(field: &'static str) -> Misfit {
        Misfit(format!("there is no column {field}"))
    }

    fn duplicate_field(field: &'static str) -> Misfit {
        Misfit(format!("there are two columns {field}; name one of them otherwise with AS"))
    }
}

/// One row.
struct Row<'a> {
    columns: &'a [String],
    values: Vec<Value>,
}

impl<'a> Row<'a> {
    fn cells(self) -> Cells<'a> {
        Cells { columns: self.columns.iter(), values: self.values.into_iter(), column: "" }
    }

    fn only(mut self) -> Result<Cell, Misfit> {
        match (self.values.pop(), self.values.is_empty()) {
            (Some(value), true) => Ok(Cell(value)),
            _ => Err(Misfit(format!("has {} columns where one was expected", self.columns.len()))),
        }
    }
}

macro_rules! by_the_only_column {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            let column = self.columns.first().cloned().unwrap_or_default();
            self.only()?.$method(visitor).map_err(|e| in_column(&column, e))
        }
    )* };
}

fn in_column(column: &str, e: Misfit) -> Misfit {
    Misfit(format!("column {column} {}", e.0))
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Misfit;

    by_the_only_column! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_map(self.cells())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Misfit> {
        if self.values.len() != len {
            return Err(Misfit(format!("has {} columns where {len} were expected", self.values.len())));
        }
        visitor.visit_seq(self.cells())
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_seq(self.cells())
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 unit_struct map struct ignored_any }
}

/// The columns of a row, one after another.
struct Cells<'a> {
    columns: std::slice::Iter<'a, String>,
    values: std::vec::IntoIter<Value>,
    column: &'a str,
}

impl Cells<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        let value = self.values.next().unwrap_or(Value::Null);
        seed.deserialize(Cell(value)).map_err(|e| in_column(self.column, e))
    }
}

impl<'de> MapAccess<'de> for Cells<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some(column) = self.columns.next() else { return Ok(None) };
        self.column = column;
        seed.deserialize(column.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        self.next(seed)
    }
}

impl<'de> SeqAccess<'de> for Cells<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some(column) = self.columns.next() else { return Ok(None) };
        self.column = column;
        self.next(seed).map(Some)
    }
}

/// One value.
struct Cell(Value);

impl<'de> Deserializer<'de> for Cell {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Int(n) => visitor.visit_i64(n),
            Value::Real(x) => visitor.visit_f64(x),
            Value::Text(text) => visitor.visit_string(text),
            Value::Blob(bytes) => visitor.visit_byte_buf(bytes),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Int(n @ (0 | 1)) => visitor.visit_bool(n == 1),
            Value::Int(_) => Err(Misfit("is an integer that does not fit, expected 0 or 1".into())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            // A Vec<u8> asks for a sequence.
            Value::Blob(bytes) => {
                visitor.visit_seq(serde::de::value::SeqDeserializer::new(bytes.into_iter()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Blob(bytes) => BytesDeserializer::new(&bytes).deserialize_any(visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Text(text) => StringDeserializer::new(text).deserialize_enum(name, variants, visitor),
            other => Err(Misfit(format!("is {}, expected one of {}", other.kind(), variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AsJson, At};
    use super::*;
    use crate::time;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Name(String);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Role {
        Owner,
        Guest,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct User {
        id: i64,
        name: Name,
        role: Role,
        on: bool,
        share: f64,
        seen: Option<At>,
        tags: AsJson<Vec<String>>,
        key: Vec<u8>,
        n: u16,
        #[serde(default)]
        not_there: u8,
    }

    fn columns() -> Vec<String> {
        ["id", "more", "name", "role", "on", "share", "seen", "tags", "key", "n"].map(String::from).to_vec()
    }

    fn row() -> Vec<Value> {
        let text = |t: &str| Value::Text(t.into());
        vec![
            Value::Int(7),
            Value::Null,
            text("Ada"),
            text("owner"),
            Value::Int(1),
            Value::Int(2),
            Value::Int(5_000_000),
            text(r#"["a","b"]"#),
            Value::Blob(vec![0, 255]),
            Value::Int(65_535),
        ]
    }

    fn rows(row: Vec<Value>) -> Rows {
        let mut rows = Rows::new(columns());
        rows.push(row).unwrap();
        rows
    }

    #[test]
    fn a_row_becomes_a_struct_by_its_columns_names() {
        let user: User = rows(row()).one().unwrap();
        let wanted = User {
            id: 7,
            name: Name("Ada".into()),
            role: Role::Owner,
            on: true,
            share: 2.0,
            seen: Some(At(time::from_micros(5_000_000))),
            tags: AsJson(vec!["a".into(), "b".into()]),
            key: vec![0, 255],
            n: 65_535,
            not_there: 0,
        };
        assert_eq!(user, wanted);
        let mut none = row();
        none[6] = Value::Null;
        assert_eq!(rows(none).one::<User>().unwrap().seen, None);
    }

    #[test]
    fn a_misfit_is_told_by_row_and_column_without_what_stands_there() {
        let secret = || Value::Text("hunter2".into());
        for (at, value, why) in [
            (0, secret(), "column id is a text, expected i64"),
            (0, Value::Null, "column id is NULL, expected i64"),
            (2, Value::Int(421_337), "column name is an integer, expected a string"),
            (3, secret(), "column role is none of owner, guest"),
            (4, Value::Int(421_337), "column on is an integer that does not fit, expected 0 or 1"),
            (6, Value::Int(i64::MAX), "column seen is not an instant"),
            (7, secret(), "column tags is no JSON (line 1 column 1)"),
            (7, Value::Text(r#""hunter2""#.into()), "column tags is JSON of another shape"),
            (8, secret(), "column key is a text, expected a sequence"),
            (9, Value::Int(421_337), "column n is an integer that does not fit, expected u16"),
            (9, Value::Real(421_337.5), "column n is a real number, expected u16"),
        ] {
            let mut bad = row();
            bad[at] = value;
            let mut rows = rows(row());
            rows.push(bad).unwrap();
            let error = rows.into_typed::<User>().unwrap_err().to_string();
            assert!(error.contains(why) && error.starts_with("row 2: "), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("421337"), "{error}");
        }
        let mut short = Rows::new(vec!["id".into()]);
        short.push(vec![Value::Int(1)]).unwrap();
        assert_eq!(short.one::<User>().unwrap_err().to_string(), "row 1: there is no column name");
    }

    #[test]
    fn tuples_go_by_order_and_single_columns_by_themselves() {
        let mut pair = Rows::new(vec!["a".into(), "b".into()]);
        pair.push(vec![Value::Int(1), Value::Text("x".into())]).unwrap();
        assert_eq!(pair.clone().one::<(u8, String)>().unwrap(), (1, "x".into()));
        assert!(pair.clone().one::<(u8,)>().unwrap_err().to_string().contains("2 columns where 1"));
        assert!(pair.one::<u8>().unwrap_err().to_string().contains("2 columns where one"));
        let mut single = Rows::new(vec!["a".into()]);
        single.push(vec![Value::Int(1)]).unwrap();
        single.push(vec![Value::Null]).unwrap();
        assert_eq!(single.clone().into_typed::<Option<i64>>().unwrap(), [Some(1), None]);
        let error = single.clone().into_typed::<i64>().unwrap_err().to_string();
        assert_eq!(error, "row 2: column a is NULL, expected i64");
        assert!(single.one::<Option<i64>>().unwrap_err().to_string().contains("2 where one"));
        assert!(Rows::default().one::<i64>().unwrap_err().to_string().contains("none where one"));
        assert_eq!(Rows::default().optional::<i64>().unwrap(), None);
    }

    #[test]
    fn an_answer_is_bounded_and_shows_no_value() {
        let mut rows = Rows::new(vec!["a".into()]);
        for _ in 0..limits::TABLE_ROWS {
            rows.push(vec![Value::Int(1)]).unwrap();
        }
        assert!(rows.push(vec![Value::Int(1)]).unwrap_err().contains("page by page"));
        let mut rows = Rows::new(vec!["a".into()]);
        let large = Value::Text("hunter2".repeat(limits::TABLE_ANSWER / 7 + 1));
        assert!(rows.push(vec![large]).unwrap_err().contains("bytes"));
        assert!(!format!("{rows:?}").contains("hunter2"));
    }
}

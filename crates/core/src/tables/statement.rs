//! A statement with its parameters, and what is checked of it before a database sees it.

use super::sql::{self, Dialect};
use super::value::{IntoValue, Value};
use super::{Result, TablesError};
use crate::limits;
use std::borrow::Cow;

/// One statement of the portable subset: SELECT, VALUES, INSERT, UPDATE or DELETE, also after WITH.
/// Parameters are `?1`, `?2`, …; each number is bound once, in order, and may be used many times.
///
/// ```
/// use mainspring_core::tables::Statement;
/// let rename = Statement::new("UPDATE web_users SET name = ?2 WHERE id = ?1").bind(7).bind("Ada").expect_rows(1);
/// ```
#[derive(Clone)]
pub struct Statement {
    sql: Cow<'static, str>,
    params: Vec<Value>,
    wrong: Option<String>,
    expect: Option<u64>,
}

/// Shows no parameter: it may be a secret.
impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let params: Vec<&str> = self.params.iter().map(Value::kind).collect();
        f.debug_struct("Statement").field("sql", &self.sql).field("params", &params).finish()
    }
}

impl Statement {
    /// A statement. Its text is part of the program: what people typed is bound, never pasted in.
    pub fn new(sql: &'static str) -> Statement {
        Statement { sql: Cow::Borrowed(sql), params: Vec::new(), wrong: None, expect: None }
    }

    /// A statement put together from fixed pieces (filters that may be there or not).
    pub fn built(sql: String) -> Statement {
        Statement { sql: Cow::Owned(sql), ..Statement::new("") }
    }

    /// Binds the next parameter.
    pub fn bind(mut self, value: impl IntoValue) -> Statement {
        match value.into_value() {
            Ok(value) => self.params.push(value),
            Err(text) => {
                self.params.push(Value::Null);
                let nth = self.params.len();
                self.wrong.get_or_insert_with(|| format!("parameter ?{nth} {text}"));
            }
        }
        self
    }

    /// Undoes the whole write with [`TablesError::Unexpected`] unless this statement changes (or, a
    /// SELECT, finds) exactly so many rows. So a guarded UPDATE that hits nothing writes nothing.
    pub fn expect_rows(mut self, rows: u64) -> Statement {
        self.expect = Some(rows);
        self
    }

    /// For stores: checked and spelled for one database.
    pub fn prepare(self, dialect: &Dialect) -> std::result::Result<Prepared, String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let size = self.sql.len() + self.params.iter().map(Value::size).sum::<usize>();
        if size > limits::TABLE_BYTES {
            let most = limits::TABLE_BYTES;
            return Err(format!("it is {size} bytes with its parameters, at most {most} are allowed"));
        }
        for (value, nth) in self.params.iter().zip(1..) {
            value.check().map_err(|text| format!("parameter ?{nth} {text}"))?;
        }
        let parsed = sql::parse(&self.sql)?;
        parsed.check_parameters(self.params.len())?;
        let targets = parsed.check_statement()?;
        for target in &targets {
            sql::check_owned(target)?;
        }
        let (sql, target) = (parsed.render(&[], dialect), targets.into_iter().next());
        Ok(Prepared { sql, params: self.params, target, expect: self.expect })
    }

    /// The same for a statement that only reads.
    pub fn prepare_read(self, dialect: &Dialect) -> Result<Prepared> {
        let wrong = |text| TablesError::Statement { nth: 1, text };
        let prepared = self.prepare(dialect).map_err(wrong)?;
        match &prepared.target {
            None => Ok(prepared),
            Some(table) => Err(wrong(format!("it changes {table}: give it to `write`, not to `read`"))),
        }
    }
}

/// A statement as a store runs it.
#[derive(Clone)]
pub struct Prepared {
    /// Its text in the database's words.
    pub sql: String,
    /// Its parameters, as many as the text names.
    pub params: Vec<Value>,
    /// The table it changes first; None when it only reads.
    pub target: Option<String>,
    expect: Option<u64>,
}

impl Prepared {
    /// Whether what it met is what was expected.
    pub fn check_met(&self, nth: usize, found: u64) -> Result<()> {
        match self.expect {
            Some(wanted) if wanted != found => Err(TablesError::Unexpected { nth, wanted, found }),
            _ => Ok(()),
        }
    }
}

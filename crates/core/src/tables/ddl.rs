//! Migrations: how an owner's tables come to be, and what both databases can be asked for.
//!
//! Four types of columns, INTEGER, REAL, TEXT and BLOB, mean the same on both (TEXT is ordered by its
//! bytes); `INTEGER PRIMARY KEY` numbers itself and never gives a number twice. Forward only: what
//! has been applied is never edited, its checksum is compared at every start.

use super::sql::{Dialect, Edit, Kind, Parsed, To, check_name, check_owner, parse, type_of};
use super::{Result, TablesError};
use std::ops::Range;

/// One step of an owner's tables: a name for people, and statements separated by semicolons:
/// CREATE TABLE, CREATE [UNIQUE] INDEX, ALTER TABLE (ADD COLUMN, RENAME, DROP COLUMN), DROP TABLE,
/// DROP INDEX, INSERT, UPDATE, DELETE. Its number is its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// `0001_users`.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

impl Migration {
    /// A migration.
    pub const fn new(name: &'static str, sql: &'static str) -> Migration {
        Migration { name, sql }
    }

    /// FNV-1a, 64 bits (Fowler, Noll, Vo) of its text: finds an edit, which is all it is for.
    pub fn checksum(&self) -> i64 {
        let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
        self.sql.bytes().fold(0xcbf2_9ce4_8422_2325, hash).cast_signed()
    }
}

/// A migration that a database has: number, name, checksum.
pub type Applied = (i64, String, i64);

/// A migration spelled for one database.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its place, from 1.
    pub number: i64,
    /// Its name.
    pub name: &'static str,
    /// See [`Migration::checksum`].
    pub checksum: i64,
    /// Its statements in the database's words.
    pub statements: Vec<String>,
}

/// All migrations of an owner, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose they are.
    pub owner: String,
    steps: Vec<Step>,
}

impl Plan {
    /// Checks migrations and spells them for one database.
    pub fn new(owner: &str, migrations: &[Migration], dialect: &Dialect) -> Result<Plan> {
        check_owner(owner).map_err(TablesError::Migration)?;
        let mut steps = Vec::with_capacity(migrations.len());
        for (migration, number) in migrations.iter().zip(1..) {
            let statements = statements(migration.sql, owner, dialect).map_err(|(nth, text)| {
                TablesError::Migration(format!(
                    "migration {number} ({}) of {owner}, statement {nth}: {text}",
                    migration.name
                ))
            })?;
            let (name, checksum) = (migration.name, migration.checksum());
            steps.push(Step { number, name, checksum, statements });
        }
        Ok(Plan { owner: owner.to_owned(), steps })
    }

    /// What a database that has `applied` (by number) lacks.
    pub fn missing(&self, applied: &[Applied]) -> Result<&[Step]> {
        let owner = &self.owner;
        for ((number, name, checksum), nth) in applied.iter().zip(1i64..) {
            let Some(step) = self.steps.get(nth as usize - 1) else {
                return Err(TablesError::Migration(format!(
                    "the tables of {owner} are at migration {} ({name}), this program knows {}: they were \
                     written by a newer program; install that version or a newer one",
                    applied.len(),
                    self.steps.len()
                )));
            };
            if *number != nth || name != step.name || *checksum != step.checksum {
                return Err(TablesError::Migration(format!(
                    "migration {number} ({name}) of {owner} is not the one this program knows as {}: what has \
                     been applied is never edited; use the program that applied it, restore a backup, or undo \
                     the edit and add a migration",
                    step.name
                )));
            }
        }
        Ok(&self.steps[applied.len()..])
    }

    /// How a statement of a step failed, in words.
    pub fn failed(&self, step: &Step, nth: usize, error: TablesError) -> TablesError {
        let text = match error {
            TablesError::Store(e) => return TablesError::Store(e),
            TablesError::Statement { text, .. } => text,
            other => other.to_string(),
        };
        let (number, name, owner) = (step.number, step.name, &self.owner);
        TablesError::Migration(format!("migration {number} ({name}) of {owner}, statement {nth}: {text}"))
    }
}

/// The statements of a migration in a database's words. The error has the statement's place.
fn statements(sql: &str, owner: &str, dialect: &Dialect) -> Result<Vec<String>, (usize, String)> {
    let parsed = parse(sql).map_err(|text| (1, text))?;
    let mut out = Vec::new();
    let mut from = 0;
    let ends = (0..=parsed.tokens.len()).filter(|at| parsed.tokens.get(*at).is_none_or(|t| t.mark(';')));
    for end in ends {
        if end > from {
            let mut reader = Ddl { parsed: &parsed, range: from..end, owner, edits: Vec::new() };
            reader.read().map_err(|text| (out.len() + 1, text))?;
            out.push(parsed.render_part(from..end, &reader.edits, dialect));
        }
        from = end + 1;
    }
    Ok(out)
}

/// One statement of a migration while it is read.
struct Ddl<'a> {
    parsed: &'a Parsed<'a>,
    range: Range<usize>,
    owner: &'a str,
    edits: Vec<Edit>,
}

impl Ddl<'_> {
    fn word(&self, at: usize) -> &str {
        let inside = self.parsed.tokens.get(at).filter(|_| self.range.contains(&at));
        inside.filter(|t| t.kind == Kind::Word).map_or("", |t| &t.text)
    }

    fn mark(&self, at: usize, mark: char) -> bool {
        self.range.contains(&at) && self.parsed.tokens[at].mark(mark)
    }

    fn words(&self, at: usize, wanted: &str) -> bool {
        wanted.split(' ').zip(at..).all(|(word, at)| self.word(at) == word)
    }

    /// The place after `wanted`, if it stands at `at`.
    fn skip(&self, at: usize, wanted: &str) -> usize {
        if self.words(at, wanted) { at + wanted.split(' ').count() } else { at }
    }

    fn read(&mut self) -> Result<(), String> {
        let first = self.range.start;
        if self.range.clone().any(|at| matches!(self.parsed.tokens[at].kind, Kind::Parameter(_))) {
            return Err("a migration has no parameters".into());
        }
        for at in self.range.clone() {
            if self.word(at) == "references" {
                self.own(at + 1)?;
            }
        }
        match (self.word(first), self.word(first + 1)) {
            ("create", "table") => self.create_table(self.skip(first + 2, "if not exists")),
            ("create", "index") => self.create_index(self.skip(first + 2, "if not exists")),
            ("create", "unique") if self.word(first + 2) == "index" => {
                self.create_index(self.skip(first + 3, "if not exists"))
            }
            ("alter", "table") => self.alter_table(first + 2),
            ("drop", "table" | "index") => self.own(self.skip(first + 2, "if exists")).map(drop),
            ("insert" | "update" | "delete", _) => {
                for target in self.parsed.targets(self.range.clone())? {
                    self.check_own(&target)?;
                }
                Ok(())
            }
            _ => Err("it must be CREATE TABLE, CREATE [UNIQUE] INDEX, ALTER TABLE, DROP TABLE, DROP INDEX, \
                      INSERT, UPDATE or DELETE"
                .into()),
        }
    }

    fn check_own(&self, name: &str) -> Result<(), String> {
        check_name(name)?;
        match name.strip_prefix(self.owner).is_some_and(|rest| rest.len() > 1 && rest.starts_with('_')) {
            true => Ok(()),
            false => Err(format!("{name} does not belong to {0}: its names begin with {0}_", self.owner)),
        }
    }

    /// A name of the owner's at a place; gives the place after it.
    fn own(&self, at: usize) -> Result<usize, String> {
        if !self.range.contains(&at) {
            return Err("it ends where a name is missing".into());
        }
        self.check_own(&self.parsed.name(at)?)?;
        Ok(at + 1)
    }

    fn create_index(&mut self, at: usize) -> Result<(), String> {
        let at = self.own(at)?;
        if self.word(at) != "on" {
            return Err("an index is made with CREATE INDEX name ON table (columns)".into());
        }
        self.own(at + 1).map(drop)
    }

    fn alter_table(&mut self, at: usize) -> Result<(), String> {
        let at = self.own(at)?;
        match (self.word(at), self.word(at + 1)) {
            ("add", _) => {
                let column = self.skip(at + 1, "column");
                if self.words(column + 2, "primary key") {
                    return Err("a column that is added later cannot be the primary key".into());
                }
                self.column(column, self.range.end)
            }
            ("rename", "to") => self.own(at + 2).map(drop),
            ("rename" | "drop", _) => Ok(()),
            _ => Err("a table is altered with ADD COLUMN, RENAME TO, RENAME COLUMN or DROP COLUMN".into()),
        }
    }

    fn create_table(&mut self, at: usize) -> Result<(), String> {
        let open = self.own(at)?;
        if !self.mark(open, '(') {
            return Err("a table is made with CREATE TABLE name (columns)".into());
        }
        let (mut depth, mut from) = (0usize, open + 1);
        for at in open..self.range.end {
            if self.mark(at, '(') {
                depth += 1;
            } else if depth == 1 && (self.mark(at, ',') || self.mark(at, ')')) {
                self.entry(from, at)?;
                from = at + 1;
            }
            if self.mark(at, ')') {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return self.end_of_table(at);
                }
            }
        }
        Err("a bracket is not closed".into())
    }

    fn end_of_table(&mut self, at: usize) -> Result<(), String> {
        if at + 1 < self.range.end {
            let text = &self.parsed.tokens[at + 1].text;
            return Err(format!("{text} after the columns is not portable; end with the bracket"));
        }
        self.edits.push(Edit { at: self.parsed.tokens[at].at.clone(), to: To::AfterColumns });
        Ok(())
    }

    /// A column or a constraint of a table, up to the token `end`.
    fn entry(&mut self, from: usize, end: usize) -> Result<(), String> {
        match self.word(from) {
            "constraint" | "primary" | "unique" | "check" | "foreign" => self.portable(from, end),
            _ => self.column(from, end),
        }
    }

    fn column(&mut self, from: usize, end: usize) -> Result<(), String> {
        let name = self.parsed.name(from)?;
        let Some(which) = type_of(self.word(from + 1)) else {
            return Err(format!("the type of {name} must be INTEGER, REAL, TEXT or BLOB"));
        };
        let at = self.parsed.tokens[from + 1].at.clone();
        if self.words(from + 1, "integer primary key") {
            let at = at.start..self.parsed.tokens[from + 3].at.end;
            self.edits.push(Edit { at, to: To::Numbered });
            return self.portable(from + 4, end);
        }
        self.edits.push(Edit { at, to: To::Column(which) });
        if which == 0 && (from..end).any(|at| self.words(at, "primary key")) {
            return Err(format!("write `{name} INTEGER PRIMARY KEY` and what else there is after it"));
        }
        self.portable(from + 2, end)
    }

    /// What only one database understands, or what would undo more than a statement.
    fn portable(&self, from: usize, end: usize) -> Result<(), String> {
        for at in from..end {
            match self.word(at) {
                "autoincrement" | "generated" | "serial" => {
                    return Err("write INTEGER PRIMARY KEY for a column that numbers itself".into());
                }
                "conflict" => return Err("ON CONFLICT belongs to INSERT, not to a table".into()),
                "deferrable" | "deferred" => {
                    return Err("rules hold at the end of every statement, not of the transaction".into());
                }
                "collate" => return Err("COLLATE is not portable; TEXT is ordered by its bytes".into()),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Dialect = Dialect {
        parameter: '$',
        columns: ["BIGINT", "FLOAT8", "TEXT COLLATE \"C\"", "BYTEA"],
        casts: ["BIGINT", "FLOAT8", "TEXT", "BYTEA"],
        numbered: "BIGINT NUMBERED",
        after_columns: " AFTER",
    };

    fn spelled(sql: &'static str) -> Result<Vec<String>, String> {
        statements(sql, "web", &OTHER).map_err(|(nth, text)| format!("{nth}: {text}"))
    }

    #[test]
    fn types_are_translated_where_they_are_types() {
        let sql = "CREATE TABLE web_a (
            id INTEGER PRIMARY KEY, -- text; real
            text TEXT NOT NULL DEFAULT 'integer; real', blob BLOB, real REAL CHECK (real > CAST(1 AS REAL)),
            other INTEGER REFERENCES web_b (id), UNIQUE (text, blob)
        );
        CREATE UNIQUE INDEX web_a_text ON web_a (lower(text)) WHERE blob IS NOT NULL;
        ALTER TABLE web_a ADD COLUMN more TEXT;";
        let wanted = "CREATE TABLE web_a (
            id BIGINT NUMBERED, -- text; real
            text TEXT COLLATE \"C\" NOT NULL DEFAULT 'integer; real', blob BYTEA, real FLOAT8 CHECK (real > CAST(1 AS FLOAT8)),
            other BIGINT REFERENCES web_b (id), UNIQUE (text, blob)
        ) AFTER";
        assert_eq!(
            spelled(sql).unwrap(),
            [
                wanted,
                "CREATE UNIQUE INDEX web_a_text ON web_a (lower(text)) WHERE blob IS NOT NULL",
                "ALTER TABLE web_a ADD COLUMN more TEXT COLLATE \"C\""
            ]
        );
    }

    #[test]
    fn what_is_not_the_owners_or_not_portable_is_refused() {
        for (sql, why) in [
            ("CREATE TABLE users (id INTEGER)", "begin with web_"),
            ("CREATE TABLE webusers (id INTEGER)", "begin with web_"),
            ("CREATE TABLE web_ (id INTEGER)", "begin with web_"),
            ("CREATE TABLE kit_a (id INTEGER)", "begin with web_"),
            ("CREATE TABLE \"Web_a\" (id INTEGER)", "a-z"),
            ("CREATE INDEX a ON web_a (id)", "begin with web_"),
            ("CREATE INDEX web_i ON jobs (id)", "begin with web_"),
            ("ALTER TABLE jobs ADD COLUMN a TEXT", "begin with web_"),
            ("ALTER TABLE web_a RENAME TO jobs", "begin with web_"),
            ("DROP TABLE IF EXISTS jobs", "begin with web_"),
            ("INSERT INTO web_a SELECT 1; DELETE FROM jobs", "2: jobs does not belong"),
            ("CREATE TABLE web_a (job INTEGER REFERENCES jobs (id))", "begin with web_"),
            ("CREATE TABLE web_a (a VARCHAR(9))", "type of a must be"),
            ("CREATE TABLE web_a (a)", "type of a must be"),
            ("CREATE TABLE web_a (a INTEGER) STRICT", "after the columns"),
            ("CREATE TABLE web_a (a INTEGER PRIMARY KEY AUTOINCREMENT)", "numbers itself"),
            ("CREATE TABLE web_a (a INTEGER NOT NULL PRIMARY KEY)", "`a INTEGER PRIMARY KEY`"),
            ("CREATE TABLE web_a (a TEXT UNIQUE ON CONFLICT ROLLBACK)", "belongs to INSERT"),
            ("CREATE TABLE web_a (a TEXT COLLATE NOCASE)", "ordered by its bytes"),
            ("CREATE TABLE web_a (a TEXT REFERENCES web_b (a) DEFERRABLE)", "every statement"),
            ("CREATE TABLE web_a (a TEXT", "not closed"),
            ("CREATE TABLE web_a AS SELECT 1", "(columns)"),
            ("CREATE TRIGGER web_t", "it must be"),
            ("PRAGMA foreign_keys = off", "it must be"),
            ("UPDATE web_a SET a = ?1", "no parameters"),
            ("DROP TABLE", "a name is missing"),
        ] {
            let text = spelled(sql).unwrap_err();
            assert!(text.contains(why), "{sql}: {text}");
        }
        assert!(spelled(" ; ;").unwrap().is_empty());
        for owner in ["", "Web", "web_x", "1a", "jobs", "sqlite", "waytoolongtobeanowner"] {
            assert!(Plan::new(owner, &[], &OTHER).is_err(), "{owner}");
        }
    }

    #[test]
    fn only_what_is_missing_is_done_and_what_differs_is_refused() {
        let known = [Migration::new("a", "DROP TABLE web_a"), Migration::new("b", "DROP TABLE web_b")];
        let plan = Plan::new("web", &known, &OTHER).unwrap();
        let applied = |m: &Migration, n| (n, m.name.to_owned(), m.checksum());
        assert_eq!(plan.missing(&[]).unwrap().len(), 2);
        let left = plan.missing(&[applied(&known[0], 1)]).unwrap();
        assert_eq!((left.len(), left[0].number, left[0].name), (1, 2, "b"));
        let both = [applied(&known[0], 1), applied(&known[1], 2)];
        assert!(plan.missing(&both).unwrap().is_empty());
        let edited = Migration::new("a", "DROP TABLE web_a ");
        let error = plan.missing(&[applied(&edited, 1)]).unwrap_err().to_string();
        assert!(error.contains("migration 1 (a) of web is not the one") && error.contains("never edited"));
        let older = Plan::new("web", &known[..1], &OTHER).unwrap();
        let error = older.missing(&both).unwrap_err().to_string();
        assert!(error.contains("at migration 2 (b), this program knows 1"), "{error}");
    }
}

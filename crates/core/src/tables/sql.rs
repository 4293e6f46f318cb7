//! The portable subset's words: cut into tokens, checked, spelled for one database.
//!
//! This is no parser of SQL: the databases are, and CI runs every statement on both. It knows where
//! texts, names and comments begin and end, so that a `?1` in a text stays a text, and it refuses
//! what one of the databases reads otherwise than the other, or what would leave the transaction.

use std::ops::Range;

/// How one database spells what the portable subset writes.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Stands before a parameter's number.
    pub parameter: char,
    /// INTEGER, REAL, TEXT and BLOB as types of columns.
    pub columns: [&'static str; 4],
    /// INTEGER, REAL, TEXT and BLOB in a CAST.
    pub casts: [&'static str; 4],
    /// `INTEGER PRIMARY KEY`, the column that numbers itself.
    pub numbered: &'static str,
    /// What follows the columns of a new table.
    pub after_columns: &'static str,
}

/// One of the four types, as an index into the dialect's lists.
pub(super) fn type_of(word: &str) -> Option<usize> {
    ["integer", "real", "text", "blob"].iter().position(|t| *t == word)
}

/// What a stretch of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Text,
    Quoted,
    Parameter(usize),
    Mark(char),
}

/// A stretch of text.
#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    /// Its text, in lower case for words.
    pub text: std::borrow::Cow<'a, str>,
    pub at: Range<usize>,
}

impl Token<'_> {
    pub fn mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// A text in tokens.
pub(super) struct Parsed<'a> {
    pub sql: &'a str,
    pub tokens: Vec<Token<'a>>,
}

/// A piece of the text that a database wants otherwise.
pub(super) struct Edit {
    pub at: Range<usize>,
    pub to: To,
}

/// What it wants instead.
#[derive(Clone, Copy)]
pub(super) enum To {
    Column(usize),
    Numbered,
    AfterColumns,
}

/// Cuts a text into tokens.
pub(super) fn parse(sql: &str) -> Result<Parsed<'_>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = sql[at..].chars().next() {
        let rest = &sql[at..];
        if first.is_ascii_whitespace() {
            at += 1;
        } else if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += comment(rest)?;
        } else {
            let (kind, len) = token(first, rest)?;
            let text = &rest[..len];
            let text = if kind == Kind::Word { text.to_ascii_lowercase().into() } else { text.into() };
            tokens.push(Token { kind, text, at: at..at + len });
            at += len;
        }
    }
    Ok(Parsed { sql, tokens })
}

/// The length of a comment.
fn comment(rest: &str) -> Result<usize, String> {
    let end = rest[2..].find("*/").ok_or("a comment /* is not closed")?;
    match rest[2..2 + end].contains("/*") {
        true => Err("a comment /* stands within another: only one database understands that".into()),
        false => Ok(end + 4),
    }
}

/// Kind and length of the token at the beginning of `rest`.
fn token(first: char, rest: &str) -> Result<(Kind, usize), String> {
    let while_ = |f: fn(char) -> bool| rest.find(|c| !f(c)).unwrap_or(rest.len());
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match first {
        '\'' | '"' => {
            let kind = if first == '"' { Kind::Quoted } else { Kind::Text };
            Ok((kind, quoted(first, rest)?))
        }
        'a'..='z' | 'A'..='Z' | '_' => {
            let len = while_(in_word);
            match rest[len..].starts_with('\'') {
                true => Err(format!("{}'…' is not portable; bind the value", &rest[..len])),
                false => Ok((Kind::Word, len)),
            }
        }
        '0'..='9' => {
            let len = while_(|c| c.is_ascii_alphanumeric() || c == '.');
            match rest[..len].bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E')) {
                true => Ok((Kind::Number, len)),
                false => Err(format!("{} is not a portable number", &rest[..len])),
            }
        }
        '?' => {
            let len = 1 + rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1);
            match rest[1..len].parse() {
                Ok(nth @ 1..) if !rest.starts_with("?0") => Ok((Kind::Parameter(nth), len)),
                _ => Err("a parameter is written with its number: ?1, ?2, …".into()),
            }
        }
        ':' if rest.starts_with("::") => Err("a::b is not portable; write CAST(a AS …)".into()),
        '$' | '@' | ':' => Err(format!("{first} is not portable; parameters are ?1, ?2, …")),
        '`' | '[' => Err(format!("{first} is not portable; write names in lower case, without quotes")),
        ' '..='~' => Ok((Kind::Mark(first), 1)),
        _ => Err(format!("{first:?} stands outside a text; bind it, or put it between '…'")),
    }
}

/// The length of what is quoted; a quote within is doubled.
fn quoted(quote: char, rest: &str) -> Result<usize, String> {
    let mut at = 1;
    while let Some(end) = rest[at..].find(quote) {
        at += end + 1;
        if !rest[at..].starts_with(quote) {
            return Ok(at);
        }
        at += 1;
    }
    Err(format!("a {quote} is not closed"))
}

impl Parsed<'_> {
    fn word(&self, at: usize) -> &str {
        self.tokens.get(at).filter(|t| t.kind == Kind::Word).map_or("", |t| &t.text)
    }

    /// Every parameter named is bound, and the other way round.
    pub fn check_parameters(&self, bound: usize) -> Result<(), String> {
        let mut named = vec![false; bound];
        for token in &self.tokens {
            let Kind::Parameter(nth) = token.kind else { continue };
            *named.get_mut(nth - 1).ok_or_else(|| format!("?{nth} is named, but {bound} are bound"))? = true;
        }
        match named.iter().position(|n| !n) {
            Some(at) => Err(format!("?{} is bound, but not named", at + 1)),
            None => Ok(()),
        }
    }

    /// Checks that this is one statement of the subset; gives the tables it changes.
    pub fn check_statement(&self) -> Result<Vec<String>, String> {
        if !matches!(self.word(0), "select" | "with" | "values" | "insert" | "update" | "delete") {
            let text = "it must begin with SELECT, WITH, VALUES, INSERT, UPDATE or DELETE";
            return Err(text.into());
        }
        if self.tokens.iter().any(|t| t.mark(';')) {
            return Err("it has a semicolon; give statements one by one, without it".into());
        }
        self.targets(0..self.tokens.len())
    }

    /// The tables that the tokens of `range` insert into, update or delete from.
    pub fn targets(&self, range: Range<usize>) -> Result<Vec<String>, String> {
        let mut targets = Vec::new();
        for at in range {
            let (before, next) = (if at == 0 { "" } else { self.word(at - 1) }, self.word(at + 1));
            let target = match (self.word(at), next) {
                ("insert" | "update", "or") | ("replace", "into") => {
                    return Err("OR and REPLACE INTO are not portable; write ON CONFLICT".into());
                }
                ("insert", "into") | ("delete", "from") => at + 2,
                ("update", _) if before == "for" => {
                    return Err("FOR UPDATE is not portable; guard the UPDATE and expect its rows".into());
                }
                // ON CONFLICT DO UPDATE, and ON UPDATE of a foreign key.
                ("update", _) if matches!(before, "do" | "on") => continue,
                ("update", _) => at + 1,
                ("into", _) if before != "insert" => {
                    return Err("SELECT INTO is not portable; make tables by migrations".into());
                }
                _ => continue,
            };
            targets.push(self.name(target)?);
        }
        Ok(targets)
    }

    /// The table's name at a place.
    pub fn name(&self, at: usize) -> Result<String, String> {
        let Some(token) = self.tokens.get(at) else { return Err("it ends where a name is missing".into()) };
        if self.tokens.get(at + 1).is_some_and(|t| t.mark('.')) {
            return Err(format!("{}.… : name the table without its schema", token.text));
        }
        match token.kind {
            Kind::Word => Ok(token.text.clone().into_owned()),
            Kind::Quoted => Ok(token.text.trim_matches('"').to_owned()),
            _ => Err(format!("{} stands where a table's name should", token.text)),
        }
    }

    /// The text as a database wants it: parameters, types in casts, and `edits` in order of place.
    pub fn render(&self, edits: &[Edit], dialect: &Dialect) -> String {
        self.render_part(0..self.tokens.len(), edits, dialect)
    }

    /// The same of some tokens, with what stands between them.
    pub fn render_part(&self, range: Range<usize>, edits: &[Edit], dialect: &Dialect) -> String {
        let Some(tokens) = self.tokens.get(range.clone()).filter(|t| !t.is_empty()) else {
            return String::new();
        };
        let mut out = String::with_capacity(self.sql.len() + 16);
        let mut from = tokens[0].at.start;
        let mut edits = edits.iter().peekable();
        let mut casts = Vec::new();
        for (token, at) in tokens.iter().zip(range.start..) {
            if let Some(edit) = edits.next_if(|e| e.at.start == token.at.start) {
                out.push_str(&self.sql[from..edit.at.start]);
                match edit.to {
                    To::Column(which) => out.push_str(dialect.columns[which]),
                    To::Numbered => out.push_str(dialect.numbered),
                    To::AfterColumns => {
                        out.push_str(&self.sql[edit.at.clone()]);
                        out.push_str(dialect.after_columns);
                    }
                }
                from = edit.at.end;
                continue;
            }
            match token.kind {
                Kind::Mark('(') => casts.push(at > 0 && self.word(at - 1) == "cast"),
                Kind::Mark(')') => drop(casts.pop()),
                Kind::Parameter(nth) => {
                    out.push_str(&self.sql[from..token.at.start]);
                    out.push(dialect.parameter);
                    out.push_str(&nth.to_string());
                    from = token.at.end;
                }
                Kind::Word if casts.last() == Some(&true) && at > 0 && self.word(at - 1) == "as" => {
                    if let Some(which) = type_of(&token.text) {
                        out.push_str(&self.sql[from..token.at.start]);
                        out.push_str(dialect.casts[which]);
                        from = token.at.end;
                    }
                }
                _ => {}
            }
        }
        out.push_str(&self.sql[from..tokens[tokens.len() - 1].at.end.max(from)]);
        out
    }
}

/// First words of what the stores themselves have made: no owner may be called so.
const RESERVED: &[&str] = &[
    "attempts",
    "batches",
    "bundles",
    "cancels",
    "counters",
    "done",
    "events",
    "held",
    "job",
    "jobs",
    "keys",
    "leases",
    "ledger",
    "live",
    "logs",
    "mainspring",
    "meta",
    "migrations",
    "nodes",
    "owner",
    "pg",
    "process",
    "progress",
    "projects",
    "queues",
    "ready",
    "recents",
    "results",
    "rollups",
    "routes",
    "running",
    "schedules",
    "scheduled",
    "sqlite",
    "steps",
    "uniques",
];

/// Whether an owner may be called so.
pub(super) fn check_owner(owner: &str) -> Result<(), String> {
    let plain = owner.starts_with(|c: char| c.is_ascii_lowercase())
        && owner.len() <= 20
        && owner.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    match (plain, RESERVED.contains(&owner)) {
        (false, _) => Err(format!(
            "an owner of tables is called by 1 to 20 of a-z and 0-9, beginning with a letter, not {owner:?}"
        )),
        (true, true) => Err(format!("{owner} is a word of the engine's own tables; choose another owner")),
        (true, false) => Ok(()),
    }
}

/// Whether a table is some owner's, and not the engine's.
pub(super) fn check_owned(name: &str) -> Result<(), String> {
    let owner = name.split_once('_').map_or("", |(owner, _)| owner);
    match check_name(name).and_then(|()| check_owner(owner)) {
        Ok(()) => Ok(()),
        Err(_) => Err(format!(
            "{name} is not a table that may be written here: those begin with their owner's name, as web_users \
             does for the owner web"
        )),
    }
}

/// What tables and indexes may be called on both databases.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match plain && name.len() <= 63 {
        true => Ok(()),
        false => Err(format!("{name}: names are at most 63 of a-z, 0-9 and _")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Dialect = Dialect {
        parameter: '$',
        columns: ["BIGINT", "DOUBLE PRECISION", "TEXT COLLATE \"C\"", "BYTEA"],
        casts: ["BIGINT", "DOUBLE PRECISION", "TEXT", "BYTEA"],
        numbered: "NUMBERED",
        after_columns: " AFTER",
    };

    fn rendered(sql: &str) -> String {
        parse(sql).unwrap().render(&[], &OTHER)
    }

    fn refused(sql: &str) -> String {
        parse(sql).and_then(|p| p.check_statement()).unwrap_err()
    }

    #[test]
    fn parameters_are_found_outside_texts_names_and_comments_only() {
        assert_eq!(
            rendered("SELECT '?1 it''s ?2', \"?3\", ?1 -- ?4\n /* ?5 */ , ?12+?1"),
            "SELECT '?1 it''s ?2', \"?3\", $1 -- ?4\n /* ?5 */ , $12+$1"
        );
        assert_eq!(rendered("VALUES ('ümlaut ?1', ?1)"), "VALUES ('ümlaut ?1', $1)");
        let parsed = parse("SELECT ?1, '?2'").unwrap();
        assert!(parsed.check_parameters(1).is_ok());
        assert!(parsed.check_parameters(2).unwrap_err().contains("?2 is bound, but not named"));
        assert!(parse("SELECT ?2").unwrap().check_parameters(1).unwrap_err().contains("?2 is named"));
    }

    #[test]
    fn types_are_spelled_anew_in_casts_only() {
        assert_eq!(
            rendered("SELECT CAST(max(?1, a) AS INTEGER), cast(b AS text) AS real, blob FROM t AS integer"),
            "SELECT CAST(max($1, a) AS BIGINT), cast(b AS TEXT) AS real, blob FROM t AS integer"
        );
    }

    #[test]
    fn what_is_not_portable_is_refused_with_what_to_write() {
        for (sql, why) in [
            ("COMMIT", "must begin with"),
            ("", "must begin with"),
            ("SELECT 1; DELETE FROM web_a", "semicolon"),
            ("SELECT ?", "with its number"),
            ("SELECT ?0", "with its number"),
            ("SELECT $1", "parameters are ?1"),
            ("SELECT :name", "parameters are ?1"),
            ("SELECT a::text", "CAST"),
            ("SELECT [a]", "without quotes"),
            ("SELECT x'00'", "bind the value"),
            ("SELECT 0x10", "portable number"),
            ("SELECT 'open", "not closed"),
            ("SELECT /* open", "not closed"),
            ("SELECT /* a /* b */ 1", "within another"),
            ("SELECT é", "outside a text"),
            ("INSERT OR REPLACE INTO web_a VALUES (1)", "ON CONFLICT"),
            ("WITH x AS (SELECT 1) REPLACE INTO web_a VALUES (1)", "ON CONFLICT"),
            ("SELECT 1 FROM web_a FOR UPDATE", "guard the UPDATE"),
            ("SELECT 1 INTO web_b", "by migrations"),
            ("UPDATE main.web_a SET a = 1", "without its schema"),
            ("DELETE FROM", "a name is missing"),
            ("UPDATE (1)", "where a table's name"),
        ] {
            assert!(refused(sql).contains(why), "{sql}: {}", refused(sql));
        }
    }

    #[test]
    fn the_tables_that_are_changed_are_found_wherever_they_stand() {
        let targets = |sql| parse(sql).unwrap().check_statement().unwrap();
        assert_eq!(targets("SELECT replace(a, 'b', 'c') FROM jobs"), [""; 0]);
        assert_eq!(
            targets("INSERT INTO web_a (b) VALUES (?1) ON CONFLICT (b) DO UPDATE SET c = 1"),
            ["web_a"]
        );
        assert_eq!(
            targets("WITH x AS (DELETE FROM \"jobs\" RETURNING *) UPDATE web_b SET c = 1"),
            ["jobs", "web_b"]
        );
        assert!(check_owned("web_users").is_ok());
        for name in ["jobs", "jobs_ready", "live_fires", "owner_migrations", "sqlite_master", "Web_a", "_a"] {
            assert!(check_owned(name).unwrap_err().contains("may be written here"), "{name}");
        }
    }
}

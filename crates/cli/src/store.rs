//! The one match on the store's address: a file opens SQLite, `postgres://` opens PostgreSQL.
//! Nothing else in the program knows which store it talks to.

use crate::app::Make;
use crate::error::{CliError, Result, nearest};
use crate::settings::Settings;
use mainspring::secrets::Secret;
use mainspring_core::StoreError;
use mainspring_core::backup::Copied;
use mainspring_core::code::Code;
use mainspring_core::store::Store;
use mainspring_store_postgres::{self as postgres, PostgresStore};
use mainspring_store_sqlite::{Options, SqliteStore, Synchronous};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL address, as given: may hold a password, so it is never printed.
    Postgres(String),
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run jobs: on a file, one process at a time.
    RunJobs,
    /// To look and to ask, beside whatever runs jobs.
    Beside,
}

/// Opens the store of the settings.
pub async fn open(settings: &Settings, purpose: Purpose, make: Make) -> Result<Arc<dyn Store>> {
    match &settings.store {
        Address::File(path) => sqlite(path, settings, purpose, make),
        Address::Postgres(url) => {
            let options = postgres::Options::default();
            let store = PostgresStore::connect(url, options).await;
            Ok(Arc::new(store.map_err(|e| located(e, settings.store.shown()))?))
        }
    }
}

fn sqlite(path: &Path, settings: &Settings, purpose: Purpose, make: Make) -> Result<Arc<dyn Store>> {
    let shown = path.display().to_string();
    if make == Make::No && !path.exists() {
        let error = CliError::new(Code::STORE_ADDRESS, format!("there is no store at {shown}"));
        return Err(match settings.store_given {
            true => error.hint("mainspring up with the same --store makes it; mainspring config show tells where it was named"),
            false => error.hint("mainspring up makes it here; --store names another"),
        });
    }
    let options = Options {
        synchronous: if settings.synchronous_full { Synchronous::Full } else { Synchronous::Normal },
        run_jobs: purpose == Purpose::RunJobs,
        ..Options::default()
    };
    let store = SqliteStore::open(path, options).map_err(|e| located(e, shown))?;
    Ok(Arc::new(store))
}

/// Copies the store of the settings to a file.
pub async fn backup(settings: &Settings, to: &Path) -> Result<Copied> {
    match &settings.store {
        Address::File(path) => {
            let (from, to) = (path.clone(), to.to_owned());
            if !from.exists() {
                let text = format!("there is no store at {}", from.display());
                return Err(CliError::new(Code::STORE_ADDRESS, text).hint("--store names another"));
            }
            at_leisure(move || mainspring_store_sqlite::backup(&from, &to)).await
        }
        Address::Postgres(url) => Ok(postgres::backup(url, to).await?),
    }
}

/// Puts a backup in the place of the store of the settings.
pub async fn restore(settings: &Settings, from: &Path) -> Result<Copied> {
    let mut head = [0; 5];
    let read = std::fs::File::open(from).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    read.map_err(|e| CliError::new(Code::NOT_FOUND, format!("{} cannot be read: {e}", from.display())))?;
    let wrong = |what: &str, hint: &str| {
        let text = format!("{} is {what}, {} is not", from.display(), settings.store.shown());
        Err(CliError::new(Code::STORE_ADDRESS, text).hint(hint))
    };
    match (&settings.store, &head) {
        (Address::File(_), b"PGDMP") => wrong("a backup of PostgreSQL", "--store postgres://…"),
        (Address::Postgres(_), b"SQLit") => wrong("a backup of a file", "--store FILE"),
        (Address::File(path), _) => {
            let (from, to) = (from.to_owned(), path.clone());
            at_leisure(move || mainspring_store_sqlite::restore(&from, &to)).await
        }
        (Address::Postgres(url), _) => Ok(postgres::restore(url, from).await?),
    }
}

/// Work that blocks, beside the runtime.
async fn at_leisure<T: Send + 'static>(
    work: impl FnOnce() -> mainspring_core::error::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|e| CliError::new(Code::STORE_INTERNAL, e.to_string()))??)
}

/// A store's error with its address, unless the text names it.
fn located(e: StoreError, shown: String) -> CliError {
    let named = e.to_string().contains(&shown);
    let error = CliError::from(e);
    if named { error } else { error.at(shown) }
}

const SCHEMES: [&str; 3] = ["sqlite", "postgres", "postgresql"];

impl Address {
    /// Reads a path, `sqlite://PATH` or `postgres://…`; a relative path counts from `base`.
    pub fn parse(text: &str, base: Option<&Path>) -> Result<Address> {
        let file = |path: &str| {
            let path = Path::new(path);
            Address::File(match base {
                Some(base) if !base.as_os_str().is_empty() => base.join(path),
                _ => path.to_owned(),
            })
        };
        let wrong = |why: String, hint: String| {
            Err(CliError::new(Code::STORE_ADDRESS, format!("{}: {why}", redact(text))).hint(hint))
        };
        let Some((scheme, rest)) = text.split_once(':').filter(|(s, rest)| {
            s.len() > 1 && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '+') && rest.starts_with('/')
        }) else {
            // `postgres:host`, `sqlite:file`: meant as an address, would become a strange file.
            return match text.split_once(':') {
                Some((scheme, _)) if SCHEMES.contains(&scheme) => {
                    wrong("the address lacks //".into(), format!("{scheme}://…"))
                }
                _ => Ok(file(text)),
            };
        };
        match scheme {
            "sqlite" => match rest.strip_prefix("//") {
                Some(path) if !path.is_empty() => Ok(file(path)),
                _ => wrong("no file is named".into(), "sqlite://jobs.db, or just jobs.db".into()),
            },
            "postgres" | "postgresql" => postgres_address(text),
            _ => {
                let near = nearest(scheme, SCHEMES).map_or_else(
                    || "a path, sqlite://PATH or postgres://user@host/database".to_owned(),
                    |n| format!("{n}://…"),
                );
                wrong(format!("{scheme:?} is not a kind of store"), near)
            }
        }
    }

    /// Its passwords, as they stand in it and as they are meant.
    pub fn passwords(&self) -> Vec<Secret> {
        let Address::Postgres(url) = self else { return vec![] };
        let Ok(url) = url::Url::parse(url) else { return vec![] };
        let plain = url.password().unwrap_or_default();
        // A plus sign means itself there, unlike in a query.
        let meant = format!("password={}", plain.replace('+', "%2B"));
        let meant = url::form_urlencoded::parse(meant.as_bytes());
        let given = meant.chain(url.query_pairs()).filter(|(key, _)| key.ends_with("password"));
        let given = given.map(|(_, value)| value.into_owned()).chain([plain.to_owned()]);
        given.filter(|value| !value.is_empty()).map(Secret::new).collect()
    }

    /// For people and logs: without a password.
    pub fn shown(&self) -> String {
        match self {
            Address::File(path) => path.display().to_string(),
            Address::Postgres(url) => redact(url),
        }
    }
}

fn postgres_address(text: &str) -> Result<Address> {
    let form = "postgres://user@host:5432/database";
    let wrong =
        |why: String| CliError::new(Code::STORE_ADDRESS, format!("{}: {why}", redact(text))).hint(form);
    // A socket's folder stands percent-encoded in the place of the host, which the parser of web
    // addresses takes for an unusual but valid host.
    let url = url::Url::parse(text).map_err(|e| wrong(e.to_string()))?;
    let database = url.path().trim_start_matches('/');
    if database.contains('/') {
        return Err(wrong(format!("{database:?} is not a database's name")));
    }
    Ok(Address::Postgres(text.to_owned()))
}

/// `text` with the password of an address replaced by `***`, also where the address cannot be
/// parsed, and in `password=…` parameters.
pub fn redact(text: &str) -> String {
    let mut out = text.to_owned();
    if let Some((scheme, rest)) = text.split_once("://") {
        // The last @ before the path ends the credentials; a password may hold further ones.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        // An unescaped slash inside a password: everything up to the last @ is suspect.
        let at =
            rest.rfind('@').filter(|at| *at < end || rest[..*at].contains(':')).or(rest[..end].rfind('@'));
        if let Some(at) = at
            && let Some(colon) = rest[..at].find(':')
        {
            out = format!("{scheme}://{}:***{}", &rest[..colon], &rest[at..]);
        }
    }
    for key in ["password=", "sslpassword="] {
        let mut from = 0;
        while let Some(found) = out[from..].find(key) {
            let start = from + found + key.len();
            let end = out[start..].find(['&', ' ']).map_or(out.len(), |e| start + e);
            out.replace_range(start..end, "***");
            from = start;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Address::parse(text, None).unwrap_err().to_string()
    }

    #[test]
    fn a_path_and_three_schemes_are_known() {
        let file = |p: &str| Ok::<_, CliError>(Address::File(p.into()));
        assert_eq!(Address::parse("jobs.db", None), file("jobs.db"));
        assert_eq!(Address::parse("jobs.db", Some(Path::new("/etc"))), file("/etc/jobs.db"));
        assert_eq!(Address::parse("sqlite://a/b.db", None), file("a/b.db"));
        assert_eq!(Address::parse("sqlite:///var/b.db", Some(Path::new("/etc"))), file("/var/b.db"));
        assert_eq!(Address::parse("C:x", None), file("C:x"));
        for url in ["postgres://u:p@h:5432/d?sslmode=require", "postgresql://%2Frun%2Fpg/d", "postgres:///d"]
        {
            assert_eq!(Address::parse(url, None), Ok(Address::Postgres(url.into())));
        }
    }

    #[test]
    fn a_typing_error_is_told_with_the_nearest_scheme_and_without_the_password() {
        assert_eq!(
            refused("postgers://u:hunter2@h/d"),
            "error[MS0107]: postgers://u:***@h/d: \"postgers\" is not a kind of store\n  try: postgres://…"
        );
        assert!(refused("mysql://h/d").contains("a path, sqlite://PATH or postgres://"));
        assert!(refused("postgres:h/d").contains("lacks //"));
        assert!(refused("sqlite://").contains("no file is named"));
        assert!(refused("postgres://u:hunter2@h:port/d").contains("u:***@h:port"));
        assert!(refused("postgres://h/a/b").contains("not a database's name"));
    }

    #[test]
    fn passwords_are_known_in_both_spellings() {
        let known = |url: &str| {
            let found = Address::Postgres(url.into()).passwords();
            found.iter().map(|s| s.expose().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(known("postgres://u:hunter2%2F+more@h/d"), ["hunter2/+more", "hunter2%2F+more"]);
        assert_eq!(known("postgres://h/d?sslpassword=hunter2%2F3&x=1"), ["hunter2/3"]);
        assert!(known("postgres://u@h/d").is_empty());
    }

    #[test]
    fn passwords_never_show() {
        for text in [
            "postgres://u:hunter2@h/d",
            "postgres://u:hun@ter2@h/d",
            "postgres://u:hunter2/x@h/d",
            "postgres://h/d?user=u&password=hunter2",
            "postgres://h/d?password=hunter2&sslpassword=hunter2&x=1",
        ] {
            let shown = redact(text);
            assert!(!shown.contains("hunter2") && !shown.contains("ter2"), "{shown}");
            assert!(shown.contains("***") && shown.starts_with("postgres://"), "{shown}");
        }
        assert_eq!(redact("postgres://u@h/d"), "postgres://u@h/d");
        assert_eq!(redact("dir:with@odd/names.db"), "dir:with@odd/names.db");
    }
}

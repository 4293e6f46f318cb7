//! The table of sealed values, and what of it this process has opened.
//!
//! A row has a version that rises with each new value, who set it, and when it was last used by an
//! attempt (to a minute). Values go one way: in by [`Vault::put`], out into a running attempt by
//! [`Vault::resolve`], or to the part of the engine that keeps it by [`Vault::get`]. What came out is
//! remembered per project for the redactor (another project must not find out by trying).

use super::{Keys, Result, Secret, SecretError, refs};
use crate::redact::Redactor;
use crate::registry::Registry;
use jiff::Timestamp;
use mainspring_core::store::Store;
use mainspring_core::tables::{At, Migration, Statement, Tables, TablesError, Write};
use mainspring_core::{Json, ProjectId, StoreError, limits, time};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::OnceCell;

const MIGRATIONS: &[Migration] = &[Migration::new("0001_secrets", include_str!("0001_secrets.sql"))];
/// Use is written down this often.
const USED_EVERY: Duration = Duration::from_secs(60);

/// A secret without its value.
#[derive(Clone, Debug, Serialize)]
pub struct SecretRecord {
    /// Its name.
    pub name: String,
    /// Rises with each new value, from 1.
    pub version: i64,
    /// Who set this value.
    pub set_by: String,
    /// When.
    pub set_at: Timestamp,
    /// When an attempt last used it, to a minute.
    pub used_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    sealed: String,
    used_at: Option<At>,
}

/// The name of a project's secret: 1 to 100 letters, digits, `-` and `_`.
pub fn check_name(name: &str) -> Result<()> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 100 || !name.bytes().all(ok) {
        let shown = limits::cut(name, 60);
        let text = format!("{shown:?} is not the name of a secret: 1 to 100 letters, digits, - and _");
        return Err(SecretError::Invalid { field: "name", text });
    }
    Ok(())
}

/// A name that may also have slashes in it: those belong to parts of the engine.
fn check_any_name(name: &str) -> Result<()> {
    name.split('/').try_for_each(check_name)
}

fn check_value(value: &Secret) -> Result<()> {
    let wrong = |text: String| Err(SecretError::Invalid { field: "value", text });
    match value.expose().len() {
        n if n < crate::redact::SHORTEST => wrong(format!(
            "a secret has at least {} bytes: a shorter one could not be kept out of logs",
            crate::redact::SHORTEST
        )),
        n if n > limits::SECRET => wrong(format!("has {n} bytes, at most {} are kept", limits::SECRET)),
        _ if value.expose().contains('\0') => wrong("holds a NUL byte; encode it".into()),
        _ => Ok(()),
    }
}

/// See the module's text. Cheap to clone; clones share what was opened.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    tables: Option<Arc<dyn Tables>>,
    keys: Arc<Keys>,
    ready: OnceCell<()>,
    /// What is kept out of everything, whatever the project.
    base: Arc<Redactor>,
    opened: RwLock<HashMap<ProjectId, Arc<Redactor>>>,
}

impl Vault {
    /// The vault of a store, with the keys and the redactor of a registry.
    pub fn new(store: Arc<dyn Store>, registry: &Registry) -> Vault {
        Vault(Arc::new(Inner {
            tables: store.tables(),
            keys: registry.secret_keys().clone(),
            ready: OnceCell::new(),
            base: Arc::new(registry.redactor().clone()),
            opened: RwLock::default(),
        }))
    }

    /// The keys.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.0.keys
    }

    async fn tables(&self) -> Result<&dyn Tables> {
        let tables = self.0.tables.as_deref().ok_or_else(|| StoreError::Invalid {
            field: "store",
            text: "this store keeps no secrets".into(),
        });
        let tables = tables.map_err(TablesError::from)?;
        self.0
            .ready
            .get_or_try_init(|| async { tables.migrate("secrets", MIGRATIONS).await.map(drop) })
            .await?;
        Ok(tables)
    }

    /// Brings the table up to date, and makes the key file when it is missing and nothing is sealed
    /// yet: then its path is answered. A file that is missing later is for a person to find.
    pub async fn begin(&self) -> Result<Option<PathBuf>> {
        let tables = self.tables().await?;
        if self.0.keys.file().is_none_or(|path| path.exists()) {
            return Ok(None);
        }
        let count = Statement::new("SELECT count(*) FROM secrets_values");
        let sealed: i64 = tables.read(count).await?.one()?;
        if sealed > 0 {
            return Ok(None);
        }
        Ok(self.0.keys.make()?.map(ToOwned::to_owned))
    }

    /// The statement that keeps a value under a name, for whoever writes more with it; its answer is
    /// the version. The one before is gone.
    pub async fn put_statement(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        value: &Secret,
        by: &str,
    ) -> Result<Statement> {
        check_any_name(name)?;
        check_value(value)?;
        self.begin().await?;
        let others = Statement::new("SELECT count(*) FROM secrets_values WHERE project = ?1 AND name <> ?2");
        let others: i64 = self.tables().await?.read(others.bind(project).bind(name)).await?.one()?;
        if others >= limits::SECRETS as i64 {
            let text = format!("the project has {others} secrets, which is the most; delete one first");
            return Err(SecretError::Invalid { field: "name", text });
        }
        let sealed = self.0.keys.seal(project, name, value).await?;
        self.learn(project, value);
        Ok(Statement::new(
            "INSERT INTO secrets_values (project, name, version, sealed, set_by, set_at)
             VALUES (?1, ?2, 1, ?3, ?4, ?5)
             ON CONFLICT (project, name) DO UPDATE SET version = secrets_values.version + 1,
                 sealed = excluded.sealed, set_by = excluded.set_by, set_at = excluded.set_at
             RETURNING version",
        )
        .bind(project)
        .bind(name)
        .bind(sealed)
        .bind(limits::cut(by, limits::NAME))
        .bind(now))
    }

    /// Keeps a value under a name; its version.
    pub async fn put(
        &self,
        now: Timestamp,
        project: ProjectId,
        name: &str,
        value: &Secret,
        by: &str,
    ) -> Result<i64> {
        let statement = self.put_statement(now, project, name, value, by).await?;
        let mut written = self.tables().await?.write(statement.into()).await?;
        Ok(written.rows.swap_remove(0).one()?)
    }

    /// The statement that deletes a secret; it meets no row when there is none.
    pub fn delete_statement(project: ProjectId, name: &str) -> Statement {
        Vault::forget_statement(project, name).expect_rows(1)
    }

    /// The same for one that may not be there.
    pub fn forget_statement(project: ProjectId, name: &str) -> Statement {
        Statement::new("DELETE FROM secrets_values WHERE project = ?1 AND name = ?2").bind(project).bind(name)
    }

    /// Deletes a secret.
    pub async fn delete(&self, project: ProjectId, name: &str) -> Result<()> {
        check_any_name(name)?;
        match self.tables().await?.write(Vault::delete_statement(project, name).into()).await {
            Ok(_) => Ok(()),
            Err(TablesError::Unexpected { .. }) => Err(SecretError::Unknown(name.to_owned())),
            Err(e) => Err(e.into()),
        }
    }

    /// The project's secrets by name, without their values and without those of the engine.
    pub async fn list(&self, project: ProjectId) -> Result<Vec<SecretRecord>> {
        let statement = Statement::new(
            "SELECT name, version, set_by, set_at, used_at FROM secrets_values WHERE project = ?1 ORDER BY name",
        );
        let found = self.tables().await?.read(statement.bind(project)).await?;
        let all: Vec<(String, i64, String, At, Option<At>)> = found.into_typed()?;
        let record = |(name, version, set_by, set_at, used_at): (String, i64, String, At, Option<At>)| {
            SecretRecord { name, version, set_by, set_at: set_at.0, used_at: used_at.map(|at| at.0) }
        };
        Ok(all.into_iter().filter(|(name, ..)| !name.contains('/')).map(record).collect())
    }

    /// The value of a name, for the part of the engine that keeps it.
    pub async fn get(&self, project: ProjectId, name: &str) -> Result<Secret> {
        check_any_name(name)?;
        let found = self.rows(project, &[name.to_owned()]).await?;
        let row = found.first().ok_or_else(|| SecretError::Unknown(name.to_owned()))?;
        self.opened(project, row).await
    }

    async fn rows(&self, project: ProjectId, names: &[String]) -> Result<Vec<Row>> {
        let places: Vec<String> = (2..names.len() + 2).map(|n| format!("?{n}")).collect();
        let places = places.join(", ");
        let mut statement = Statement::built(format!(
            "SELECT name, sealed, used_at FROM secrets_values WHERE project = ?1 AND name IN ({places})"
        ))
        .bind(project);
        for name in names {
            statement = statement.bind(name.as_str());
        }
        Ok(self.tables().await?.read(statement).await?.into_typed()?)
    }

    async fn opened(&self, project: ProjectId, row: &Row) -> Result<Secret> {
        let secret = self.0.keys.open(project, &row.name, &row.sealed).await?;
        self.learn(project, &secret);
        Ok(secret)
    }

    /// The payload with the project's secrets in it; None when it names none. Called when an attempt
    /// starts, and what it gives is never written anywhere.
    pub async fn resolve(&self, now: Timestamp, project: ProjectId, payload: &Json) -> Result<Option<Json>> {
        if !refs::mentions(payload) {
            return Ok(None);
        }
        let mut value = payload.value();
        let names = refs::names(&value)?;
        if names.is_empty() {
            return Ok(None);
        }
        if names.len() > limits::SECRETS_OF_A_JOB {
            let text =
                format!("names {} secrets, at most {} are allowed", names.len(), limits::SECRETS_OF_A_JOB);
            return Err(SecretError::Invalid { field: "payload", text });
        }
        let rows = self.rows(project, &names).await?;
        let mut values = HashMap::new();
        for row in &rows {
            values.insert(row.name.as_str(), self.opened(project, row).await?);
        }
        refs::replace(&mut value, &mut |name| match values.get(name) {
            Some(secret) => Ok(secret.expose().to_owned()),
            None => Err(SecretError::Unknown(name.to_owned())),
        })?;
        self.used(now, project, &rows).await?;
        Ok(Some(Json::trusted(value.to_string())))
    }

    async fn used(&self, now: Timestamp, project: ProjectId, rows: &[Row]) -> Result<()> {
        let old = |row: &&Row| row.used_at.as_ref().is_none_or(|at| time::plus(at.0, USED_EVERY) < now);
        let write = rows.iter().filter(old).fold(Write::new(), |write, row| {
            let statement =
                Statement::new("UPDATE secrets_values SET used_at = ?3 WHERE project = ?1 AND name = ?2");
            write.then(statement.bind(project).bind(row.name.as_str()).bind(now))
        });
        if rows.iter().any(|row| old(&row)) {
            self.tables().await?.write(write).await?;
        }
        Ok(())
    }

    /// Seals everything anew that was not sealed with the newest key; how many there were.
    pub async fn reseal(&self) -> Result<usize> {
        #[derive(Deserialize)]
        struct Sealed {
            project: ProjectId,
            name: String,
            sealed: String,
        }
        let (ring, mut after, mut done) = (self.0.keys.ring().await?, (ProjectId(0), String::new()), 0);
        loop {
            let page = Statement::new(
                "SELECT project, name, sealed FROM secrets_values
                 WHERE project > ?1 OR (project = ?1 AND name > ?2) ORDER BY project, name LIMIT 100",
            );
            let page = page.bind(after.0).bind(after.1.as_str());
            let page: Vec<Sealed> = self.tables().await?.read(page).await?.into_typed()?;
            let Some(last) = page.last() else { return Ok(done) };
            after = (last.project, last.name.clone());
            for old in page.iter().filter(|row| !ring.is_newest(&row.sealed)) {
                let value = self.0.keys.open(old.project, &old.name, &old.sealed).await?;
                // A value that was set meanwhile is newer than the one in hand.
                let statement = Statement::new(
                    "UPDATE secrets_values SET sealed = ?3 WHERE project = ?1 AND name = ?2 AND sealed = ?4",
                );
                let statement = statement
                    .bind(old.project)
                    .bind(old.name.as_str())
                    .bind(ring.seal(old.project, &old.name, &value)?)
                    .bind(old.sealed.as_str());
                self.tables().await?.write(statement.into()).await?;
                done += 1;
            }
        }
    }

    /// What keeps this project's opened secrets, and those of the installation, out of what attempts
    /// leave behind.
    pub fn redactor(&self, project: ProjectId) -> Arc<Redactor> {
        let opened = self.0.opened.read().unwrap_or_else(PoisonError::into_inner);
        opened.get(&project).unwrap_or(&self.0.base).clone()
    }

    fn learn(&self, project: ProjectId, value: &Secret) {
        if self.redactor(project).knows(value) {
            return;
        }
        let mut opened = self.0.opened.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = Redactor::clone(opened.get(&project).unwrap_or(&self.0.base));
        known.add_every_form(value);
        opened.insert(project, Arc::new(known));
    }
}

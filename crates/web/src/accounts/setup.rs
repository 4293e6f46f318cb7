//! The first account. While there is none, the server prints a link that works once and lets whoever
//! opens it make one; nothing else is served.

use super::sessions;
use crate::access::{Hash, Secret, hash, same};
use crate::problem::{Problem, Result};
use crate::state::Web;
use mainspring_core::ProjectId;
use mainspring_core::event::{NewEvent, signed};
use mainspring_core::tables::{Statement, Write};

/// Whether there is no account yet.
pub async fn wanted(web: &Web) -> Result<bool> {
    let n: i64 = web.tables().read(Statement::new("SELECT count(*) FROM web_users")).await?.one()?;
    Ok(n == 0)
}

/// A new token for the link; the one before is worth nothing any more. None when there is an account.
pub async fn link(web: &Web) -> Result<Option<Secret>> {
    if !wanted(web).await? {
        return Ok(None);
    }
    let token = Secret::random()?;
    let statement = Statement::new(
        "INSERT INTO web_facts (name, fact) VALUES ('setup', ?1)
         ON CONFLICT (name) DO UPDATE SET fact = excluded.fact",
    );
    web.tables().write(statement.bind(hash(token.reveal())).into()).await?;
    Ok(Some(token))
}

/// Whether the token is that of the link.
pub async fn check(web: &Web, token: &str) -> Result<()> {
    let statement = Statement::new("SELECT fact FROM web_facts WHERE name = 'setup'");
    let kept: Option<Hash> = web.tables().read(statement).await?.optional()?;
    if kept.is_some_and(|kept| same(&kept.0, &hash(token))) && wanted(web).await? {
        return Ok(());
    }
    let text =
        "this link has been used or is not the newest; `mainspring up` prints a new one when it starts";
    Err(Problem::forbidden(text))
}

/// Makes the first account, which sees everything, and begins its session.
pub async fn complete(
    web: &Web,
    token: &str,
    email: &str,
    name: &str,
    password: &str,
    (from, agent): (&str, &str),
) -> Result<Secret> {
    check(web, token).await?;
    let person = sessions::person(web, email, name, password, true).await?;
    // The token goes with it: of two who open the link at once, one comes too late.
    let used = Statement::new("DELETE FROM web_facts WHERE name = 'setup' AND fact = ?1")
        .bind(hash(token))
        .expect_rows(1);
    let event = NewEvent::new("person.first_account", format!("person/{email}"), serde_json::json!({}));
    let event = event.by(&signed(email, from));
    let rest = |write: Write| write.then(used).tell(web.now(), ProjectId::DEFAULT, event);
    sessions::begin_as_new(web, person, rest, agent).await
}

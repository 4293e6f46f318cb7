//! Sessions: who is signed in in which browser. They end by themselves (a week without use, thirty
//! days at most), by signing out, and with a change of the password.
//!
//! Wrong passwords are counted per account and per address; after a few, the next try must wait,
//! twice as long each time.

use super::{passwords, users};
use crate::access::{Hash, Secret, hash};
use crate::problem::{Problem, Result};
use crate::state::Web;
use jiff::Timestamp;
use mainspring_core::tables::{AsJson, At, Statement, Write};
use mainspring_core::{limits, time};
use serde::Deserialize;
use std::time::Duration;

/// A session not used for so long ends.
const IDLE: Duration = Duration::from_secs(7 * 86_400);
/// However much it is used, it ends after this.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Use is written down this often.
const SEEN_EVERY: Duration = Duration::from_secs(60);
/// Wrong passwords that cost nothing.
const FREE_TRIES: u32 = 5;
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// A person who is signed in.
#[derive(Clone, Debug, Deserialize)]
pub struct Session {
    /// The hash of its token.
    pub token: Hash,
    /// The person's number.
    pub member: i64,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Whether they see every project.
    pub admin: bool,
    /// How pages are shown to them.
    pub settings: AsJson<super::Settings>,
    /// When it was last used.
    pub seen_at: At,
    /// When it ends at the latest.
    pub ends_at: At,
}

/// The session a browser's token belongs to, if it has not ended.
pub async fn session(web: &Web, token: &str) -> Result<Option<Session>> {
    let now = web.now();
    let statement = Statement::new(
        "SELECT s.token, s.member, u.email, u.name, u.admin, u.settings, s.seen_at, s.ends_at
         FROM web_sessions s JOIN web_users u ON u.id = s.member
         WHERE s.token = ?1 AND s.ends_at > ?2 AND s.seen_at > ?3 AND u.disabled_at IS NULL",
    );
    let statement = statement.bind(hash(token)).bind(now).bind(time::minus(now, IDLE));
    let found: Option<Session> = web.tables().read(statement).await?.optional()?;
    if let Some(session) = &found
        && time::plus(session.seen_at.0, SEEN_EVERY) < now
    {
        let seen = Statement::new("UPDATE web_sessions SET seen_at = ?2 WHERE token = ?1");
        web.tables().write(seen.bind(session.token.0.clone()).bind(now).into()).await?;
    }
    Ok(found)
}

/// Begins a session with address and password; gives its token. `from` is the address it came from.
pub async fn sign_in(web: &Web, email: &str, password: &str, from: &str, agent: &str) -> Result<Secret> {
    let now = web.now();
    let email = email.trim().to_lowercase();
    let subjects = [format!("account {}", limits::cut(&email, 200)), format!("address {from}")];
    for subject in &subjects {
        wait_over(web, now, subject).await?;
    }
    let statement =
        Statement::new("SELECT id, password FROM web_users WHERE email = ?1 AND disabled_at IS NULL")
            .bind(email.as_str());
    let known: Option<(i64, String)> = web.tables().read(statement).await?.optional()?;
    let right = passwords::verify(password, known.as_ref().map(|(_, kept)| kept.clone())).await?;
    let person = known.as_ref().map(|(id, _)| *id);
    let Some((id, _)) = known.filter(|_| right) else {
        failed(web, now, &subjects, (person, &email, from)).await?;
        return Err(Problem::invalid("password", "address and password do not belong together"));
    };
    begin(web, id, agent, &subjects, Some((&email, from))).await
}

/// Begins a session of a person who has proved who they are.
pub(super) async fn begin(
    web: &Web,
    id: i64,
    agent: &str,
    subjects: &[String],
    told: Option<(&str, &str)>,
) -> Result<Secret> {
    let (now, token) = (web.now(), Secret::random()?);
    let mut write = Write::new().then(
        Statement::new(
            "INSERT INTO web_sessions (token, member, created_at, seen_at, ends_at, agent)
             VALUES (?1, ?2, ?3, ?3, ?4, ?5)",
        )
        .bind(hash(token.reveal()))
        .bind(id)
        .bind(now)
        .bind(time::plus(now, LONGEST))
        .bind(limits::cut(&agent.replace('\0', ""), 200)),
    );
    for subject in subjects {
        write = write.then(Statement::new("DELETE FROM web_tries WHERE subject = ?1").bind(subject));
    }
    write = write.then(Statement::new("DELETE FROM web_sessions WHERE ends_at < ?1").bind(now));
    if let Some((email, from)) = told {
        write = super::tell(web, write, "person.signed_in", (Some(id), email, from)).await?;
    }
    web.tables().write(write).await?;
    Ok(token)
}

/// How long to wait after so many wrong passwords.
fn wait(failures: u32) -> Duration {
    match failures.checked_sub(FREE_TRIES) {
        None => Duration::ZERO,
        Some(n) => Duration::from_secs(1 << n.min(10)).min(LONGEST_WAIT),
    }
}

async fn wait_over(web: &Web, now: Timestamp, subject: &str) -> Result<()> {
    let statement =
        Statement::new("SELECT failures, last_at FROM web_tries WHERE subject = ?1").bind(subject);
    let Some((failures, last)) = web.tables().read(statement).await?.optional::<(u32, At)>()? else {
        return Ok(());
    };
    let wait = wait(failures);
    // A clock that was set back makes nobody wait who need not.
    if wait.is_zero() {
        return Ok(());
    }
    let left = time::plus(last.0, wait).duration_since(now);
    if left.is_positive() {
        let left = Duration::try_from(left).unwrap_or(LONGEST_WAIT) + Duration::from_secs(1);
        let text = format!("too many wrong passwords; try again in {} s", left.as_secs());
        return Err(Problem::too_many(text, left));
    }
    Ok(())
}

async fn failed(
    web: &Web,
    now: Timestamp,
    subjects: &[String],
    who: (Option<i64>, &str, &str),
) -> Result<()> {
    let mut write = Write::new();
    for subject in subjects {
        // A day later it is forgotten.
        let statement = Statement::new(
            "INSERT INTO web_tries (subject, failures, last_at) VALUES (?1, 1, ?2)
             ON CONFLICT (subject) DO UPDATE SET last_at = excluded.last_at,
                 failures = CASE WHEN web_tries.last_at < ?3 THEN 1 ELSE web_tries.failures + 1 END",
        );
        let day_ago = time::minus(now, Duration::from_secs(86_400));
        write = write.then(statement.bind(subject).bind(now).bind(day_ago));
    }
    let write = super::tell(web, write, "person.refused", who).await?;
    web.tables().write(write).await?;
    Ok(())
}

/// Ends a session.
pub async fn end_session(web: &Web, token: &[u8], from: &str) -> Result<()> {
    let whose = Statement::new(
        "SELECT u.id, u.email FROM web_sessions s JOIN web_users u ON u.id = s.member WHERE s.token = ?1",
    );
    let whose: Option<(i64, String)> = web.tables().read(whose.bind(token)).await?.optional()?;
    let Some((id, email)) = whose else { return Ok(()) };
    let write = Write::new().then(Statement::new("DELETE FROM web_sessions WHERE token = ?1").bind(token));
    let write = super::tell(web, write, "person.signed_out", (Some(id), &email, from)).await?;
    web.tables().write(write).await?;
    Ok(())
}

/// A session of a person, as they see it.
#[derive(Clone, Debug, Deserialize)]
pub struct OpenSession {
    /// The hash of its token.
    pub token: Hash,
    /// Since when.
    pub created_at: At,
    /// When it was last used, to a minute.
    pub seen_at: At,
    /// The browser.
    pub agent: String,
}

impl OpenSession {
    /// A name for it that opens nothing: the beginning of its token's hash.
    pub fn id(&self) -> String {
        self.token.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A person's sessions that have not ended, the last used first.
pub async fn open_sessions(web: &Web, person: i64) -> Result<Vec<OpenSession>> {
    let statement = Statement::new(
        "SELECT token, created_at, seen_at, agent FROM web_sessions
         WHERE member = ?1 AND ends_at > ?2 AND seen_at > ?3 ORDER BY seen_at DESC LIMIT 100",
    );
    let now = web.now();
    let statement = statement.bind(person).bind(now).bind(time::minus(now, IDLE));
    Ok(web.tables().read(statement).await?.into_typed()?)
}

/// Ends one session of a person.
pub async fn end_one(web: &Web, session: &Session, id: &str, from: &str) -> Result<()> {
    let found = open_sessions(web, session.member).await?.into_iter().find(|open| open.id() == id);
    let found = found.ok_or_else(|| Problem::not_found("session", limits::cut(id, 40)))?;
    end_session(web, &found.token.0, from).await
}

pub(super) fn end_others_statement(id: i64, keep: &[u8]) -> Statement {
    Statement::new("DELETE FROM web_sessions WHERE member = ?1 AND token <> ?2").bind(id).bind(keep)
}

/// Ends all other sessions of a person.
pub async fn end_others(web: &Web, session: &Session, from: &str) -> Result<()> {
    let write = Write::new().then(end_others_statement(session.member, &session.token.0));
    let who = (Some(session.member), session.email.as_str(), from);
    let write = super::tell(web, write, "person.sessions_ended", who).await?;
    web.tables().write(write).await?;
    Ok(())
}

/// Makes a person and begins their session: both or neither would be nicer, but a person without a
/// session can sign in.
pub(super) async fn begin_as_new(
    web: &Web,
    person: Statement,
    also: impl FnOnce(Write) -> Write,
    agent: &str,
) -> Result<Secret> {
    let written = web.tables().write(also(Write::new().then(person))).await;
    let taken = |e: mainspring_core::tables::TablesError| match e.is_taken("web_users", &["email"]) {
        true => Problem::invalid("email", "somebody has an account with this address already"),
        false => e.into(),
    };
    let mut written = written.map_err(taken)?;
    let id: i64 = written.rows.swap_remove(0).one()?;
    begin(web, id, agent, &[], None).await
}

pub(super) use users::insert as person;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        assert_eq!(wait(4), Duration::ZERO);
        assert_eq!([wait(5), wait(6), wait(9)].map(|d| d.as_secs()), [1, 2, 16]);
        assert_eq!(wait(u32::MAX), LONGEST_WAIT);
    }
}

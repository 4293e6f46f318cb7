//! People.

use super::passwords;
use crate::problem::{Problem, Result};
use crate::state::Web;
use mainspring_core::limits;
use mainspring_core::tables::{AsJson, At, Statement, Write};
use mainspring_core::zone::Zone;
use serde::{Deserialize, Serialize};

/// A person with an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// Their number.
    pub id: i64,
    /// The address they sign in with.
    pub email: String,
    /// How they are called.
    pub name: String,
    /// Whether they see every project of this installation.
    pub admin: bool,
    /// Since when.
    pub created_at: At,
}

/// Reads an address: trimmed, in small letters, with something before and after one @.
pub fn read_email(text: &str) -> Result<String> {
    let email = text.trim().to_lowercase();
    let wrong = || Problem::invalid("email", format!("{email:?} is not an address such as ada@example.com"));
    let (name, host) = email.split_once('@').ok_or_else(wrong)?;
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ',' | ';' | '@');
    if name.is_empty() || !host.contains('.') || email.len() > 200 || name.contains(bad) || host.contains(bad)
    {
        return Err(wrong());
    }
    Ok(email)
}

/// Reads a person's name.
pub fn read_name(text: &str) -> Result<String> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > 100 || name.contains(char::is_control) {
        return Err(Problem::invalid("name", "a name has 1 to 100 characters on one line"));
    }
    Ok(name.to_owned())
}

/// The statement that makes a person; its answer is their number.
pub(super) async fn insert(
    web: &Web,
    email: &str,
    name: &str,
    password: &str,
    admin: bool,
) -> Result<Statement> {
    let kept = passwords::hash(password).await?;
    Ok(Statement::new(
        "INSERT INTO web_users (email, name, password, admin, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
         RETURNING id",
    )
    .bind(read_email(email)?)
    .bind(read_name(name)?)
    .bind(kept)
    .bind(admin)
    .bind(web.now()))
}

/// A person.
pub async fn user(web: &Web, id: i64) -> Result<Option<User>> {
    let statement = Statement::new("SELECT id, email, name, admin, created_at FROM web_users WHERE id = ?1");
    Ok(web.tables().read(statement.bind(id)).await?.optional()?)
}

/// How pages are shown to a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The zone of times: an IANA name; UTC when absent.
    pub zone: Option<String>,
    /// `light` or `dark`; as the system says when absent.
    pub theme: Option<String>,
}

impl Settings {
    /// Reads what was typed.
    pub fn read(zone: &str, theme: &str) -> Result<Settings> {
        let zone = match zone.trim() {
            "" => None,
            name => {
                Some(Zone::get(name).map_err(|e| Problem::invalid("zone", e.to_string()))?.name().to_owned())
            }
        };
        let theme = match theme {
            "" | "auto" => None,
            "light" | "dark" => Some(theme.to_owned()),
            other => {
                let text = format!("{:?} is none of: auto, light, dark", limits::cut(other, 40));
                return Err(Problem::invalid("theme", text));
            }
        };
        Ok(Settings { zone, theme })
    }
}

/// Changes a person's name and how pages are shown to them.
pub async fn change_settings(
    web: &Web,
    session: &super::Session,
    name: &str,
    settings: &Settings,
    from: &str,
) -> Result<()> {
    let statement = Statement::new("UPDATE web_users SET name = ?2, settings = ?3 WHERE id = ?1");
    let statement =
        statement.bind(session.member).bind(read_name(name)?).bind(AsJson(settings)).expect_rows(1);
    let who = (Some(session.member), session.email.as_str(), from);
    let write = super::tell(web, Write::new().then(statement), "person.settings_changed", who).await?;
    web.tables().write(write).await?;
    Ok(())
}

/// Changes a password; every other session of the person ends.
pub async fn change_password(
    web: &Web,
    session: &super::Session,
    old: &str,
    new: &str,
    from: &str,
) -> Result<()> {
    let (id, keep) = (session.member, session.token.0.as_slice());
    let statement = Statement::new("SELECT password FROM web_users WHERE id = ?1").bind(id);
    let kept: Option<String> = web.tables().read(statement).await?.optional()?;
    if !passwords::verify(old, kept).await? {
        return Err(Problem::invalid("old_password", "this is not your present password"));
    }
    let kept = passwords::hash(new).await?;
    let write = Write::new()
        .then(
            Statement::new("UPDATE web_users SET password = ?2 WHERE id = ?1")
                .bind(id)
                .bind(kept)
                .expect_rows(1),
        )
        .then(super::sessions::end_others_statement(id, keep));
    let who = (Some(id), session.email.as_str(), from);
    let write = super::tell(web, write, "person.password_changed", who).await?;
    web.tables().write(write).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read() {
        assert_eq!(read_email(" Ada@Example.com ").unwrap(), "ada@example.com");
        for wrong in
            ["", "ada", "ada@", "@example.com", "ada@host", "a b@example.com", "a@b@c.d", "a@b.c\r\nx"]
        {
            assert_eq!(read_email(wrong).unwrap_err().field.as_deref(), Some("email"), "{wrong:?}");
        }
        assert_eq!(read_name(" Ada ").unwrap(), "Ada");
        assert!(
            read_name(" ").is_err() && read_name("a\nb").is_err() && read_name(&"x".repeat(101)).is_err()
        );
    }
}

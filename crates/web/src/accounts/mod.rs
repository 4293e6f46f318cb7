//! People, their sessions, their places in projects, and API keys: what is kept of them and the
//! statements that read and write it.
//!
//! Secrets are kept as hashes: passwords by argon2id, tokens (256 random bits) by SHA-256. Nothing
//! here decides who may do what: that is [`crate::access`].

mod acts;
mod invitations;
mod keys;
mod members;
mod passwords;
mod sessions;
mod setup;
mod users;

pub use acts::tell;
pub use invitations::{
    Invitation, NewInvitation, invitation, invitations, invite, join, join_as_new, withdraw,
};
pub use keys::{Key, NewKey, key, key_list, make_key, revoke_key};
pub use members::{Member, change_member, members, remove_member, rights, set_member};
pub use sessions::{
    LONGEST as SESSION_LONGEST, OpenSession, Session, end_one, end_others, end_session, open_sessions,
    session, sign_in,
};
pub use setup::{
    check as check_setup, complete as complete_setup, link as setup_link, wanted as setup_wanted,
};
pub use users::{Settings, User, change_password, change_settings, user};

use mainspring_core::tables::{Migration, Result, Tables};

/// The tables, one migration after the other.
const MIGRATIONS: &[Migration] = &[
    Migration::new("0001_accounts", include_str!("0001_accounts.sql")),
    Migration::new("0002_people", include_str!("0002_people.sql")),
];

/// Brings the tables up to date.
pub async fn migrate(tables: &dyn Tables) -> Result<()> {
    tables.migrate("web", MIGRATIONS).await.map(drop)
}

//! Channels: where notices are sent, what is set on each, and the secrets they need, which lie in the
//! vault of the project and are never told again.

use super::error::{NotifyError, Result};
use super::timing::Timing;
use super::{Door, NoticeState};
use crate::client::Client;
use crate::secrets::{Secret, Vault};
use jiff::Timestamp;
use mainspring_connect::smtp::{Security, Server};
use mainspring_connect::{check_address, ping, webhook};
use mainspring_core::event::NewEvent;
use mainspring_core::ids::ProjectId;
use mainspring_core::job::check_name;
use mainspring_core::tables::{AsJson, At, Statement, TablesError, Write};
use mainspring_core::words;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Channels that a project may have.
pub const CHANNELS: usize = 200;
/// Recipients of a mail.
pub const RECIPIENTS: usize = 50;

words! {
    /// What a channel leads to.
    Kind {
        /// A mail server.
        Email = "email",
        /// The Resend API.
        Resend = "resend",
        /// An incoming webhook of Slack.
        Slack = "slack",
        /// A webhook of Discord.
        Discord = "discord",
        /// Any address, signed.
        Webhook = "webhook",
    }
}

/// What is set on a channel, by its kind; secrets apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Setup {
    /// A mail server. The secret is the password, if it wants one.
    Email {
        /// Its name.
        host: String,
        /// Its port.
        #[serde(default = "submission")]
        port: u16,
        /// How the connection is encrypted.
        #[serde(default)]
        security: Security,
        /// Who signs in.
        #[serde(default)]
        user: Option<String>,
        /// The sender.
        from: String,
        /// The recipients.
        to: Vec<String>,
        /// Where answers go.
        #[serde(default)]
        reply_to: Option<String>,
    },
    /// The Resend API. The secret is the API key.
    Resend {
        /// The sender.
        from: String,
        /// The recipients.
        to: Vec<String>,
        /// Where answers go.
        #[serde(default)]
        reply_to: Option<String>,
        /// The API's address, when it is not Resend's own.
        #[serde(default)]
        api: Option<String>,
    },
    /// Slack. The secret is the webhook's address.
    Slack {},
    /// Discord. The secret is the webhook's address.
    Discord {},
    /// Any address. The secret signs: `whsec_…`, or two of them while one takes over from the other.
    Webhook {
        /// Where to.
        url: String,
    },
}

fn submission() -> u16 {
    587
}

impl Setup {
    /// What it leads to.
    pub fn kind(&self) -> Kind {
        match self {
            Setup::Email { .. } => Kind::Email,
            Setup::Resend { .. } => Kind::Resend,
            Setup::Slack {} => Kind::Slack,
            Setup::Discord {} => Kind::Discord,
            Setup::Webhook { .. } => Kind::Webhook,
        }
    }

    /// The place it leads to, fit to be shown.
    pub fn target(&self) -> String {
        match self {
            Setup::Email { to, .. } | Setup::Resend { to, .. } => to.join(", "),
            Setup::Slack {} => "incoming webhook".into(),
            Setup::Discord {} => "webhook".into(),
            Setup::Webhook { url } => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        }
    }

    /// What is wrong with it, alone and with its secret (None: there is none).
    pub fn check(&self, secret: Option<&Secret>) -> Result<()> {
        let wrong = |field: &str| {
            let field = field.to_owned();
            move |e: mainspring_connect::Error| NotifyError::Invalid { field, text: e.text }
        };
        let given =
            |what: &str| secret.ok_or_else(|| NotifyError::invalid("secret", format!("{what} is missing")));
        match self {
            Setup::Email { host, port, security, user, from, to, reply_to } => {
                check_people(from, to, reply_to.as_deref())?;
                let login = user.as_ref().map(|user| {
                    let password = secret.map_or("", Secret::expose);
                    (user.clone(), mainspring_connect::Secret::new(password))
                });
                if *port == 0 {
                    return Err(NotifyError::invalid("port", "0 is not a port; mail servers use 587 or 465"));
                }
                if user.is_some() {
                    given("the password")?;
                }
                let field = if login.is_some() { "security" } else { "host" };
                Server { host: host.clone(), port: *port, security: *security, login: None }
                    .check()
                    .map_err(wrong("host"))?;
                Server { host: host.clone(), port: *port, security: *security, login }
                    .check()
                    .map_err(wrong(field))
            }
            Setup::Resend { from, to, reply_to, api } => {
                check_people(from, to, reply_to.as_deref())?;
                given("the API key")?;
                api.as_deref().map_or(Ok(()), ping::check).map_err(wrong("api"))
            }
            Setup::Slack {} | Setup::Discord {} => {
                ping::check(given("the webhook's address")?.expose()).map_err(wrong("secret"))
            }
            Setup::Webhook { url } => {
                ping::check(url).map_err(wrong("url"))?;
                let secret = mainspring_connect::Secret::new(given("the signing secret")?.expose());
                webhook::check_secret(&secret).map_err(wrong("secret"))
            }
        }
    }
}

fn check_people(from: &str, to: &[String], reply_to: Option<&str>) -> Result<()> {
    let address =
        |field: &str, text: &str| check_address(text).map_err(|e| NotifyError::invalid(field, e.text));
    address("from", from)?;
    if to.is_empty() || to.len() > RECIPIENTS {
        return Err(NotifyError::invalid("to", format!("a mail has 1 to {RECIPIENTS} recipients")));
    }
    to.iter().try_for_each(|to| address("to", to))?;
    reply_to.map_or(Ok(()), |reply| address("reply_to", reply))
}

/// A channel as it is kept, without its secret.
#[derive(Clone, Debug, Deserialize)]
pub struct Channel {
    /// Its number.
    pub id: i64,
    /// What it is called, once in a project.
    pub name: String,
    /// What is set on it.
    pub settings: AsJson<Setup>,
    /// When it sends.
    pub timing: AsJson<Timing>,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why nothing is sent any more although it is enabled: the receiver said it is gone.
    pub stopped: Option<String>,
    /// Deliveries that failed since the last one that did not.
    pub failing: i64,
    /// What the last of them said.
    pub last_error: Option<String>,
    /// When.
    pub last_failed: Option<At>,
    /// When something was last sent.
    pub last_sent: Option<At>,
    /// Since when there is this channel.
    pub created: At,
    /// The name of its secret in the vault.
    pub(super) secret: Option<String>,
}

impl Channel {
    /// What it leads to.
    pub fn kind(&self) -> Kind {
        self.settings.0.kind()
    }

    /// Whether it has a secret.
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// What becomes of what is sent now: `ok`, `failing`, `stopped`, `off`.
    pub fn state(&self) -> &'static str {
        match (self.enabled, &self.stopped, self.failing) {
            (false, ..) => "off",
            (true, Some(_), _) => "stopped",
            (true, None, 0) => "ok",
            _ => "failing",
        }
    }
}

/// A channel to be, or as it is to be.
#[derive(Clone)]
pub struct NewChannel {
    /// What it is called.
    pub name: String,
    /// What is set on it.
    pub settings: Setup,
    /// When it sends.
    pub timing: Timing,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Its secret; None keeps the one there is, or has one made where that is possible (webhooks).
    pub secret: Option<Secret>,
}

const COLUMNS: &str = "id, name, settings, timing, enabled, stopped, failing, last_error, last_failed, last_sent, created, secret";

/// The project's channels by name.
pub async fn channels(client: &Client) -> Result<Vec<Channel>> {
    let statement =
        Statement::built(format!("SELECT {COLUMNS} FROM notify_channels WHERE project = ?1 ORDER BY name"));
    Ok(client.door().await?.read(statement.bind(client.project())).await?.into_typed()?)
}

/// One channel.
pub async fn channel(client: &Client, id: i64) -> Result<Channel> {
    let found = find(&*client.door().await?, client.project(), id).await?;
    found.ok_or_else(|| NotifyError::not_found("channel", id))
}

pub(super) async fn find(
    tables: &dyn mainspring_core::tables::Tables,
    project: ProjectId,
    id: i64,
) -> Result<Option<Channel>> {
    let statement =
        Statement::built(format!("SELECT {COLUMNS} FROM notify_channels WHERE project = ?1 AND id = ?2"));
    Ok(tables.read(statement.bind(project).bind(id)).await?.optional()?)
}

/// A signing secret of 32 random bytes.
fn signing_secret() -> Result<Secret> {
    use base64::Engine as _;
    let mut bytes = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| NotifyError::invalid("secret", "the system gives no random bytes; give one yourself"))?;
    Ok(Secret::new(format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes))))
}

/// Where a channel's secret lies: under a name made of the channel's first name and its birth.
fn place(name: &str, now: Timestamp) -> String {
    let hash = Sha256::digest(format!("{}/{name}", mainspring_core::time::micros(now)));
    format!("channel/{}", hash.iter().take(10).map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn read_name(name: &str) -> Result<String> {
    let name = name.trim();
    check_name(name).map_err(|e| NotifyError::invalid("name", e))?;
    match name.chars().count() {
        0..=100 => Ok(name.to_owned()),
        _ => Err(NotifyError::invalid("name", "a channel's name has at most 100 characters")),
    }
}

fn event(client: &Client, what: &str, name: &str, kind: Kind) -> NewEvent {
    let data = serde_json::json!({"kind": kind});
    NewEvent::new(&format!("channel.{what}"), format!("channel/{name}"), data).by(&client.signature())
}

/// Makes a channel; the signing secret that was made for it, which is told this once.
pub async fn make(client: &Client, vault: &Vault, new: NewChannel) -> Result<(Channel, Option<Secret>)> {
    let (name, now, project) = (read_name(&new.name)?, client.now(), client.project());
    let made = match (&new.settings, &new.secret) {
        (Setup::Webhook { .. }, None) => Some(signing_secret()?),
        _ => None,
    };
    let secret = new.secret.as_ref().or(made.as_ref());
    new.settings.check(secret)?;
    check_timing(&new.timing)?;
    let there = channels(client).await?.len();
    if there >= CHANNELS {
        return Err(NotifyError::invalid(
            "name",
            format!("the project has {there} channels, which is the most"),
        ));
    }
    let place = secret.map(|_| place(&name, now));
    let insert = Statement::new(
        "INSERT INTO notify_channels (project, name, kind, settings, timing, enabled, secret, created, changed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) RETURNING id",
    )
    .bind(project)
    .bind(name.as_str())
    .bind(new.settings.kind().as_str())
    .bind(AsJson(&new.settings))
    .bind(AsJson(&new.timing))
    .bind(new.enabled)
    .bind(place.clone())
    .bind(now);
    let mut write =
        Write::new().then(insert).tell(now, project, event(client, "created", &name, new.settings.kind()));
    if let (Some(place), Some(secret)) = (&place, secret) {
        write = write.then(vault.put_statement(now, project, place, secret, client.actor()).await?);
    }
    let mut written = client.door().await?.write(write).await.map_err(|e| taken(e, &name))?;
    let id: i64 = written.rows.swap_remove(0).one()?;
    Ok((channel(client, id).await?, made))
}

fn check_timing(timing: &Timing) -> Result<()> {
    timing.check().map_err(|(field, text)| NotifyError::invalid(field, text))
}

fn taken(error: TablesError, name: &str) -> NotifyError {
    match error {
        TablesError::Broken(broken) if broken.table == "notify_channels" => {
            NotifyError::Taken(name.to_owned())
        }
        other => other.into(),
    }
}

/// Changes a channel. What it leads to stays: make another one instead. A change begins anew: it is
/// no longer stopped or failing.
pub async fn change(client: &Client, vault: &Vault, id: i64, new: NewChannel) -> Result<Channel> {
    let old = channel(client, id).await?;
    let (name, now, project) = (read_name(&new.name)?, client.now(), client.project());
    if old.kind() != new.settings.kind() {
        let text = format!("a channel of kind {} stays one; make another channel", old.kind());
        return Err(NotifyError::invalid("kind", text));
    }
    let kept = match (&new.secret, &old.secret) {
        (None, Some(place)) => Some(vault.get(project, place).await?),
        _ => None,
    };
    new.settings.check(new.secret.as_ref().or(kept.as_ref()))?;
    check_timing(&new.timing)?;
    let place = match (&new.secret, &old.secret) {
        (Some(_), None) => Some(place(&name, now)),
        (_, old) => old.clone(),
    };
    let update = Statement::new(
        "UPDATE notify_channels SET name = ?3, settings = ?4, timing = ?5, enabled = ?6, secret = ?7, changed = ?8,
             stopped = NULL, failing = 0, last_error = NULL
         WHERE project = ?1 AND id = ?2",
    )
    .bind(project)
    .bind(id)
    .bind(name.as_str())
    .bind(AsJson(&new.settings))
    .bind(AsJson(&new.timing))
    .bind(new.enabled)
    .bind(place.clone())
    .bind(now)
    .expect_rows(1);
    let mut write = Write::new().then(update).tell(now, project, event(client, "changed", &name, old.kind()));
    if let (Some(place), Some(secret)) = (&place, &new.secret) {
        write = write.then(vault.put_statement(now, project, place, secret, client.actor()).await?);
    }
    client.door().await?.write(write).await.map_err(|e| taken(e, &name))?;
    channel(client, id).await
}

/// Deletes a channel and its secret. Its deliveries stay; what was still to be sent fails.
pub async fn delete(client: &Client, id: i64) -> Result<()> {
    let (old, now, project) = (channel(client, id).await?, client.now(), client.project());
    let delete = Statement::new("DELETE FROM notify_channels WHERE project = ?1 AND id = ?2");
    let mut write = Write::new().then(delete.bind(project).bind(id).expect_rows(1)).tell(
        now,
        project,
        event(client, "deleted", &old.name, old.kind()),
    );
    if let Some(place) = &old.secret {
        write = write.then(Vault::delete_statement(project, place));
    }
    match client.door().await?.write(write).await {
        Ok(_) => Ok(()),
        Err(TablesError::Unexpected { .. }) => Err(NotifyError::not_found("channel", id)),
        Err(e) => Err(e.into()),
    }
}

/// Sends a test by a channel: the number of its delivery, which tells what became of it.
pub async fn test(client: &Client, id: i64) -> Result<i64> {
    let (channel, now, project) = (channel(client, id).await?, client.now(), client.project());
    let notice = super::Notice {
        project,
        key: format!("channel/{id}"),
        severity: super::Severity::Info,
        state: NoticeState::Test,
        title: format!("Test of the channel {}", channel.name),
        text: "If you can read this, notifications of this project arrive here. There is nothing to do."
            .into(),
        facts: vec![("channel".into(), channel.name.clone()), ("asked for by".into(), client.actor().into())],
        path: format!("/channels/{id}"),
        at: now,
        urgent: true,
    };
    let said = notice.announce(&[id]);
    let delivery = format!("{}_{id}", said.uid);
    let write = Write::new().tell(now, project, event(client, "tested", &channel.name, channel.kind()));
    let tables = client.door().await?;
    tables.write(said.into_write(write, now, project)).await?;
    let made = Statement::new("SELECT id FROM notify_deliveries WHERE uid = ?1").bind(delivery);
    let made: Option<i64> = tables.read(made).await?.optional()?;
    made.ok_or_else(|| NotifyError::not_found("channel", id))
}

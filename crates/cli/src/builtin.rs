//! The kinds that every `mainspring` knows, as the settings allow them: `http`, `command`, the one that
//! delivers notices, and those of the tour.

use crate::error::{CliError, Result};
use crate::settings::{KEY, Settings};
use crate::store::Address;
use crate::up::tour;
use mainspring::Registry;
use mainspring::kinds::bulk::{self, BulkActions};
use mainspring::kinds::command::{self, Command, CommandPolicy};
use mainspring::kinds::http::sign::Secrets;
use mainspring::kinds::http::{self, Http};
use mainspring::notify;
use mainspring::registry::KindSpec;
use mainspring::remote::callback::Office;
use mainspring::secrets::{Keys, Secret, Source};
use mainspring::step::SignOfLife;
use mainspring_core::code::Code;
use mainspring_outbound::OwnPorts;

/// Adds them; a kind of the program's own that has one of these names goes before it.
pub fn add(registry: Registry, settings: &Settings, own_ports: &OwnPorts) -> Result<Registry> {
    let outbound = outbound(settings, own_ports)?;
    let mut registry = tour::register(registry);
    if registry.get(http::KIND).is_none() {
        let office = settings.public_url.as_deref().map(Office::new);
        let http = Http::new(outbound.clone(), Secrets::from_env()).with_office(office);
        registry = registry.handler(http::KIND, KindSpec::default(), http);
    }
    let key = settings.key.iter().flat_map(|key| key.0.expose().split_whitespace()).map(Secret::new);
    registry = registry.keys(Keys::new(key_source(settings))).secrets(key);
    if let Some(url) = settings.heartbeat_url.clone() {
        let (outbound, every) = (outbound.clone(), settings.heartbeat_every);
        registry = registry.state(SignOfLife { outbound, url, every });
    }
    if registry.get(notify::KIND).is_none() {
        registry = notify::register(registry, outbound, settings.public_url.clone());
    }
    registry = registry.secrets(Secrets::from_env().known()).secrets(settings.store.passwords());
    if registry.get(bulk::KIND).is_none() {
        registry = registry.handler(bulk::KIND, KindSpec::default().queue(bulk::QUEUE), BulkActions);
    }
    if registry.get(command::KIND).is_none() {
        let policy = CommandPolicy {
            enabled: settings.commands.enabled,
            allow: settings.commands.allow.clone(),
            shell: settings.commands.shell,
            users: settings.commands.users.clone(),
            ..CommandPolicy::default()
        };
        registry = registry.handler(command::KIND, KindSpec::default(), Command::new(policy));
    }
    Ok(registry)
}

/// Where the key of projects' secrets comes from: the environment, a command, a file, or the file
/// beside the store.
fn key_source(settings: &Settings) -> Source {
    if let Some(key) = &settings.key {
        return Source::Text(key.0.clone(), KEY.into());
    }
    if !settings.key_command.is_empty() {
        return Source::Command(settings.key_command.clone());
    }
    match (&settings.key_file, &settings.store) {
        (Some(path), _) => Source::File(path.clone()),
        (None, Address::File(store)) => {
            let mut name = store.clone().into_os_string();
            name.push(".key");
            Source::File(name.into())
        }
        (None, Address::Postgres(_)) => Source::Unset(format!(
            "there is no key for secrets: set {KEY}, secrets.key_file or secrets.key_command, the same on every \
             node (openssl rand -base64 32 makes one)"
        )),
    }
}

fn outbound(settings: &Settings, own_ports: &OwnPorts) -> Result<mainspring_outbound::Client> {
    let origin = settings.all.iter().find(|(s, ..)| s.key == "outbound.allow").map(|(.., o)| o.to_string());
    let wrong = |e: String| {
        CliError::new(Code::CONFIG_INVALID, e).at(origin.clone().unwrap_or_else(|| "outbound.allow".into()))
    };
    let mut guard = mainspring_outbound::Guard::new(&settings.outbound_allow).map_err(wrong)?;
    guard.own_ports = own_ports.clone();
    let offline = settings.offline;
    mainspring_outbound::Client::new(mainspring_outbound::Settings { guard, offline, ..Default::default() })
        .map_err(wrong)
}

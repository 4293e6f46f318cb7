//! The one place of this crate that reads the clock: a command asks once and passes `now` on.

use jiff::Timestamp;

/// Now, in whole microseconds as the stores keep it.
#[allow(clippy::disallowed_methods, reason = "a command is told the time here and nowhere else")]
pub fn now() -> Timestamp {
    mainspring_core::time::trunc(Timestamp::now())
}

/// Waits: for `--follow`, and for progress between two looks.
#[allow(clippy::disallowed_methods, reason = "a command that follows looks again after a while")]
pub async fn pause(length: std::time::Duration) {
    tokio::time::sleep(length).await;
}

/// The name of this machine's time zone: `TZ`, then the zone that `/etc/localtime` links to, then
/// `/etc/timezone`. Only a crontab is read by it, because cron read it so.
pub fn machine_zone() -> Option<String> {
    let known = |name: &str| {
        let name = name.trim().trim_start_matches(':');
        (!name.is_empty() && jiff::tz::TimeZone::get(name).is_ok()).then(|| name.to_owned())
    };
    if let Some(zone) = std::env::var("TZ").ok().and_then(|z| known(&z)) {
        return Some(zone);
    }
    let link = std::fs::read_link("/etc/localtime").ok();
    let linked = link.as_deref().and_then(|l| l.to_str()).and_then(|l| l.split_once("zoneinfo/"));
    if let Some(zone) = linked.and_then(|(_, z)| known(z)) {
        return Some(zone);
    }
    std::fs::read_to_string("/etc/timezone").ok().and_then(|z| known(&z))
}

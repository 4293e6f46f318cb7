//! Whom a request comes from and whom it is meant for.
//!
//! **From**: the other end of the connection, unless that is a proxy the operator trusts: then the
//! last address in `X-Forwarded-For` that is no trusted proxy. From anybody else the header is
//! somebody's claim and is not looked at.
//!
//! **For**: the name in `Host` must be one of ours. A page of a foreign site can make a browser call
//! this server by giving its own name this server's address; the name gives it away. An address in
//! place of a name is fine: nobody else's page can have it.

use crate::problem::Problem;
use crate::state::{Config, Web};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode, header};
use mainspring_core::code::Code;
use mainspring_core::limits;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies behind each other that are looked through.
const HOPS: usize = 32;

/// An address or a network: `10.0.0.0/8`, `192.168.1.7`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong =
            |why: &str| format!("{text:?} {why}; write for example 10.0.0.0/8, 192.168.1.7 or fd00::/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong("is not an address or a network"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix.map(str::parse::<u8>) {
            None => most,
            Some(Ok(prefix)) if prefix <= most => prefix,
            Some(_) => return Err(wrong(&format!("has a prefix that is not 0 to {most}"))),
        };
        Ok(Network { address, prefix })
    }
}

impl Network {
    /// Whether `address` is in it; a mapped IPv4 address counts as that.
    pub fn holds(&self, address: IpAddr) -> bool {
        let (mine, asked) = (self.address.to_canonical(), address.to_canonical());
        let (differ, width) = match (mine, asked) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(u32::from(a) ^ u32::from(b)), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b), 128),
            _ => return false,
        };
        differ.checked_shr(width - u32::from(self.prefix)).unwrap_or(0) == 0
    }
}

/// The client's address: see the module.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_proxy = |address: IpAddr| trusted.iter().any(|network| network.holds(address));
    let mut found = peer;
    let lines = headers.get_all(FORWARDED_FOR);
    let claims = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let claims: Vec<&str> = claims.collect();
    for claim in claims.iter().rev().take(HOPS) {
        if !is_proxy(found) {
            return found;
        }
        // What cannot be read ends the chain: whoever stands before it is not known.
        let Some(address) = read(claim.trim()) else { return found };
        found = address;
    }
    found
}

/// `1.2.3.4`, `1.2.3.4:5678`, `::1`, `[::1]`, `[::1]:5678`.
fn read(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

/// A host without its port, lower case and without a dot at the end.
fn name(host: &str) -> String {
    let end = match host.starts_with('[') {
        true => host.find(']').map_or(host.len(), |at| at + 1),
        false => host.find(':').unwrap_or(host.len()),
    };
    host[..end].trim_end_matches('.').to_ascii_lowercase()
}

/// The host of an address that people type.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// Whether `host` is one of ours.
fn ours(host: &str, config: &Config) -> bool {
    let name = name(host);
    let bare = name.strip_prefix('[').map_or(Some(name.as_str()), |rest| rest.strip_suffix(']'));
    let address = bare.is_some_and(|bare| bare.parse::<IpAddr>().is_ok());
    address
        || name == "localhost"
        || name.ends_with(".localhost")
        || config.public_url.as_deref().is_some_and(|url| self::name(host_of(url)) == name)
        || config.hosts.iter().any(|own| self::name(own) == name)
}

/// Refuses what is meant for somebody else, and puts the client's address in the place of a proxy's.
pub async fn check(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let config = web.config();
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        let client = client(peer.ip(), request.headers(), &config.trusted);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, peer.port())));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let authority = request.uri().authority().map(|a| a.as_str().to_owned());
    if second.is_some() {
        return Problem::new(StatusCode::BAD_REQUEST, Code::BAD_REQUEST, "the header Host is there twice")
            .into_response();
    }
    let host = first.map(|host| host.to_str().unwrap_or("\u{fffd}").to_owned());
    // Machines that look whether we live may call us what they like: there is nothing to learn.
    let health = request.uri().path().contains("/health/");
    if let Some(foreign) = host.into_iter().chain(authority).find(|host| !health && !ours(host, config)) {
        let text = format!(
            "this server is not called {:?}: use its address, or name it in the setting public_url or hosts",
            limits::cut(&foreign, 100)
        );
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, Code::BAD_REQUEST, text).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|n| n.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn forwarded_addresses_count_from_trusted_proxies_only() {
        assert_eq!(seen("203.0.113.9", &["1.2.3.4"]), "203.0.113.9", "a claim of nobody we trust");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(seen("::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        // What a client writes before the proxy's own word is not believed.
        assert_eq!(seen("10.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6", "1.2.3.4, 10.9.9.9"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["[2a00::1]:443"]), "2a00::1");
        assert_eq!(seen("fd00::1", &["1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4, unknown"]), "10.0.0.1", "what cannot be read ends it");
        assert_eq!(seen("10.0.0.1", &["10.0.0.2"]), "10.0.0.2", "from inside");
        assert_eq!(seen("10.0.0.1", &[&"10.1.1.1, ".repeat(500)]), "10.0.0.1");
    }

    #[test]
    fn networks_hold_what_they_say() {
        let holds = |net: &str, a: &str| net.parse::<Network>().unwrap().holds(a.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "::1") && holds("::/0", "::1"));
        assert!(holds("192.168.1.7", "192.168.1.7") && !holds("192.168.1.7", "192.168.1.8"));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "proxy.internal", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().unwrap_err().contains("10.0.0.0/8"), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_ours_by_address_or_by_name() {
        let config = Config {
            public_url: Some("https://Ops.example.com:8443/mainspring".into()),
            hosts: vec!["node-1".into()],
            ..Config::default()
        };
        for host in [
            "127.0.0.1:8420",
            "[::1]:8420",
            "[::1]",
            "192.168.1.7",
            "localhost",
            "LOCALHOST:1",
            "a.localhost",
            "ops.example.com",
            "OPS.example.com.:8443",
            "node-1:8420",
        ] {
            assert!(ours(host, &config), "{host}");
        }
        for host in
            ["evil.example", "", "ops.example.com.evil.example", "localhost.evil.example", "node-10", "[::1"]
        {
            assert!(!ours(host, &config), "{host}");
        }
    }
}

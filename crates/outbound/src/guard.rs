//! Which addresses may be reached: the guard against requests that are meant for the inside.
//!
//! Every address that is not plainly public is refused: for IPv4 by the registry of special
//! addresses (IANA, RFC 6890), for IPv6 by allowing only global unicast (2000::/3) without its
//! special parts. Addresses that carry an IPv4 address inside (mapped, NAT64) are judged by it. An
//! address on the allow-list passes; a mistake in the list refuses to load: it fails closed.
//!
//! The ports this server itself listens on stay closed whatever the list says, on every address of
//! this machine: a job must not speak to the API from the inside.
//!
//! The judgement is of the very address that is connected to, after the name was resolved. Judging
//! names or looking up twice is how such guards are broken.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

/// One line of the allow-list: `10.1.0.0/16`, `10.1.2.3`, `fd00::/8`, or a name, `api.internal`,
/// which allows whatever that very name stands for; with a port if only that one is meant:
/// `localhost:8080`, `127.0.0.0/8:8080`, `[fd00::/8]:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    whom: Whom,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    Network(IpAddr, u8),
    Name(String),
}

impl FromStr for Allow {
    type Err = String;

    fn from_str(text: &str) -> Result<Allow, String> {
        let bad = |why: &str| {
            format!(
                "{text:?} {why}; write for example 127.0.0.0/8, 10.1.2.3, fd00::/8, api.internal, 10.1.0.0/16:8080 or [fd00::/8]:8080"
            )
        };
        let (net, port) = if let Some(rest) = text.strip_prefix('[') {
            let (net, rest) = rest.split_once(']').ok_or_else(|| bad("has no closing bracket"))?;
            match rest.strip_prefix(':') {
                Some(port) => (net, Some(port)),
                None if rest.is_empty() => (net, None),
                None => return Err(bad("has something after the bracket that is no port")),
            }
        } else if text.matches(':').count() == 1 {
            let (net, port) = text.split_once(':').unwrap_or((text, ""));
            (net, Some(port))
        } else {
            (text, None)
        };
        let port = match port {
            Some(p) => match p.parse::<u16>() {
                Ok(p) if p > 0 => Some(p),
                _ => return Err(bad("has a port that is not 1 to 65535")),
            },
            None => None,
        };
        let whom = match net.split_once('/') {
            None if is_name(net) => Whom::Name(plain(net)),
            None => network(net, None).map_err(|why| bad(&why))?,
            Some((address, prefix)) => network(address, Some(prefix)).map_err(|why| bad(&why))?,
        };
        Ok(Allow { whom, port })
    }
}

fn network(address: &str, prefix: Option<&str>) -> Result<Whom, String> {
    let address: IpAddr = address.parse().map_err(|_| "is not an address, network or name".to_owned())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.map(str::parse::<u8>) {
        None => most,
        Some(Ok(p)) if p <= most => p,
        Some(_) => return Err(format!("has a prefix that is not 0 to {most}")),
    };
    if bits(address) & !mask(address, prefix) != 0 {
        return Err("has bits set behind its prefix".into());
    }
    Ok(Whom::Network(address, prefix))
}

/// A host name, and not an address with a slip of the pen: its last part is no number.
fn is_name(text: &str) -> bool {
    let ok = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.split('.').all(ok) && !last.starts_with(|c: char| c.is_ascii_digit())
}

/// The one spelling of a name: lower case, no dot at the end.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.whom, self.port) {
            (Whom::Network(net @ IpAddr::V6(_), prefix), Some(port)) => write!(f, "[{net}/{prefix}]:{port}"),
            (Whom::Network(net, prefix), Some(port)) => write!(f, "{net}/{prefix}:{port}"),
            (Whom::Network(net, prefix), None) => write!(f, "{net}/{prefix}"),
            (Whom::Name(name), Some(port)) => write!(f, "{name}:{port}"),
            (Whom::Name(name), None) => f.write_str(name),
        }
    }
}

impl Allow {
    fn covers(&self, host: &str, address: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|p| p == port)
            && match &self.whom {
                Whom::Name(name) => *name == plain(host),
                Whom::Network(net, prefix) => {
                    let mask = mask(*net, *prefix);
                    address.is_ipv4() == net.is_ipv4() && bits(address) & mask == bits(*net) & mask
                }
            }
    }
}

fn mask(network: IpAddr, prefix: u8) -> u128 {
    let width = if network.is_ipv4() { 32 } else { 128 };
    u128::MAX.checked_shl(width - u32::from(prefix)).unwrap_or(0)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

/// Why an address is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The host as the URL gave it.
    pub host: String,
    /// The address that was judged.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The rule: `a loopback address`, `a private address`, …
    pub rule: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { host, address, port, rule } = self;
        let named = host.trim_matches(['[', ']']) != address.to_string();
        let via = if named { format!(" (the address of {host})") } else { String::new() };
        if *rule == OWN {
            return write!(f, "{address}:{port}{via} is {rule}, which outbound requests may not reach");
        }
        write!(
            f,
            "{address}{via} is {rule}, which outbound requests may not reach; to allow it, add \"{}\" to the \
             setting outbound.allow",
            Allow {
                whom: Whom::Network(
                    address.to_canonical(),
                    if address.to_canonical().is_ipv4() { 32 } else { 128 }
                ),
                port: None
            }
        )
    }
}

const OWN: &str = "this server's own port";

/// Judges addresses.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Networks that are not public and may be reached all the same.
    pub allow: Vec<Allow>,
    /// Ports this very server listens on.
    pub own_ports: OwnPorts,
}

/// Ports that this process listens on. Clones share the list: the server adds its port once it has it,
/// which is after clients were made.
#[derive(Clone, Debug, Default)]
pub struct OwnPorts(Arc<RwLock<Vec<u16>>>);

impl OwnPorts {
    /// From now on this port is refused on every address of this machine.
    pub fn add(&self, port: u16) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(port);
    }

    fn has(&self, port: u16) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&port)
    }
}

/// Whether an address is this machine's own: only such a one can be bound. No packet is sent.
fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

impl Guard {
    /// Reads an allow-list; the error names the entry and the setting.
    pub fn new<S: AsRef<str>>(allow: &[S]) -> Result<Guard, String> {
        let read = |s: &S| s.as_ref().parse().map_err(|e| format!("outbound.allow: {e}"));
        Ok(Guard { allow: allow.iter().map(read).collect::<Result<_, _>>()?, own_ports: OwnPorts::default() })
    }

    /// Judges one address that `host` stands for.
    pub fn judge(&self, host: &str, address: IpAddr, port: u16) -> Result<(), Refusal> {
        let refuse = |rule| Err(Refusal { host: host.to_owned(), address, port, rule });
        let judged = address.to_canonical();
        if self.own_ports.has(port) && is_own(inner(judged)) {
            return refuse(OWN);
        }
        let Some(rule) = special(judged) else { return Ok(()) };
        // One machine under two addresses: who allows 127.0.0.1 means localhost, which is also ::1.
        let twin = (judged == IpAddr::V6(Ipv6Addr::LOCALHOST)).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let covered = |a: IpAddr| self.allow.iter().any(|allow| allow.covers(host, a, port));
        if covered(judged) || twin.is_some_and(covered) { Ok(()) } else { refuse(rule) }
    }
}

/// The IPv4 address that a translator would turn this one into, or the address itself.
fn inner(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(a) if (u128::from(a) ^ NAT64) >> 32 == 0 => Ipv4Addr::from(u128::from(a) as u32).into(),
        other => other,
    }
}

/// The rule that makes `address` not public, if one does.
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(a) => special_v4(a),
        IpAddr::V6(a) => special_v6(a),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

/// Network, prefix, rule; the first that fits names it.
const SPECIAL_V4: &[(u32, u32, &str)] = &[
    (v4(0, 0, 0, 0), 8, "an unspecified address"),
    (v4(10, 0, 0, 0), 8, "a private address"),
    (v4(100, 64, 0, 0), 10, "a carrier-grade NAT address"),
    (v4(127, 0, 0, 0), 8, "a loopback address"),
    (v4(169, 254, 0, 0), 16, "a link-local address"),
    (v4(172, 16, 0, 0), 12, "a private address"),
    (v4(192, 0, 0, 0), 24, "a protocol assignment address"),
    (v4(192, 0, 2, 0), 24, "a documentation address"),
    (v4(192, 88, 99, 0), 24, "a 6to4 relay address"),
    (v4(192, 168, 0, 0), 16, "a private address"),
    (v4(198, 18, 0, 0), 15, "a benchmarking address"),
    (v4(198, 51, 100, 0), 24, "a documentation address"),
    (v4(203, 0, 113, 0), 24, "a documentation address"),
    (v4(224, 0, 0, 0), 4, "a multicast address"),
    (v4(255, 255, 255, 255), 32, "a broadcast address"),
    (v4(240, 0, 0, 0), 4, "a reserved address"),
];

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let address = u32::from(address);
    SPECIAL_V4.iter().find(|(net, prefix, _)| (address ^ net) >> (32 - prefix) == 0).map(|(.., rule)| *rule)
}

/// Network (upper 64 bits are enough, but for the first three), prefix, rule.
const SPECIAL_V6: &[(u128, u32, &str)] = &[
    (0, 128, "an unspecified address"),
    (1, 128, "a loopback address"),
    (0, 96, "an IPv4-compatible address"),
    (0x0064_ff9b_0001 << 80, 48, "a local NAT64 address"),
    (0x0100 << 112, 64, "a discard address"),
    (0x2001 << 112, 32, "a Teredo address"),
    (0x2001_0db8 << 96, 32, "a documentation address"),
    (0x2001 << 112, 23, "a protocol assignment address"),
    (0x2002 << 112, 16, "a 6to4 address"),
    (0x3fff << 112, 20, "a documentation address"),
    (0xfc00 << 112, 7, "a private (unique local) address"),
    (0xfe80 << 112, 10, "a link-local address"),
    (0xfec0 << 112, 10, "a site-local address"),
    (0xff00 << 112, 8, "a multicast address"),
];
const NAT64: u128 = 0x0064_ff9b << 96;
const GLOBAL: u128 = 0x2000 << 112;

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let bits = u128::from(address);
    if (bits ^ NAT64) >> 32 == 0 {
        // A public target behind a translator is public; a private one gets its own rule.
        return special_v4(Ipv4Addr::from(bits as u32));
    }
    let rule = SPECIAL_V6.iter().find(|(net, prefix, _)| (bits ^ net) >> (128 - prefix) == 0);
    match rule {
        Some((.., rule)) => Some(rule),
        None if (bits ^ GLOBAL) >> 125 == 0 => None,
        None => Some("not a global unicast address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(address: &str) -> Option<&'static str> {
        Guard::default().judge("x", address.parse().unwrap(), 443).err().map(|r| r.rule)
    }

    #[test]
    fn every_special_address_is_refused_by_name() {
        for (address, word) in [
            ("0.0.0.0", "unspecified"),
            ("0.255.255.255", "unspecified"),
            ("10.0.0.1", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "carrier"),
            ("100.127.255.255", "carrier"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.169.254", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.170", "protocol"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4"),
            ("192.168.1.1", "private"),
            ("198.18.0.1", "benchmarking"),
            ("198.19.255.255", "benchmarking"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.9", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::ffff:10.0.0.1", "private"),
            ("::127.0.0.1", "compatible"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b::169.254.169.254", "link-local"),
            ("64:ff9b:1::1", "NAT64"),
            ("100::1", "discard"),
            ("2001::1", "Teredo"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
            ("2001:10::1", "protocol"),
            ("2001:20::1", "protocol"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::1", "6to4"),
            ("2002:808:808::1", "6to4"),
            ("3fff::1", "documentation"),
            ("4000::1", "global unicast"),
            ("5f00::1", "global unicast"),
            ("fc00::1", "private"),
            ("fd12:3456::1", "private"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ] {
            let rule = rule(address);
            assert!(rule.is_some_and(|r| r.contains(word)), "{address}: {rule:?}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(rule(address), None, "{address}");
        }
    }

    #[test]
    fn the_allow_list_opens_exactly_what_it_says() {
        let guard = Guard::new(&["10.1.0.0/16", "127.0.0.0/8:8080", "[fd00::/8]:9000"]).unwrap();
        let ok = |a: &str, port| guard.judge("x", a.parse().unwrap(), port).is_ok();
        assert!(ok("10.1.2.3", 80) && ok("::ffff:10.1.2.3", 80) && !ok("10.2.0.1", 80));
        assert!(ok("127.0.0.1", 8080) && !ok("127.0.0.1", 80));
        assert!(ok("::1", 8080) && !ok("::1", 80), "::1 goes with 127.0.0.1");
        assert!(ok("fd00::1", 9000) && !ok("fd00::1", 80) && !ok("fe80::1", 9000));
        assert!(!ok("64:ff9b::10.1.2.3", 80), "a translator's address must be allowed as itself");
        assert!(Guard::new(&["0.0.0.0/0"]).unwrap().judge("x", "10.0.0.1".parse().unwrap(), 1).is_ok());
    }

    #[test]
    fn an_allowed_name_opens_that_name_only() {
        let guard = Guard::new(&["api.internal", "localhost:8080"]).unwrap();
        let ok = |host: &str, a: &str, port| guard.judge(host, a.parse().unwrap(), port).is_ok();
        assert!(ok("api.internal", "10.0.0.1", 80) && ok("API.internal.", "10.0.0.1", 80));
        assert!(!ok("x.api.internal", "10.0.0.1", 80) && !ok("10.0.0.1", "10.0.0.1", 80));
        assert!(
            ok("localhost", "::1", 8080)
                && !ok("localhost", "::1", 80)
                && !ok("127.0.0.1", "127.0.0.1", 8080)
        );
    }

    #[test]
    fn the_own_port_stays_closed_whatever_is_allowed() {
        let guard = Guard::new(&["0.0.0.0/0", "::/0"]).unwrap();
        guard.own_ports.clone().add(8080);
        let own = guard.judge("localhost", "127.0.0.1".parse().unwrap(), 8080).unwrap_err();
        assert!(own.to_string().contains("own port"), "{own}");
        for own in ["::1", "::ffff:127.0.0.1", "127.9.9.9", "0.0.0.0", "::", "64:ff9b::127.0.0.1"] {
            assert!(guard.judge("x", own.parse().unwrap(), 8080).is_err(), "{own}");
        }
        assert!(guard.judge("x", "127.0.0.1".parse().unwrap(), 8081).is_ok());
        assert!(guard.judge("x", "10.0.0.1".parse().unwrap(), 8080).is_ok());
    }

    #[test]
    fn a_mistake_in_the_list_is_named_and_refuses_to_load() {
        for (entry, why) in [
            ("10.1.2", "not an address"),
            ("10.1.2.3.4:80", "not an address"),
            ("0x7f.1", "not an address"),
            ("http://intra/", "1 to 65535"),
            ("*.internal", "not an address, network or name"),
            ("10.0.0.0/33", "0 to 32"),
            ("fd00::/129", "0 to 128"),
            ("10.1.2.3/8", "bits set behind"),
            ("10.0.0.0/8:0", "1 to 65535"),
            ("10.0.0.0/8:http", "1 to 65535"),
            ("[fd00::/8", "closing bracket"),
            ("[fd00::/8]8080", "no port"),
            ("", "not an address"),
            ("*", "not an address"),
        ] {
            let error = Guard::new(&[entry]).unwrap_err();
            let told = error.contains(why) && error.starts_with("outbound.allow: ");
            assert!(told && error.contains("127.0.0.0/8"), "{entry}: {error}");
        }
        for entry in [
            "10.1.0.0/16",
            "127.0.0.0/8:8080",
            "[fd00::/8]:9000",
            "fd00::/8",
            "::1/128",
            "localhost:80",
            "api.internal",
        ] {
            assert_eq!(entry.parse::<Allow>().unwrap().to_string(), entry);
        }
    }

    #[test]
    fn a_refusal_names_address_rule_and_setting() {
        let refused = Guard::default().judge("intra.test", "10.9.8.7".parse().unwrap(), 80).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "10.9.8.7 (the address of intra.test) is a private address, which outbound requests may not reach; to \
             allow it, add \"10.9.8.7/32\" to the setting outbound.allow"
        );
        let mapped =
            Guard::default().judge("[::ffff:7f00:1]", "::ffff:127.0.0.1".parse().unwrap(), 80).unwrap_err();
        assert!(mapped.to_string().contains("\"127.0.0.1/32\""), "{mapped}");
    }
}

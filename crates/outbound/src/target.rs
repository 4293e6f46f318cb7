//! A URL, parsed once: what is judged, connected to, and sent as `Host` come from this one value.

use crate::error::Error;
use std::net::IpAddr;
use url::{Host, Url};

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
}

impl Target {
    /// Reads an absolute `http` or `https` URL. Refused: other schemes, user names and passwords,
    /// blanks, control characters and backslashes (readers disagree on what they mean). A fragment
    /// is dropped.
    pub fn parse(text: &str) -> Result<Target, Error> {
        let bad = |why: String| Err(Error::Invalid { field: "url", text: why });
        if text.len() > crate::URL {
            return bad(format!("{} bytes, at most {} are allowed", text.len(), crate::URL));
        }
        if let Some(c) = text.chars().find(|c| c.is_control() || c.is_whitespace() || *c == '\\') {
            return bad(format!("contains {c:?}; write it percent-encoded"));
        }
        let mut url = match Url::parse(text) {
            Ok(url) => url,
            Err(e) => return bad(format!("is not a URL: {e}; write for example https://example.com/path")),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return bad(format!("the scheme {:?} is not allowed; use http or https", url.scheme()));
        }
        // The parser takes `http:example.com` and `http:///example.com`; other readers do not.
        let after = &text[text.find(':').map_or(0, |at| at + 1)..];
        if !after.starts_with("//") || after.starts_with("///") {
            return bad("must have two slashes after the scheme, as in https://example.com/path".into());
        }
        if !url.username().is_empty() || url.password().is_some() || authority(after).contains('@') {
            return bad("must not hold a user name or password; send an authorization header instead".into());
        }
        if url.host_str().is_none_or(str::is_empty) {
            return bad("has no host".into());
        }
        if url.port() == Some(0) {
            return bad("port 0 is not a port".into());
        }
        url.set_fragment(None);
        Ok(Target { url })
    }

    /// Where `location`, which may be relative, leads from here. As strict as [`Target::parse`].
    pub fn follow(&self, location: &str) -> Result<Target, Error> {
        match self.url.join(location) {
            Ok(_) if location.contains(|c: char| c.is_control() || c == '\\') => Target::parse(location),
            Ok(next) => Target::parse(next.as_str()),
            Err(_) => Target::parse(location),
        }
    }

    /// Scheme, host and port: what credentials belong to.
    pub fn same_site(&self, other: &Target) -> bool {
        self.url.origin() == other.url.origin()
    }

    /// This address at `to` when it lies below `from`: what simulated services stand in for.
    pub(crate) fn moved(&self, from: &Target, to: &Target) -> Option<Result<Target, Error>> {
        let base = from.url.path().trim_end_matches('/');
        let rest = self.url.path().strip_prefix(base)?;
        if !self.same_site(from) || !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        let path = format!("{}{rest}", to.url.path().trim_end_matches('/'));
        let mut url = to.url.clone();
        url.set_path(&path);
        url.set_query(self.url.query());
        Some(Target::parse(url.as_str()))
    }

    /// Whether the host is this machine by its very name: a loopback address, `localhost` or a name below it.
    pub(crate) fn is_loopback(&self) -> bool {
        let name = self.host().trim_end_matches('.');
        match self.address() {
            Some(address) => address.to_canonical().is_loopback(),
            None => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether TLS is asked for.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host as text, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The address, when the host is one in any spelling: `127.0.0.1`, `0x7f.1`, `2130706433`, `[::1]`.
    pub fn address(&self) -> Option<IpAddr> {
        match self.url.host() {
            Some(Host::Ipv4(a)) => Some(a.into()),
            Some(Host::Ipv6(a)) => Some(a.into()),
            _ => None,
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// What goes into the `Host` header: the port only when it is not the scheme's own.
    pub fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }

    /// What goes into the request line.
    pub fn path_and_query(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// The URL without its query: fit for logs and errors.
    pub fn shown(&self) -> String {
        format!("{}://{}{}", self.url.scheme(), self.authority(), self.url.path())
    }

    /// The whole URL, as it is used.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

fn authority(after_scheme: &str) -> &str {
    let rest = after_scheme.trim_start_matches('/');
    &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_spellings_are_refused_with_the_reason() {
        for (url, why) in [
            ("", "not a URL"),
            ("example.com", "not a URL"),
            ("/path", "not a URL"),
            ("ftp://example.com/", "scheme"),
            ("file:///etc/passwd", "scheme"),
            ("gopher://127.0.0.1:6379/_x", "scheme"),
            ("unix:/run/docker.sock", "scheme"),
            ("data:text/plain,x", "scheme"),
            ("http:127.0.0.1", "two slashes"),
            ("http:/127.0.0.1", "two slashes"),
            ("http:///127.0.0.1", "two slashes"),
            ("http://user@example.com/", "user name"),
            ("http://user:pw@example.com/", "user name"),
            ("http://example.com@127.0.0.1/", "user name"),
            ("http://@example.com/", "user name"),
            ("http://:@example.com/", "user name"),
            ("http://example.com\\@127.0.0.1/", "'\\\\'"),
            ("http://exa mple.com/", "' '"),
            ("http://example.com/\r\nx: y", "'\\r'"),
            ("http://example.com/\u{0}", "'\\0'"),
            ("http://exam\tple.com/", "'\\t'"),
            ("http://example.com:0/", "port 0"),
            ("http://example.com:99999/", "not a URL"),
            ("http://", "not a URL"),
            ("http://?x", "not a URL"),
            ("http://[::1/", "not a URL"),
            ("http://[fe80::1%25eth0]/", "not a URL"),
            ("http://256.256.256.256/", "not a URL"),
            ("http://1.2.3.4.5/", "not a URL"),
        ] {
            let error = Target::parse(url).expect_err(url).to_string();
            assert!(error.starts_with("url: ") && error.contains(why), "{url:?}: {error}");
        }
        let long = format!("http://example.com/{}", "x".repeat(crate::URL));
        assert!(Target::parse(&long).unwrap_err().to_string().contains("at most 8192"));
    }

    #[test]
    fn numeric_hosts_become_the_address_they_mean() {
        for url in [
            "http://127.0.0.1/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://017700000001/",
            "http://127.1/",
            "http://127.0.1/",
            "http://127.0.0.1./",
            "http://%31%32%37.0.0.1/",
            "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
            "http://127\u{3002}0\u{3002}0\u{3002}1/",
            "http://①②⑦.0.0.①/",
        ] {
            assert_eq!(Target::parse(url).unwrap().address(), Some([127, 0, 0, 1].into()), "{url}");
        }
        for url in
            ["http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:FFFF:7F00:0001]/"]
        {
            let address = Target::parse(url).unwrap().address().unwrap();
            assert_eq!(address.to_canonical(), IpAddr::from([127, 0, 0, 1]), "{url}");
        }
    }

    #[test]
    fn what_is_sent_comes_from_the_same_value() {
        let t = Target::parse("HTTPS://Example.COM:8443/a/../b?token=s3cret#frag").unwrap();
        assert_eq!((t.host(), t.port(), t.is_tls()), ("example.com", 8443, true));
        assert_eq!(
            (t.authority().as_str(), t.path_and_query().as_str()),
            ("example.com:8443", "/b?token=s3cret")
        );
        assert_eq!(t.shown(), "https://example.com:8443/b");
        let t = Target::parse("http://example.com:80").unwrap();
        assert_eq!((t.port(), t.authority().as_str(), t.path_and_query().as_str()), (80, "example.com", "/"));
    }
}

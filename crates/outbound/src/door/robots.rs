//! What a site asks of programs (robots.txt), read and applied by RFC 9309.
//!
//! Pure: the door fetches and keeps. Rules of all groups that name us are taken together, else those
//! of `*`; the longest rule that fits decides, and `allow` wins a tie. Spellings are compared as
//! section 2.2.2 says: an unreserved character is the same with and without percent-encoding, a
//! reserved one is not, but in a query `http://` and `http%3A%2F%2F` are (as its table has it).

/// Bytes of the file that are read, as the RFC demands at least.
pub const READ: usize = 500 << 10;
/// The longest path of a rule; longer rules fit no address that is ever sent.
const LONGEST: usize = crate::URL;
/// Comparisons spent on one address; a file that needs more was made to hurt, and disallows.
const STEPS: usize = 20_000_000;

/// A character of a path: its byte, and how it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Plain(u8),
    Encoded(u8),
    /// Reserved, written plainly in a query: the same as encoded.
    Query(u8),
    /// `*` in a rule.
    Any,
}

/// The rules for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Robots {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    path: Vec<Sign>,
    /// It ends in `$`.
    whole: bool,
    octets: usize,
}

impl Robots {
    /// Nothing is allowed: the site did not say what is (5xx).
    pub fn closed() -> Robots {
        Robots { rules: vec![Rule::read(false, "/")] }
    }

    /// Reads a file for the program called `token`; only its first [`READ`] bytes count.
    pub fn read(file: &[u8], token: &str) -> Robots {
        let text = String::from_utf8_lossy(&file[..file.len().min(READ)]);
        let text = text.trim_start_matches('\u{feff}');
        let (mut ours, mut all) = (Vec::new(), Vec::new());
        let (mut named, mut for_us, mut for_all, mut in_rules) = (false, false, false, false);
        for line in text.split(['\n', '\r']) {
            let line = line.split('#').next().unwrap_or_default();
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "user-agent" => {
                    if std::mem::take(&mut in_rules) {
                        (for_us, for_all) = (false, false);
                    }
                    let end = value.find(|c: char| !c.is_ascii_alphabetic() && c != '-' && c != '_');
                    for_us |= value[..end.unwrap_or(value.len())].eq_ignore_ascii_case(token);
                    for_all |= value == "*" || value.starts_with("* ");
                    named |= for_us;
                }
                "allow" | "disallow" => {
                    in_rules = true;
                    if value.is_empty() || value.len() > LONGEST {
                        continue;
                    }
                    let rule = || Rule::read(name == "allow", value);
                    if for_us {
                        ours.push(rule());
                    }
                    if for_all {
                        all.push(rule());
                    }
                }
                _ => {}
            }
        }
        Robots { rules: if named { ours } else { all } }
    }

    /// Whether the path, with its query, may be asked for.
    pub fn allows(&self, path_and_query: &str) -> bool {
        if path_and_query == "/robots.txt" {
            return true;
        }
        let (path, mut steps) = (signs(path_and_query, false), STEPS);
        let mut best: Option<(usize, bool)> = None;
        for rule in &self.rules {
            let candidate = Some((rule.octets, rule.allow));
            if candidate <= best {
                continue;
            }
            match rule.fits(&path, &mut steps) {
                Some(true) => best = candidate,
                Some(false) => {}
                None => return false,
            }
        }
        best.is_none_or(|(_, allow)| allow)
    }
}

impl Rule {
    fn read(allow: bool, value: &str) -> Rule {
        let (text, whole) = match value.strip_suffix('$') {
            Some(text) => (text, true),
            None => (value, false),
        };
        let mut path = signs(text, true);
        // Two stars in a row are one.
        path.dedup_by(|a, b| *a == Sign::Any && *b == Sign::Any);
        let octets = path.iter().map(|s| if matches!(s, Sign::Encoded(_)) { 3 } else { 1 }).sum::<usize>();
        Rule { allow, path, whole, octets: octets + usize::from(whole) }
    }

    /// Whether it fits; nothing when the steps are used up. The last star is the only one that ever
    /// has to give way, so this is at worst the product of the two lengths.
    fn fits(&self, path: &[Sign], steps: &mut usize) -> Option<bool> {
        let (mut r, mut p, mut star) = (0, 0, None);
        loop {
            *steps = steps.checked_sub(1)?;
            match self.path.get(r) {
                Some(Sign::Any) => {
                    star = Some((r + 1, p));
                    r += 1;
                    continue;
                }
                Some(sign) if path.get(p).is_some_and(|s| same(*sign, *s)) => {
                    (r, p) = (r + 1, p + 1);
                    continue;
                }
                None if !self.whole || p == path.len() => return Some(true),
                _ => {}
            }
            match &mut star {
                Some((after, from)) if *from < path.len() => {
                    *from += 1;
                    (r, p) = (*after, *from);
                }
                _ => return Some(false),
            }
        }
    }
}

/// Whether a rule's sign fits an address's. A plain reserved sign of a rule may stand in a query
/// without the rule showing it (after a star), so it fits there too.
fn same(rule: Sign, path: Sign) -> bool {
    match (rule, path) {
        (Sign::Plain(a), Sign::Plain(b) | Sign::Query(b)) => a == b,
        (Sign::Encoded(a), Sign::Encoded(b) | Sign::Query(b)) => a == b,
        (Sign::Query(a), Sign::Query(b) | Sign::Encoded(b)) => a == b,
        _ => false,
    }
}

fn signs(text: &str, rule: bool) -> Vec<Sign> {
    let (bytes, mut out, mut at, mut query) = (text.as_bytes(), Vec::with_capacity(text.len()), 0, false);
    let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16)).map(|d| d as u8);
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        out.push(match byte {
            b'%' => match (hex(at), hex(at + 1)) {
                (Some(high), Some(low)) => {
                    at += 2;
                    let byte = high * 16 + low;
                    let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                    if unreserved { Sign::Plain(byte) } else { Sign::Encoded(byte) }
                }
                _ => Sign::Encoded(b'%'),
            },
            b'*' if rule => Sign::Any,
            b'*' | b'$' => Sign::Encoded(byte),
            b'?' if !query => {
                query = true;
                Sign::Plain(byte)
            }
            b':' | b'/' | b'?' | b'#' | b'[' | b']' | b'@' if query => Sign::Query(byte),
            _ if byte.is_ascii_graphic() => Sign::Plain(byte),
            _ => Sign::Encoded(byte),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allows(file: &str, path: &str) -> bool {
        Robots::read(file.as_bytes(), "mainspring").allows(path)
    }

    #[test]
    fn groups_are_found_and_taken_together() {
        let file = "\u{feff}User-agent: *\nDisallow: /\n\nUser-Agent: Other\nUSER-AGENT : MainSpring/2.0 # us\n\
                    Disallow: /a\nSitemap: https://example.com/s.xml\nDisallow: /b\n\nuser-agent: mainspring\r\n\
                    disallow: /c\r\nuser-agent: else\ndisallow: /d";
        for (path, allowed) in [("/a", false), ("/b/x", false), ("/c", false), ("/d", true), ("/", true)] {
            assert_eq!(allows(file, path), allowed, "{path}");
        }
        assert!(!allows("user-agent: *\ndisallow: /", "/x"));
        assert!(allows("user-agent: *\ndisallow: /", "/robots.txt"));
        assert!(
            allows("user-agent: *\ndisallow: /\n\nuser-agent: mainspring\ndisallow:", "/x"),
            "ours is empty"
        );
        assert!(allows("user-agent: mainspringer\ndisallow: /", "/x"), "a longer name is another");
        assert!(allows("disallow: /", "/x"), "a rule of no group");
        assert!(allows("<html>not found", "/x") && !Robots::closed().allows("/x"));
    }

    #[test]
    fn the_longest_rule_decides_and_a_tie_allows() {
        let file = "user-agent: *\nallow: /p\ndisallow: /\ndisallow: /page.html\nallow: /page.htm\n\
                    allow: /tie\ndisallow: /tie\ndisallow: /*.gif$\ndisallow: /x$";
        for (path, allowed) in [
            ("/page", true),
            ("/page.html", false),
            ("/tie", true),
            ("/pic.gif", false),
            ("/pic.gif?a", true),
            ("/x", false),
            ("/q", false),
        ] {
            assert_eq!(allows(file, path), allowed, "{path}");
        }
    }

    #[test]
    fn spellings_are_compared_as_the_standards_table_has_them() {
        for (rule, path, fits) in [
            ("/foo/bar?baz=quz", "/foo/bar?baz=quz", true),
            ("/foo/bar?baz=http://foo.bar", "/foo/bar?baz=http%3A%2F%2Ffoo.bar", true),
            ("/foo/bar?baz=http%3a%2f%2ffoo.bar", "/foo/bar?baz=http://foo.bar", true),
            ("/foo/bar/U+E38384", "/foo/bar/U+E38384", true),
            ("/foo/bar/ツ", "/foo/bar/%E3%83%84", true),
            ("/foo/bar/%e3%83%84", "/foo/bar/ツ", true),
            ("/foo/bar/%62%61%7A", "/foo/bar/baz", true),
            ("/foo/bar/baz", "/foo/bar/%62%61%7A", true),
            ("/a%2Fb", "/a/b", false),
            ("/a/b", "/a%2Fb", false),
            ("/file-%2A.html", "/file-*.html", true),
            ("/file-%24$", "/file-$", true),
            ("/*:x", "/p?q=a:x", true),
            ("/A", "/a", false),
            ("/fish*", "/fish/salmon", true),
            ("/fish*.php", "/catfish?id=a.php", false),
            ("/*.php$", "/folder/a.php", true),
            ("/*.php$", "/a.php5", false),
            ("/a*b*c$", "/aXXbYYbZZc", true),
            ("*", "/anything", true),
            ("/100%", "/100%", true),
        ] {
            assert_eq!(!allows(&format!("user-agent: *\ndisallow: {rule}"), path), fits, "{rule} {path}");
        }
    }

    #[test]
    fn a_file_made_to_hurt_ends_soon() {
        let rule = format!("disallow: /*{}b\n", "a".repeat(4_000));
        let file = format!("user-agent: *\n{}", rule.repeat(60));
        assert!(!allows(&file, &format!("/{}", "a".repeat(8_000))), "it needs too much, and is not allowed");
    }

    proptest! {
        #[test]
        fn no_file_and_no_path_panics(file in prop::collection::vec(any::<u8>(), 0..400), path in "\\PC{0,60}") {
            Robots::read(&file, "mainspring").allows(&path);
        }

        /// A star means what a plain search says it means.
        #[test]
        fn stars_agree_with_a_plain_search(rule in "/[ab*]{0,8}", path in "/[ab]{0,8}") {
            fn fits(rule: &[u8], path: &[u8]) -> bool {
                match rule.split_first() {
                    None => true,
                    Some((b'*', rest)) => (0..=path.len()).any(|n| fits(rest, &path[n..])),
                    Some((first, rest)) => path.split_first().is_some_and(|(p, more)| p == first && fits(rest, more)),
                }
            }
            let ours = !allows(&format!("user-agent: *\ndisallow: {rule}"), &path);
            prop_assert_eq!(ours, fits(rule.as_bytes(), path.as_bytes()));
        }

        /// Encoding unreserved signs changes nothing, in a rule or in an address.
        #[test]
        fn encoding_an_unreserved_sign_changes_nothing(word in "[a-z0-9._~-]{1,12}") {
            let encoded: String = word.bytes().map(|b| format!("%{b:02x}")).collect();
            let file = |w: &str| format!("user-agent: *\ndisallow: /{w}$");
            for (rule, path) in [(&word, &encoded), (&encoded, &word)] {
                let path = format!("/{path}");
                prop_assert!(!allows(&file(rule), &path));
            }
        }
    }
}

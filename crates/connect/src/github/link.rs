//! The `Link` header (RFC 8288), as far as paging needs it: the address of a relation.
//!
//! Addresses in it are opaque: the next page of `/repos/o/r/commits` may be `/repositories/7/commits?…`.

/// The address whose `rel` has the word `rel`.
pub fn target<'a>(header: &'a str, rel: &str) -> Option<&'a str> {
    let mut rest = header;
    loop {
        let start = rest.find('<')? + 1;
        let end = start + rest[start..].find('>')?;
        let address = &rest[start..end];
        let (mut parameters, after) = part(&rest[end + 1..], ',');
        let has = |parameter: &str| {
            let Some((name, words)) = parameter.split_once('=') else { return false };
            let mut words = words.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && words.any(|word| word.eq_ignore_ascii_case(rel))
        };
        while !parameters.is_empty() {
            let (parameter, more) = part(parameters, ';');
            if has(parameter) {
                return Some(address);
            }
            parameters = more;
        }
        rest = after;
    }
}

/// Up to the first `end` that is not within quotes, and what follows it.
fn part(text: &str, end: char) -> (&str, &str) {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        if c == '"' {
            quoted = !quoted;
        } else if c == end && !quoted {
            return (&text[..at], &text[at + 1..]);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_page_is_found_wherever_it_stands() {
        let header =
            r#"<https://x/1?a=1,2;b>; title="a, <b>; rel=next"; rel="first", <https://x/2>; rel="prev next""#;
        assert_eq!(target(header, "next"), Some("https://x/2"));
        assert_eq!(target(header, "first"), Some("https://x/1?a=1,2;b"));
        assert_eq!(target("<https://x/3>;REL=Next", "next"), Some("https://x/3"));
        for none in ["", "<", "<x", "<x>", "<x>; rel=last", "x; rel=next", "<x>; title=next"] {
            assert_eq!(target(none, "next"), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_found_and_nothing_panics(
            before in prop::collection::vec("[a-z0-9/?&=,;]{1,10}", 0..4), next in "[a-z0-9/?&=,;]{1,20}", noise in "\\PC{0,60}",
        ) {
            let mut links: Vec<String> = before.iter().map(|a| format!("<{a}>; rel=\"last\"")).collect();
            links.push(format!("<{next}>; rel=\"next\""));
            let header = links.join(", ");
            prop_assert_eq!(target(&header, "next"), Some(next.as_str()));
            target(&noise, "next");
        }
    }
}

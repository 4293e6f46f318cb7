//! Reading one value of the table of settings, from text (flag, environment) or from the file.

use super::table::{Kind, Setting};
use super::tree::{Node, Value as Tree};
use crate::error::nearest;
use mainspring_core::zone::Zone;
use mainspring_core::{duration, job};

/// A value that fits its setting: the texts one would type. Lists have any number, others one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Value(pub Vec<String>);

impl Value {
    /// The value as one text.
    pub fn text(&self) -> String {
        self.0.join(",")
    }
}

/// Reads `text` for a setting. The error is a sentence that begins with what was given.
pub fn parse(setting: &Setting, text: &str) -> Result<Value, String> {
    match setting.kind {
        Kind::Names | Kind::Texts | Kind::Networks => {
            let parts: Vec<String> =
                text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
            for part in &parts {
                check(setting, part)?;
            }
            Ok(Value(parts))
        }
        _ => {
            let text = text.trim();
            check(setting, text)?;
            Ok(Value(vec![text.to_owned()]))
        }
    }
}

/// Reads a value of the file.
pub fn from_node(setting: &Setting, node: &Node) -> Result<Value, crate::CliError> {
    let bad = |node: &Node, why: String| {
        node.error(mainspring_core::code::Code::CONFIG_INVALID, format!("{}: {why}", setting.key)).hint(
            format!("{} = {}", setting.key.rsplit('.').next().unwrap_or_default(), toml_example(setting)),
        )
    };
    let want = match setting.kind {
        Kind::Bool => "true or false",
        Kind::Int(..) => "a whole number",
        Kind::Names | Kind::Texts | Kind::Networks => "a list of texts",
        _ => "text",
    };
    match (setting.kind, &node.value) {
        (Kind::Bool, Tree::Bool(b)) => Ok(Value(vec![b.to_string()])),
        (Kind::Int(..), Tree::Int(i)) => {
            let text = i.to_string();
            check(setting, &text).map_err(|e| bad(node, e))?;
            Ok(Value(vec![text]))
        }
        (Kind::Names | Kind::Texts | Kind::Networks, Tree::List(list)) => {
            let mut out = Vec::new();
            for item in list {
                let Tree::Text(text) = &item.value else {
                    return Err(bad(item, format!("{} cannot stand in this list of texts", item.what())));
                };
                check(setting, text).map_err(|e| bad(item, e))?;
                out.push(text.clone());
            }
            Ok(Value(out))
        }
        (Kind::Bool | Kind::Int(..) | Kind::Names | Kind::Texts | Kind::Networks, _) => {
            Err(bad(node, format!("must be {want}, not {}", node.what())))
        }
        (_, Tree::Text(text)) => {
            check(setting, text).map_err(|e| bad(node, e))?;
            Ok(Value(vec![text.clone()]))
        }
        _ => Err(bad(node, format!("must be {want}, not {}", node.what()))),
    }
}

/// The example as it stands in the file.
pub fn toml_example(setting: &Setting) -> String {
    toml_value(setting, setting.example)
}

/// A value as it stands in the file.
pub fn toml_value(setting: &Setting, text: &str) -> String {
    match setting.kind {
        Kind::Bool | Kind::Int(..) => text.to_owned(),
        Kind::Names | Kind::Texts | Kind::Networks => {
            let parts: Vec<String> =
                text.split(',').filter(|t| !t.is_empty()).map(|t| format!("{t:?}")).collect();
            format!("[{}]", parts.join(", "))
        }
        _ => format!("{text:?}"),
    }
}

fn check(setting: &Setting, text: &str) -> Result<(), String> {
    match setting.kind {
        Kind::Bool => match text {
            "true" | "false" | "1" | "0" => Ok(()),
            _ => Err(format!("{text:?} is neither true nor false")),
        },
        Kind::Int(min, max) => match text.parse::<u64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(()),
            _ => Err(format!("{text:?} is not a whole number from {min} to {max}")),
        },
        Kind::Duration(min, max) => {
            let d = duration::parse(text)?.as_millis() as u64;
            let show = |ms| duration::format(std::time::Duration::from_millis(ms));
            match d {
                d if d < min => Err(format!("{text} is shorter than {}", show(min))),
                d if d > max => Err(format!("{text} is longer than {}", show(max))),
                _ => Ok(()),
            }
        }
        Kind::Bytes => bytes(text).map(drop),
        Kind::Zone => Zone::get(text).map(drop).map_err(|e| e.to_string()),
        Kind::Choice(words) if words.contains(&text) => Ok(()),
        Kind::Choice(words) => {
            let near = nearest(text, words.iter().copied()).map(|n| format!(" (did you mean {n}?)"));
            Err(format!("{text:?} is none of: {}{}", words.join(", "), near.unwrap_or_default()))
        }
        Kind::Name | Kind::Names => job::check_name(text),
        Kind::Listen if text == "off" || text.parse::<std::net::SocketAddr>().is_ok() => Ok(()),
        Kind::Listen => {
            Err(format!("{text:?} is no address and port; write for example 127.0.0.1:8420, or off"))
        }
        Kind::Url if text.is_empty() => Ok(()),
        Kind::Url => match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => Ok(()),
            _ => Err(format!("{text:?} is no address; write for example https://ops.example.com/mainspring")),
        },
        Kind::Path if text.contains('\0') => Err("holds a NUL byte".into()),
        Kind::Path => Ok(()),
        Kind::Networks => text.parse::<mainspring_web::Network>().map(drop),
        Kind::Store | Kind::Texts if text.is_empty() => Err("is empty".into()),
        Kind::Store | Kind::Texts => Ok(()),
    }
}

/// Reads `500MiB`, `2GiB`, `1000000`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1u64 << 40,
        _ => 0,
    };
    text[..digits]
        .parse::<u64>()
        .ok()
        .filter(|_| unit > 0)
        .and_then(|n| n.checked_mul(unit))
        .filter(|n| *n >= 1 << 20)
        .ok_or_else(|| format!("{text:?} is not a size of at least 1MiB; write for example 500MiB or 2GiB"))
}

#[cfg(test)]
mod tests {
    use super::super::table::SETTINGS;
    use super::*;

    fn row(key: &str) -> &'static Setting {
        SETTINGS.iter().find(|s| s.key == key).unwrap()
    }

    fn refused(key: &str, text: &str) -> String {
        parse(row(key), text).unwrap_err()
    }

    #[test]
    fn a_bad_value_is_told_with_what_to_type() {
        assert_eq!(refused("slots", "0"), "\"0\" is not a whole number from 1 to 10000");
        assert_eq!(refused("lease", "10ms"), "10ms is shorter than 1s");
        assert!(refused("grace", "30").contains("write for example 500ms, 30s"));
        assert!(refused("tz", "Europe/Berln").contains("did you mean Europe/Berlin"));
        assert_eq!(
            refused("color", "alway"),
            "\"alway\" is none of: auto, always, never (did you mean always?)"
        );
        assert!(refused("retention.max_size", "2GB").contains("2GiB"));
        assert!(refused("queues", "mail, *").contains("means all"));
    }

    #[test]
    fn lists_and_sizes_are_read() {
        assert_eq!(parse(row("queues"), "a, b,").unwrap().0, ["a", "b"]);
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("1048576"), Ok(1 << 20));
    }
}

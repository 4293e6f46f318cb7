//! Planted faults do not rot: every patch under `faults/` says what it is and still applies.
//! Whether the tests find them takes minutes and is run by command: `faults/run`.

use super::Finding;
use std::path::Path;
use std::process::Command;

/// The lines that stand above every patch.
const LINES: [&str; 3] = ["Fault: ", "Seen as: ", "Suite: "];

/// Asks git of every patch whether it would apply to the files below `root` as they are now.
pub fn patches_apply(root: &Path) -> Vec<Finding> {
    let mut names: Vec<String> = std::fs::read_dir(root.join("faults"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".patch"))
        .collect();
    names.sort();
    let mut findings = Vec::new();
    for name in names {
        let path = format!("faults/{name}");
        let finding = |text: String| Finding { rule: "planted", path: path.clone(), line: 0, text };
        let text = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
        let head = text.split("diff --git").next().unwrap_or_default();
        for line in LINES {
            if !head.lines().any(|l| l.starts_with(line) && l.len() > line.len()) {
                findings.push(finding(format!("no line `{line}…` above the patch; see faults/run")));
            }
        }
        match Command::new("git").args(["apply", "--check", &path]).current_dir(root).output() {
            Ok(said) if said.status.success() => {}
            Ok(said) => findings.push(finding(format!(
                "does not apply any more ({}); plant the fault anew by hand and write `git diff` into it",
                String::from_utf8_lossy(&said.stderr).trim()
            ))),
            Err(e) => findings.push(finding(format!("git cannot be asked: {e}"))),
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_rots_or_says_nothing_is_found() {
        let root = std::env::temp_dir().join(format!("mainspring-planted-{}", std::process::id()));
        std::fs::create_dir_all(root.join("faults")).unwrap();
        std::fs::write(root.join("code"), "one\ntwo\nthree\n").unwrap();
        let patch =
            "diff --git a/code b/code\n--- a/code\n+++ b/code\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
        let write =
            |head: &str| std::fs::write(root.join("faults/x.patch"), format!("{head}\n\n{patch}")).unwrap();
        let found = || patches_apply(&root).into_iter().map(|f| f.text).collect::<Vec<_>>();
        write("Fault: a\nSeen as: b\nSuite: c");
        assert_eq!(found(), Vec::<String>::new());
        write("Fault: a\nSeen as:\nSuite: c");
        assert!(found()[0].contains("Seen as"));
        write("Fault: a\nSeen as: b\nSuite: c");
        std::fs::write(root.join("code"), "one\nzwei\nthree\n").unwrap();
        assert!(found()[0].contains("does not apply"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}

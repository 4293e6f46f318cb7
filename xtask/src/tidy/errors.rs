//! Every error code has a page, and every page a code.

use mainspring_core::code::Code;

use super::Finding;
use crate::error_pages::{FOLDER, INDEX, UNWRITTEN, heading, index, page_path};
use crate::repo::Repo;

/// The codes as the program knows them, with their titles.
pub fn codes() -> Vec<(String, &'static str)> {
    Code::ALL.iter().map(|(code, title)| (code.to_string(), *title)).collect()
}

/// Each code has a page with its title that somebody has written, no page is without a code, and
/// the index is the one `cargo xtask errors` writes.
pub fn pages(repo: &Repo, codes: &[(String, &str)]) -> Vec<Finding> {
    let complain = |path: String, line: usize, text: String| Finding { rule: "errors", path, line, text };
    let mut findings = Vec::new();
    for (position, (code, title)) in codes.iter().enumerate() {
        if codes[..position].iter().any(|(other, _)| other == code) {
            findings.push(complain(
                "crates/core/src/code.rs".into(),
                0,
                format!("{code} stands for two things"),
            ));
        }
        let path = page_path(code);
        match repo.text(&path) {
            None => findings.push(complain(path, 0, format!("{code} has no page; type: cargo xtask errors"))),
            Some(text) if text.contains(UNWRITTEN) => {
                findings.push(complain(
                    path,
                    0,
                    "is laid out but not written: say what happened and what to type".into(),
                ));
            }
            Some(text) if text.lines().next() != Some(&heading(code, title)) => {
                findings.push(complain(path, 1, format!("must begin with `{}`", heading(code, title))));
            }
            Some(_) => {}
        }
    }
    let is_page = |path: &&str| path.starts_with(FOLDER) && path.ends_with(".md") && *path != INDEX;
    for path in repo.files.iter().map(|file| file.path.as_str()).filter(is_page) {
        if !codes.iter().any(|(code, _)| page_path(code) == path) {
            findings.push(complain(
                path.into(),
                0,
                "is the page of no code in crates/core/src/code.rs".into(),
            ));
        }
    }
    if repo.text(INDEX) != Some(&index(codes)) {
        findings.push(complain(
            INDEX.into(),
            0,
            "does not list the codes as they are; type: cargo xtask errors".into(),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let codes = [("MS0001".to_owned(), "It is broken")];
        let list = index(&codes);
        let mut all = vec![(INDEX, list.as_str())];
        all.extend(files);
        pages(&Repo::of(&all), &codes).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_written_page_is_enough() {
        assert!(found(&[("docs/errors/MS0001.md", "# MS0001: It is broken\n\nMend it.\n")]).is_empty());
    }

    #[test]
    fn missing_unwritten_misnamed_and_stray_pages_are_found() {
        assert!(found(&[])[0].contains("has no page"));
        let laid_out = format!("# MS0001: It is broken\n\n{UNWRITTEN}\n");
        assert!(found(&[("docs/errors/MS0001.md", &laid_out)])[0].contains("not written"));
        assert!(found(&[("docs/errors/MS0001.md", "# Another title\n")])[0].contains("must begin"));
        let stray =
            found(&[("docs/errors/MS0001.md", "# MS0001: It is broken\n"), ("docs/errors/MS0999.md", "")]);
        assert!(stray.len() == 1 && stray[0].contains("no code"), "{stray:?}");
    }

    #[test]
    fn an_old_index_and_a_code_used_twice_are_found() {
        let page = ("docs/errors/MS0001.md", "# MS0001: It is broken\n");
        let twice = [("MS0001".to_owned(), "It is broken"), ("MS0001".to_owned(), "It is broken")];
        let found = pages(&Repo::of(&[page, (INDEX, "old")]), &twice);
        assert!(
            found.iter().any(|f| f.text.contains("two things")) && found.iter().any(|f| f.path == INDEX),
            "{found:?}"
        );
    }
}

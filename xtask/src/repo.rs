//! The files of the repository, as the rules see them: paths from its root with `/`, and texts.
//!
//! Rules never read the disk. A test hands them files that break a rule and looks for the finding.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One file that is, or is about to be, committed.
#[derive(Debug, Clone)]
pub struct RepoFile {
    /// From the root, parted by `/`.
    pub path: String,
    /// Its text; files that are no UTF-8 are not here.
    pub text: String,
    /// Whether it may be run.
    pub executable: bool,
}

/// All files.
#[derive(Debug, Default)]
pub struct Repo {
    /// In the order of their paths.
    pub files: Vec<RepoFile>,
}

/// The folder of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

impl Repo {
    /// What git tracks and what it would add: not what it ignores.
    pub fn open() -> Result<Self, String> {
        let root = root();
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .map_err(|e| format!("could not run git to list the files of {}: {e}", root.display()))?;
        if !listed.status.success() {
            let said = String::from_utf8_lossy(&listed.stderr).trim().to_owned();
            return Err(format!("git could not list the files of {}: {said}", root.display()));
        }
        let mut files: Vec<RepoFile> = String::from_utf8_lossy(&listed.stdout)
            .split('\0')
            .filter(|path| !path.is_empty())
            .filter_map(|path| Self::read(&root, path))
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(Self { files })
    }

    /// None for files deleted but not yet committed so, and for those that are not text.
    fn read(root: &Path, path: &str) -> Option<RepoFile> {
        use std::os::unix::fs::PermissionsExt as _;
        let full = root.join(path);
        let text = std::fs::read_to_string(&full).ok()?;
        let executable = full.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
        Some(RepoFile { path: path.to_owned(), text, executable })
    }

    /// The text of a file, if it is there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    /// Whether a file or folder is there.
    pub fn holds(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/').trim_start_matches("./");
        let folder = format!("{path}/");
        path.is_empty()
            || path == "."
            || self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }

    /// The Rust files below a folder.
    pub fn rust_below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a RepoFile> {
        self.files.iter().filter(move |file| file.path.starts_with(folder) && file.path.ends_with(".rs"))
    }
}

#[cfg(test)]
impl Repo {
    /// Files out of thin air.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| RepoFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
            executable: path.starts_with(".ci/"),
        };
        Self { files: files.iter().map(file).collect() }
    }
}

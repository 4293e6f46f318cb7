//! What the tests find on this machine: PostgreSQL's programs, the account to run it as, and the
//! folder where a server lives, with its locks.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Names the folder with `postgres`, `initdb`, `pg_ctl` and `psql`, when they are not where
/// Debian and the like put them.
pub const BIN_VARIABLE: &str = "MAINSPRING_TEST_PG_BIN";

/// The programs a folder must hold to be of use here.
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "pg_ctl", "psql"];

/// The folder with PostgreSQL's programs: the variable, then `PATH`, then the newest version in
/// the usual places.
pub(super) fn find_programs() -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"].map(PathBuf::from);
        find_programs_in(
            std::env::var_os(BIN_VARIABLE).map(PathBuf::from),
            std::env::split_paths(&path),
            &usual,
        )
    };
    FOUND.get_or_init(find).clone()
}

fn find_programs_in(
    named: Option<PathBuf>,
    path: impl Iterator<Item = PathBuf>,
    usual: &[PathBuf],
) -> Result<PathBuf, String> {
    let missing = |folder: &Path| PROGRAMS.into_iter().find(|program| !folder.join(program).is_file());
    if let Some(folder) = named {
        return match missing(&folder) {
            None => Ok(folder),
            Some(program) => Err(format!(
                "{BIN_VARIABLE} names {}, where there is no program `{program}`. \
                 Name the folder that holds {PROGRAMS:?}, or unset the variable.",
                folder.display()
            )),
        };
    }
    let mut versions: Vec<(u32, PathBuf)> = usual
        .iter()
        .flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.trim_start_matches("postgresql@").parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    path.chain(versions.into_iter().rev().map(|(_, folder)| folder)).find(|folder| missing(folder).is_none()).ok_or_else(
        || {
            format!(
                "this test needs PostgreSQL, and none is installed: no folder of PATH and none of {usual:?} holds \
                 {PROGRAMS:?}. Run `./.ci/setup`, or install it (Debian: `apt-get install postgresql`), \
                 or set {BIN_VARIABLE} to the folder that holds them."
            )
        },
    )
}

/// The account to run the server as, when it may not be our own: PostgreSQL refuses to run as root.
pub(super) fn account() -> Result<Option<(u32, u32)>, String> {
    if !rustix::process::getuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    account_in(&passwd).map(Some).ok_or_else(|| {
        "PostgreSQL refuses to run as root, and there is no account `postgres` to run it as. \
         Make one (`useradd --system postgres`) or run the tests as another user."
            .to_owned()
    })
}

fn account_in(passwd: &str) -> Option<(u32, u32)> {
    let mut fields = passwd.lines().find(|line| line.starts_with("postgres:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// One home per user and checkout: two checkouts may test at once, and neither sees the other.
pub(super) fn shared_home() -> PathBuf {
    let checkout = env!("CARGO_MANIFEST_DIR");
    let hash = checkout.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let user = rustix::process::getuid().as_raw();
    temporary_folder().join(format!("ms-pg-{user}-{:08x}", hash >> 32))
}

/// Without symbolic links: the processes of a server are told by the real path they work in.
pub(super) fn temporary_folder() -> PathBuf {
    let folder = std::env::temp_dir();
    folder.canonicalize().unwrap_or(folder)
}

/// Makes the folder and takes its start lock. The watcher may remove both between the two steps:
/// then the lock we hold is on a file nobody else can find, and we begin again.
pub(super) fn enter_home(home: &Path) -> Result<File, String> {
    loop {
        make_home(home)?;
        let path = home.join("start.lock");
        let lock = match lock_file(&path) {
            Ok(lock) => lock,
            Err(_) if !home.exists() => continue,
            Err(text) => return Err(text),
        };
        lock.lock().map_err(|e| at(&path, e))?;
        let held = lock.metadata().map_err(|e| at(&path, e))?.ino();
        if fs::metadata(&path).is_ok_and(|found| found.ino() == held) {
            return Ok(lock);
        }
    }
}

/// Makes the folder, or makes sure that the one there is our own: in a shared folder for temporary
/// files anybody could have laid it out for us.
pub(super) fn make_home(home: &Path) -> Result<(), String> {
    match fs::DirBuilder::new().mode(0o711).create(home) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(home).map_err(|e| at(home, e))?;
            if !meta.is_dir() || meta.uid() != rustix::process::getuid().as_raw() {
                return Err(format!(
                    "{} is in the way: it is not a folder of ours. Remove it.",
                    home.display()
                ));
            }
        }
        Err(e) => return Err(at(home, e)),
    }
    // Whatever the umask said: the server's account must be able to pass through, no more.
    fs::set_permissions(home, fs::Permissions::from_mode(0o711)).map_err(|e| at(home, e))
}

fn lock_file(path: &Path) -> Result<File, String> {
    File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(|e| at(path, e))
}

pub(super) fn lock_shared(path: &Path) -> Result<File, String> {
    let file = lock_file(path)?;
    file.lock_shared().map_err(|e| at(path, e))?;
    Ok(file)
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| at(path, e))
}

pub(super) fn at(path: &Path, error: std::io::Error) -> String {
    format!("could not set up the test database in {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(named: Option<&str>, usual: &[PathBuf]) -> String {
        find_programs_in(named.map(PathBuf::from), std::iter::empty(), usual).expect_err("nothing is there")
    }

    #[test]
    fn missing_postgres_says_what_to_type() {
        let text = text_of(None, &[PathBuf::from("/nowhere/postgresql")]);
        for part in [
            "needs PostgreSQL",
            "./.ci/setup",
            "apt-get install postgresql",
            BIN_VARIABLE,
            "/nowhere/postgresql",
        ] {
            assert!(text.contains(part), "{part} is missing from: {text}");
        }
    }

    #[test]
    fn wrong_variable_names_the_missing_program() {
        let text = text_of(Some("/nowhere/bin"), &[]);
        assert!(
            text.contains("/nowhere/bin") && text.contains("`postgres`") && text.contains(BIN_VARIABLE),
            "{text}"
        );
    }

    #[test]
    fn newest_version_wins_and_incomplete_ones_do_not() {
        let usual = temporary_folder().join(format!("ms-pg-find-{}", std::process::id()));
        for (version, programs) in [("9", &PROGRAMS[..]), ("15", &PROGRAMS[..]), ("16", &PROGRAMS[..2])] {
            let bin = usual.join(version).join("bin");
            fs::create_dir_all(&bin).expect("a folder");
            programs.iter().for_each(|program| write(&bin.join(program), "").expect("a file"));
        }
        let found = find_programs_in(None, std::iter::empty(), std::slice::from_ref(&usual));
        fs::remove_dir_all(&usual).expect("removed");
        assert_eq!(found, Ok(usual.join("15/bin")));
    }

    #[test]
    fn the_account_is_read_from_the_list_of_accounts() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:102:110:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(account_in(passwd), Some((102, 110)));
        assert_eq!(account_in("root:x:0:0:root:/root:/bin/sh\n"), None);
    }
}

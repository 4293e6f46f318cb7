//! Where the key comes from: a file, the environment, or the answer of a command (a key management
//! service). It is read when it is first needed, and once more when something is found that was
//! sealed with a key unknown so far: another process may have turned the key over meanwhile.

use super::{Keyring, Result, Secret, SecretError};
use mainspring_core::ProjectId;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How long a command may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer or file that is read.
const LONGEST: usize = 64 << 10;

/// Where the key comes from.
pub enum Source {
    /// From nowhere, and why: what to set is for the error to say.
    Unset(String),
    /// From the environment: the text, and the variable's name.
    Text(Secret, String),
    /// From a file.
    File(PathBuf),
    /// From what a command writes.
    Command(Vec<String>),
}

/// The way to the keys, shared by all that seal and open.
pub struct Keys {
    source: Source,
    ring: RwLock<Option<Arc<Keyring>>>,
    reading: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Keys that are read from `source` when they are needed.
    pub fn new(source: Source) -> Arc<Keys> {
        Arc::new(Keys { source, ring: RwLock::default(), reading: tokio::sync::Mutex::default() })
    }

    /// These very keys.
    pub fn given(ring: Keyring) -> Arc<Keys> {
        let keys = Keys::new(Source::Unset("the program gave its keys itself".into()));
        keys.keep(ring);
        keys
    }

    /// Where they come from, for people.
    pub fn place(&self) -> String {
        match &self.source {
            Source::Unset(_) => "this program".into(),
            Source::Text(_, variable) => format!("the variable {variable}"),
            Source::File(path) => path.display().to_string(),
            Source::Command(argv) => format!("the answer of {:?}", argv.first().map_or("", String::as_str)),
        }
    }

    /// The file, if they come from one.
    pub fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) => Some(path),
            _ => None,
        }
    }

    fn held(&self) -> Option<Arc<Keyring>> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, ring: Keyring) -> Arc<Keyring> {
        let ring = Arc::new(ring);
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(ring.clone());
        ring
    }

    /// The keys, read if they have not been.
    pub async fn ring(&self) -> Result<Arc<Keyring>> {
        match self.held() {
            Some(ring) => Ok(ring),
            None => self.read(None).await,
        }
    }

    /// Reads them again, unless somebody else has since `known` was read.
    async fn read(&self, known: Option<&Arc<Keyring>>) -> Result<Arc<Keyring>> {
        let _one = self.reading.lock().await;
        if let Some(ring) = self.held().filter(|ring| known.is_none_or(|known| !Arc::ptr_eq(known, ring))) {
            return Ok(ring);
        }
        let text = match &self.source {
            Source::Unset(why) => match self.held() {
                Some(ring) => return Ok(ring),
                None => return Err(SecretError::Key(why.clone())),
            },
            Source::Text(text, _) => text.clone(),
            Source::File(path) => read_file(path)?,
            Source::Command(argv) => answer(argv).await?,
        };
        let ring = Keyring::parse(text.expose());
        let ring = ring.map_err(|e| SecretError::Key(format!("{}: {e}", self.place())))?;
        Ok(self.keep(ring))
    }

    /// Seals a value for this project and name.
    pub async fn seal(&self, project: ProjectId, name: &str, value: &Secret) -> Result<String> {
        self.ring().await?.seal(project, name, value)
    }

    /// Opens what was sealed for this project and name.
    pub async fn open(&self, project: ProjectId, name: &str, sealed: &str) -> Result<Secret> {
        let ring = self.ring().await?;
        match ring.open(&self.place(), project, name, sealed) {
            Err(SecretError::WrongKey { .. }) => {
                self.read(Some(&ring)).await?.open(&self.place(), project, name, sealed)
            }
            other => other,
        }
    }

    /// Makes the key file, if the key is to be in a file and there is none yet; its path when it was
    /// made.
    pub fn make(&self) -> Result<Option<&Path>> {
        let Some(path) = self.file().filter(|path| !path.exists()) else { return Ok(None) };
        let ring = Keyring::random()?;
        // Written whole before it has its name: whoever comes at the same time finds all or nothing,
        // and the name goes to one of them only.
        let made = write_beside(path, &ring).and_then(|beside| {
            let linked = std::fs::hard_link(&beside, path);
            drop(std::fs::remove_file(&beside));
            linked
        });
        match made {
            Ok(()) => Ok(Some(path)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(cannot("make", path, &e)),
        }
    }

    /// A new key seals from now on; in the file, too. Only a file can be turned over by us: elsewhere
    /// whoever keeps the key puts a new one before the old.
    pub async fn turn(&self) -> Result<Arc<Keyring>> {
        let Some(path) = self.file() else { return self.read(self.held().as_ref()).await };
        let _one = self.reading.lock().await;
        let ring = Keyring::parse(read_file(path)?.expose())?.turned()?;
        let written = write_beside(path, &ring).and_then(|beside| std::fs::rename(beside, path));
        written.map_err(|e| cannot("write", path, &e))?;
        Ok(self.keep(ring))
    }
}

fn cannot(verb: &str, path: &Path, e: &std::io::Error) -> SecretError {
    SecretError::Key(format!(
        "cannot {verb} the key file {}: {e}; secrets.key_file names another",
        path.display()
    ))
}

fn read_file(path: &Path) -> Result<Secret> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => SecretError::Key(format!(
            "there is no key file {}; put back the one that the secrets were sealed with, or name it with \
             secrets.key_file",
            path.display()
        )),
        _ => cannot("read", path, &e),
    })?;
    let mut text = String::new();
    file.take(LONGEST as u64).read_to_string(&mut text).map_err(|e| cannot("read", path, &e))?;
    Ok(Secret::new(text))
}

/// A file beside `path`, for its owner alone, that is safe on the disk.
fn write_beside(path: &Path, ring: &Keyring) -> std::io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    drop(std::fs::remove_file(&beside));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(ring.text().expose().as_bytes())?;
    file.sync_all()?;
    Ok(beside)
}

/// What a command writes. What it says on its error stream is shown, what it answers is not.
async fn answer(argv: &[String]) -> Result<Secret> {
    let name = argv.first().map_or("", String::as_str);
    let failed = |why: String| SecretError::Key(format!("the command {name:?} of secrets.key_command {why}"));
    let mut command = tokio::process::Command::new(name);
    command.args(argv.iter().skip(1)).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::select! {
        output = command.output() => output.map_err(|e| failed(format!("did not start: {e}")))?,
        () = crate::node::pause(PATIENCE) => {
            return Err(failed(format!("gave no answer within {} s", PATIENCE.as_secs())));
        }
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!(
            "failed ({}): {}",
            output.status,
            mainspring_core::limits::cut(said.trim(), 300)
        )));
    }
    if output.stdout.len() > LONGEST {
        return Err(failed(format!("answered more than {LONGEST} bytes")));
    }
    String::from_utf8(output.stdout).map(Secret::new).map_err(|_| failed("answered no text".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const P: ProjectId = ProjectId(1);

    #[tokio::test]
    async fn a_key_file_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.key");
        let keys = Keys::new(Source::File(path.clone()));
        let Err(e) = keys.ring().await else { panic!("there is no file") };
        assert!(e.to_string().contains("m.key") && e.to_string().contains("secrets.key_file"), "{e}");
        assert_eq!(keys.make().unwrap(), Some(path.as_path()));
        assert_eq!(keys.make().unwrap(), None, "only once");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing lies about");
        let sealed = keys.seal(P, "a", &Secret::new("value")).await.unwrap();
        let other = Keys::new(Source::File(path));
        assert_eq!(
            other.open(P, "a", &sealed).await.ok().map(|s| s.expose().to_owned()),
            Some("value".into())
        );
    }

    #[tokio::test]
    async fn a_key_turned_over_elsewhere_is_read_when_it_is_met() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.key");
        let (here, there) = (Keys::new(Source::File(path.clone())), Keys::new(Source::File(path.clone())));
        here.make().unwrap();
        let old = here.seal(P, "a", &Secret::new("value")).await.unwrap();
        let first = there.ring().await.unwrap();
        here.turn().await.unwrap();
        let new = here.seal(P, "a", &Secret::new("value")).await.unwrap();
        assert!(!first.is_newest(&new));
        for sealed in [&old, &new] {
            assert!(there.open(P, "a", sealed).await.is_ok());
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_command_gives_the_key_or_says_why_not() {
        let text = Keyring::random().unwrap().text();
        let sh = |line: &str| Keys::new(Source::Command(["sh", "-c", line].map(String::from).to_vec()));
        let printed = sh(&format!("echo '{}'", text.expose().lines().last().unwrap()));
        assert_eq!(printed.ring().await.unwrap().id(), Keyring::parse(text.expose()).unwrap().id());
        let Err(e) = sh("echo no way in >&2; exit 3").ring().await else { panic!("it failed") };
        assert!(e.to_string().contains("no way in") && e.to_string().contains("secrets.key_command"), "{e}");
        let Err(e) = sh("echo hunter2").ring().await else { panic!("this is no key") };
        assert!(e.to_string().contains("base64") && !e.to_string().contains("hunter2"), "{e}");
        let none = Keys::new(Source::Command(vec!["/no/such/program".into()]));
        assert!(none.ring().await.is_err_and(|e| e.to_string().contains("did not start")));
    }

    #[tokio::test]
    async fn without_a_key_the_error_says_what_to_set() {
        let unset = Keys::new(Source::Unset("set MAINSPRING_SECRETS_KEY".into()));
        let Err(e) = unset.seal(P, "a", &Secret::new("value")).await else { panic!("no key") };
        assert!(e.is_transient() && e.to_string().contains("set MAINSPRING_SECRETS_KEY"), "{e}");
    }
}

//! What may run here, as whom, and with which environment.
//!
//! Commands are off unless `commands.enabled` is set on the node that runs them. With
//! `commands.allow` only the programs named there run (an absolute path, a directory ending in `/`,
//! or a name, which means the program of that name in the standard PATH); they are compared after
//! links are followed, so that a link of one's own gives nothing. An allow-list is only worth
//! something while a job cannot make an allowed program run other code, so variables that do that
//! (`LD_PRELOAD`, `PATH`, `BASH_ENV`, …) are refused with it. `commands.shell` allows any line, so
//! it makes the list moot for them. Each refusal is final and names the setting.

use super::super::launcher::{Order, SELF};
use super::payload::Payload;
use super::users::{self, User};
use crate::job::JobError;
use mainspring_core::code::Code;
use rustix::process::getuid;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What runs lines.
const SHELL: &str = "/bin/sh";
/// Variables, or beginnings of their names, that make a program load or run other code.
const STEERING: [&str; 17] = [
    "LD_",
    "PATH",
    "BASH_ENV",
    "ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "IFS",
    "PS4",
    "GCONV_PATH",
    "PYTHON",
    "PERL",
    "RUBY",
    "GEM_",
    "NODE_",
    "JAVA_TOOL_OPTIONS",
    "GIT_",
    "BASH_FUNC_",
];

/// What the configuration of a node says about commands.
#[derive(Clone, Debug)]
pub struct CommandPolicy {
    /// `commands.enabled`: whether commands run at all.
    pub enabled: bool,
    /// `commands.allow`: programs that may run; any when empty.
    pub allow: Vec<String>,
    /// `commands.shell`: whether lines for a shell may run.
    pub shell: bool,
    /// `commands.users`: as whom commands may run when the node runs as root. When empty, only as
    /// the node's own user.
    pub users: Vec<String>,
    /// The executable that becomes the launcher: this one, unless a test brings another.
    pub launcher: PathBuf,
}

impl Default for CommandPolicy {
    fn default() -> Self {
        CommandPolicy { enabled: false, allow: vec![], shell: false, users: vec![], launcher: SELF.into() }
    }
}

fn refused(text: String) -> JobError {
    JobError::fatal(format!("{}: {text}", Code::COMMANDS_OFF)).class("commands_off")
}

fn user_refused(text: String) -> JobError {
    JobError::fatal(format!("{}: {text}", Code::USER_SWITCH)).class("user_switch")
}

impl CommandPolicy {
    /// Turns a payload into an order, or says what forbids it. `facts` go into the environment.
    pub(super) fn plan(
        &self,
        payload: &Payload,
        facts: Vec<(&'static str, String)>,
    ) -> Result<Order, JobError> {
        if !self.enabled {
            let text = "commands are off on this node; whoever runs it can set commands.enabled = true";
            return Err(refused(text.into()));
        }
        let user = self.user(payload.user.as_deref())?;
        let env = environment(payload, &user.user, facts);
        let get = |name: &str| env.iter().rev().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
        let (program, argv) = match (&payload.shell, &payload.argv) {
            (Some(line), _) => self.shell(line, get("SHELL"))?,
            (None, argv) => {
                let argv = argv.clone().unwrap_or_default();
                (self.program(&argv[0], get("PATH"), payload)?, argv)
            }
        };
        let dirs = match &payload.dir {
            Some(dir) => vec![dir.clone()],
            None => vec![get("HOME").to_owned(), "/".to_owned()],
        };
        Ok(Order {
            program,
            argv,
            dirs,
            stdin: payload.stdin.clone(),
            umask: payload.umask().map_err(|(f, t)| super::super::bad_payload((f.into(), t)))?,
            user: user.switch.then_some(user.user.identity),
            limits: payload.limits(),
            grace: u64::try_from(payload.grace().as_millis()).unwrap_or(u64::MAX),
            env,
            nice: 0,
        })
    }

    fn shell(&self, line: &str, shell: &str) -> Result<(String, Vec<String>), JobError> {
        if !self.shell {
            let text = "lines for a shell are not allowed on this node; give argv instead, or let whoever runs it \
                        set commands.shell = true";
            return Err(refused(text.into()));
        }
        Ok((shell.to_owned(), vec![shell.to_owned(), "-c".into(), line.to_owned()]))
    }

    /// The file to run for `name`, if the list allows it.
    fn program(&self, name: &str, path: &str, payload: &Payload) -> Result<String, JobError> {
        let steering = payload.env.keys().find(|n| STEERING.iter().any(|s| steers(s, n)));
        if let Some(variable) = steering.filter(|_| !self.allow.is_empty()) {
            let text = format!(
                "the variable {variable} could make an allowed program run other code; it cannot be given while \
                 commands.allow is set"
            );
            return Err(refused(text));
        }
        let found = look_up(name, path, payload.dir.as_deref());
        let Some(found) = found else {
            let place = if name.contains('/') { String::new() } else { format!(" in PATH {path}") };
            let text = format!("command not found: there is no program {name:?}{place} on this node");
            return Err(JobError::fatal(text).class("command_not_found"));
        };
        if !self.allow.is_empty() {
            let real = found.canonicalize().unwrap_or_else(|_| found.clone());
            if !self.allow.iter().any(|entry| allows(entry, &found, &real)) {
                let text = format!(
                    "{} is not among the programs of commands.allow on this node; whoever runs it can add {:?}",
                    real.display(),
                    real.display().to_string()
                );
                return Err(refused(text));
            }
        }
        Ok(found.to_string_lossy().into_owned())
    }

    fn user(&self, wanted: Option<&str>) -> Result<Chosen, JobError> {
        let own = getuid().as_raw();
        let user = match wanted {
            None => users::by_id(own).unwrap_or_else(|| nameless(own)),
            Some(name) => users::find(name).ok_or_else(|| {
                user_refused(format!("there is no user {name:?} in /etc/passwd of this node"))
            })?,
        };
        let switch = user.identity.uid != own;
        if switch && own != 0 {
            let text = format!(
                "the job wants to run as {:?}, and this node does not run as root, so it cannot change its user; run \
                 the node as root or as that user, or take the user out of the job",
                user.name
            );
            return Err(user_refused(text));
        }
        let listed = self.users.contains(&user.name);
        if own == 0 && !listed && (switch || !self.users.is_empty()) {
            let text = format!(
                "commands may not run as {:?} on this node; whoever runs it can add {:?} to commands.users",
                user.name, user.name
            );
            return Err(user_refused(text));
        }
        Ok(Chosen { user, switch })
    }
}

struct Chosen {
    user: User,
    switch: bool,
}

/// A node may run under a number that no file knows (containers do that).
fn nameless(uid: u32) -> User {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/".into());
    let identity =
        super::super::launcher::Identity { uid, gid: rustix::process::getgid().as_raw(), groups: vec![] };
    User { name: uid.to_string(), home, identity }
}

/// Clean, then the payload's, then ours: later ones win.
fn environment(payload: &Payload, user: &User, facts: Vec<(&'static str, String)>) -> Vec<(String, String)> {
    let mut env = std::collections::BTreeMap::new();
    for (name, value) in [
        ("PATH", PATH),
        ("HOME", &user.home),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
        ("SHELL", SHELL),
        ("LANG", "C.UTF-8"),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    env.extend(payload.env.clone());
    env.extend(facts.into_iter().map(|(name, value)| (format!("MAINSPRING_{name}"), value)));
    env.into_iter().collect()
}

/// The file a name stands for: a path as it is (a relative one from `dir`), else the first
/// executable of PATH.
fn look_up(name: &str, path: &str, dir: Option<&str>) -> Option<PathBuf> {
    let usable = |p: &PathBuf| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        let file = if name.starts_with('/') { PathBuf::from(name) } else { Path::new(dir?).join(name) };
        // Not executable is another error than not there: the launcher tells it.
        return file.is_file().then_some(file);
    }
    path.split(':').filter(|d| d.starts_with('/')).map(|d| Path::new(d).join(name)).find(usable)
}

fn steers(entry: &str, name: &str) -> bool {
    match entry {
        "PATH" | "ENV" | "IFS" | "PS4" => entry == name,
        beginning => name.starts_with(beginning),
    }
}

/// Whether a line of the allow-list means this file.
fn allows(entry: &str, found: &Path, real: &Path) -> bool {
    if !entry.contains('/') {
        return look_up(entry, PATH, None).and_then(|p| p.canonicalize().ok()).is_some_and(|p| p == real);
    }
    let Ok(wanted) = Path::new(entry).canonicalize() else { return false };
    if !entry.ends_with('/') {
        return wanted.is_file() && wanted == real;
    }
    // A link that stands in an allowed directory was put there by who owns the directory.
    let within =
        |p: &Path| p.parent().and_then(|d| d.canonicalize().ok()).is_some_and(|d| d.starts_with(&wanted));
    real.starts_with(&wanted) || within(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_core::Json;

    fn plan(policy: &CommandPolicy, payload: &str) -> Result<Order, (String, String)> {
        let payload = Payload::read(&Json::parse(payload).unwrap()).unwrap();
        policy.plan(&payload, vec![("JOB_ID", "7".into())]).map_err(|e| match e {
            JobError::Fatal(e) => (e.class, e.message),
            other => panic!("not fatal: {other:?}"),
        })
    }

    fn open() -> CommandPolicy {
        CommandPolicy { enabled: true, ..CommandPolicy::default() }
    }

    #[test]
    fn off_means_off_and_names_the_setting() {
        let (class, text) = plan(&CommandPolicy::default(), r#"{"argv":["true"]}"#).unwrap_err();
        assert!(
            class == "commands_off" && text.starts_with("MS0030") && text.contains("commands.enabled"),
            "{text}"
        );
        let (class, text) = plan(&open(), r#"{"shell":"true"}"#).unwrap_err();
        assert!(class == "commands_off" && text.contains("commands.shell = true"), "{text}");
        let policy = CommandPolicy { shell: true, ..open() };
        let order = plan(&policy, r#"{"shell":"echo hi"}"#).unwrap();
        assert_eq!(
            (order.program.as_str(), &order.argv[..]),
            ("/bin/sh", &["/bin/sh", "-c", "echo hi"].map(String::from)[..])
        );
        let order = plan(&policy, r#"{"shell":"echo hi","env":{"SHELL":"/bin/bash"}}"#).unwrap();
        assert_eq!(order.program, "/bin/bash");
    }

    #[test]
    fn the_allow_list_is_of_files_not_of_spellings() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, at(name)).unwrap();
        std::fs::create_dir(at("bin")).unwrap();
        std::fs::copy("/bin/true", at("bin/own")).unwrap();
        link("/bin/true", "bin/linked");
        link("/bin/cat", "outside");
        link("/bin/true", "alias");
        let by = |entries: &[&str]| CommandPolicy {
            allow: entries.iter().map(|e| (*e).into()).collect(),
            ..open()
        };
        let ok =
            |policy: &CommandPolicy, name: &str| plan(policy, &format!(r#"{{"argv":[{name:?}]}}"#)).is_ok();

        let by_name = by(&["true"]);
        assert!(ok(&by_name, "true") && ok(&by_name, "/bin/true") && ok(&by_name, &at("alias")));
        assert!(!ok(&by_name, "cat") && !ok(&by_name, &at("outside")) && !ok(&by_name, &at("bin/own")));
        let by_path = by(&["/bin/true"]);
        assert!(ok(&by_path, "/bin/../bin/true") && ok(&by_path, "true") && !ok(&by_path, "/bin/cat"));
        let folder = by(&[&format!("{}/", at("bin"))]);
        assert!(ok(&folder, &at("bin/own")) && ok(&folder, &at("bin/linked")));
        assert!(!ok(&folder, &at("outside")) && !ok(&folder, &at("bin/../outside")) && !ok(&folder, "cat"));
        assert!(!ok(&by(&[&at("bin")]), &at("bin/own")), "a directory is written with / at its end");
        let (class, text) = plan(&by_name, r#"{"argv":["cat"]}"#).unwrap_err();
        assert!(class == "commands_off" && text.contains("commands.allow") && text.contains("cat"), "{text}");
    }

    #[test]
    fn an_allowed_program_cannot_be_turned_by_its_environment() {
        let policy = CommandPolicy { allow: vec!["true".into()], ..open() };
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PATH",
            "BASH_ENV",
            "ENV",
            "PYTHONPATH",
            "PERL5LIB",
            "NODE_OPTIONS",
        ] {
            let (class, text) =
                plan(&policy, &format!(r#"{{"argv":["true"],"env":{{"{name}":"x"}}}}"#)).unwrap_err();
            assert!(class == "commands_off" && text.contains(name), "{text}");
        }
        assert!(plan(&policy, r#"{"argv":["true"],"env":{"PATHOLOGY":"x","ENVIRONMENT":"x"}}"#).is_ok());
        assert!(plan(&open(), r#"{"argv":["true"],"env":{"PATH":"/bin"}}"#).is_ok());
    }

    #[test]
    fn the_environment_is_clean_and_the_nodes_facts_win() {
        let order = plan(&open(), r#"{"argv":["true"],"env":{"HOME":"/srv","A":"b"}}"#).unwrap();
        let get = |name: &str| order.env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let names: Vec<&str> = order.env.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["A", "HOME", "LANG", "LOGNAME", "MAINSPRING_JOB_ID", "PATH", "SHELL", "USER"]);
        assert_eq!(
            (get("HOME"), get("PATH"), get("MAINSPRING_JOB_ID")),
            (Some("/srv"), Some(PATH), Some("7"))
        );
        assert_eq!(order.dirs, ["/srv", "/"]);
    }

    #[test]
    fn what_is_not_there_is_said_so() {
        for name in ["no-such-program", "/no/such/program", "relative/program"] {
            let (class, text) = plan(&open(), &format!(r#"{{"argv":["{name}"]}}"#)).unwrap_err();
            assert!(class == "command_not_found" && text.contains(name), "{text}");
        }
    }

    #[test]
    fn users_are_refused_unless_listed() {
        let (class, text) = plan(&open(), r#"{"argv":["true"],"user":"no-such-user"}"#).unwrap_err();
        assert!(
            class == "user_switch" && text.starts_with("MS0031") && text.contains("no-such-user"),
            "{text}"
        );
        let (class, text) = plan(&open(), r#"{"argv":["true"],"user":"nobody"}"#).unwrap_err();
        assert!(class == "user_switch" && text.contains("nobody"), "{text}");
        if getuid().is_root() {
            assert!(text.contains("commands.users"), "{text}");
            let listed = CommandPolicy { users: vec!["nobody".into()], ..open() };
            let order = plan(&listed, r#"{"argv":["true"],"user":"nobody"}"#).unwrap();
            assert_eq!(order.user, Some(users::find("nobody").unwrap().identity));
            let (_, text) = plan(&listed, r#"{"argv":["true"]}"#).unwrap_err();
            assert!(text.contains("\"root\""), "root is not listed: {text}");
        } else {
            assert!(text.contains("does not run as root"), "{text}");
        }
    }
}

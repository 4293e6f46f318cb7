//! What a command says when it cannot do what was asked: one message with its code, the place and
//! what to type instead, always in the same three lines on the error stream.
//!
//! ```text
//! error[MS0010]: minute: 61 is not in 0-59
//!   where: mainspring.toml:12:8, schedule "nightly"
//!   try: mainspring cron explain "0 2 * * *"
//! ```
//!
//! Every code has a page under `docs/errors`. Nothing here prints: [`crate::run`] does, once.

use mainspring_core::StoreError;
use mainspring_core::code::Code;
use std::fmt;

/// The result of everything in this crate.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

/// A command's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// Its code.
    pub code: Code,
    /// What was wrong.
    pub message: String,
    /// Where: a file with line and column, a flag, an address.
    pub place: Option<String>,
    /// What to type next.
    pub hint: Option<String>,
    /// The reader of our output has gone: nothing is printed and the exit is quiet.
    pub closed: bool,
    /// Further errors found at the same time, whole.
    pub others: Vec<String>,
}

impl CliError {
    /// An error with a code and its text.
    pub fn new(code: Code, message: impl Into<String>) -> CliError {
        CliError { code, message: message.into(), place: None, hint: None, closed: false, others: vec![] }
    }

    /// The same error, found here.
    pub fn at(mut self, place: impl Into<String>) -> CliError {
        self.place.get_or_insert(place.into());
        self
    }

    /// The same error, with what to type next.
    pub fn hint(mut self, hint: impl Into<String>) -> CliError {
        self.hint.get_or_insert(hint.into());
        self
    }

    /// 2 when the command line, a file or a value has to be written differently; 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        let refused = [
            Code::NOT_FOUND,
            Code::CONFLICT,
            Code::COMMANDS_OFF,
            Code::USER_SWITCH,
            Code::TARGET_REFUSED,
            Code::SECRET_KEY,
            Code::SECRET_UNKNOWN,
        ];
        if self.code == Code::STORE_ADDRESS || (self.code.0 < 100 && !refused.contains(&self.code)) {
            2
        } else {
            1
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        for (word, text) in [("where", &self.place), ("try", &self.hint)] {
            if let Some(text) = text {
                write!(f, "\n  {word}: {}", text.replace('\n', "\n       "))?;
            }
        }
        self.others.iter().try_for_each(|other| write!(f, "\n{other}"))
    }
}

impl std::error::Error for CliError {}

impl From<StoreError> for CliError {
    fn from(e: StoreError) -> CliError {
        let hint = match &e {
            StoreError::Unavailable(_) | StoreError::Timeout(_) => {
                Some("mainspring doctor, once the database answers again")
            }
            StoreError::InUse(_) => {
                Some("stop the other process, or use the commands beside it: mainspring job list")
            }
            StoreError::NotFound { what: "schedule", .. } => Some("mainspring schedule list"),
            StoreError::NotFound { what: "job", .. } => Some("mainspring job list"),
            StoreError::NotFound { what: "queue", .. } => Some("mainspring queue list"),
            StoreError::NotFound { what: "batch", .. } => Some("mainspring batch list"),
            _ => None,
        };
        let error = CliError::new(e.code(), e.to_string());
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<mainspring::secrets::SecretError> for CliError {
    fn from(e: mainspring::secrets::SecretError) -> CliError {
        use mainspring::secrets::SecretError;
        let error = CliError::new(e.code(), e.to_string());
        match e {
            SecretError::Unknown(_) => error.hint("mainspring secret list"),
            _ => error,
        }
    }
}

impl From<mainspring::notify::NotifyError> for CliError {
    fn from(e: mainspring::notify::NotifyError) -> CliError {
        CliError::new(e.code(), e.to_string())
    }
}

impl From<std::io::Error> for CliError {
    fn from(e: std::io::Error) -> CliError {
        let closed = e.kind() == std::io::ErrorKind::BrokenPipe;
        CliError { closed, ..CliError::new(Code::USAGE, format!("cannot write the output: {e}")) }
    }
}

/// The nearest of `known` to what was typed, when it is near enough to be what was meant.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&typed, &k.to_lowercase()), k))
        .filter(|(d, k)| *d <= (k.len().max(typed.len()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_three_lines_and_knows_its_exit_code() {
        let e =
            CliError::new(Code::BAD_CRON, "minute: 61 is not in 0-59").at("a.toml:3:8").hint("write 0-59");
        assert_eq!(
            e.to_string(),
            "error[MS0010]: minute: 61 is not in 0-59\n  where: a.toml:3:8\n  try: write 0-59"
        );
        assert_eq!(e.exit_code(), 2);
        let e: CliError = StoreError::NotFound { what: "job", name: "7".into() }.into();
        assert_eq!((e.exit_code(), e.to_string().contains("job list")), (1, true));
    }

    #[test]
    fn only_a_near_name_is_offered() {
        let known = ["slots", "store", "queues"];
        assert_eq!(nearest("slost", known), Some("slots"));
        assert_eq!(nearest("Store", known), Some("store"));
        assert_eq!(nearest("frobnicate", known), None);
    }

    #[test]
    fn a_closed_pipe_is_not_an_error_to_tell() {
        let e: CliError = std::io::Error::from(std::io::ErrorKind::BrokenPipe).into();
        assert!(e.closed);
    }
}

//! Error codes: one per thing that can go wrong for a person, each with a page `docs/errors/MSnnnn.md`.

use serde::{Serialize, Serializer};

/// A code such as `MS0101`. Its meaning never changes once released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

macro_rules! codes {
    ($($name:ident = $number:literal $title:literal),+ $(,)?) => {
        impl Code {
            $(#[doc = $title] pub const $name: Code = Code($number);)+

            /// Every code with its title, in order.
            pub const ALL: &'static [(Code, &'static str)] = &[$((Code($number), $title)),+];
        }
    };
}

codes! {
    USAGE = 1 "The command line is not understood",
    CONFIG_UNREADABLE = 2 "The configuration file cannot be read",
    CONFIG_UNKNOWN_KEY = 3 "The configuration has an unknown key",
    CONFIG_INVALID = 4 "A setting has a value that cannot be used",
    BAD_CRON = 10 "A cron expression is not understood",
    BAD_ZONE = 11 "A time zone is not known",
    BAD_TIME = 12 "A date or time cannot be used",
    BAD_SCHEDULE = 13 "A schedule cannot be used",
    BAD_CRONTAB = 14 "A crontab line is not understood",
    INVALID_VALUE = 20 "A value breaks a limit",
    NOT_FOUND = 21 "There is no such thing",
    CONFLICT = 22 "Its state does not allow this",
    DUPLICATE_NAME = 23 "A name is used twice",
    BAD_REQUEST = 24 "A request is not understood",
    COMMANDS_OFF = 30 "Command jobs are not allowed here",
    USER_SWITCH = 31 "Running as another user is not possible here",
    TARGET_REFUSED = 32 "An outbound address is not allowed",
    SECRET_KEY = 33 "The key of the secrets cannot be used",
    SECRET_UNKNOWN = 34 "There is no secret of this name",
    NOT_SIGNED_IN = 40 "Nobody is signed in",
    NOT_ALLOWED = 41 "This takes a right that is missing",
    TOO_MANY = 42 "Too many requests",
    WORKER_GONE = 60 "A worker is not known any more",
    LEASE_GONE = 61 "A lease does not hold",
    PROTOCOL = 62 "A version of the workers' protocol is not spoken",
    UNSIGNED = 63 "A delivery is not signed as agreed",
    STORE_UNAVAILABLE = 100 "The database is not reachable",
    STORE_TIMEOUT = 101 "The database did not answer in time",
    STORE_FULL = 102 "The disk of the store is full",
    STORE_IN_USE = 103 "Another process runs jobs on this file",
    STORE_FOREIGN = 104 "The file or database belongs to another program",
    STORE_DAMAGED = 105 "The store's file is damaged",
    STORE_SCHEMA = 106 "The store's schema does not fit this program",
    STORE_ADDRESS = 107 "The store's address cannot be used",
    STORE_INTERNAL = 109 "The store failed",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MS{:04}", self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

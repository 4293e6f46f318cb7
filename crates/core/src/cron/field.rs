//! The fields of an expression, and how a refusal is told: by field, byte and what to write.

use std::fmt;

pub(super) const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
pub(super) const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A field of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// 0-59, only with six or seven fields.
    Second,
    /// 0-59.
    Minute,
    /// 0-23.
    Hour,
    /// 1-31.
    DayOfMonth,
    /// 1-12.
    Month,
    /// 0-7, 0 and 7 are Sunday.
    DayOfWeek,
    /// 1970-2199, only with seven fields.
    Year,
}

impl Field {
    /// All, in the order of a seven-field expression.
    pub const ALL: [Field; 7] = [
        Field::Second,
        Field::Minute,
        Field::Hour,
        Field::DayOfMonth,
        Field::Month,
        Field::DayOfWeek,
        Field::Year,
    ];

    /// As shown in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Field::Second => "second",
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day-of-month",
            Field::Month => "month",
            Field::DayOfWeek => "day-of-week",
            Field::Year => "year",
        }
    }

    /// Smallest and largest value that may be written.
    pub const fn bounds(self) -> (u32, u32) {
        match self {
            Field::Second | Field::Minute => (0, 59),
            Field::Hour => (0, 23),
            Field::DayOfMonth => (1, 31),
            Field::Month => (1, 12),
            Field::DayOfWeek => (0, 7),
            Field::Year => (1970, 2199),
        }
    }

    /// The last value of `*`: the largest one, but 6 for weekdays.
    pub(super) const fn last(self) -> u32 {
        match self {
            Field::DayOfWeek => 6,
            other => other.bounds().1,
        }
    }

    /// How many different values there are: the largest step.
    pub(super) const fn size(self) -> u32 {
        self.last() - self.bounds().0 + 1
    }

    /// Whether `?`, `L` and their like may stand here.
    pub(super) const fn is_day(self) -> bool {
        matches!(self, Field::DayOfMonth | Field::DayOfWeek)
    }

    /// The names of its values, if any.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Field::Month => &MONTHS,
            Field::DayOfWeek => &WEEKDAYS,
            _ => &[],
        }
    }
}

/// Why a text is not a cron expression. `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    /// The field, unless the text as a whole is wrong.
    pub field: Option<Field>,
    /// The byte in the text, from 0, where it went wrong.
    pub at: usize,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl CronError {
    pub(super) fn whole(at: usize, problem: impl Into<String>, hint: impl Into<String>) -> CronError {
        CronError { field: None, at, problem: problem.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "{} field, position {}: ", field.name(), self.at + 1)?,
            None => write!(f, "cron expression, position {}: ", self.at + 1)?,
        }
        f.write_str(&self.problem)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CronError {}

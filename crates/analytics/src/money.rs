//! What a bug costs a day, as integer cents: out of a label, a field of an issue form or a number set
//! by hand.
//!
//! An amount is one **a day**, in US dollars: `impact:500`, `impact: $1.5k`, `$12k/day`,
//! `12,000.50 USD per day`. Another currency or another rate is refused with its reason instead of
//! converted by a guess: a bug of $700 a week would look like $100 or like $700 by whom you ask. Revenue
//! at risk is the plain sum over the open bugs; what was lost so far is another figure and stands beside
//! it, never in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whole cents of a US dollar, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cents(pub u64);

/// The risk a day beyond which people are told: $10,000.00 is not beyond it, $10,000.01 is.
pub const RISK_LIMIT: Cents = Cents(1_000_000);
/// The largest amount that is believed, ten billion dollars a day: more is a slip of the keyboard.
pub const MOST: Cents = Cents(1_000_000_000_000);

/// Why an amount was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// It is none.
    #[error("{0:?} is no amount: write it like 500, $1,200.50 or 12k")]
    NotAnAmount(String),
    /// It is one of something else.
    #[error("{0:?} is not in US dollars: write the amount in dollars a day")]
    Currency(String),
    /// It is one for another time than a day.
    #[error("{0:?} is not per day: write what the bug costs in one day")]
    NotPerDay(String),
    /// It is more than is believed.
    #[error("{0:?} is more than {most} a day", most = MOST)]
    TooMuch(String),
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = (self.0 / 100).to_string();
        f.write_str("$")?;
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        write!(f, ".{:02}", self.0 % 100)
    }
}

/// Reads an amount a day.
///
/// ```
/// use mainspring_analytics::money::{Cents, parse};
///
/// assert_eq!(parse("$12k/day"), Ok(Cents(1_200_000)));
/// assert_eq!(parse("$1,200.50 per day").unwrap().to_string(), "$1,200.50");
/// assert_eq!(parse("$700/week").unwrap_err().to_string(),
///     "\"$700/week\" is not per day: write what the bug costs in one day");
/// ```
pub fn parse(text: &str) -> Result<Cents, MoneyError> {
    let shown = || text.trim().chars().take(80).collect::<String>();
    let lower = text.trim().to_lowercase();
    let (amount, rate) = rate_of(&lower);
    if !rate.is_none_or(|rate| ["day", "d", "daily"].contains(&rate)) {
        return Err(MoneyError::NotPerDay(shown()));
    }
    let amount = amount.trim();
    let amount = amount.strip_prefix("us").filter(|rest| rest.starts_with('$')).unwrap_or(amount);
    let amount = amount.strip_prefix('$').or_else(|| amount.strip_prefix("usd")).unwrap_or(amount);
    let amount = amount.strip_suffix("usd").or_else(|| amount.strip_suffix('$')).unwrap_or(amount).trim();
    let foreign = |c: char| "€£¥₹₽₩₿".contains(c);
    if amount.contains(foreign) || ["eur", "gbp", "chf", "jpy"].iter().any(|code| amount.contains(code)) {
        return Err(MoneyError::Currency(shown()));
    }
    let cents = cents(amount).ok_or_else(|| MoneyError::NotAnAmount(shown()))?;
    cents.filter(|cents| *cents <= MOST).ok_or_else(|| MoneyError::TooMuch(shown()))
}

/// The amount and what it is for: `12k/day`, `12k per day`, `12k a day`, `12k daily`.
fn rate_of(text: &str) -> (&str, Option<&str>) {
    let parted = ["/", " per ", " a "].iter().find_map(|by| text.split_once(by));
    let parted = parted.or_else(|| Some((text.strip_suffix(" daily")?, "daily")));
    parted.map_or((text, None), |(amount, rate)| (amount, Some(rate.trim())))
}

/// Cents of plain digits with an optional `k` or `m`; `Some(None)` where they are too many to count.
fn cents(amount: &str) -> Option<Option<Cents>> {
    let (digits, factor) = match amount.strip_suffix(['k', 'm']) {
        Some(digits) if amount.ends_with('k') => (digits, 1_000),
        Some(digits) => (digits, 1_000_000),
        None => (amount, 1),
    };
    let (whole, part) = digits.trim().split_once('.').unwrap_or((digits.trim(), "0"));
    let groups: Vec<&str> = whole.split([',', '_']).collect();
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let grouped = groups.len() == 1 || (groups[0].len() <= 3 && groups[1..].iter().all(|g| g.len() == 3));
    if !groups.iter().all(|g| is_number(g)) || !grouped || !is_number(part) {
        return None;
    }
    // A fraction of a cent is no amount; 1.2345k is, it is 1,234.50.
    let scale = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let units = part.parse::<u64>().ok()?.checked_mul(100 * factor)?;
    if units % scale != 0 {
        return None;
    }
    let whole = groups.concat().parse::<u64>().ok().and_then(|w| w.checked_mul(100 * factor));
    Some(whole.and_then(|whole| whole.checked_add(units / scale)).map(Cents))
}

/// The amount of a label: `impact:500`, `impact/$2k`, or one that is an amount a day by itself,
/// `$12k/day`. Nothing for a label about something else; an error for one that means to be an impact.
pub fn from_label(label: &str) -> Option<Result<Cents, MoneyError>> {
    let label = label.trim();
    let named = label.get(..6).is_some_and(|head| head.eq_ignore_ascii_case("impact"));
    if let Some(rest) = named.then(|| &label[6..]) {
        return rest.trim_start().strip_prefix([':', '/', '=']).map(parse);
    }
    (label.starts_with('$') && label.contains('/')).then(|| parse(label))
}

/// The heading of the field in an issue form.
pub const FIELD: &str = "Revenue impact per day";

/// The amount in an issue made by a form: below the heading `### Revenue impact per day`. Nothing
/// without the field, or where it was left empty.
pub fn from_issue_form(body: &str) -> Option<Result<Cents, MoneyError>> {
    let is_field = |line: &&str| {
        line.starts_with('#') && line.trim_start_matches('#').trim().eq_ignore_ascii_case(FIELD)
    };
    let mut lines = body.lines().map(str::trim).skip_while(|line| !is_field(line)).skip(1);
    let answer = lines.find(|line| !line.is_empty())?;
    let left_empty = answer.starts_with('#') || answer.eq_ignore_ascii_case("_No response_");
    (!left_empty).then(|| parse(answer))
}

/// Revenue at risk: the plain sum over open bugs.
pub fn at_risk(impacts: impl IntoIterator<Item = Cents>) -> Cents {
    impacts.into_iter().fold(Cents(0), |sum, impact| Cents(sum.0.saturating_add(impact.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_to_the_cent() {
        let known = [
            ("500", 50_000),
            ("$500", 50_000),
            (" $ 12,000.50 ", 1_200_050),
            ("12k", 1_200_000),
            ("$1.5k/day", 150_000),
            ("1.2345k", 123_450),
            ("US$ 3m per day", 300_000_000),
            ("2000 USD", 200_000),
            ("usd 20 a day", 2_000),
            ("0.01 daily", 1),
            ("0", 0),
        ];
        for (text, cents) in known {
            assert_eq!(parse(text), Ok(Cents(cents)), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_a_day_is_refused_with_its_reason() {
        use MoneyError::*;
        let of = |text: &str| parse(text).unwrap_err();
        for text in ["", "$", "much", "12,00", "1,2345", "-5", "1.005", "5 k k", "1.2.3", "k", "１２", "1e5"]
        {
            assert_eq!(of(text), NotAnAmount(text.to_owned()));
        }
        assert_eq!(of("€500"), Currency("€500".into()));
        assert_eq!(of("500 EUR/day"), Currency("500 EUR/day".into()));
        assert_eq!(of("$700/week"), NotPerDay("$700/week".into()));
        assert_eq!(of("$700 per hour"), NotPerDay("$700 per hour".into()));
        assert_eq!(of("99999999999m"), TooMuch("99999999999m".into()));
        assert_eq!(of("99999999999999999999"), TooMuch("99999999999999999999".into()));
        assert_eq!(parse(&MOST.to_string()), Ok(MOST));
    }

    #[test]
    fn labels_and_fields_of_forms_are_found() {
        assert_eq!(from_label("impact:500"), Some(Ok(Cents(50_000))));
        assert_eq!(from_label("Impact: $2k"), Some(Ok(Cents(200_000))));
        assert_eq!(from_label("$12k/day"), Some(Ok(Cents(1_200_000))));
        assert!(from_label("impact:high").unwrap().is_err());
        assert_eq!(from_label("impactful"), None);
        assert_eq!(from_label("größe"), None);

        let body =
            "### What happens\n\nIt fails.\n\n### Revenue impact per day\r\n\r\n$12,000\n\n### More\n\nNo";
        assert_eq!(from_issue_form(body), Some(Ok(Cents(1_200_000))));
        assert_eq!(from_issue_form("### Revenue impact per day\n\n_No response_"), None);
        assert_eq!(from_issue_form("### Revenue impact per day\n\n### More"), None);
        assert_eq!(from_issue_form("Revenue impact per day: 5"), None);
    }

    #[test]
    fn ten_thousand_dollars_are_not_beyond_the_limit_and_a_cent_more_is() {
        let risk = at_risk([Cents(900_000), Cents(100_000)]);
        assert_eq!(risk.to_string(), "$10,000.00");
        assert!(risk <= RISK_LIMIT);
        assert!(at_risk([risk, Cents(1)]) > RISK_LIMIT);
        assert_eq!(at_risk([Cents(u64::MAX), Cents(1)]), Cents(u64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(cents in 0..=MOST.0) {
            prop_assert_eq!(parse(&Cents(cents).to_string()), Ok(Cents(cents)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}", tail in "[0-9kmd$/.,a-z ]{0,20}") {
            let _ = (parse(&text), parse(&tail), from_label(&text), from_label(&tail), from_issue_form(&text));
            let _ = from_label(&format!("impact{text}"));
        }
    }
}

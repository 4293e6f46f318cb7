//! From text to masks, refusing whatever the rules do not name.
//!
//! Text is checked whole first (length, ASCII, nicknames), then cut into fields, then each field
//! into the items of its list. Every refusal names the field and the byte where it went wrong, and
//! says what to write instead when that can be known. Nothing is guessed: a text that other
//! dialects would read in their own way is better refused than run at the wrong time.

use super::expr::{CronExpr, DayRule, DaysOfMonth, DaysOfWeek};
use super::field::{CronError, Field, MONTHS, WEEKDAYS};

/// The longest text that is looked at, in bytes.
pub(super) const MAX_BYTES: usize = 256;

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A piece of the text with the byte where it begins.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Piece<'a> {
    /// The parts between separators, each with its place.
    fn split(self, by: char) -> impl Iterator<Item = Piece<'a>> {
        let mut at = self.at;
        self.text.split(by).map(move |text| {
            let piece = Piece { text, at };
            at += text.len() + 1;
            piece
        })
    }

    /// The parts before and after the first separator.
    fn split_once(self, by: char) -> Option<(Piece<'a>, Piece<'a>)> {
        let (left, right) = self.text.split_once(by)?;
        Some((Piece { text: left, at: self.at }, Piece { text: right, at: self.at + left.len() + 1 }))
    }

    fn refuse(self, field: Field, problem: impl Into<String>, hint: Option<String>) -> CronError {
        CronError { field: Some(field), at: self.at, problem: problem.into(), hint }
    }
}

/// What one field says.
#[derive(Default)]
struct Parsed {
    /// Bits from the field's smallest value (from 0 where that is 1, from 1970 for years).
    mask: [u64; 4],
    /// The canonical text.
    text: String,
    /// `*` or `?` alone.
    any: bool,
    /// The text begins with `*`.
    star: bool,
    /// `+` stood before the weekday field.
    both: bool,
    dom: DaysOfMonth,
    dow: DaysOfWeek,
}

impl Parsed {
    fn set(&mut self, field: Field, value: u32) {
        let bit = match field {
            Field::Year => value - 1970,
            Field::DayOfWeek => value % 7,
            _ => value,
        } as usize;
        self.mask[bit / 64] |= 1 << (bit % 64);
    }
}

pub(super) fn parse(text: &str) -> Result<CronExpr, CronError> {
    let trimmed = check_whole(text)?;
    if trimmed.text.starts_with('@') {
        return parse(nickname(trimmed)?);
    }
    let pieces: Vec<Piece<'_>> =
        trimmed.split(' ').flat_map(|p| p.split('\t')).filter(|p| !p.text.is_empty()).collect();
    let fields = match pieces.len() {
        5 => &Field::ALL[1..6],
        6 => &Field::ALL[..6],
        7 => &Field::ALL[..],
        n => {
            return Err(CronError::whole(
                trimmed.at,
                format!("{n} {} where 5, 6 or 7 are needed", if n == 1 { "field" } else { "fields" }),
                "write minute, hour, day-of-month, month, day-of-week, with a second before them and a year \
                 after them if wanted, for example 30 2 * * 1-5",
            ));
        }
    };
    let mut parsed: [Parsed; 7] = Default::default();
    parsed[0].mask[0] = 1;
    parsed[0].text.push('0');
    parsed[6].any = true;
    for (piece, field) in pieces.iter().zip(fields) {
        parsed[*field as usize] = parse_field(*field, *piece)?;
    }
    Ok(assemble(&parsed))
}

/// Checks what can be checked before cutting: length, characters, emptiness.
fn check_whole(text: &str) -> Result<Piece<'_>, CronError> {
    if text.len() > MAX_BYTES {
        return Err(CronError::whole(
            MAX_BYTES,
            format!("{} bytes, at most {MAX_BYTES} are read", text.len()),
            "shorten lists to ranges such as 1-5, or make two schedules",
        ));
    }
    if let Some((at, c)) =
        text.char_indices().find(|(_, c)| !c.is_ascii_graphic() && !matches!(c, ' ' | '\t'))
    {
        return Err(CronError::whole(
            at,
            format!("the character {c:?} is not allowed"),
            "write plain letters, digits and signs in one line",
        ));
    }
    let trimmed = text.trim_matches([' ', '\t']);
    let at = text.len() - text.trim_start_matches([' ', '\t']).len();
    if trimmed.is_empty() {
        return Err(CronError::whole(0, "it is empty", "write for example 30 2 * * 1-5"));
    }
    // A lone `#` cannot belong to a weekday: it begins a comment.
    let comment = trimmed
        .bytes()
        .enumerate()
        .find(|(i, b)| *b == b'#' && (*i == 0 || matches!(trimmed.as_bytes()[i - 1], b' ' | b'\t')));
    if let Some((i, _)) = comment {
        return Err(CronError::whole(at + i, "comments are not read", "remove everything from the # on"));
    }
    Ok(Piece { text: trimmed, at })
}

/// The expansion of a nickname.
fn nickname(piece: Piece<'_>) -> Result<&'static str, CronError> {
    if let Some((_, expansion)) = NICKNAMES.iter().find(|(name, _)| *name == piece.text) {
        return Ok(expansion);
    }
    let lower = piece.text.to_ascii_lowercase();
    let first = lower.split([' ', '\t']).next().unwrap_or_default();
    let refuse = |problem: String, hint: String| Err(CronError::whole(piece.at, problem, hint));
    if first == "@reboot" || first == "@every" {
        return refuse(
            format!("{first} is a trigger of its own, not a cron expression"),
            format!("make a schedule with the trigger {first}{}", if first == "@every" { " 5m" } else { "" }),
        );
    }
    if let Some((name, _)) = NICKNAMES.iter().find(|(name, _)| *name == lower) {
        return refuse(format!("{:?} is not a nickname", piece.text), format!("write {name} in lower case"));
    }
    let known = NICKNAMES.map(|(name, _)| name).join(" ");
    refuse(format!("{:?} is not a nickname", piece.text), format!("known are {known}"))
}

fn assemble(parsed: &[Parsed; 7]) -> CronExpr {
    let [second, minute, hour, dom, month, dow, year] = parsed;
    let day_rule = match (dom.any, dow.any) {
        (true, true) => DayRule::Every,
        (false, true) => DayRule::Month,
        (true, false) => DayRule::Week,
        (false, false) if dow.both => DayRule::Both,
        (false, false) => DayRule::Either,
    };
    // A year of `*` and a second of 0 say nothing: dropped, so that equal expressions print alike.
    let skip = usize::from(year.any && second.text == "0");
    let texts: Vec<&str> = parsed[skip..7 - usize::from(year.any)].iter().map(|p| p.text.as_str()).collect();
    let star_step_day = (day_rule == DayRule::Either)
        .then(|| [(dom, Field::DayOfMonth), (dow, Field::DayOfWeek)].into_iter().find(|(p, _)| p.star))
        .flatten()
        .map(|(_, field)| field);
    CronExpr {
        text: texts.join(" ").into(),
        seconds: second.mask[0],
        minutes: minute.mask[0],
        hours: hour.mask[0] as u32,
        months: month.mask[0] as u16,
        dom: DaysOfMonth { mask: dom.mask[0] as u32, ..dom.dom },
        dow: DaysOfWeek { mask: dow.mask[0] as u8, ..dow.dow },
        day_rule,
        years: (!year.any).then_some(year.mask),
        never: false,
        interval: second.star || minute.star || hour.star,
        star_step_day,
    }
    .settle()
}

fn parse_field(field: Field, piece: Piece<'_>) -> Result<Parsed, CronError> {
    let mut parsed = Parsed::default();
    let mut items = piece;
    if let Some(rest) = piece.text.strip_prefix('+') {
        if field != Field::DayOfWeek {
            let hint = Some("put + before the day-of-week field if both day fields must match".into());
            return Err(piece.refuse(field, "+ does not belong here", hint));
        }
        parsed.both = true;
        parsed.text.push('+');
        items = Piece { text: rest, at: piece.at + 1 };
    }
    if items.text == "?" && field.is_day() && !parsed.both {
        Parsed { any: true, text: "*".into(), ..parsed }.filled(field)
    } else {
        parsed.any = items.text == "*";
        parsed.star = items.text.starts_with('*');
        let alone = !items.text.contains(',');
        let mut seen: Vec<String> = Vec::new();
        for item in items.split(',') {
            let text = parse_item(field, item, alone, &mut parsed)?;
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        parsed.text.push_str(&seen.join(","));
        Ok(parsed)
    }
}

impl Parsed {
    /// With every value of the field.
    fn filled(mut self, field: Field) -> Result<Parsed, CronError> {
        (field.bounds().0..=field.last()).for_each(|value| self.set(field, value));
        Ok(self)
    }
}

/// Reads one item of a list into `parsed`; gives its canonical text.
fn parse_item(field: Field, item: Piece<'_>, alone: bool, parsed: &mut Parsed) -> Result<String, CronError> {
    if item.text.is_empty() {
        let hint = Some("write values with one comma between two of them, such as 1,15".into());
        return Err(item.refuse(field, "a value is missing", hint));
    }
    if let Some(text) = special(field, item, alone, parsed)? {
        return Ok(text);
    }
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let (min, last) = (field.bounds().0, field.last());
    let (from, to, mut text) = if range.text == "*" {
        (min, last, "*".to_owned())
    } else if let Some((from, to)) = range.split_once('-') {
        let (from, to) = (parse_value(field, from, false)?, parse_value(field, to, true)?);
        if from > to {
            return Err(range.refuse(
                field,
                format!("the range {} runs backwards", range.text),
                Some(forward(field, from, to)),
            ));
        }
        (from, to, if from == to { (from % wrap(field)).to_string() } else { format!("{from}-{to}") })
    } else {
        let value = parse_value(field, range, false)?;
        if let Some(step) = step {
            let n = parse_step(field, step)?;
            let hint = format!("write {value}-{}/{n}", last.max(value));
            return Err(item.refuse(field, format!("{} has a step but no range", item.text), Some(hint)));
        }
        (value, value, (value % wrap(field)).to_string())
    };
    let mut by = 1;
    if let Some(step) = step {
        by = parse_step(field, step)?;
        // Of a range of one value the step says nothing.
        if from != to {
            text.push_str(&format!("/{by}"));
        }
    }
    (from..=to).step_by(by as usize).for_each(|value| parsed.set(field, value));
    Ok(text)
}

/// Sunday is 0 in canonical text, except at the end of a range.
fn wrap(field: Field) -> u32 {
    if field == Field::DayOfWeek { 7 } else { u32::MAX }
}

/// How to write a range that runs over the end of the field.
fn forward(field: Field, from: u32, to: u32) -> String {
    let part = |a: u32, b: u32| if a == b { a.to_string() } else { format!("{a}-{b}") };
    let (min, last) = (field.bounds().0, field.last());
    match field {
        Field::Year => format!("write {to}-{from}"),
        Field::DayOfWeek if to == 0 => format!("write {}", part(from, 7)),
        _ if from > last => format!("write {}", part(0, to)),
        _ => format!("write {},{}", part(from, last), part(min, to)),
    }
}

/// `L`, `LW`, `nW`, `d#n`, `dL`, and the refusal of `?` and `H` where they do not belong.
fn special(
    field: Field,
    item: Piece<'_>,
    alone: bool,
    parsed: &mut Parsed,
) -> Result<Option<String>, CronError> {
    let upper = item.text.to_ascii_uppercase();
    if upper == "H" || upper.starts_with("H/") || upper.starts_with("H(") {
        let hint = "use it in a schedule's trigger; here write the value itself".to_owned();
        return Err(item.refuse(field, "H stands for a value picked by a schedule's name", Some(hint)));
    }
    if upper.contains('?') {
        let hint = if field.is_day() { "write ? as the whole field, or *" } else { "write *" };
        return Err(item.refuse(field, "? may only stand alone in a day field", Some(hint.into())));
    }
    match field {
        Field::DayOfMonth => day_of_month(item, &upper, alone, parsed),
        Field::DayOfWeek => day_of_week(item, &upper, parsed),
        _ => Ok(None),
    }
}

fn day_of_month(
    item: Piece<'_>,
    upper: &str,
    alone: bool,
    parsed: &mut Parsed,
) -> Result<Option<String>, CronError> {
    let field = Field::DayOfMonth;
    match upper {
        "L" => parsed.dom.last = true,
        "LW" if alone => parsed.dom.last_workday = true,
        "LW" => {
            let hint = "write LW alone, in a schedule of its own".to_owned();
            return Err(item.refuse(field, "W may not stand in a list", Some(hint)));
        }
        _ => {
            let Some(digits) = upper.strip_suffix('W') else { return Ok(None) };
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                let hint = "write one day and W, such as 15W, or LW".to_owned();
                return Err(item.refuse(field, format!("{} is not a working day", item.text), Some(hint)));
            }
            let day = parse_value(field, Piece { text: &item.text[..digits.len()], at: item.at }, false)?;
            if !alone {
                let hint = format!("write {day}W alone, in a schedule of its own");
                return Err(item.refuse(field, "W may not stand in a list", Some(hint)));
            }
            parsed.dom.nearest = Some(day as u8);
            return Ok(Some(format!("{day}W")));
        }
    }
    Ok(Some(upper.to_owned()))
}

fn day_of_week(item: Piece<'_>, upper: &str, parsed: &mut Parsed) -> Result<Option<String>, CronError> {
    let field = Field::DayOfWeek;
    let day_of = |piece| parse_value(field, piece, false).map(|day| day % 7);
    let (day, nth) = match item.split_once('#') {
        Some((day, nth)) => (day_of(day)?, nth.text.to_ascii_uppercase()),
        None if upper == "L" => {
            let hint = "write 5L for the last Friday of the month, or 6 for Saturday".to_owned();
            return Err(item.refuse(field, "L needs a weekday before it", Some(hint)));
        }
        None => match upper.strip_suffix('L') {
            Some(day) => (day_of(Piece { text: &item.text[..day.len()], at: item.at })?, "L".to_owned()),
            None => return Ok(None),
        },
    };
    match nth.as_str() {
        "L" => {
            parsed.dow.last |= 1 << day;
            Ok(Some(format!("{day}L")))
        }
        "1" | "2" | "3" | "4" | "5" => {
            parsed.dow.nth[usize::from(nth.as_bytes()[0] - b'1')] |= 1 << day;
            Ok(Some(format!("{day}#{nth}")))
        }
        _ => {
            let hint = Some(format!("write {day}#1 to {day}#5, or {day}L for the last one"));
            Err(item.refuse(field, format!("{} is not a weekday of the month", item.text), hint))
        }
    }
}

fn parse_step(field: Field, piece: Piece<'_>) -> Result<u32, CronError> {
    let size = field.size();
    let hint = Some(format!("write a step of 1 to {size}, such as */{}", if size > 10 { 5 } else { 2 }));
    if piece.text.is_empty() {
        return Err(piece.refuse(field, "the step after / is missing", hint));
    }
    match number(piece.text) {
        Some(step) if (1..=size).contains(&step) => Ok(step),
        Some(step) => Err(piece.refuse(field, format!("a step of {step} is not in 1-{size}"), hint)),
        None => Err(piece.refuse(field, format!("the step {:?} is not a number", piece.text), hint)),
    }
}

/// A number or a name. `end`: at the end of a range, where SUN is 7.
fn parse_value(field: Field, piece: Piece<'_>, end: bool) -> Result<u32, CronError> {
    let (min, max) = field.bounds();
    let refuse = |problem: String, hint: Option<String>| Err(piece.refuse(field, problem, hint));
    if piece.text.is_empty() {
        return refuse("a value is missing".into(), Some(format!("write a value of {min} to {max}")));
    }
    if let Some(value) = number(piece.text) {
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        let hint = match (field, value) {
            (Field::Hour, 24) => "midnight is hour 0".to_owned(),
            (Field::Second | Field::Minute, 60) => "a full one is 0 of the next".to_owned(),
            _ => format!("write a value of {min} to {max}"),
        };
        return refuse(format!("{} is not in {min}-{max}", piece.text), Some(hint));
    }
    let upper = piece.text.to_ascii_uppercase();
    let find = |names: &[&str], text: &str| names.iter().position(|name| *name == text);
    if let Some(at) = find(field.names(), &upper) {
        return Ok(match field {
            Field::Month => at as u32 + 1,
            _ if at == 0 && end => 7,
            _ => at as u32,
        });
    }
    for (other, names) in [(Field::Month, &MONTHS[..]), (Field::DayOfWeek, &WEEKDAYS[..])] {
        if find(names, &upper).is_some() {
            let hint = format!("it belongs in the {} field", other.name());
            return refuse(format!("{} is not a {}", piece.text, field.name()), Some(hint));
        }
    }
    let prefix = upper.get(..3).and_then(|p| find(field.names(), p)).map(|at| field.names()[at]);
    let hint = match prefix {
        Some(name) if upper.bytes().all(|b| b.is_ascii_alphabetic()) => format!("write {name}"),
        _ if field.names().is_empty() => format!("write a number of {min} to {max}"),
        _ => format!("write a number of {min} to {max} or a name such as {}", field.names()[1]),
    };
    refuse(format!("{:?} is not a value", piece.text), Some(hint))
}

/// Digits only; a number too large for anything here is as good as the largest.
fn number(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u32::MAX))
}

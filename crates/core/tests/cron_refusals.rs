//! What is refused, with the field, the position and what to write instead; and what looks broken
//! and is allowed.

use mainspring_core::cron::{CronExpr, Field};

/// (text, field, position from 1, part of the message)
#[rustfmt::skip]
const REFUSED: &[(&str, Option<Field>, usize, &str)] = &[
    // The text as a whole.
    ("", None, 1, "it is empty"),
    (" \t ", None, 1, "it is empty"),
    ("* * * *", None, 1, "4 fields where 5, 6 or 7 are needed"),
    ("  *", None, 3, "1 field where"),
    ("* * * * * * * *", None, 1, "8 fields"),
    ("* * * * *\n", None, 10, "'\\n' is not allowed"),
    ("* * * *\r*", None, 8, "is not allowed"),
    ("* * * * \u{0}", None, 9, "is not allowed"),
    ("* * * * m\u{f6}n", None, 10, "'ö' is not allowed"),
    ("*\u{a0}* * * *", None, 2, "is not allowed"),
    ("* * * * \u{ff11}", None, 9, "is not allowed"),
    ("0 0 * * * # nightly", None, 11, "comments are not read"),
    ("# 0 0 * * *", None, 1, "comments are not read"),
    ("@Daily", None, 1, "write @daily in lower case"),
    ("@fortnightly", None, 1, "known are @yearly @annually"),
    ("@daily 5", None, 1, "not a nickname"),
    ("@", None, 1, "not a nickname"),
    ("@reboot", None, 1, "@reboot is a trigger of its own"),
    ("@every 5m", None, 1, "make a schedule with the trigger @every 5m"),
    // Values.
    ("60 * * * *", Some(Field::Minute), 1, "60 is not in 0-59"),
    ("* 24 * * *", Some(Field::Hour), 3, "midnight is hour 0"),
    ("* * 0 * *", Some(Field::DayOfMonth), 5, "0 is not in 1-31"),
    ("* * 32 * *", Some(Field::DayOfMonth), 5, "32 is not in 1-31"),
    ("* * * 0 *", Some(Field::Month), 7, "0 is not in 1-12"),
    ("* * * 13 *", Some(Field::Month), 7, "13 is not in 1-12"),
    ("* * * * 8", Some(Field::DayOfWeek), 9, "8 is not in 0-7"),
    ("60 * * * * *", Some(Field::Second), 1, "60 is not in 0-59"),
    ("0 0 0 1 1 * 1969", Some(Field::Year), 13, "1969 is not in 1970-2199"),
    ("0 0 0 1 1 * 2200", Some(Field::Year), 13, "2200 is not in 1970-2199"),
    ("99999999999999999999 * * * *", Some(Field::Minute), 1, "is not in 0-59"),
    ("-5 * * * *", Some(Field::Minute), 1, "a value is missing"),
    ("1.5 * * * *", Some(Field::Minute), 1, "\"1.5\" is not a value"),
    ("0x5 * * * *", Some(Field::Minute), 1, "is not a value"),
    ("1~5 * * * *", Some(Field::Minute), 1, "is not a value"),
    ("% * * * *", Some(Field::Minute), 1, "is not a value"),
    // Names.
    ("* * * * monday", Some(Field::DayOfWeek), 9, "write MON"),
    ("* * * january *", Some(Field::Month), 7, "write JAN"),
    ("* * * mon *", Some(Field::Month), 7, "it belongs in the day-of-week field"),
    ("* * * * jan", Some(Field::DayOfWeek), 9, "it belongs in the month field"),
    ("jan * * * *", Some(Field::Minute), 1, "it belongs in the month field"),
    ("* * * * xyz", Some(Field::DayOfWeek), 9, "a name such as MON"),
    ("* * * * mo", Some(Field::DayOfWeek), 9, "is not a value"),
    // Lists.
    ("1,,2 * * * *", Some(Field::Minute), 3, "a value is missing"),
    (",1 * * * *", Some(Field::Minute), 1, "a value is missing"),
    ("1, * * * *", Some(Field::Minute), 3, "a value is missing"),
    (", * * * *", Some(Field::Minute), 1, "a value is missing"),
    ("1,61 * * * *", Some(Field::Minute), 3, "61 is not in 0-59"),
    // Ranges.
    ("1- * * * *", Some(Field::Minute), 3, "a value is missing"),
    ("1-5-7 * * * *", Some(Field::Minute), 3, "\"5-7\" is not a value"),
    ("1--5 * * * *", Some(Field::Minute), 3, "is not a value"),
    ("* 22-2 * * *", Some(Field::Hour), 3, "the range 22-2 runs backwards; write 22-23,0-2"),
    ("* * 25-5 * *", Some(Field::DayOfMonth), 5, "write 25-31,1-5"),
    ("* * * * 5-1", Some(Field::DayOfWeek), 9, "write 5-6,0-1"),
    ("* * * * fri-mon", Some(Field::DayOfWeek), 9, "write 5-6,0-1"),
    ("* * * * 5-0", Some(Field::DayOfWeek), 9, "write 5-7"),
    ("* * * * 7-1", Some(Field::DayOfWeek), 9, "write 0-1"),
    ("* * * dec-jan *", Some(Field::Month), 7, "write 12,1"),
    ("0 0 0 1 1 * 2030-2027", Some(Field::Year), 13, "write 2027-2030"),
    ("*-5 * * * *", Some(Field::Minute), 1, "\"*\" is not a value"),
    ("1-* * * * *", Some(Field::Minute), 3, "\"*\" is not a value"),
    ("** * * * *", Some(Field::Minute), 1, "is not a value"),
    // Steps.
    ("5/15 * * * *", Some(Field::Minute), 1, "5/15 has a step but no range; write 5-59/15"),
    ("0 2/6 * * *", Some(Field::Hour), 3, "write 2-23/6"),
    ("0 0 1/2 * *", Some(Field::DayOfMonth), 5, "write 1-31/2"),
    ("0 0 * * mon/2", Some(Field::DayOfWeek), 9, "write 1-6/2"),
    ("0 0 0 1 1 * 2026/2", Some(Field::Year), 13, "write 2026-2199/2"),
    ("*/0 * * * *", Some(Field::Minute), 3, "a step of 0 is not in 1-60"),
    ("*/61 * * * *", Some(Field::Minute), 3, "a step of 61 is not in 1-60"),
    ("* */25 * * *", Some(Field::Hour), 5, "not in 1-24"),
    ("* * */32 * *", Some(Field::DayOfMonth), 7, "not in 1-31"),
    ("* * * */13 *", Some(Field::Month), 9, "not in 1-12"),
    ("* * * * */8", Some(Field::DayOfWeek), 11, "not in 1-7"),
    ("0 0 0 1 1 * */231", Some(Field::Year), 15, "not in 1-230"),
    ("*/ * * * *", Some(Field::Minute), 3, "the step after / is missing"),
    ("/5 * * * *", Some(Field::Minute), 1, "a value is missing"),
    ("*/5/2 * * * *", Some(Field::Minute), 3, "\"5/2\" is not a number"),
    ("*/-5 * * * *", Some(Field::Minute), 3, "is not a number"),
    ("*/* * * * *", Some(Field::Minute), 3, "is not a number"),
    // Signs in the wrong place.
    ("? * * * *", Some(Field::Minute), 1, "? may only stand alone in a day field; write *"),
    ("* * ?,1 * *", Some(Field::DayOfMonth), 5, "? may only stand alone"),
    ("* * ?/2 * *", Some(Field::DayOfMonth), 5, "? may only stand alone"),
    ("* * * * +?", Some(Field::DayOfWeek), 10, "? may only stand alone"),
    ("* * +1 * *", Some(Field::DayOfMonth), 5, "put + before the day-of-week field"),
    ("* * * * +", Some(Field::DayOfWeek), 10, "a value is missing"),
    ("* * * * ++1", Some(Field::DayOfWeek), 10, "is not a value"),
    ("* * * * 1,+2", Some(Field::DayOfWeek), 11, "is not a value"),
    ("H * * * *", Some(Field::Minute), 1, "H stands for a value picked by a schedule's name"),
    ("* H/6 * * *", Some(Field::Hour), 3, "use it in a schedule's trigger"),
    // L, W and #.
    ("* L * * *", Some(Field::Hour), 3, "is not a value"),
    ("* * L-3 * *", Some(Field::DayOfMonth), 5, "\"L\" is not a value"),
    ("* * W * *", Some(Field::DayOfMonth), 5, "write one day and W, such as 15W"),
    ("* * 0W * *", Some(Field::DayOfMonth), 5, "0 is not in 1-31"),
    ("* * 32W * *", Some(Field::DayOfMonth), 5, "32 is not in 1-31"),
    ("* * 15W,20 * *", Some(Field::DayOfMonth), 5, "W may not stand in a list; write 15W alone"),
    ("* * 1,15W * *", Some(Field::DayOfMonth), 7, "W may not stand in a list"),
    ("* * 1,LW * *", Some(Field::DayOfMonth), 7, "write LW alone"),
    ("* * 15-16W * *", Some(Field::DayOfMonth), 5, "is not a working day"),
    ("* * L/2 * *", Some(Field::DayOfMonth), 5, "\"L\" is not a value"),
    ("* * 5L * *", Some(Field::DayOfMonth), 5, "is not a value"),
    ("* * 5#2 * *", Some(Field::DayOfMonth), 5, "is not a value"),
    ("* * * * L", Some(Field::DayOfWeek), 9, "write 5L for the last Friday"),
    ("* * * * 8L", Some(Field::DayOfWeek), 9, "8 is not in 0-7"),
    ("* * * * 5W", Some(Field::DayOfWeek), 9, "is not a value"),
    ("* * * * 5#0", Some(Field::DayOfWeek), 9, "write 5#1 to 5#5, or 5L"),
    ("* * * * 5#6", Some(Field::DayOfWeek), 9, "write 5#1 to 5#5"),
    ("* * * * 5#", Some(Field::DayOfWeek), 9, "is not a weekday of the month"),
    ("* * * * 5#2#3", Some(Field::DayOfWeek), 9, "is not a weekday of the month"),
    ("* * * * 1-5#2", Some(Field::DayOfWeek), 9, "\"1-5\" is not a value"),
    ("* * * * 5#2/2", Some(Field::DayOfWeek), 9, "is not a weekday of the month"),
    ("* * * * *#2", Some(Field::DayOfWeek), 9, "\"*\" is not a value"),
    ("* * * * 1-5L", Some(Field::DayOfWeek), 9, "is not a value"),
];

#[test]
fn broken_expressions_are_refused_with_field_position_and_hint() {
    for (text, field, position, part) in REFUSED {
        let error = match CronExpr::parse(text) {
            Err(error) => error,
            Ok(expr) => panic!("{text:?} was read as {expr}"),
        };
        let shown = error.to_string();
        assert!(shown.contains(part), "{text:?}: {shown}");
        assert_eq!((error.field, error.at + 1), (*field, *position), "{text:?}: {shown}");
        assert!(
            shown.contains(&format!("position {position}: ")) && !shown.contains('\n'),
            "{text:?}: {shown}"
        );
        let begins = field.map_or("cron expression", Field::name);
        assert!(shown.starts_with(begins), "{text:?}: {shown}");
        assert!(error.hint.is_some(), "{text:?}: {shown}");
    }
}

#[test]
fn more_than_256_bytes_are_refused_before_they_are_read() {
    let fits = format!("{:>256}", "* * * * *");
    assert_eq!(CronExpr::parse(&fits).unwrap().to_string(), "* * * * *");
    let long = format!("{:>257}", "* * * * *");
    assert_eq!(
        CronExpr::parse(&long).unwrap_err().to_string(),
        "cron expression, position 257: 257 bytes, at most 256 are read; shorten lists to ranges such as 1-5, or \
         make two schedules"
    );
    assert!(CronExpr::parse(&"é".repeat(1 << 20)).is_err());
}

#[test]
fn what_looks_odd_and_is_allowed_prints_in_one_way() {
    for (text, printed) in [
        (" \t0 0\t \t* * *  ", "0 0 * * *"),
        ("05 007 * * *", "5 7 * * *"),
        ("*/1 * * * *", "*/1 * * * *"),
        ("*/60 */24 */31 */12 */7", "*/60 */24 */31 */12 */7"),
        ("0-59/60 * * * *", "0-59/60 * * * *"),
        ("*,5 * * * *", "*,5 * * * *"),
        ("1,1,2 * * * *", "1,2 * * * *"),
        ("2-2 3-3/5 * * *", "2 3 * * *"),
        ("0 0 ? * ?", "0 0 * * *"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 1,l * *", "0 0 1,L * *"),
        ("0 0 015w * *", "0 0 15W * *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 7-7", "0 0 * * 0"),
        ("0 0 * * sun-sat", "0 0 * * 0-6"),
        ("0 0 * * fri-SUN", "0 0 * * 5-7"),
        ("0 0 * * sun-sun", "0 0 * * 0-7"),
        ("0 0 * * 0-7/7", "0 0 * * 0-7/7"),
        ("0 0 * * 1-sun", "0 0 * * 1-7"),
        ("0 0 * Jan-jUL sUn", "0 0 * 1-7 0"),
        ("0 0 * * friL", "0 0 * * 5L"),
        ("0 0 * * 7#l,sun#2", "0 0 * * 0L,0#2"),
        ("0 0 13 * +FRI,6", "0 0 13 * +5,6"),
        ("0 0 * * +*", "0 0 * * +*"),
        ("0 5 0 * * *", "5 0 * * *"),
        ("1 5 0 * * *", "1 5 0 * * *"),
        ("0 5 0 * * * *", "5 0 * * *"),
        ("0 5 0 * * * 2027", "0 5 0 * * * 2027"),
        ("0 5 0 * * * */230", "0 5 0 * * * */230"),
        ("@hourly", "0 * * * *"),
        (" @weekly\t", "0 0 * * 0"),
    ] {
        let expr = CronExpr::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(expr.to_string(), printed, "{text:?}");
        assert_eq!(CronExpr::parse(printed), Ok(expr), "{text:?}");
    }
}

#[test]
fn a_step_in_a_day_field_beside_the_other_is_warned_of() {
    for (text, warned) in [
        ("0 0 */2 * 1", true),
        ("0 0 1 * */2", true),
        ("0 0 */2 * */2", true),
        ("0 0 */1 * 1", true),
        ("0 0 */2 * *", false),
        ("0 0 * * */2", false),
        ("0 0 */2 * ?", false),
        ("0 0 */2 * +1", false),
        ("0 0 1-31/2 * 1", false),
    ] {
        assert_eq!(!CronExpr::parse(text).unwrap().warnings().is_empty(), warned, "{text}");
    }
}

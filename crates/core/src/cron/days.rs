//! Days since 1970-01-01 and back, in the proleptic Gregorian calendar.
//!
//! The algorithms are Howard Hinnant's (`chrono`-compatible low-level date algorithms), on plain
//! integers: the search asks for a date millions of times and needs nothing else of it.

/// Seconds in a day.
pub const DAY: i64 = 86_400;

/// Days since 1970-01-01 as (year, month 1-12, day 1-31).
pub fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The number of days from 1970-01-01 to this date.
pub fn from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// How many days a month has.
pub fn month_length(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The weekday of a day since 1970-01-01; 0 is Sunday.
pub fn weekday(days: i64) -> u32 {
    (days + 4).rem_euclid(7) as u32
}

/// Seconds of local time since 1970-01-01T00:00 as a date and time, for people.
pub fn datetime(local: i64) -> jiff::civil::DateTime {
    let (year, month, day) = civil(local.div_euclid(DAY));
    let second = local.rem_euclid(DAY);
    let part = |n: i64| n as i8;
    // In range for every instant that `jiff` can hold; the fallback keeps this total.
    jiff::civil::DateTime::new(
        year.clamp(-9999, 9999) as i16,
        month as i8,
        day as i8,
        part(second / 3600),
        part(second / 60 % 60),
        part(second % 60),
        0,
    )
    .unwrap_or(jiff::civil::DateTime::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_jiff_on_every_day_of_four_centuries() {
        let mut date = jiff::civil::date(1800, 1, 1);
        let mut days = from_civil(1800, 1, 1);
        while date.year() < 2210 {
            assert_eq!(civil(days), (i64::from(date.year()), date.month() as u32, date.day() as u32));
            assert_eq!(from_civil(date.year().into(), date.month() as u32, date.day() as u32), days);
            assert_eq!(weekday(days), date.weekday().to_sunday_zero_offset() as u32);
            assert_eq!(month_length(date.year().into(), date.month() as u32), date.days_in_month() as u32);
            date = date.tomorrow().unwrap();
            days += 1;
        }
    }
}

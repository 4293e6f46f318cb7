//! The clocks and the calendar under them, by worked examples and by property.

use jiff::civil::date;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Wall clock in a zone, for example `2026-03-13T16:30[Europe/Berlin]`.
fn wall(text: &str) -> Timestamp {
    text.parse::<jiff::Zoned>().unwrap().timestamp()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn office(name: &str) -> Hours {
    let holidays = [date(2026, 12, 25)];
    Hours::Calendar(Calendar::weekdays(zone(name), &[Window::hours(9, 17)], holidays).unwrap())
}

fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

fn minutes(n: i64) -> SignedDuration {
    SignedDuration::from_mins(n)
}

fn case(opened: Timestamp, severity: Severity) -> Case {
    Case { opened, severity, pauses: vec![], answered: None, resolved: None }
}

fn pause(from: &str, until: Option<&str>) -> Pause {
    Pause { from: at(from), until: until.map(at) }
}

#[test]
fn friday_half_past_four_and_an_hour_is_monday_half_past_nine() {
    let berlin = office("Europe/Berlin");
    let friday = wall("2026-03-13T16:30[Europe/Berlin]");
    assert_eq!(berlin.after(friday, hours(1)), Some(wall("2026-03-16T09:30[Europe/Berlin]")));
    let standing = Policy::default().judge(&case(friday, Severity::Critical), &berlin, friday);
    assert_eq!(standing.first_response.unwrap().deadline, Some(wall("2026-03-16T09:30[Europe/Berlin]")));
    // 24 h are half an hour, two days of eight, and seven and a half more.
    assert_eq!(standing.resolve.deadline, Some(wall("2026-03-18T16:30[Europe/Berlin]")));
}

#[test]
fn a_day_of_work_ends_at_its_close_and_holidays_do_not_count() {
    let office = office("America/New_York");
    let morning = wall("2026-12-24T09:00[America/New_York]");
    assert_eq!(office.after(morning, hours(8)), Some(wall("2026-12-24T17:00[America/New_York]")));
    // Christmas is a Friday: the next minute of work is on Monday.
    let monday = wall("2026-12-28T09:01[America/New_York]");
    assert_eq!(office.after(morning, hours(8) + minutes(1)), Some(monday));
    assert_eq!(office.between(morning, monday), hours(8) + minutes(1));
    assert_eq!(office.after(morning, SignedDuration::ZERO), Some(morning));
    assert_eq!(office.between(monday, morning), SignedDuration::ZERO);
    assert_eq!(office.after(morning, hours(1_000_000)), None);
}

#[test]
fn a_window_is_as_long_as_its_clock_says_when_clocks_change() {
    let nights = |zone_name: &str| {
        let week = std::array::from_fn(|_| {
            vec![Window::hours(0, 2), Window { from: 120, to: 150 }, Window { from: 150, to: 300 }]
        });
        Hours::Calendar(Calendar::new(zone(zone_name), week, []).unwrap())
    };
    let berlin = nights("Europe/Berlin");
    let day = |from: &str, to: &str| berlin.between(wall(from), wall(to));
    // A night of five hours, one that lacks 02:00 to 03:00, and one that has it twice.
    assert_eq!(day("2026-03-28T00:00[Europe/Berlin]", "2026-03-28T12:00[Europe/Berlin]"), hours(5));
    assert_eq!(day("2026-03-29T00:00[Europe/Berlin]", "2026-03-29T12:00[Europe/Berlin]"), hours(4));
    assert_eq!(day("2026-10-25T00:00[Europe/Berlin]", "2026-10-25T12:00[Europe/Berlin]"), hours(6));
    // Midnight itself may be missing: Beirut sets its clocks forward then.
    let beirut = nights("Asia/Beirut");
    let (from, to) = (wall("2026-03-28T12:00[Asia/Beirut]"), wall("2026-03-29T12:00[Asia/Beirut]"));
    assert_eq!(beirut.between(from, to), hours(4));
    // An office does not notice what happens at night: the deadline keeps its wall clock.
    let friday = wall("2026-03-27T16:00[Europe/Berlin]");
    assert_eq!(
        office("Europe/Berlin").after(friday, hours(2)),
        Some(wall("2026-03-30T10:00[Europe/Berlin]"))
    );
}

#[test]
fn calendars_that_make_no_sense_are_refused() {
    let utc = || TimeZone::UTC;
    assert_eq!(Calendar::weekdays(utc(), &[], []).unwrap_err(), CalendarError::Empty);
    let reversed = Calendar::weekdays(utc(), &[Window::hours(17, 9)], []).unwrap_err();
    assert!(reversed.to_string().contains("Monday: a window 1020-540 minutes"), "{reversed}");
    let long = Calendar::weekdays(utc(), &[Window::hours(9, 25)], []);
    assert!(matches!(long, Err(CalendarError::Window(..))));
    let twice = Calendar::weekdays(utc(), &[Window::hours(12, 17), Window::hours(9, 13)], []);
    assert!(matches!(twice, Err(CalendarError::Overlap(_, first, second)) if first.from < second.from));
    assert!(Calendar::weekdays(utc(), &[Window::hours(0, 12), Window::hours(12, 24)], []).is_ok());
}

#[test]
fn a_clock_runs_warns_at_eighty_percent_and_is_breached_after_its_last_moment() {
    let opened = at("2026-03-01T00:00:00Z");
    let policy = Policy::default();
    let state = |passed: SignedDuration| {
        let clock = policy.judge(&case(opened, Severity::Critical), &Hours::Always, opened + passed).resolve;
        (clock.state, clock.remaining())
    };
    let second = SignedDuration::from_secs(1);
    assert_eq!(state(hours(0)), (ClockState::Running, hours(24)));
    // 80 % of 24 h are 19 h 12 min.
    assert_eq!(state(minutes(19 * 60 + 12) - second).0, ClockState::Running);
    assert_eq!(state(minutes(19 * 60 + 12)).0, ClockState::Warning);
    assert_eq!(state(hours(24)), (ClockState::Warning, hours(0)));
    assert_eq!(state(hours(24) + second), (ClockState::Breached, -second));
}

#[test]
fn what_was_done_is_kept_or_missed_for_ever() {
    let opened = at("2026-03-01T00:00:00Z");
    let judge = |answered: i64, resolved: i64| {
        let case = Case {
            answered: Some(opened + minutes(answered)),
            resolved: Some(opened + hours(resolved)),
            ..case(opened, Severity::Critical)
        };
        let standing = Policy::default().judge(&case, &Hours::Always, at("2027-01-01T00:00:00Z"));
        (standing.first_response.unwrap().state, standing.resolve.state, standing.resolve.used)
    };
    assert_eq!(judge(60, 24), (ClockState::Kept, ClockState::Kept, hours(24)));
    assert_eq!(judge(61, 25), (ClockState::Missed, ClockState::Missed, hours(25)));

    // Resolved without a word counts as answered then; what comes after now has not come.
    let silent = Case { resolved: Some(opened + minutes(30)), ..case(opened, Severity::High) };
    let judge = |now| Policy::default().judge(&silent, &Hours::Always, opened + minutes(now));
    assert_eq!(judge(45).first_response.unwrap().state, ClockState::Kept);
    assert_eq!(judge(20).resolve.state, ClockState::Running);
    let medium = case(opened, Severity::Medium);
    assert_eq!(Policy::default().judge(&medium, &Hours::Always, opened).first_response, None);
}

#[test]
fn pauses_stop_the_clock_and_overlapping_ones_count_once() {
    let opened = at("2026-03-01T00:00:00Z");
    let pauses = vec![
        pause("2026-03-01T05:00:00Z", Some("2026-03-01T08:00:00Z")),
        pause("2026-03-01T02:00:00Z", Some("2026-03-01T06:00:00Z")),
        pause("2026-03-01T07:00:00Z", Some("2026-03-01T07:30:00Z")),
        // Before it was opened, and never: neither counts.
        pause("2026-02-01T00:00:00Z", Some("2026-02-02T00:00:00Z")),
        pause("2026-03-01T09:00:00Z", Some("2026-03-01T09:00:00Z")),
    ];
    let case = Case { pauses, ..case(opened, Severity::Critical) };
    let clock = |now: &str| Policy::default().judge(&case, &Hours::Always, at(now)).resolve;
    // From 02:00 to 08:00 it waited: six hours more.
    let deadline = Some(at("2026-03-02T06:00:00Z"));
    let later = clock("2026-03-01T10:00:00Z");
    assert_eq!((later.deadline, later.used, later.state), (deadline, hours(4), ClockState::Running));
    assert_eq!(clock("2026-03-02T06:00:00Z").remaining(), hours(0));
    assert_eq!(clock("2026-03-02T06:00:01Z").state, ClockState::Breached);
    let within = clock("2026-03-01T04:00:00Z");
    assert_eq!((within.deadline, within.used, within.state), (None, hours(2), ClockState::Paused));
}

#[test]
fn what_had_run_out_before_it_waited_stays_breached() {
    let opened = at("2026-03-01T00:00:00Z");
    let pauses = vec![pause("2026-03-02T06:00:00Z", None)];
    let case = Case { pauses, ..case(opened, Severity::Critical) };
    let clock = Policy::default().judge(&case, &Hours::Always, at("2026-03-09T00:00:00Z")).resolve;
    assert_eq!((clock.state, clock.used), (ClockState::Breached, hours(30)));
    assert_eq!(clock.deadline, Some(at("2026-03-02T00:00:00Z")));
}

#[test]
fn a_deadline_at_a_days_close_has_passed_that_evening() {
    let berlin = office("Europe/Berlin");
    let policy = Policy { resolve: [hours(8); 4], ..Policy::default() };
    let case = case(wall("2026-03-13T09:00[Europe/Berlin]"), Severity::Low);
    let judge = |now: &str| policy.judge(&case, &berlin, wall(now)).resolve.state;
    assert_eq!(judge("2026-03-13T17:00[Europe/Berlin]"), ClockState::Warning);
    assert_eq!(judge("2026-03-14T12:00[Europe/Berlin]"), ClockState::Breached);
}

#[test]
fn a_change_of_severity_keeps_the_pauses() {
    let opened = at("2026-03-02T00:00:00Z");
    let pauses = vec![pause("2026-03-02T01:00:00Z", Some("2026-03-02T11:00:00Z"))];
    let of = |severity| Case { pauses: pauses.clone(), ..case(opened, severity) };
    let deadline = |severity| {
        let now = at("2026-03-02T12:00:00Z");
        Policy::default().judge(&of(severity), &Hours::Always, now).resolve.deadline
    };
    // 72 h and 24 h, each and the ten hours it waited.
    assert_eq!(deadline(Severity::High), Some(at("2026-03-05T10:00:00Z")));
    assert_eq!(deadline(Severity::Critical), Some(at("2026-03-03T10:00:00Z")));
}

proptest! {
    #[test]
    fn after_and_between_are_each_others_inverse(start in 0i64..40_000_000, span in 1i64..2_000_000, city in 0usize..4) {
        let name = ["Europe/Berlin", "America/New_York", "Asia/Beirut", "Australia/Lord_Howe"][city];
        let from = at("2026-01-01T00:00:00Z") + SignedDuration::from_secs(start);
        let span = SignedDuration::from_secs(span);
        let office = office(name);
        let end = office.after(from, span).unwrap();
        prop_assert_eq!(office.between(from, end), span);
        // It is the first such instant: a second earlier it is a second less.
        prop_assert_eq!(office.between(from, end - SignedDuration::from_secs(1)), span - SignedDuration::from_secs(1));
    }

    #[test]
    fn working_time_adds_up(a in 0i64..30_000_000, b in 0i64..3_000_000, c in 0i64..3_000_000) {
        let from = at("2026-01-01T00:00:00Z") + SignedDuration::from_secs(a);
        let (middle, to) = (from + SignedDuration::from_secs(b), from + SignedDuration::from_secs(b + c));
        let office = office("Europe/Berlin");
        prop_assert_eq!(office.between(from, middle) + office.between(middle, to), office.between(from, to));
    }

    #[test]
    fn a_deadline_is_where_the_used_time_meets_the_granted(
        pauses in prop::collection::vec((0i64..100_000, 0i64..50_000), 0..6), now in 0i64..400_000,
    ) {
        let opened = at("2026-03-27T07:00:00Z");
        let after = |s: i64| opened + SignedDuration::from_secs(s);
        let pauses = pauses.into_iter().map(|(from, long)| Pause { from: after(from), until: Some(after(from + long)) });
        let case = Case { pauses: pauses.collect(), ..case(opened, Severity::Critical) };
        for hours in [Hours::Always, office("Europe/Berlin")] {
            let clock = Policy::default().judge(&case, &hours, after(now)).resolve;
            prop_assert!(clock.state == ClockState::Breached || clock.remaining() >= SignedDuration::ZERO);
            prop_assert!(clock.state != ClockState::Breached || clock.remaining() <= SignedDuration::ZERO);
            // Once no pause can lie ahead any more the deadline that is told is the one that is judged by.
            if now > 150_000 {
                let deadline = clock.deadline.unwrap();
                let then = Policy::default().judge(&case, &hours, deadline.max(after(150_001))).resolve;
                prop_assert_eq!(then.deadline, Some(deadline));
                prop_assert_eq!(deadline < after(now), clock.state == ClockState::Breached);
            }
        }
    }

    #[test]
    fn a_pause_never_hastens_a_deadline(from in 0i64..80_000, long in 0i64..80_000) {
        let opened = at("2026-03-02T00:00:00Z");
        let after = |s: i64| opened + SignedDuration::from_secs(s);
        let plain = case(opened, Severity::Critical);
        let waited = Case { pauses: vec![Pause { from: after(from), until: Some(after(from + long)) }], ..plain.clone() };
        let deadline = |case: &Case| Policy::default().judge(case, &Hours::Always, after(400_000)).resolve.deadline.unwrap();
        prop_assert_eq!(deadline(&waited).duration_since(deadline(&plain)), SignedDuration::from_secs(long));
    }
}

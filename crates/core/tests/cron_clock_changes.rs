//! Clock changes by name: the gaps and overlaps that have bitten other schedulers, under each
//! policy.

use ClockChange::{Both, Shift, Skip, Vixie};
use mainspring_core::cron::{ClockChange, CronExpr, FireNote};
use mainspring_core::zone::Zone;

/// Fires as `DDTHH:MM:SS` UTC of one month, in short.
fn fires(text: &str, zone: &str, from: &str, policy: ClockChange, n: usize) -> Vec<String> {
    let (expr, zone) = (CronExpr::parse(text).unwrap(), Zone::get(zone).unwrap());
    let list = expr.iter(&zone, from.parse().unwrap(), policy).take(n);
    list.map(|f| f.at.strftime("%dT%H:%M:%S").to_string()).collect()
}

fn marks(text: &str, zone: &str, from: &str, policy: ClockChange, n: usize) -> Vec<Option<&'static str>> {
    let (expr, zone) = (CronExpr::parse(text).unwrap(), Zone::get(zone).unwrap());
    expr.iter(&zone, from.parse().unwrap(), policy).take(n).map(|f| f.note.map(|n| n.mark())).collect()
}

const NEW_YORK: &str = "America/New_York";
/// The evening before clocks go ahead (02:00 to 03:00 on the 8th, at 07:00 UTC).
const AHEAD: &str = "2026-03-07T23:00:00Z";
/// The evening before clocks go back (02:00 to 01:00 on the 1st, at 06:00 UTC).
const BACK: &str = "2026-10-31T23:00:00Z";

#[test]
fn a_missing_time_follows_its_policy() {
    for (policy, wanted) in [
        (Vixie, ["08T07:00:00", "09T06:30:00"]),
        (Both, ["08T07:00:00", "09T06:30:00"]),
        (Skip, ["09T06:30:00", "10T06:30:00"]),
        (Shift, ["08T07:30:00", "09T06:30:00"]),
    ] {
        assert_eq!(fires("30 2 * * *", NEW_YORK, AHEAD, policy, 2), wanted, "{policy:?}");
    }
}

#[test]
fn several_missing_times_become_one_and_fold_with_a_regular_one() {
    // 02:00, 02:20, 02:40 are missing; 03:00 is regular at the same instant.
    let text = "0,20,40 2-3 * * *";
    assert_eq!(
        fires(text, NEW_YORK, AHEAD, Vixie, 4),
        ["08T07:00:00", "08T07:20:00", "08T07:40:00", "09T06:00:00"]
    );
    assert_eq!(
        fires(text, NEW_YORK, AHEAD, Shift, 4),
        ["08T07:00:00", "08T07:20:00", "08T07:40:00", "09T06:00:00"]
    );
    // Shifted ones keep their distance and merge into the order.
    assert_eq!(
        fires("10,30 2,3 * * *", NEW_YORK, AHEAD, Shift, 3),
        ["08T07:10:00", "08T07:30:00", "09T06:10:00"]
    );
    assert_eq!(fires("10 2 * * *", NEW_YORK, "2026-03-08T07:00:00Z", Shift, 1), ["08T07:10:00"]);
    assert_eq!(fires("10 2 * * *", NEW_YORK, "2026-03-08T07:00:00Z", Vixie, 1), ["09T06:10:00"]);
    let expr = CronExpr::parse("0 2-3 * * *").unwrap();
    let zone = Zone::get(NEW_YORK).unwrap();
    let fire = expr.next_after(&zone, AHEAD.parse().unwrap(), Vixie).unwrap();
    let wall = "2026-03-08T02:00:00".parse().unwrap();
    assert_eq!(fire.note, Some(FireNote::Moved { wall, folded: true }));
}

#[test]
fn seconds_in_a_gap_run_once() {
    assert_eq!(
        fires("5,50 30 2 * * *", NEW_YORK, AHEAD, Vixie, 3),
        ["08T07:00:00", "09T06:30:05", "09T06:30:50"]
    );
    // A star makes it an interval: only times that exist.
    assert_eq!(fires("*/30 30 2 * * *", NEW_YORK, AHEAD, Vixie, 2), ["09T06:30:00", "09T06:30:30"]);
    let wanted = ["08T05:30:00", "08T08:30:00", "08T10:30:00"];
    assert_eq!(fires("30 */2 * * *", NEW_YORK, "2026-03-08T05:00:00Z", Vixie, 3), wanted);
}

#[test]
fn a_doubled_time_follows_its_policy() {
    for (policy, wanted) in [
        (Vixie, ["01T05:30:00", "02T06:30:00"]),
        (Skip, ["01T05:30:00", "02T06:30:00"]),
        (Shift, ["01T05:30:00", "02T06:30:00"]),
        (Both, ["01T05:30:00", "01T06:30:00"]),
    ] {
        assert_eq!(fires("30 1 * * *", NEW_YORK, BACK, policy, 2), wanted, "{policy:?}");
    }
    assert_eq!(
        marks("30 1 * * *", NEW_YORK, BACK, Both, 3),
        [Some("first of two"), Some("second of two"), None]
    );
    assert_eq!(marks("30 1 * * *", NEW_YORK, BACK, Vixie, 2), [Some("first of two"), None]);
    // An interval runs in both, under every policy.
    for policy in [Vixie, Skip, Shift, Both] {
        let wanted = ["01T05:00:00", "01T05:30:00", "01T06:00:00", "01T06:30:00", "01T07:00:00"];
        assert_eq!(fires("*/30 * * * *", NEW_YORK, "2026-11-01T04:59:00Z", policy, 5), wanted);
    }
}

#[test]
fn a_start_inside_the_second_pass_never_answers_with_the_first() {
    for from in ["2026-11-01T06:00:00Z", "2026-11-01T06:15:00Z", "2026-11-01T06:59:59Z"] {
        assert_eq!(fires("30 1 * * *", NEW_YORK, from, Vixie, 1), ["02T06:30:00"]);
        assert_eq!(fires("0 2 * * *", NEW_YORK, from, Vixie, 1), ["01T07:00:00"]);
    }
    assert_eq!(fires("30 1 * * *", NEW_YORK, "2026-11-01T06:15:00Z", Both, 1), ["01T06:30:00"]);
    assert_eq!(fires("*/15 * * * *", NEW_YORK, "2026-11-01T06:16:00Z", Vixie, 1), ["01T06:30:00"]);
}

#[test]
fn a_gap_at_midnight_looks_at_the_date_that_is_missing() {
    // Sao Paulo 2018-11-04: 00:00 to 01:00.
    let from = "2018-11-03T12:00:00Z";
    assert_eq!(fires("0 0 4 11 *", "America/Sao_Paulo", from, Vixie, 1), ["04T03:00:00"]);
    assert_eq!(fires("30 0 * * sun", "America/Sao_Paulo", from, Vixie, 1), ["04T03:00:00"]);
    assert_eq!(fires("@daily", "America/Sao_Paulo", from, Vixie, 1), ["04T03:00:00"]);
    // Pyongyang 2018-05-04: 23:30 to 00:00 of the 5th, a Saturday; the fire of Friday runs there.
    let from = "2018-05-04T12:00:00Z";
    assert_eq!(fires("45 23 * * fri", "Asia/Pyongyang", from, Vixie, 2), ["04T15:00:00", "11T14:45:00"]);
    assert_eq!(fires("45 23 4 5 *", "Asia/Pyongyang", from, Vixie, 1), ["04T15:00:00"]);
    assert_eq!(fires("0 0 * * sat", "Asia/Pyongyang", from, Vixie, 1), ["04T15:00:00"]);
}

#[test]
fn an_overlap_over_midnight_keeps_fixed_times_to_the_first_pass() {
    // Sao Paulo 2019-02-17: 00:00 back to 23:00 of the 16th (at 02:00 UTC).
    let from = "2019-02-16T12:00:00Z";
    assert_eq!(fires("30 23 * * *", "America/Sao_Paulo", from, Vixie, 2), ["17T01:30:00", "18T02:30:00"]);
    assert_eq!(fires("0 0 * * *", "America/Sao_Paulo", from, Vixie, 1), ["17T03:00:00"]);
    assert_eq!(
        fires("30 * * * *", "America/Sao_Paulo", "2019-02-17T01:00:00Z", Vixie, 3),
        ["17T01:30:00", "17T02:30:00", "17T03:30:00"]
    );
}

#[test]
fn changes_of_other_sizes() {
    // Lord Howe: half an hour, 02:00 to 02:30 on 2026-10-04 (15:30 UTC of the 3rd).
    assert_eq!(fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", Vixie, 1), ["03T15:30:00"]);
    assert_eq!(fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", Shift, 1), ["03T15:45:00"]);
    assert_eq!(
        fires("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", Vixie, 2),
        ["04T14:45:00", "05T15:15:00"]
    );
    // Troll: two hours, 01:00 to 03:00 on 2026-03-29.
    assert_eq!(
        fires("30 1,2 * * *", "Antarctica/Troll", "2026-03-28T12:00:00Z", Vixie, 2),
        ["29T01:00:00", "29T23:30:00"]
    );
    // Casey 2009-10-18: three hours ahead is a change of the calendar: nothing is caught up.
    assert_eq!(fires("0 3 * * *", "Antarctica/Casey", "2009-10-17T12:00:00Z", Vixie, 1), ["18T16:00:00"]);
    // Apia left out 2011-12-30.
    assert_eq!(
        fires("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", Vixie, 2),
        ["29T22:00:00", "30T22:00:00"]
    );
    assert_eq!(fires("0 12 30 12 *", "Pacific/Apia", "2011-12-29T12:00:00Z", Shift, 1), ["29T22:00:00"]);
    // Dublin's winter time counts as the saving one in law; clocks go as in London.
    for text in ["30 1 * * *", "*/20 * * * *"] {
        for from in ["2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z"] {
            assert_eq!(
                fires(text, "Europe/Dublin", from, Vixie, 90),
                fires(text, "Europe/London", from, Vixie, 90)
            );
        }
    }
    // Far beyond the table of changes the rule of the zone goes on.
    assert_eq!(fires("30 2 * * *", NEW_YORK, "2400-03-11T23:00:00Z", Vixie, 1), ["12T07:00:00"]);
}

//! The planner: every nominal fire ends in exactly one place, with the right reason, however late
//! and in however many calls.

use jiff::{SignedDuration, Timestamp};
use mainspring_core::calendar::{DayRules, OnExcluded};
use mainspring_core::ids::ScheduleId;
use mainspring_core::plan::{LiveJobs, Plan, ScheduleState, plan, preview};
use mainspring_core::queue::Pause;
use mainspring_core::schedule::{Misfire, Overlap, ScheduleSpec};
use mainspring_core::schedule_record::FireOutcome::{self, Coalesced, Missed, Skipped};
use mainspring_core::trigger::Trigger;
use mainspring_core::zone::Zone;
use proptest::prelude::*;
use std::time::Duration;

fn ts(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn spec(trigger: &str) -> ScheduleSpec {
    ScheduleSpec::new("nightly", Trigger::parse(trigger).unwrap(), "report")
}

fn at(next: &str) -> ScheduleState {
    ScheduleState { next_fire: Some(ts(next)), ..ScheduleState::default() }
}

const IDLE: LiveJobs = LiveJobs { running: 0, waiting: 0 };

/// Fires and ledger in short.
fn told(p: &Plan) -> (Vec<String>, Vec<(FireOutcome, String, u64)>) {
    let rows = p.ledger.iter().map(|r| (r.outcome, r.reason.clone(), r.count)).collect();
    (p.fires.iter().map(|f| f.scheduled_for.to_string()).collect(), rows)
}

#[test]
fn a_fire_on_time_runs_and_the_next_follows_from_the_stored_one() {
    let p = plan(&spec("0 2 * * *"), &at("2026-11-22T02:00:00Z"), IDLE, ts("2026-11-22T02:00:40Z"));
    assert_eq!(told(&p), (vec!["2026-11-22T02:00:00Z".into()], vec![]));
    assert_eq!(p.fires[0].run_at, ts("2026-11-22T02:00:00Z"));
    assert_eq!(p.next_fire, Some(ts("2026-11-23T02:00:00Z")));
    assert!(!p.more && p.exhausted.is_none() && !p.cancel_live);
}

#[test]
fn a_clock_set_back_fires_nothing_again() {
    let p = plan(&spec("0 2 * * *"), &at("2026-11-23T02:00:00Z"), IDLE, ts("2026-11-22T01:00:00Z"));
    assert_eq!(told(&p), (vec![], vec![]));
    assert_eq!(p.next_fire, Some(ts("2026-11-23T02:00:00Z")));
    let none = plan(&spec("0 2 * * *"), &ScheduleState::default(), IDLE, ts("2026-11-22T01:00:00Z"));
    assert_eq!(none, Plan::default());
}

#[test]
fn misfires_follow_their_policy() {
    let (state, now) = (at("2026-11-19T02:00:00Z"), ts("2026-11-22T12:00:00Z"));
    let mut s = spec("0 2 * * *");
    s.overlap = Overlap::Allow;
    let late = |n| (Coalesced, "late: one run stands for all".to_owned(), n);
    assert_eq!(told(&plan(&s, &state, IDLE, now)), (vec!["2026-11-22T02:00:00Z".into()], vec![late(3)]));
    // One that is on time stands for the late ones.
    let soon = ts("2026-11-22T02:00:10Z");
    assert_eq!(told(&plan(&s, &state, IDLE, soon)), (vec!["2026-11-22T02:00:00Z".into()], vec![late(3)]));
    s.misfire = Misfire::Skip;
    let p = plan(&s, &state, IDLE, now);
    assert_eq!(told(&p), (vec![], vec![(Missed, "noticed more than 1m late".into(), 4)]));
    assert_eq!(
        (p.ledger[0].first, p.ledger[0].last),
        (ts("2026-11-19T02:00:00Z"), ts("2026-11-22T02:00:00Z"))
    );
    s.misfire = Misfire::All { cap: 2, window: Duration::from_secs(60 * 3600) };
    assert_eq!(
        told(&plan(&s, &state, IDLE, now)),
        (
            vec!["2026-11-21T02:00:00Z".into(), "2026-11-22T02:00:00Z".into()],
            vec![(Missed, "more than 2d12h late".into(), 1), (Missed, "late: more than 2 at once".into(), 1)]
        )
    );
    // A late fire starts now, not in the past.
    assert_eq!(plan(&s, &state, IDLE, now).fires[0].run_at, now);
}

#[test]
fn overlap_follows_its_policy() {
    let (state, now) = (at("2026-11-22T02:00:00Z"), ts("2026-11-22T02:00:01Z"));
    let one = LiveJobs { running: 1, waiting: 0 };
    let two = LiveJobs { running: 1, waiting: 1 };
    for (policy, live, runs, cancel) in [
        (Overlap::Allow, two, true, false),
        (Overlap::Skip, IDLE, true, false),
        (Overlap::Skip, one, false, false),
        (Overlap::QueueOne, one, true, false),
        (Overlap::QueueOne, two, false, false),
        (Overlap::Replace, IDLE, true, false),
        (Overlap::Replace, two, true, true),
    ] {
        let mut s = spec("0 2 * * *");
        s.overlap = policy;
        let p = plan(&s, &state, live, now);
        assert_eq!((p.fires.len() == 1, p.cancel_live), (runs, cancel), "{policy:?} {live:?}");
        if !runs {
            let reason = "overlap: the job of an earlier fire is running";
            assert_eq!(told(&p).1, [(Skipped, reason.to_owned(), 1)]);
        }
    }
    // Several at once that replace one another: the last stays.
    let mut s = spec("* * * * *");
    (s.overlap, s.grace) = (Overlap::Replace, Duration::from_secs(600));
    let p = plan(&s, &state, one, ts("2026-11-22T02:03:00Z"));
    assert_eq!(
        told(&p),
        (vec!["2026-11-22T02:03:00Z".into()], vec![(Skipped, "overlap: replaced by a later fire".into(), 3)])
    );
}

#[test]
fn a_pause_a_blackout_and_a_limit_are_told() {
    let mut state = at("2026-11-22T02:00:00Z");
    state.paused = Some(Pause {
        at: ts("2026-11-20T00:00:00Z"),
        by: "ada".into(),
        until: Some(ts("2026-11-22T03:30:00Z")),
        note: Some("audit".into()),
    });
    let mut s = spec("0 * * * *");
    s.days = serde_json::from_str::<DayRules>(r#"{"blackouts":[{"from":"05:00","to":"06:00"}]}"#).unwrap();
    (s.misfire, s.overlap) = (Misfire::All { cap: 10, window: Duration::from_secs(86_400) }, Overlap::Allow);
    s.max_fires = Some(7);
    state.fires = 5;
    let p = plan(&s, &state, IDLE, ts("2026-11-22T08:10:00Z"));
    assert_eq!(
        told(&p),
        (
            vec!["2026-11-22T04:00:00Z".into(), "2026-11-22T06:00:00Z".into()],
            vec![
                (Skipped, "paused by ada: audit".into(), 2),
                (Skipped, "blackout 05:00-06:00".into(), 1),
                (Skipped, "limit: 7 fires have been made".into(), 2),
            ]
        )
    );
    assert_eq!((p.next_fire, p.exhausted.as_deref()), (None, Some("limit: 7 fires have been made")));
}

#[test]
fn an_end_is_an_end() {
    let mut s = spec("0 2 * * *");
    s.ends_at = Some(ts("2026-11-22T02:00:00Z"));
    let p = plan(&s, &at("2026-11-22T02:00:00Z"), IDLE, ts("2026-11-22T02:00:01Z"));
    assert_eq!((p.fires.len(), p.next_fire, p.exhausted.as_deref()), (1, None, Some("its end has passed")));
    let s = spec("once at 2026-11-22T02:00:00Z");
    assert_eq!(s.first_fire(ts("2026-11-01T00:00:00Z")), Some(ts("2026-11-22T02:00:00Z")));
    let p = plan(&s, &at("2026-11-22T02:00:00Z"), IDLE, ts("2026-11-22T02:00:01Z"));
    assert_eq!((p.fires.len(), p.exhausted.as_deref()), (1, Some("it fires once")));
    let mut s = spec("0 2 * * *");
    s.starts_at = Some(ts("2027-01-01T00:00:00Z"));
    assert_eq!(s.first_fire(ts("2026-11-01T00:00:00Z")), Some(ts("2027-01-01T02:00:00Z")));
}

#[test]
fn a_fixed_delay_waits_for_its_job_and_goes_on_without_one() {
    let s = spec("5m after completion");
    let now = ts("2026-11-22T02:00:00Z");
    assert_eq!(s.first_fire(now), Some(now));
    let p = plan(&s, &at("2026-11-22T02:00:00Z"), IDLE, now);
    assert_eq!((p.fires.len(), p.next_fire, p.exhausted), (1, None, None));
    assert_eq!(s.after_completion(ts("2026-11-22T02:10:00Z")), Some(ts("2026-11-22T02:15:00Z")));
    let busy = plan(&s, &at("2026-11-22T02:00:00Z"), LiveJobs { running: 1, waiting: 0 }, now);
    assert_eq!((busy.fires.len(), busy.next_fire), (0, Some(ts("2026-11-22T02:05:00Z"))));
    let s = spec("@reboot");
    assert_eq!((s.first_fire(now), s.at_node_start(now)), (None, Some(now)));
    let p = plan(&s, &at("2026-11-22T02:00:00Z"), IDLE, now);
    assert_eq!((p.fires.len(), p.next_fire, p.exhausted), (1, None, None));
}

#[test]
fn excluded_days_skip_or_move_and_two_on_one_day_become_one() {
    let now = ts("2026-11-24T12:00:00Z");
    let run = |trigger: &str, on: OnExcluded, first: &str| {
        let mut s = spec(trigger);
        let json = r#"{"exclude":[{"name":"weekends","weekdays":["sat","sun"]}]}"#;
        s.days = DayRules { on_excluded: on, ..serde_json::from_str(json).unwrap() };
        (s.misfire, s.overlap) =
            (Misfire::All { cap: 99, window: Duration::from_secs(1 << 30) }, Overlap::Allow);
        let p = plan(&s, &at(first), IDLE, now);
        let rows = p.ledger.iter().map(|r| (r.outcome, r.first.to_string(), r.count)).collect::<Vec<_>>();
        (told(&p).0, rows, p.next_fire.map(|t| t.to_string()))
    };
    // 21 and 22 November 2026 are Saturday and Sunday.
    let daily = "0 9 * * *";
    assert_eq!(
        run(daily, OnExcluded::Skip, "2026-11-20T09:00:00Z"),
        (
            vec!["2026-11-20T09:00:00Z".into(), "2026-11-23T09:00:00Z".into(), "2026-11-24T09:00:00Z".into()],
            vec![(Skipped, "2026-11-21T09:00:00Z".into(), 2)],
            Some("2026-11-25T09:00:00Z".into())
        )
    );
    let moved = run(daily, OnExcluded::Next, "2026-11-20T09:00:00Z");
    assert_eq!((moved.0.len(), moved.1), (3, vec![(Coalesced, "2026-11-21T09:00:00Z".into(), 2)]));
    // Saturday moves to Monday and Sunday joins it.
    let weekend = "0 9 * * sat,sun";
    assert_eq!(
        run(weekend, OnExcluded::Next, "2026-11-22T09:00:00Z"),
        (
            vec!["2026-11-23T09:00:00Z".into()],
            vec![(Coalesced, "2026-11-22T09:00:00Z".into(), 1)],
            Some("2026-11-29T09:00:00Z".into())
        )
    );
    // Back to Friday; the fire of the coming weekend is due on the Friday before it.
    assert_eq!(
        run(weekend, OnExcluded::Previous, "2026-11-20T09:00:00Z"),
        (
            vec!["2026-11-20T09:00:00Z".into()],
            vec![(Coalesced, "2026-11-22T09:00:00Z".into(), 1)],
            Some("2026-11-27T09:00:00Z".into())
        )
    );
}

#[test]
fn a_time_that_does_not_exist_is_told_under_skip() {
    let mut s = spec("30 2 * * *");
    s.zone = Zone::get("America/New_York").unwrap();
    s.clock_change = mainspring_core::cron::ClockChange::Skip;
    let p = plan(&s, &at("2027-03-14T07:00:00Z"), IDLE, ts("2027-03-14T07:00:01Z"));
    assert_eq!(told(&p), (vec![], vec![(Skipped, "clock change: the time does not exist".into(), 1)]));
    assert_eq!(p.next_fire, Some(ts("2027-03-15T06:30:00Z")));
}

#[test]
fn a_preview_marks_the_very_fire() {
    let mut s = spec("30 2 * * *");
    s.zone = Zone::get("America/New_York").unwrap();
    let lines = preview(&s, ts("2027-03-13T12:00:00Z"), 2);
    assert_eq!(lines[0].wall, "Sun 2027-03-14 03:00:00 -04:00");
    assert_eq!(
        lines[0].note.as_deref(),
        Some("2027-03-14 02:30 does not exist in America/New_York: runs 03:00")
    );
    assert_eq!((lines[1].wall.as_str(), &lines[1].note), ("Mon 2027-03-15 02:30:00 -04:00", &None));
    s.clock_change = mainspring_core::cron::ClockChange::Skip;
    let lines = preview(&s, ts("2027-03-13T12:00:00Z"), 1);
    assert_eq!(
        lines[0].note.as_deref(),
        Some("2027-03-14 02:30 does not exist in America/New_York: skipped")
    );
    assert!(!lines[0].runs);
    s.trigger = Trigger::parse("30 1 * * *").unwrap();
    let lines = preview(&s, ts("2027-11-07T00:00:00Z"), 1);
    assert_eq!(
        lines[0].note.as_deref(),
        Some("2027-11-07 01:30 comes twice in America/New_York: runs the first time")
    );
    s.days =
        serde_json::from_str(r#"{"exclude":[{"name":"w","weekdays":["sat","sun"]}],"on_excluded":"next"}"#)
            .unwrap();
    s.trigger = Trigger::parse("0 9 1 * *").unwrap();
    let lines = preview(&s, ts("2027-04-30T23:00:00Z"), 1);
    assert_eq!(lines[0].wall, "Mon 2027-05-03 09:00:00 -04:00");
    assert_eq!(lines[0].note.as_deref(), Some("moved from 2027-05-01: not an allowed day"));
    assert_eq!(preview(&spec("0 0 30 2 *"), ts("2027-04-30T23:00:00Z"), 5), []);
}

#[test]
fn jitter_stays_in_its_bound_and_never_changes() {
    let mut s = spec("0 2 * * *");
    s.jitter = Duration::from_secs(600);
    let run = |s: &ScheduleSpec| {
        plan(s, &at("2026-11-22T02:00:00Z"), IDLE, ts("2026-11-22T02:00:01Z")).fires[0].run_at
    };
    assert_eq!(run(&s), run(&s));
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..300 {
        s.name = format!("job {i}");
        let at = run(&s);
        assert!(at >= ts("2026-11-22T02:00:00Z") && at <= ts("2026-11-22T02:10:00Z"));
        seen.insert(at);
    }
    assert!(seen.len() > 280, "{}", seen.len());
}

/// Calls the planner until nothing is due.
fn drain(s: &ScheduleSpec, state: &mut ScheduleState, live: LiveJobs, now: Timestamp) -> Vec<Plan> {
    let mut plans = Vec::new();
    loop {
        let p = plan(s, state, live, now);
        let before = state.next_fire;
        state.next_fire = p.next_fire;
        state.fires += p.fires.len() as u64;
        let more = p.more;
        assert!(!more || p.next_fire > before, "no progress at {before:?}");
        plans.push(p);
        if !more {
            return plans;
        }
    }
}

#[test]
fn months_of_downtime_are_bounded_per_call_and_still_run_once() {
    let s = spec("* * * * *");
    let mut state = at("2026-01-01T00:00:00Z");
    let now = ts("2026-03-01T00:10:30Z");
    let plans = drain(&s, &mut state, IDLE, now);
    assert!(plans.len() >= 8);
    let minutes = 59 * 1440 + 11;
    let told: u64 = plans.iter().flat_map(|p| &p.ledger).map(|r| r.count).sum();
    let fires: usize = plans.iter().map(|p| p.fires.len()).sum();
    assert_eq!((told + fires as u64, fires), (minutes, 1));
    assert!(plans.iter().all(|p| p.ledger.len() <= 2));
    // A cap holds over all calls together.
    let mut s = s;
    (s.misfire, s.overlap) =
        (Misfire::All { cap: 50, window: Duration::from_secs(90 * 86_400) }, Overlap::Allow);
    s.grace = Duration::ZERO;
    let plans = drain(&s, &mut at("2026-01-01T00:00:00Z"), IDLE, now);
    assert_eq!(plans.iter().map(|p| p.fires.len()).sum::<usize>(), 50);
}

#[test]
fn a_schedule_is_json_with_defaults_and_no_unknown_words() {
    let json = r#"{"name":"nightly","trigger":{"type":"cron","expr":"30 2 * * *"},"zone":"Europe/Berlin",
        "misfire":{"policy":"all","cap":5},"job":{"kind":"report","queue":"mail","priority":3,"timeout":"5m",
        "payload":{"a":1},"expires_after":"1h","max_attempts":2,"key":"k"}}"#;
    let s: ScheduleSpec = serde_json::from_str(json).unwrap();
    s.check().unwrap();
    assert_eq!(s.grace, Duration::from_secs(60));
    assert_eq!(s.overlap, Overlap::Skip);
    let back: ScheduleSpec = serde_json::from_str(&serde_json::to_string(&s).unwrap()).unwrap();
    assert_eq!(back, s);
    let (due, run) = (ts("2026-11-22T02:00:00Z"), ts("2026-11-22T02:00:07Z"));
    let job = s.job.job(ScheduleId(7), due, run);
    assert_eq!((&*job.queue, job.priority, job.retry.max_attempts), ("mail", 3, 2));
    assert_eq!((job.run_at, job.expires_at), (Some(run), Some(ts("2026-11-22T03:00:07Z"))));
    assert_eq!(job.schedule, Some((ScheduleId(7), Some(due))));
    assert!(serde_json::from_str::<ScheduleSpec>(&json.replace("zone", "tz")).is_err());
    for (field, value, why) in [
        ("name", "\"\"", "empty"),
        ("max_fires", "0", "pause"),
        ("ends_at", "\"2020-01-01T00:00:00Z\"", "before starts_at"),
        ("misfire", "{\"policy\":\"all\",\"cap\":1001}", "not in 1-1000"),
        ("trigger", "{\"type\":\"monthly\",\"on\":32,\"at\":\"09:00\"}", "1-31"),
        ("trigger", "{\"type\":\"every\",\"interval\":\"25h\"}", "from 2026"),
    ] {
        let mut tree: serde_json::Value = serde_json::from_str(json).unwrap();
        tree["starts_at"] = "2026-01-01T00:00:00Z".into();
        tree[field] = serde_json::from_str(value).unwrap();
        let (at, text) = serde_json::from_value::<ScheduleSpec>(tree).unwrap().check().unwrap_err();
        assert!(at == field && text.contains(why), "{field}: {at}: {text}");
    }
}

fn triggers() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "* * * * *",
        "*/7 * * * *",
        "30 2 * * *",
        "0 9 * * 1-5",
        "*/15 1-3 * * *",
        "30 1,2 * * *",
        "0 0 L * *",
        "every 90m",
        "every 2d",
        "monthly on 31 at 02:30",
        "weekly on sat,sun at 02:30",
        "H/20 * * * *",
    ])
}

fn specs() -> impl Strategy<Value = ScheduleSpec> {
    let misfire = prop_oneof![
        Just(Misfire::Skip),
        Just(Misfire::Once),
        (1..20u32, 0..400_000u64).prop_map(|(cap, s)| Misfire::All { cap, window: Duration::from_secs(s) }),
    ];
    use mainspring_core::cron::ClockChange as C;
    (
        triggers(),
        prop::sample::select(vec![
            "UTC",
            "America/New_York",
            "Australia/Lord_Howe",
            "Pacific/Apia",
            "Africa/Cairo",
        ]),
        misfire,
        prop::sample::select(vec![Overlap::Allow, Overlap::Skip, Overlap::QueueOne, Overlap::Replace]),
        prop::sample::select(vec![C::Vixie, C::Skip, C::Shift, C::Both]),
        prop::sample::select(vec![
            "{}",
            r#"{"exclude":[{"name":"w","weekdays":["sat","sun"]}]}"#,
            r#"{"exclude":[{"name":"w","weekdays":["sat","sun"]}],"on_excluded":"next"}"#,
            r#"{"exclude":[{"name":"w","weekdays":["sat","sun"]}],"on_excluded":"previous"}"#,
            r#"{"blackouts":[{"from":"22:00","to":"06:00"}]}"#,
        ]),
        prop::option::of(1..30u64),
        0..8000u64,
    )
        .prop_map(|(trigger, zone, misfire, overlap, clock_change, days, max_fires, grace)| {
            let mut s = spec(trigger);
            s.zone = Zone::get(zone).unwrap();
            s.days = serde_json::from_str(days).unwrap();
            (s.misfire, s.overlap, s.clock_change) = (misfire, overlap, clock_change);
            (s.max_fires, s.grace) = (max_fires, Duration::from_secs(grace));
            s
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Count of nominal fires = jobs + ledger, none twice, over random waits between looks.
    #[test]
    fn every_nominal_fire_ends_in_exactly_one_place(
        s in specs(),
        start in 1_600_000_000i64..1_900_000_000,
        waits in prop::collection::vec(1i64..1_500_000, 1..6),
        running in 0..2u32, waiting in 0..2u32,
    ) {
        let start = Timestamp::from_second(start).unwrap();
        let mut state = ScheduleState { next_fire: s.first_fire(start), ..ScheduleState::default() };
        let mut now = start;
        let (mut fires, mut told) = (Vec::new(), 0);
        for wait in waits {
            now += SignedDuration::from_secs(wait);
            for p in drain(&s, &mut state, LiveJobs { running, waiting }, now) {
                for f in &p.fires {
                    prop_assert!(f.scheduled_for <= now);
                    prop_assert!(f.run_at >= f.scheduled_for);
                    fires.push(f.scheduled_for);
                }
                for r in &p.ledger {
                    prop_assert!(r.first <= r.last && r.count >= 1 && !r.reason.is_empty());
                    prop_assert!((r.count == 1) == (r.first == r.last));
                    told += r.count;
                }
            }
            prop_assert!(state.next_fire.is_none_or(|next| next > now));
            if state.next_fire.is_none() {
                break;
            }
        }
        prop_assert!(fires.is_sorted_by(|a, b| a < b), "{:?}", fires);
        prop_assert!(s.max_fires.is_none_or(|max| fires.len() as u64 <= max));
        // Nominal fires by the calendar alone.
        let series = s.series();
        let (mut after, mut due) = (start, 0);
        while let Some(item) = series.next_after(after).filter(|item| item.due <= now) {
            prop_assert!(item.due > after);
            (after, due) = (item.due, due + 1);
        }
        prop_assert_eq!(fires.len() as u64 + told, due);
    }

    /// Calendars only move or judge what the trigger gives: nothing is lost or made up.
    #[test]
    fn moved_fires_are_the_triggers_own(s in specs(), start in 1_600_000_000i64..1_900_000_000) {
        let start = Timestamp::from_second(start).unwrap();
        let mut items = Vec::new();
        let mut after = start;
        while items.len() < 60 && let Some(item) = s.series().next_after(after) {
            after = item.due;
            items.push(item);
        }
        let mut nominal: Vec<_> = items.iter().map(|i| i.nominal).collect();
        nominal.sort();
        // Between the first and the last nominal seen, with a week to spare for moves, none is missing.
        let week = SignedDuration::from_hours(24 * 8);
        if let (Some(first), Some(last)) = (nominal.first(), nominal.last()) {
            let policy = match s.clock_change {
                mainspring_core::cron::ClockChange::Skip => mainspring_core::cron::ClockChange::Vixie,
                other => other,
            };
            let moments = s.trigger.resolve(&s.name, &s.zone, policy);
            let mut at = (*first).max(start + week) ;
            while let Some(fire) = moments.next_after(at).filter(|f| f.at < *last - week) {
                prop_assert!(nominal.binary_search(&fire.at).is_ok(), "{} is missing", fire.at);
                at = fire.at;
            }
        }
    }
}

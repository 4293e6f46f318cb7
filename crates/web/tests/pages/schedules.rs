use super::{HOSTILE, page, sent_to, support::World, viewer};
use mainspring_core::job::Origin;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::store::JobFilter;
use mainspring_core::trigger::Trigger;
use mainspring_core::zone::Zone;

const NAME: &str = "nightly/export of all";
const PATH: &str = "/p/default/schedules/nightly%2Fexport%20of%20all";

async fn put(world: &World, name: &str, when: &str) {
    let mut spec = ScheduleSpec::new(name, Trigger::parse(when).unwrap(), "echo");
    spec.zone = Zone::get("Europe/Berlin").unwrap();
    spec.job.payload = serde_json::json!({"to": "hunter2"});
    world.client.put_schedule(&spec, "api").await.unwrap();
}

#[tokio::test]
async fn the_list_says_what_each_does_and_filters() {
    let world = World::still().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/schedules", &admin).await;
    assert!(empty.contains("No schedule yet"), "{empty}");
    put(&world, NAME, "30 2 * * *").await;
    put(&world, HOSTILE, "every 5m").await;
    let text = page(&world, "/p/default/schedules", &admin).await;
    assert!(text.contains("at 02:30") && text.contains("Europe/Berlin") && text.contains(NAME), "{text}");
    assert!(text.contains("&#60;script&#62;"), "{text}");
    let one = page(&world, "/p/default/schedules?name=EXPORT", &admin).await;
    assert!(one.contains(NAME) && !one.contains("&#60;script&#62;"), "{one}");
    let none = page(&world, "/p/default/schedules?show=paused", &admin).await;
    assert!(none.contains("No schedule matches"), "{none}");
    world.form(&format!("{PATH}/pause"), &admin, "back=list&note=moving").await;
    let paused = page(&world, "/p/default/schedules?show=paused", &admin).await;
    assert!(paused.contains(NAME) && paused.contains("“moving”"), "{paused}");
}

#[tokio::test]
async fn a_schedule_is_paused_resumed_run_and_deleted() {
    let world = World::still().await;
    let admin = world.admin().await;
    put(&world, NAME, "30 2 * * *").await;
    let text = page(&world, PATH, &admin).await;
    assert!(text.contains("02:30:00") && text.contains("It has made no job yet"), "{text}");
    assert!(text.contains("mainspring schedule run &#39;nightly/export of all&#39;"), "{text}");
    let answer = world.form(&format!("{PATH}/pause"), &admin, "note=disk+%3Cb%3E&length=2h").await;
    assert_eq!(sent_to(&answer), PATH);
    let pause = world.client.schedule(NAME).await.unwrap().0.paused.expect("it is paused");
    assert_eq!((pause.by.as_str(), pause.note.as_deref()), ("ada@example.com", Some("disk <b>")));
    assert_eq!((pause.until.unwrap().duration_since(pause.at).as_secs() + 30) / 60, 120);
    let text = page(&world, PATH, &admin).await;
    assert!(text.contains("disk &#60;b&#62;") && text.contains("/resume\""), "{text}");
    assert_eq!(world.form(&format!("{PATH}/pause"), &admin, "length=soon").await.status.as_u16(), 422);
    assert_eq!(sent_to(&world.form(&format!("{PATH}/resume"), &admin, "").await), PATH);
    assert!(world.client.schedule(NAME).await.unwrap().0.paused.is_none());
    let run = world.form(&format!("{PATH}/run"), &admin, "").await;
    let job: i64 = sent_to(&run).rsplit('/').next().unwrap().parse().unwrap();
    assert_eq!(world.client.job(mainspring_core::JobId(job)).await.unwrap().job.origin, Origin::Manual);
    let text = page(&world, PATH, &admin).await;
    assert!(text.contains(&format!("/jobs/{job}\"")) && text.contains("by hand"), "{text}");
    assert_eq!(sent_to(&world.form(&format!("{PATH}/delete"), &admin, "").await), "/p/default/schedules");
    assert_eq!(world.get(PATH, &admin).await.status.as_u16(), 404);
}

#[tokio::test]
async fn a_backfill_is_shown_before_it_is_done() {
    let world = World::still().await;
    let admin = world.admin().await;
    put(&world, NAME, "30 2 * * *").await;
    let range = "from=2026-03-28T00:00&until=2026-03-31T00:00";
    let text = page(&world, &format!("{PATH}?{range}"), &admin).await;
    assert!(text.contains("3 fires of 3 would run") && text.contains("Enqueue 3"), "{text}");
    let wrong = page(&world, &format!("{PATH}?from=tomorrow"), &admin).await;
    assert!(wrong.contains("&#34;tomorrow&#34; is not a time; type 2026-11-22T10:00"), "{wrong}");
    let answer = world.form(&format!("{PATH}/backfill"), &admin, &range.replace(':', "%3A")).await;
    let batch = sent_to(&answer).to_owned();
    let text = page(&world, &batch, &admin).await;
    assert!(text.contains("0 of 3 done"), "{text}");
    let jobs = world
        .client
        .store()
        .jobs(world.client.project(), &JobFilter::default(), None, 10)
        .await
        .unwrap()
        .rows;
    assert!(jobs.len() == 3 && jobs.iter().all(|j| j.origin == Origin::Backfill));
}

#[tokio::test]
async fn the_form_says_what_a_rule_does_before_it_is_saved() {
    let world = World::still().await;
    let admin = world.admin().await;
    page(&world, "/p/default/schedule-form", &admin).await;
    let fields =
        "name=night&when=30+2+*+*+*&zone=Europe%2FBerlin&what=kind&kind=echo&payload=%7B%22a%22%3A1%7D";
    let form = "/p/default/schedule-form";
    let shown = world.form(form, &admin, &format!("{fields}&act=preview")).await;
    assert_eq!(shown.status.as_u16(), 200);
    assert!(shown.text.contains("02:30:00") && shown.text.contains("at 02:30"), "{}", shown.text);
    assert!(world.client.schedule("night").await.is_err(), "a preview saves nothing");
    let saved = world.form(form, &admin, &format!("{fields}&act=save")).await;
    assert_eq!(sent_to(&saved), "/p/default/schedules/night");
    let (_, spec) = world.client.schedule("night").await.unwrap();
    assert_eq!((spec.zone.name(), spec.job.payload.to_string().as_str()), ("Europe/Berlin", r#"{"a":1}"#));
    let twice = world.form(form, &admin, &format!("{fields}&act=save")).await;
    assert_eq!(twice.status.as_u16(), 422);
    assert!(twice.text.contains("There is a schedule &#34;night&#34; already"), "{}", twice.text);
}

#[tokio::test]
async fn a_change_keeps_what_the_form_does_not_show() {
    let world = World::still().await;
    let admin = world.admin().await;
    let mut spec = ScheduleSpec::new("call", Trigger::parse("every 5m").unwrap(), "echo");
    spec.jitter = std::time::Duration::from_secs(7);
    world.client.put_schedule(&spec, "api").await.unwrap();
    let text = page(&world, "/p/default/schedule-form?name=call", &admin).await;
    assert!(text.contains("value=\"every 5m\"") && text.contains("Save changes"), "{text}");
    let fields = "was=call&name=other&when=daily+at+06:00&zone=UTC&what=kind&kind=echo&payload=&act=save";
    assert_eq!(
        sent_to(&world.form("/p/default/schedule-form", &admin, fields).await),
        "/p/default/schedules/call"
    );
    let (_, now) = world.client.schedule("call").await.unwrap();
    assert_eq!((now.trigger.to_string().as_str(), now.jitter.as_secs()), ("daily at 06:00", 7));
}

#[tokio::test]
async fn a_wrong_field_is_told_at_the_field_and_keeps_what_was_typed() {
    let world = World::still().await;
    let admin = world.admin().await;
    for (fields, id, said) in [
        ("name=a&when=30+2+*+*+9&zone=UTC&what=http&url=https://x.example", "error-when", "daily at 02:30"),
        ("name=a&when=every+5m&zone=Mars&what=http&url=https://x.example", "error-zone", "Mars"),
        ("name=a&when=every+5m&zone=UTC&what=http&url=ftp://x", "error-url", "https://example.com/hook"),
        ("name=+&when=every+5m&zone=UTC&what=http&url=https://x.example", "error-name", "is empty"),
        (
            "name=a&when=every+5m&zone=UTC&what=kind&kind=echo&payload=%7B",
            "error-payload",
            "This is not JSON",
        ),
        ("name=a&when=every+5m&zone=UTC&what=kind&kind=", "error-kind", "is empty"),
        ("name=%3Cscript%3Ealert&when=x&zone=UTC&what=kind&kind=echo", "error-when", "&#60;script&#62;alert"),
    ] {
        let answer = world.form("/p/default/schedule-form", &admin, &format!("{fields}&act=save")).await;
        assert_eq!(answer.status.as_u16(), 422, "{fields}");
        assert!(answer.text.contains(&format!("id=\"{id}\"")), "{fields}: {}", answer.text);
        assert!(
            answer.text.contains(said) && !answer.text.contains("<script>alert"),
            "{fields}: {}",
            answer.text
        );
    }
    assert!(world.client.store().schedules(world.client.project(), None, 10).await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn a_viewer_neither_changes_nor_runs_nor_sees_the_payload() {
    let world = World::still().await;
    let viewer = viewer(&world).await;
    put(&world, NAME, "30 2 * * *").await;
    let text = page(&world, PATH, &viewer).await;
    assert!(!text.contains("hunter2") && text.contains("payload hidden"), "{text}");
    assert!(!text.contains("/run\"") && !text.contains("/pause\"") && !text.contains("/delete\""), "{text}");
    let list = page(&world, "/p/default/schedules", &viewer).await;
    assert!(!list.contains("New schedule") && !list.contains("/run\""), "{list}");
    assert_eq!(world.get("/p/default/schedule-form", &viewer).await.status.as_u16(), 403);
    for deed in ["pause", "resume", "run", "delete", "backfill"] {
        let answer = world.form(&format!("{PATH}/{deed}"), &viewer, "from=2026-01-01T00:00").await;
        assert_eq!(answer.status.as_u16(), 403, "{deed}");
    }
    assert!(world.client.schedule(NAME).await.unwrap().0.paused.is_none());
}

#[tokio::test]
async fn the_calendar_shows_when_everything_falls() {
    let world = World::still().await;
    let admin = world.admin().await;
    let path = "/p/default/schedule-calendar";
    let empty = page(&world, path, &admin).await;
    assert!(empty.contains("Nothing that fires a few times a week"), "{empty}");
    put(&world, NAME, "30 2 * * *").await;
    put(&world, "often", "every 5m").await;
    put(&world, HOSTILE, "0 4 * * *").await;
    let text =
        page(&world, &format!("{path}?name=nightly%2Fexport%20of%20all&zone=Europe%2FBerlin"), &admin).await;
    assert!(text.contains("ev--own") && text.contains("02:30 nightly/export of all"), "{text}");
    assert!(text.contains("Too often for a calendar") && text.contains("in the next 24 hours, in"), "{text}");
    let utc = page(&world, path, &admin).await;
    assert!(!utc.contains("ev--own") && !utc.contains("02:30 nightly"), "{utc}");
    assert_eq!(world.get(&format!("{path}?zone=Mars"), &admin).await.status.as_u16(), 422);
    assert_eq!(world.get(&format!("{path}?name=nobody"), &admin).await.status.as_u16(), 404);
}

#[tokio::test]
async fn times_are_written_in_the_zone_of_the_schedule_and_in_utc() {
    let world = World::still().await;
    let admin = world.admin().await;
    put(&world, NAME, "30 2 * * *").await;
    let text = page(&world, "/p/default/schedules", &admin).await;
    let own = text.split("class=\"z-own\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let utc = text.split("class=\"z-utc\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(
        own.ends_with("02:30:00") && (utc.ends_with("01:30:00") || utc.ends_with("00:30:00")),
        "{own} {utc}"
    );
}

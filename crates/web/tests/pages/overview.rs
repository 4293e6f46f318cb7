use super::{HOSTILE, page, sent_to, support::World, viewer};
use mainspring_core::job::JobState;
use mainspring_core::schedule::ScheduleSpec;
use mainspring_core::trigger::Trigger;
use serde_json::json;

#[tokio::test]
async fn a_fresh_project_says_that_nothing_runs_and_what_to_do() {
    let world = World::still().await;
    let admin = world.admin().await;
    assert_eq!(sent_to(&world.get("/", &admin).await), "/p/default");
    let text = page(&world, "/p/default", &admin).await;
    assert!(text.contains("No node is alive") && text.contains("Nothing here yet"), "{text}");
    assert!(text.contains("No attempt ended in the last 24 hours."), "{text}");
    assert!(text.contains("<p class=\"sub\">No node has joined. Jobs wait until one does.</p>"), "{text}");
}

#[tokio::test]
async fn failures_are_gathered_and_open_the_page() {
    let world = World::running().await;
    let admin = world.admin().await;
    for _ in 0..2 {
        let job = world.enqueue("fail", json!({})).await;
        world.until(job, JobState::Failed).await;
    }
    let job = world.enqueue("echo", json!({})).await;
    world.until(job, JobState::Completed).await;
    let text = page(&world, "/p/default", &admin).await;
    assert!(text.contains("All is well, except for one thing"), "{text}");
    assert!(text.contains("<strong>fail</strong> 2 jobs failed for good: “it broke”."), "{text}");
    assert!(text.contains("jobs?state=failed&amp;kind=fail&amp;class=fatal"), "{text}");
    assert!(text.contains("1 attempt succeeded, 0 in part, 2 failed"), "the chart tells it: {text}");
    assert!(text.contains("33.3 <small>%</small>"), "{text}");
    assert!(text.contains("failed: it broke"), "the feed tells it: {text}");
    assert!(text.contains("aria-current=\"true\">1 h</a>"), "a young project looks at its last hour: {text}");
    let day = page(&world, "/p/default?period=24h", &admin).await;
    assert!(day.contains("Succeeded, per 15 min"), "{day}");
}

#[tokio::test]
async fn next_fires_and_a_pause_of_everything_are_told() {
    let world = World::running().await;
    let admin = world.admin().await;
    let job = world.enqueue("echo", json!({})).await;
    world.until(job, JobState::Completed).await;
    let mut spec = ScheduleSpec::new(HOSTILE, Trigger::parse("daily at 02:30").unwrap(), "echo");
    spec.zone = mainspring_core::zone::Zone::get("Europe/Berlin").unwrap();
    world.client.put_schedule(&spec, "api").await.unwrap();
    let text = page(&world, "/p/default", &admin).await;
    assert!(text.contains("All is well"), "{text}");
    assert!(text.contains("02:30:00 · Europe/Berlin"), "{text}");
    assert!(text.contains("%3Cscript%3E") && text.contains("&#60;script&#62;"), "{text}");
    world.client.pause_queue("*", None, Some(HOSTILE)).await.unwrap();
    let text = page(&world, "/p/default", &admin).await;
    assert!(text.contains("Everything is paused") && text.contains("All queues are paused"), "{text}");
}

#[tokio::test]
async fn a_viewer_looks_and_others_see_nothing() {
    let world = World::running().await;
    let viewer = viewer(&world).await;
    let text = page(&world, "/p/default", &viewer).await;
    assert!(!text.contains("New schedule") && !text.contains("test node"), "{text}");
    assert_eq!(world.get("/p/elsewhere", &viewer).await.status.as_u16(), 404);
    assert_eq!(world.get("/p/default", "").await.status.as_u16(), 401);
    world.project("foreign").await;
    assert_eq!(world.get("/p/foreign", &viewer).await.status.as_u16(), 404);
}

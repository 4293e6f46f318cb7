use super::{HOSTILE, page, sent_to, support::World, viewer};
use mainspring::Json;
use mainspring_core::JobId;
use mainspring_core::job::JobState;
use serde_json::json;

async fn state(world: &World, job: i64) -> JobState {
    world.client.job(JobId(job)).await.unwrap().job.state
}

#[tokio::test]
async fn the_list_filters_counts_and_pages() {
    let world = World::still().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/jobs", &admin).await;
    assert!(empty.contains("No job yet"), "{empty}");
    let mut mail = world.client.new_job_of("mail.send", Json::null());
    (mail.queue, mail.key) = ("mail".into(), Some("customer 7".into()));
    world.client.enqueue_raw(mail).await.unwrap();
    for _ in 0..60 {
        world.enqueue("echo", json!({})).await;
    }
    let all = page(&world, "/p/default/jobs", &admin).await;
    assert!(
        all.contains("All<span class=\"count\">61</span>")
            && all.contains("Waiting<span class=\"count\">61</span>")
    );
    assert_eq!(all.matches("data-row").count(), 50, "a page of fifty");
    let older = all.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let rest = page(&world, &older.replace("&amp;", "&"), &admin).await;
    assert_eq!(rest.matches("data-row").count(), 11);
    assert!(rest.contains("mail.send"));
    for query in ["kind=mail.send", "queue=mail", "key=customer+7", "kind=mail.send&state=available"] {
        let text = page(&world, &format!("/p/default/jobs?{query}"), &admin).await;
        assert_eq!(text.matches("data-row").count(), 1, "{query}");
    }
    let none = page(&world, "/p/default/jobs?state=failed&kind=echo", &admin).await;
    assert!(none.contains("No job matches") && none.contains("Show all jobs"), "{none}");
    let none = page(&world, "/p/default/jobs?schedule=nobody", &admin).await;
    assert!(none.contains("No job matches"), "{none}");
    // A place to go on from that was never given is not taken for the newest.
    for wrong in ["jobs?state=odd", "jobs?before=x", "jobs?batch=x", "batches?before=-x", "audit?before=1e9"]
    {
        let refused = world.get(&format!("/p/default/{wrong}"), &admin).await;
        assert_eq!(refused.status.as_u16(), 422, "{wrong}");
        assert!(
            refused.text.contains("MS0020") && refused.text.contains("\"field\""),
            "{wrong}: {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn chosen_jobs_are_cancelled_and_run_again() {
    let world = World::still().await;
    let admin = world.admin().await;
    let (a, b, c) = (
        world.enqueue("echo", json!({})).await,
        world.enqueue("echo", json!({})).await,
        world.enqueue("echo", json!({})).await,
    );
    let fields = format!("back=jobs%3Fkind%3Decho&id={a}&id={b}&act=cancel");
    let answer = world.form("/p/default/jobs/bulk", &admin, &fields).await;
    assert_eq!(sent_to(&answer), "/p/default/jobs?kind=echo&done=cancel&n=2");
    let told = page(&world, sent_to(&answer), &admin).await;
    assert!(told.contains("2 jobs cancelled, or asked to end."), "{told}");
    assert_eq!((state(&world, a).await, state(&world, c).await), (JobState::Cancelled, JobState::Available));
    let answer = world.form("/p/default/jobs/bulk", &admin, &format!("id={a}&act=retry")).await;
    assert_eq!(sent_to(&answer), "/p/default/jobs?done=retry&n=1");
    assert_eq!((state(&world, a).await, state(&world, b).await), (JobState::Available, JobState::Cancelled));
    // No row chosen is no job, not every job.
    let answer = world.form("/p/default/jobs/bulk", &admin, "act=cancel").await;
    assert_eq!(sent_to(&answer), "/p/default/jobs?done=cancel&n=0");
    assert_eq!(state(&world, c).await, JobState::Available);
    assert_eq!(
        world.form("/p/default/jobs/bulk", &admin, &format!("id={c}&act=burn")).await.status.as_u16(),
        422
    );
}

#[tokio::test]
async fn a_job_tells_what_happened_to_it() {
    let world = World::running().await;
    let admin = world.admin().await;
    let job = world.enqueue("echo", json!({"to": HOSTILE})).await;
    world.until(job, JobState::Completed).await;
    // The log follows the end at its own pace.
    let mut text = String::new();
    for _ in 0..200 {
        text = page(&world, &format!("/p/default/jobs/{job}"), &admin).await;
        if text.contains("first line") {
            break;
        }
        super::support::nap(10).await;
    }
    assert!(text.contains("How did it end?") && text.contains("Succeeded at 20"), "{text}");
    assert!(
        text.contains("first line") && text.contains("&#60;script&#62;alert(1)"),
        "log and payload: {text}"
    );
    assert!(text.contains("Attempt 1 took") && text.contains("test node"), "{text}");
    assert!(text.contains(&format!("<code>mainspring job retry {job}</code>")), "{text}");
    assert!(text.contains(&format!("/api/v1/projects/default/jobs/{job}/retry")), "{text}");
    assert!(text.contains("Run again") && !text.contains("Ask it to end"), "{text}");
    let failed = world.enqueue("fail", json!({})).await;
    world.until(failed, JobState::Failed).await;
    let text = page(&world, &format!("/p/default/jobs/{failed}"), &admin).await;
    assert!(text.contains("it broke") && text.contains("jobs?class=fatal"), "{text}");
    for unknown in ["999999", "nonsense"] {
        assert_eq!(world.get(&format!("/p/default/jobs/{unknown}"), &admin).await.status.as_u16(), 404);
    }
}

#[tokio::test]
async fn a_job_is_cancelled_and_run_again_from_its_page() {
    let world = World::still().await;
    let admin = world.admin().await;
    let job = world.enqueue("echo", json!({})).await;
    let path = format!("/p/default/jobs/{job}");
    let text = page(&world, &path, &admin).await;
    assert!(text.contains("Why is it not running?") && text.contains("No node is alive"), "{text}");
    let answer = world.form(&format!("{path}/cancel"), &admin, "reason=wrong+%3Cb%3E+address").await;
    assert_eq!(sent_to(&answer), path);
    assert_eq!(state(&world, job).await, JobState::Cancelled);
    let text = page(&world, &path, &admin).await;
    assert!(text.contains("wrong &#60;b&#62; address"), "{text}");
    assert_eq!(sent_to(&world.form(&format!("{path}/retry"), &admin, "").await), path);
    assert_eq!(state(&world, job).await, JobState::Available);
}

#[tokio::test]
async fn a_viewer_sees_no_payload_no_log_and_no_button() {
    let world = World::running().await;
    let viewer = viewer(&world).await;
    let job = world.enqueue("echo", json!({"secret": "hunter2"})).await;
    world.until(job, JobState::Completed).await;
    let path = format!("/p/default/jobs/{job}");
    let text = page(&world, &path, &viewer).await;
    assert!(!text.contains("hunter2") && !text.contains("first line"), "{text}");
    assert!(text.contains("Logs are hidden") && text.contains("Payload and output are hidden"), "{text}");
    assert!(!text.contains("/retry\""), "{text}");
    let list = page(&world, "/p/default/jobs", &viewer).await;
    assert!(!list.contains("name=\"act\"") && !list.contains("data-row"), "{list}");
    for (path, fields) in [
        (format!("{path}/retry"), String::new()),
        (format!("{path}/cancel"), "reason=x".into()),
        ("/p/default/jobs/bulk".into(), format!("id={job}&act=retry")),
    ] {
        assert_eq!(world.form(&path, &viewer, &fields).await.status.as_u16(), 403, "{path}");
    }
    assert_eq!(state(&world, job).await, JobState::Completed);
}

#[tokio::test]
async fn a_query_is_typed_and_becomes_an_address() {
    let world = World::still().await;
    let admin = world.admin().await;
    world.enqueue("echo", serde_json::json!({})).await;
    let text = page(&world, "/p/default/jobs", &admin).await;
    assert!(text.contains("<option value=\"kind:echo\">"), "kinds complete the query: {text}");
    let answer =
        world.get("/p/default/jobs?q=state:available+kind:echo+key:%22a+b%22&class=old", &admin).await;
    assert_eq!(sent_to(&answer), "/p/default/jobs?kind=echo&key=a%20b&state=available");
    assert_eq!(sent_to(&world.get("/p/default/jobs?q=%2317", &admin).await), "/p/default/jobs/17");
    let again = page(&world, "/p/default/jobs?kind=echo&key=a%20b", &admin).await;
    assert!(again.contains("value=\"key:&#34;a b&#34;\""), "{again}");
    let wrong = page(&world, "/p/default/jobs?q=%3Cscript%3Ealert", &admin).await;
    assert!(wrong.contains("“&#60;script&#62;alert” is no term. Type state:failed"), "{wrong}");
}

/// The number of the bulk action that a list shows.
fn bulk_job(list: &str) -> i64 {
    let part = list.split("id=\"bulk\"").nth(1).expect("the place of bulk actions");
    let link = part.split("/jobs/").nth(1).unwrap_or_else(|| panic!("no bulk action: {list}"));
    link.split('"').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_list_tells_how_far_a_bulk_action_is_and_aborts_it() {
    let world = World::still().await;
    let admin = world.admin().await;
    for _ in 0..3 {
        world.client.enqueue_raw(mainspring::NewJob::new("stranger", Json::null())).await.unwrap();
    }
    let to = sent_to(&world.form("/p/default/jobs/bulk", &admin, "back=jobs&all=cancel").await).to_owned();
    let list = page(&world, &to, &admin).await;
    let id = bulk_job(&list);
    assert!(list.contains("Cancel: every job") && list.contains("counting"), "{list}");
    assert!(list.contains("data-quick"), "it follows quickly: {list}");
    // It runs on a node, as that says it.
    let store = world.client.store();
    let (now, node) = (world.client.now(), mainspring_core::ids::NodeId(77));
    let info = mainspring_core::node::NodeInfo {
        id: node,
        name: "n".into(),
        pid: 1,
        version: "0".into(),
        slots: 1,
        queues: vec![],
        kinds: vec![],
        tz_version: "none".into(),
    };
    store.join(now, info).await.unwrap();
    let request = mainspring_core::store::ClaimRequest {
        node,
        limit: 1,
        kinds: vec!["bulk".into()],
        queues: vec![],
        project: None,
    };
    assert_eq!(store.claim(now, request).await.unwrap().jobs.len(), 1);
    let progress = mainspring_core::job::Progress { done: 1_500, total: Some(6_000), note: None };
    store.set_progress(now, JobId(id), 1, progress).await.unwrap();
    let list = page(&world, "/p/default/jobs?state=failed", &admin).await;
    assert!(list.contains("<progress class=\"bar\" max=\"6000\" value=\"1500\""), "{list}");
    assert!(list.contains("1,500 of 6,000") || list.contains("of 6"), "{list}");
    let looker = viewer(&world).await;
    let seen = page(&world, "/p/default/jobs", &looker).await;
    assert!(seen.contains("Cancel: every job") && !seen.contains(&format!("/jobs/{id}/cancel")), "{seen}");
    let aborted = world.form(&format!("/p/default/jobs/{id}/cancel"), &admin, "reason=").await;
    assert_eq!(aborted.status.as_u16(), 303, "{}", aborted.text);
    assert!(world.client.job(JobId(id)).await.unwrap().job.cancel_requested, "its node is asked to stop");
}

#[tokio::test]
async fn all_that_match_are_done_in_the_background_and_their_page_tells_how_far_it_is() {
    let world = World::running().await;
    let admin = world.admin().await;
    for _ in 0..70 {
        let job =
            mainspring::NewJob { queue: "mail".into(), ..mainspring::NewJob::new("stranger", Json::null()) };
        world.client.enqueue_raw(job).await.unwrap();
    }
    let other =
        world.client.enqueue_raw(mainspring::NewJob::new("stranger", Json::null())).await.unwrap().id.0;
    let list = page(&world, "/p/default/jobs?queue=mail", &admin).await;
    assert!(list.contains("name=\"all\" value=\"cancel\""), "{list}");
    let fields = "back=jobs%3Fqueue%3Dmail&all=cancel";
    let answer = world.form("/p/default/jobs/bulk", &admin, fields).await;
    let to = sent_to(&answer).to_owned();
    assert_eq!(to, "/p/default/jobs?queue=mail", "back to the list, which tells how far it is");
    let bulk = bulk_job(&page(&world, &to, &admin).await);
    world.until(bulk, JobState::Completed).await;
    let over = page(&world, &to, &admin).await;
    assert!(over.contains("Cancel: queue:mail") && over.contains("70 of 70 jobs done"), "{over}");
    assert!(!over.contains(&format!("/jobs/{bulk}/cancel")), "nothing is left to abort: {over}");
    // The page's other seventy are not forgotten, and nothing else is touched.
    let told = page(&world, "/p/default/jobs?queue=mail&state=cancelled", &admin).await;
    assert!(told.contains("Cancelled<span class=\"count\">70</span>"), "{told}");
    assert_eq!(state(&world, other).await, JobState::Available);
    let shown = page(&world, &format!("/p/default/jobs/{bulk}"), &admin).await;
    assert!(shown.contains("done") && shown.contains("total") && shown.contains("70"), "{shown}");
    let looker = viewer(&world).await;
    assert_eq!(world.form("/p/default/jobs/bulk", &looker, fields).await.status.as_u16(), 403);
    let odd = world.form("/p/default/jobs/bulk", &admin, "all=destroy").await;
    assert_eq!(odd.status.as_u16(), 422);
}

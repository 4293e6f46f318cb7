use super::{HOSTILE, page, sent_to, support::World, viewer};
use mainspring_core::job::JobState;
use serde_json::json;

/// A rule about failing jobs that was saved through the form; its page.
async fn failing(world: &World, admin: &str) -> String {
    let fields = "when=failures&name=Failing+%3Cscript%3E&of=kind%2Ffail&in_a_row=1&breaches=1&of_looks=1&every=1m\
                  &cool_down=0s&severity=critical&recovery=true&note=Call+%3Cb%3EMara&act=save";
    let saved = world.form("/p/default/alert-rule-form", admin, fields).await;
    sent_to(&saved).to_owned()
}

#[tokio::test]
async fn an_alert_is_seen_taken_on_snoozed_and_closed() {
    let world = World::running().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/alerts", &admin).await;
    assert!(empty.contains("No alert fires") && empty.contains("All quiet"), "{empty}");
    failing(&world, &admin).await;
    let job = world.enqueue("fail", json!({})).await;
    world.until(job, JobState::Failed).await;
    world.watch(2).await;
    let list = page(&world, "/p/default/alerts", &admin).await;
    assert!(list.contains("One alert fires") && list.contains("Kind fail failed"), "{list}");
    assert!(list.contains("Failing &#60;script&#62;") && list.contains("critical"), "{list}");
    let at = list.find("/p/default/alerts/alt_").expect("its page");
    let path: String = list[at..].chars().take_while(|c| *c != '"' && *c != '?').collect();
    assert_eq!(sent_to(&world.form(&format!("{path}/acknowledge"), &admin, "note=%3Cb%3E").await), path);
    let one = page(&world, &path, &admin).await;
    assert!(one.contains("by Ada") || one.contains("by ada@example.com"), "{one}");
    assert!(
        one.contains("&#60;b&#62;") && one.contains("Call &#60;b&#62;Mara") && one.contains("1 in a row"),
        "{one}"
    );
    assert_eq!(sent_to(&world.form(&format!("{path}/snooze"), &admin, "for=2h&note=known").await), path);
    let one = page(&world, &path, &admin).await;
    assert!(one.contains("Snoozed until") && one.contains("End the snooze"), "{one}");
    assert_eq!(world.form(&format!("{path}/snooze"), &admin, "for=soon").await.status.as_u16(), 422);
    world.form(&format!("{path}/wake"), &admin, "").await;
    assert_eq!(sent_to(&world.form(&format!("{path}/close"), &admin, "note=x").await), path);
    let list = page(&world, "/p/default/alerts", &admin).await;
    assert!(list.contains("No alert fires") && list.contains("closed by hand"), "{list}");
    assert_eq!(world.get("/p/default/alerts/alt_none", &admin).await.status.as_u16(), 404);
    let feed = page(&world, "/p/default/audit?show=all", &admin).await;
    assert!(feed.contains("Kind fail failed") && feed.contains(&path), "{feed}");
}

#[tokio::test]
async fn a_rule_is_tried_before_it_is_saved_changed_and_tested() {
    let world = World::running().await;
    let admin = world.admin().await;
    for _ in 0..2 {
        let job = world.enqueue("fail", json!({})).await;
        world.until(job, JobState::Failed).await;
    }
    let sorts = page(&world, "/p/default/alert-rule-form?when=failure_rate", &admin).await;
    assert!(sorts.contains("Share of failures") && sorts.contains("name=\"over\" value=\"30m\""), "{sorts}");
    let fields =
        "when=failures&name=&of=kinds&in_a_row=1&breaches=1&of_looks=1&every=1m&cool_down=0s&severity=info";
    let tried = world.form("/p/default/alert-rule-form", &admin, &format!("{fields}&act=preview")).await;
    assert_eq!(tried.status.as_u16(), 200);
    assert!(tried.text.contains("Fires when each kind failed."), "{}", tried.text);
    assert!(tried.text.contains("In the last 30d it would"), "{}", tried.text);
    let unnamed = world.form("/p/default/alert-rule-form", &admin, &format!("{fields}&act=save")).await;
    assert_eq!(unnamed.status.as_u16(), 422);
    assert!(unnamed.text.contains("error-name") && unnamed.text.contains("is empty"), "{}", unnamed.text);
    let wrong = fields.replace("in_a_row=1", "in_a_row=many");
    let wrong = world.form("/p/default/alert-rule-form", &admin, &format!("{wrong}&act=save")).await;
    assert_eq!(wrong.status.as_u16(), 422);
    assert!(wrong.text.contains("&#34;many&#34; is not a number; type for example 3"), "{}", wrong.text);
    let rule = failing(&world, &admin).await;
    let text = page(&world, &rule, &admin).await;
    assert!(
        text.contains("Fires when the kind fail failed.") && text.contains("Backtest, 30 days"),
        "{text}"
    );
    // The chart says what it shows, and the same is there as a table.
    assert!(text.contains("role=\"img\" aria-label=\"In the last 30d it would"), "{text}");
    let table = text.split("Backtest in numbers").nth(1).expect("the same as a table");
    let table = table.split("</table>").next().expect("its end");
    assert_eq!(table.matches("<tr><td>").count(), 30, "{table}");
    let id = rule.rsplit('/').next().unwrap();
    let form = page(&world, &format!("/p/default/alert-rule-form?id={id}"), &admin).await;
    assert!(
        form.contains("value=\"Failing &#60;script&#62;\"") && form.contains("value=\"kind/fail\""),
        "{form}"
    );
    let changed = format!("id={id}&{fields}&act=save")
        .replace("name=", "name=Renamed")
        .replace("in_a_row=1", "in_a_row=4");
    assert_eq!(sent_to(&world.form("/p/default/alert-rule-form", &admin, &changed).await), rule);
    let list = page(&world, "/p/default/alert-rules", &admin).await;
    assert!(list.contains(">Renamed</a>") && list.contains("each kind failed 4 times in a row"), "{list}");
    assert!(list.contains("A schedule keeps failing"), "{list}");
    let tested = sent_to(&world.form(&format!("{rule}/test"), &admin, "").await).to_owned();
    assert!(page(&world, &tested, &admin).await.contains("A test is on its way"));
    for (deed, shows) in
        [("off", "Switch on"), ("on", "Switch off"), ("snooze", "End the snooze"), ("wake", "Snooze…")]
    {
        assert_eq!(sent_to(&world.form(&format!("{rule}/{deed}"), &admin, "for=2h").await), rule);
        assert!(page(&world, &rule, &admin).await.contains(shows), "{deed}");
    }
    assert_eq!(sent_to(&world.form(&format!("{rule}/delete"), &admin, "").await), "/p/default/alert-rules");
    assert_eq!(world.get(&rule, &admin).await.status.as_u16(), 404);
}

#[tokio::test]
async fn heartbeats_show_their_address_to_those_who_may_change_them() {
    let world = World::still().await;
    let admin = world.admin().await;
    let empty = page(&world, "/p/default/heartbeats", &admin).await;
    assert!(empty.contains("No heartbeat yet"), "{empty}");
    let wrong = world.form("/p/default/heartbeats", &admin, "name=x&period=often&grace=1h").await;
    assert_eq!(wrong.status.as_u16(), 422);
    assert!(wrong.text.contains("is not a duration"), "{}", wrong.text);
    let name = crate::support::encoded(HOSTILE);
    let made = world.form("/p/default/heartbeats", &admin, &format!("name={name}&period=1d&grace=1h")).await;
    assert_eq!(sent_to(&made), "/p/default/heartbeats");
    let list = page(&world, "/p/default/heartbeats", &admin).await;
    assert!(list.contains("Waits for its first ping") && list.contains("&#60;script&#62;"), "{list}");
    let at = list.find("/api/v1/ping/").expect("its address");
    let path: String = list[at..].chars().take_while(|c| *c != '<').collect();
    assert_eq!(world.get(&path, "").await.status.as_u16(), 204);
    assert!(page(&world, "/p/default/heartbeats", &admin).await.contains("In time"));
    let vera = viewer(&world).await;
    let seen = page(&world, "/p/default/heartbeats", &vera).await;
    assert!(!seen.contains("/api/v1/ping/") && !seen.contains("New heartbeat"), "{seen}");
    let own = format!("/p/default/heartbeats/{name}");
    for deed in ["pause", "resume", "delete"] {
        assert_eq!(world.form(&format!("{own}/{deed}"), &vera, "").await.status.as_u16(), 403);
    }
    for (deed, shows) in [("pause", "Not watched"), ("resume", "In time"), ("delete", "No heartbeat yet")] {
        assert_eq!(sent_to(&world.form(&format!("{own}/{deed}"), &admin, "").await), "/p/default/heartbeats");
        assert!(page(&world, "/p/default/heartbeats", &admin).await.contains(shows), "{deed}");
    }
}

#[tokio::test]
async fn who_may_only_look_changes_no_rule_and_no_alert() {
    let world = World::still().await;
    let vera = viewer(&world).await;
    let (rule, alert) = world.alert("default", "").await;
    let list = page(&world, "/p/default/alerts", &vera).await;
    assert!(
        list.contains("Kind mail failed") && !list.contains("/acknowledge\"") && !list.contains("New rule"),
        "{list}"
    );
    let one = page(&world, &format!("/p/default/alert-rules/{rule}"), &vera).await;
    assert!(!one.contains("/delete\"") && !one.contains("/test\""), "{one}");
    assert_eq!(world.get("/p/default/alert-rule-form", &vera).await.status.as_u16(), 403);
    for deed in ["acknowledge", "snooze", "wake", "close"] {
        let answer = world.form(&format!("/p/default/alerts/{alert}/{deed}"), &vera, "for=1h").await;
        assert_eq!(answer.status.as_u16(), 403, "{deed}");
    }
    for deed in ["test", "on", "off", "snooze", "delete"] {
        let answer = world.form(&format!("/p/default/alert-rules/{rule}/{deed}"), &vera, "for=1h").await;
        assert_eq!(answer.status.as_u16(), 403, "{deed}");
    }
}

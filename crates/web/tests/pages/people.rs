//! The pages of projects, their settings and one's own account.

use super::support::{EMAIL, PASSWORD, World};
use super::{HOSTILE, page, sent_to, viewer};
use mainspring_web::access::Role;
use mainspring_web::accounts;

#[tokio::test]
async fn a_project_is_made_titled_archived_and_restored() {
    let world = World::still().await;
    let admin = world.admin().await;
    let text = page(&world, "/projects", &admin).await;
    assert!(text.contains(">default</a>") && text.contains("New project"), "{text}");
    let made = world.form("/projects", &admin, "name=billing&title=%3Cb%3EBilling").await;
    assert_eq!(sent_to(&made), "/p/billing");
    let text = page(&world, "/projects", &admin).await;
    assert!(text.contains("&#60;b&#62;Billing</a>") && !text.contains("<b>Billing"), "{text}");
    let taken = world.form("/projects", &admin, "name=billing&title=").await;
    assert!(taken.status.as_u16() == 409 && taken.text.contains("there is a project billing already"));
    let base = "/p/billing/settings";
    assert_eq!(sent_to(&world.form(&format!("{base}/title"), &admin, "title=Invoices").await), base);
    assert!(page(&world, base, &admin).await.contains("value=\"Invoices\""));
    assert_eq!(sent_to(&world.form(&format!("{base}/archive"), &admin, "").await), base);
    let text = page(&world, base, &admin).await;
    assert!(text.contains("This project is archived") && text.contains("/restore\""), "{text}");
    assert!(page(&world, "/projects", &admin).await.contains("Archived"));
    assert_eq!(world.form("/p/billing/queues/%2A/pause", &admin, "note=x").await.status.as_u16(), 409);
    assert_eq!(sent_to(&world.form(&format!("{base}/restore"), &admin, "").await), base);
    assert!(!page(&world, base, &admin).await.contains("This project is archived"));
    // Who belongs to nothing is told so, and makes nothing.
    let viewer = viewer(&world).await;
    assert!(!page(&world, "/projects", &viewer).await.contains("New project"));
    assert_eq!(world.form("/projects", &viewer, "name=mine").await.status.as_u16(), 403);
    for deed in ["title", "archive", "restore"] {
        let answer = world.form(&format!("/p/default/settings/{deed}"), &viewer, "title=x").await;
        assert_eq!(answer.status.as_u16(), 403, "{deed}");
    }
    assert_eq!(sent_to(&world.form("/p/default/settings/leave", &viewer, "").await), "/projects");
    assert!(page(&world, "/projects", &viewer).await.contains("No project yet"));
    assert_eq!(sent_to(&world.get("/", &viewer).await), "/projects");
}

#[tokio::test]
async fn an_invitation_is_shown_once_and_withdrawn() {
    let world = World::still().await;
    let admin = world.admin().await;
    let base = "/p/default/settings";
    let fields = "email=max%40example.com&role=admin&payloads=on&length=2d";
    let made = world.form(&format!("{base}/invitations"), &admin, fields).await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    let at = made.text.find("/invite/").expect("the link");
    let link: String =
        made.text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "/_-".contains(*c)).collect();
    let shown = page(&world, &link, "").await;
    assert!(shown.contains("to be admin there") && shown.contains("max@example.com"), "{shown}");
    assert!(shown.contains(&format!("/sign-in?next={link}")), "{shown}");
    let text = page(&world, base, &admin).await;
    assert!(text.contains("admin, may see payloads") && !text.contains(&link), "{text}");
    let wrong = world.form(&format!("{base}/invitations"), &admin, "email=x&role=admin").await;
    assert!(wrong.status.as_u16() == 422 && wrong.text.contains("is not an address"), "{}", wrong.text);
    let number = text.split("/settings/invitations/").nth(1).unwrap().split('/').next().unwrap();
    let path = format!("{base}/invitations/{number}/withdraw");
    assert_eq!(sent_to(&world.form(&path, &admin, "").await), base);
    assert_eq!(world.get(&link, "").await.status.as_u16(), 403);
    let viewer = viewer(&world).await;
    assert!(!page(&world, base, &viewer).await.contains("Invite…"));
    assert_eq!(world.form(&format!("{base}/invitations"), &viewer, fields).await.status.as_u16(), 403);
}

#[tokio::test]
async fn a_secret_is_set_and_deleted_and_never_shown() {
    let world = World::still().await;
    let admin = world.admin().await;
    let base = "/p/default/settings";
    assert!(page(&world, base, &admin).await.contains("No secret yet"));
    let fields = "name=github_token&value=hunter2-and-more%0D%0A";
    assert_eq!(sent_to(&world.form(&format!("{base}/secrets"), &admin, fields).await), base);
    let text = page(&world, base, &admin).await;
    assert!(text.contains("github_token") && text.contains("never") && !text.contains("hunter2"), "{text}");
    let kept = world.web.vault().get(world.client.project(), "github_token").await.unwrap();
    assert_eq!(kept.expose(), "hunter2-and-more", "without the line break of the field");
    let short = world.form(&format!("{base}/secrets"), &admin, "name=x&value=tiny").await;
    assert!(short.status.as_u16() == 422 && short.text.contains("at least 8 bytes"), "{}", short.text);
    let (_, member) = world.member("default", "max@example.com", Role::Member, false).await;
    let text = page(&world, base, &member).await;
    assert!(text.contains("github_token") && !text.contains("Set a secret"), "{text}");
    assert_eq!(world.form(&format!("{base}/secrets"), &member, fields).await.status.as_u16(), 403);
    let viewer = viewer(&world).await;
    assert!(!page(&world, base, &viewer).await.contains("github_token"));
    let path = format!("{base}/secrets/github_token/delete");
    assert_eq!(world.form(&path, &member, "").await.status.as_u16(), 403);
    assert_eq!(sent_to(&world.form(&path, &admin, "").await), base);
    assert_eq!(world.form(&path, &admin, "").await.status.as_u16(), 404);
}

#[tokio::test]
async fn ones_own_name_zone_theme_and_sessions() {
    let world = World::still().await;
    let admin = world.admin().await;
    let other = accounts::sign_in(&world.web, EMAIL, PASSWORD, "127.0.0.1", HOSTILE).await.expect("signs in");
    let text = page(&world, "/account", &admin).await;
    assert!(text.contains("&#60;script&#62;") && text.contains("Sign out here"), "{text}");
    let fields = "name=Ada+L&zone=Europe%2FBerlin&theme=dark";
    assert_eq!(sent_to(&world.form("/account/settings", &admin, fields).await), "/account?done=settings");
    let text = page(&world, "/p/default", &admin).await;
    assert!(text.contains("data-zone=\"Europe/Berlin\"") && text.contains("data-theme=\"dark\""), "{text}");
    assert!(text.contains("Ada L"), "{text}");
    let wrong = world.form("/account/settings", &admin, "name=Ada&zone=Europe%2FBerln&theme=dark").await;
    assert!(wrong.status.as_u16() == 422 && wrong.text.contains("Europe/Berlin"), "{}", wrong.text);
    let text = page(&world, "/account", &admin).await;
    let id = text.split("/account/sessions/").nth(1).unwrap().split('/').next().unwrap();
    let (_, eve) = world.member("default", "eve@example.com", Role::Viewer, false).await;
    let path = format!("/account/sessions/{id}/end");
    assert_eq!(world.form(&path, &eve, "").await.status.as_u16(), 404, "somebody else's");
    assert_eq!(sent_to(&world.form(&path, &admin, "").await), "/account?done=session");
    assert_eq!(world.get("/account", other.reveal()).await.status.as_u16(), 401);
    assert_eq!(world.get("/account", &admin).await.status.as_u16(), 200);
}

#[tokio::test]
async fn the_audit_log_is_filtered_on_its_page() {
    let world = World::still().await;
    let admin = world.admin().await;
    let (_, max) = world.member("default", "max@example.com", Role::Member, false).await;
    for (who, queue) in [(&admin, "mail"), (&max, "reports")] {
        world.client.set_queue(queue, Default::default()).await.unwrap();
        world.form(&format!("/p/default/queues/{queue}/pause"), who, "note=x").await;
    }
    let text = page(&world, "/p/default/audit?actor=max%40example.com", &admin).await;
    assert!(text.contains("queue reports") && !text.contains("queue mail"), "{text}");
    assert!(text.contains("127.0.0.1") && text.contains("value=\"max@example.com\""), "{text}");
    let text = page(&world, "/p/default/audit?name=person.", &admin).await;
    assert!(text.contains("made the first account") && !text.contains("queue mail"), "{text}");
    let text = page(&world, "/p/default/audit?from=2100-01-01", &admin).await;
    assert!(text.contains("Nothing matches"), "{text}");
    let wrong = world.get("/p/default/audit?from=soon", &admin).await;
    assert!(wrong.status.as_u16() == 422 && wrong.text.contains("is not an instant"), "{}", wrong.text);
}

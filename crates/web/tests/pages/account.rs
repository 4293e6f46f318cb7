use super::support::{EMAIL, PASSWORD, World};
use super::{page, sent_to};
use mainspring_web::accounts;

#[tokio::test]
async fn a_password_is_changed_and_other_sessions_end() {
    let world = World::still().await;
    let admin = world.admin().await;
    let sign_in = || accounts::sign_in(&world.web, EMAIL, PASSWORD, "127.0.0.1", "test");
    let other = sign_in().await.expect("signs in").reveal().to_owned();
    assert!(page(&world, "/account", &admin).await.contains(EMAIL));
    let wrong =
        world.form("/account/password", &admin, "old=nothing+like+it&new=another+long+password").await;
    assert_eq!(wrong.status.as_u16(), 422);
    assert!(wrong.text.contains("this is not your present password"), "{}", wrong.text);
    assert_eq!(world.get("/account", &other).await.status.as_u16(), 200);
    let fields = format!("old={}&new=another+long+password", PASSWORD.replace(' ', "+"));
    assert_eq!(sent_to(&world.form("/account/password", &admin, &fields).await), "/account?done=password");
    assert_eq!(world.get("/account", &admin).await.status.as_u16(), 200, "this session stays");
    assert_eq!(world.get("/account", &other).await.status.as_u16(), 401);
    assert!(sign_in().await.is_err());
}

#[tokio::test]
async fn sessions_elsewhere_end() {
    let world = World::still().await;
    let admin = world.admin().await;
    let other = accounts::sign_in(&world.web, EMAIL, PASSWORD, "127.0.0.1", "test").await.expect("signs in");
    assert_eq!(sent_to(&world.form("/account/end-others", &admin, "").await), "/account?done=others");
    assert_eq!(world.get("/account", other.reveal()).await.status.as_u16(), 401);
    assert_eq!(world.get("/account", &admin).await.status.as_u16(), 200);
    assert_eq!(world.get("/account", "").await.status.as_u16(), 401);
}

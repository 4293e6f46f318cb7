//! Keys and sessions: what is wrong, ended or sent by another site opens nothing.

use crate::support::{EMAIL, PASSWORD, World};
use mainspring::clock::SystemClock;
use mainspring_core::time::{self, SECOND};
use mainspring_web::access::Right;
use serde_json::json;

const JOBS: &str = "/api/v1/projects/default/jobs";

#[tokio::test]
async fn keys_that_are_mistyped_revoked_or_expired_open_nothing() {
    let world = World::still().await;
    let (id, key) = world.key_until("default", &Right::ALL, Some(5)).await;
    world.get(JOBS, &key).await.expect(200);
    let last = key.chars().last().unwrap();
    let other = if last == '0' { '1' } else { '0' };
    let mistyped = format!("{}{other}", &key[..key.len() - 1]);
    // The check sum is right, the secret another's.
    let (second, of_second) = world.key_until("default", &Right::ALL, None).await;
    let swapped = of_second.replacen(&format!("msk_{second}_"), &format!("msk_{id}_"), 1);
    for wrong in
        [mistyped.as_str(), &swapped, "msk_", "msk_1_x_y", &key.to_uppercase().replacen("MSK", "msk", 1)]
    {
        world.get(JOBS, wrong).await.refused(401, "MS0040");
    }
    world.call("DELETE", &format!("/api/v1/projects/default/keys/{second}"), &key, None).await.expect(204);
    world.get(JOBS, &of_second).await.refused(401, "MS0040");
    world.get(JOBS, &key).await.expect(200);
    world.clock.set_offset(5 * 60 * SECOND);
    world.get(JOBS, &key).await.refused(401, "MS0040");
}

#[tokio::test]
async fn a_sessions_cookie_is_for_this_site_and_no_script() {
    let world = World::with(
        |c| mainspring_web::Config { public_url: Some("https://jobs.example.com".into()), ..c },
        false,
    )
    .await;
    world.admin().await;
    let signed =
        world.form("/sign-in", "", &format!("email={EMAIL}&password={}", PASSWORD.replace(' ', "+"))).await;
    assert_eq!(signed.status.as_u16(), 303, "{}", signed.text);
    let cookie = signed.header("set-cookie").to_owned();
    for flag in ["mainspring_session=", "HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.contains(flag), "{flag}: {cookie}");
    }
    let token = cookie.split(['=', ';']).nth(1).unwrap();
    world.get(JOBS, token).await.expect(200);
    world.form("/sign-out", token, "").await;
    world.get(JOBS, token).await.refused(401, "MS0040");
}

#[tokio::test]
async fn a_session_that_is_not_used_ends() {
    let world = World::still().await;
    let session = world.admin().await;
    world.get(JOBS, &session).await.expect(200);
    world.clock.set_offset(6 * 86_400 * SECOND);
    world.get(JOBS, &session).await.expect(200);
    world.clock.set_offset((6 + 8) * 86_400 * SECOND);
    world.get(JOBS, &session).await.refused(401, "MS0040");
}

#[tokio::test]
async fn a_request_from_another_site_changes_nothing() {
    let world = World::still().await;
    let session = world.admin().await;
    let job = json!({ "kind": "echo" });
    let from = |name: &'static str, value: String| {
        let mut request = world.request("POST", JOBS, &session, Some(&job));
        request.headers_mut().insert(name, value.parse().unwrap());
        world.send(request)
    };
    for (name, value) in [
        ("origin", "https://evil.example".to_owned()),
        ("origin", "null".to_owned()),
        ("sec-fetch-site", "cross-site".to_owned()),
        ("sec-fetch-site", "same-site".to_owned()),
    ] {
        from(name, value).await.refused(403, "MS0041");
    }
    assert_eq!(world.get(JOBS, &session).await.expect(200)["items"], json!([]));
    from("origin", format!("http://{}", world.at)).await.expect(201);
    from("sec-fetch-site", "same-origin".to_owned()).await.expect(201);
}

#[tokio::test]
async fn wrong_passwords_must_wait_longer_and_longer() {
    let world = World::still().await;
    world.admin().await;
    let begin = time::micros(world.web.now());
    // Each try comes so many seconds after the beginning, however slow this machine is.
    let guess = |password: &str, after: i64| {
        let fields = format!("email={EMAIL}&password={}", password.replace(' ', "+"));
        let world = &world;
        async move {
            let machine = time::micros(SystemClock::machine_time());
            world.clock.set_offset(begin + after * SECOND - machine);
            world.form("/sign-in", "", &fields).await
        }
    };
    for _ in 0..5 {
        assert_eq!(guess("wrong password", 0).await.status.as_u16(), 422);
    }
    let waited = guess("wrong password", 0).await;
    assert_eq!(waited.status.as_u16(), 429, "{}", waited.text);
    let after: u64 = waited.header("retry-after").parse().unwrap();
    assert!((1..=3).contains(&after), "{after}");
    // The right one must wait, too: else guessing would go on.
    assert_eq!(guess(PASSWORD, 0).await.status.as_u16(), 429);
    assert_eq!(guess(PASSWORD, 10).await.status.as_u16(), 303);
    // That it was right forgives what was wrong before.
    assert_eq!(guess("wrong password", 10).await.status.as_u16(), 422);
}

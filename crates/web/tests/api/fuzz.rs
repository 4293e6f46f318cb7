//! Bodies that are no JSON, nearly JSON, or JSON of another call, sent to every route that takes one.

use crate::contract::{Owned, Route, routes};
use crate::support::World;
use http::header;
use http_body_util::Full;
use hyper::body::Bytes;
use mainspring_testkit::fuzz::Fuzz;
use mainspring_web::access::Right;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_bodies_of_the_api() {
    let world = World::still().await;
    let own = Owned::of(&world, "default").await;
    let key = world.key("default", &Right::ALL).await;
    let mut routes = routes(&world).await;
    routes.retain(|r: &Route| r.described["requestBody"].is_object());
    let words = [
        "\"kind\":",
        "\"run_at\":",
        "\\u0000",
        "\\ud800",
        "null",
        "[[[[",
        "{\"a\":",
        "1e999",
        "\"states\":",
        "\u{feff}",
    ];
    let runtime = tokio::runtime::Handle::current();
    let mut turn = 0;
    let tried = Fuzz::new(env!("CARGO_MANIFEST_DIR"), "bodies", &words).rounds(1_500).run(|bytes| {
        turn += 1;
        let route = &routes[turn % routes.len()];
        let mut request = world.request(&route.method, &own.fill(&route.path, None), &key, None);
        let kind = "application/json".parse().expect("a value");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        *request.body_mut() = Full::new(Bytes::copy_from_slice(bytes));
        let answer = tokio::task::block_in_place(|| runtime.block_on(world.send(request)));
        let status = answer.status.as_u16();
        assert!(status < 500, "{}: {status} {}", route.id, answer.text);
        if status >= 400 {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
        }
        let field =
            answer.text.split("\"field\":").nth(1).map(|rest| rest.chars().take(20).collect::<String>());
        (route.id.clone(), status, field)
    });
    assert!(tried >= 1_500, "{tried}");
    let wrong = world.store_differences().await;
    assert!(wrong.is_empty(), "{wrong:?}");
}

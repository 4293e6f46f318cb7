//! The reference of the API as a page: every call of the document is on it.

use super::{page, support::World, viewer};

#[tokio::test]
async fn the_reference_tells_every_call_of_the_document() {
    let world = World::still().await;
    let viewer = viewer(&world).await;
    let text = page(&world, "/p/default/reference", &viewer).await;
    let mut told = 0;
    for (path, item) in mainspring_web::openapi::document()["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let id = described["operationId"].as_str().unwrap();
            assert!(text.contains(&format!("<details id=\"{id}\">")), "{id}");
            assert!(text.contains(&format!("{} {path}", method.to_uppercase())), "{method} {path}");
            told += 1;
        }
    }
    assert!(told >= 40, "{told}");
    // A call as one types it, in this very project and at this very address.
    let enqueue = format!("http://{}/api/v1/projects/default/jobs", world.at);
    assert!(text.contains(&enqueue) && text.contains("-d @body.json"), "{enqueue}");
    assert!(text.contains("<code>run</code>") && text.contains("unique.key"));
    // It is found: in the side bar of every page.
    let settings = page(&world, "/p/default/settings", &viewer).await;
    assert!(settings.contains("href=\"/p/default/reference\""));
    // Who does not belong to the project does not see it under its name.
    assert_eq!(world.get("/p/other/reference", &viewer).await.status.as_u16(), 404);
    assert_eq!(world.get("/p/default/reference", "").await.status.as_u16(), 401);
}

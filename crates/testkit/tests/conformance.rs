//! The executable specification against the suite: what it says of itself.

use mainspring_testkit::MemoryStore;
use mainspring_testkit::conformance::Fixture;
use std::sync::Arc;

async fn open() -> Fixture {
    let store = MemoryStore::new();
    let other = store.clone();
    Fixture {
        store: Arc::new(store),
        again: Box::new(move || {
            let other = other.clone();
            Box::pin(async move { Arc::new(other) as _ })
        }),
        guard: Box::new(()),
    }
}

mainspring_testkit::conformance!(open);

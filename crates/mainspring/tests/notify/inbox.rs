//! Notifications in the dashboard: unread, read, all read, muted; each account by itself.

use crate::on_both;
use crate::support::{Running, Stores};
use mainspring::notify::{self, NotifyError, Topic};

on_both! {
    each_account_has_its_own_unread
}

async fn each_account_has_its_own_unread(stores: Stores) {
    let node = Running::start(stores);
    let other = node.client.clone().in_project_named("other").await.unwrap();
    let project = node.client.project();
    let tables = node.stores.tables.clone();
    let unread = async |account| notify::unread(&*tables, project, account).await.unwrap();
    for n in 0..5 {
        node.say(&format!("notice {n}"), false, &[]).await;
    }
    assert_eq!((unread(1).await, unread(2).await), (5, 5));
    let all = notify::notifications(&node.client, 1, false, None, 3).await.unwrap();
    assert_eq!((all.len(), all[0].notice.title.as_str(), all[0].read), (3, "notice 4", false));
    let rest = notify::notifications(&node.client, 1, false, Some(all[2].notice.id), 50).await.unwrap();
    assert_eq!(rest.len(), 2);
    for _ in 0..2 {
        notify::mark_read(&node.client, 1, all[0].notice.id).await.unwrap();
    }
    assert_eq!((unread(1).await, unread(2).await), (4, 5));
    assert!(notify::notifications(&node.client, 1, false, None, 1).await.unwrap()[0].read);
    let open = notify::notifications(&node.client, 1, true, None, 50).await.unwrap();
    assert!(open.len() == 4 && open.iter().all(|n| !n.read));
    // Another project's notices can neither be read nor marked.
    assert!(notify::notifications(&other, 1, false, None, 50).await.unwrap().is_empty());
    let foreign = notify::mark_read(&other, 1, all[1].notice.id).await;
    assert!(matches!(foreign, Err(NotifyError::NotFound { .. })), "{foreign:?}");
    notify::mark_all_read(&other, 1).await.unwrap();
    assert_eq!(unread(1).await, 4);
    notify::mark_all_read(&node.client, 1).await.unwrap();
    assert_eq!((unread(1).await, unread(2).await), (0, 5));
    notify::mute(&node.client, 2, &[Topic::Warning, Topic::Info, Topic::Warning]).await.unwrap();
    assert_eq!(notify::muted(&node.client, 2).await.unwrap(), [Topic::Info, Topic::Warning]);
    assert_eq!(unread(2).await, 0, "warnings are not counted");
    assert_eq!(
        notify::notifications(&node.client, 2, true, None, 50).await.unwrap().len(),
        5,
        "but they are there"
    );
    notify::mute(&node.client, 2, &[]).await.unwrap();
    assert_eq!(unread(2).await, 5);
    for n in 0..120 {
        node.say(&format!("more {n}"), false, &[]).await;
    }
    assert_eq!((unread(1).await, notify::badge(unread(1).await)), (100, "99+".to_owned()));
    node.stop().await;
}

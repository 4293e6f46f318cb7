//! What a notice is written as.

use crate::on_both;
use crate::support::Stores;
use mainspring::core::ids::JobId;
use mainspring::core::tables::{Statement, Write};
use mainspring::notify::{Notice, NoticeState, Severity, TITLE};
use mainspring_core::{ProjectId, time};

on_both! {
    a_notice_becomes_rows_and_jobs_once
    a_write_that_is_undone_tells_nobody
}

fn notice() -> Notice {
    Notice {
        project: ProjectId::DEFAULT,
        key: "rule/7".into(),
        severity: Severity::Critical,
        state: NoticeState::Firing,
        title: format!("Import failed\r\nBcc: all@example.com {}", "x".repeat(500)),
        text: "Three in a row.\nThe last: no space".into(),
        facts: vec![("queue".into(), "mail".into())],
        path: "/jobs/12".into(),
        at: time::from_micros(1_000_000),
        urgent: false,
    }
}

async fn a_notice_becomes_rows_and_jobs_once(stores: Stores) {
    let mine = stores.bare_channel(ProjectId::DEFAULT, "ours").await;
    let foreign = stores.bare_channel(ProjectId(99), "theirs").await;
    let notice = notice();
    let mut jobs: Vec<Vec<JobId>> = Vec::new();
    for _ in 0..2 {
        let said = notice.announce(&[mine, foreign, 12_345]);
        assert_eq!(said.uid, notice.uid());
        let write = said.into_write(Write::new(), notice.at, notice.project);
        let written = stores.tables.write(write).await.unwrap();
        jobs.push(written.jobs.iter().map(|job| job.id).collect());
    }
    assert_eq!(jobs[0], jobs[1], "the second time finds the jobs of the first");
    assert_eq!((stores.count("notify_notices").await, stores.count("notify_deliveries").await), (1, 1));
    let (title, facts, channel): (String, String, String) = stores
        .tables
        .read(Statement::new(
            "SELECT n.title, n.facts, d.channel_name FROM notify_notices n JOIN notify_deliveries d ON d.notice = n.uid",
        ))
        .await
        .unwrap()
        .one()
        .unwrap();
    assert!(title.starts_with("Import failed  Bcc") && title.len() <= TITLE, "{title}");
    assert_eq!((facts.as_str(), channel.as_str()), (r#"[["queue","mail"]]"#, "ours"));
    let later = Notice { state: NoticeState::Recovered, ..notice };
    stores.tables.write(later.announce(&[]).into_write(Write::new(), later.at, later.project)).await.unwrap();
    assert_eq!((stores.count("notify_notices").await, stores.count("notify_deliveries").await), (2, 1));
}

async fn a_write_that_is_undone_tells_nobody(stores: Stores) {
    let channel = stores.bare_channel(ProjectId::DEFAULT, "ours").await;
    let notice = notice();
    let undone = Statement::new("UPDATE notify_channels SET enabled = 0 WHERE id = -1").expect_rows(1);
    let write = notice.announce(&[channel]).into_write(Write::new(), notice.at, notice.project);
    stores.tables.write(write.then(undone)).await.unwrap_err();
    assert_eq!((stores.count("notify_notices").await, stores.count("notify_deliveries").await), (0, 0));
}

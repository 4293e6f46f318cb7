//! `mainspring batch`: list and show.

use crate::app::{App, Make};
use crate::args::BatchCommand;
use crate::error::Result;
use crate::out::table::{Cell, Table};
use crate::out::{Paint, count};
use mainspring_core::batch::{BatchRecord, BatchState};
use mainspring_core::ids::BatchId;
use mainspring_core::limits;

/// Runs it.
pub async fn run(app: &mut App, command: BatchCommand) -> Result<()> {
    let client = app.client(Make::No).await?;
    let rows = match command {
        BatchCommand::Show { id } => vec![client.batch(BatchId(id)).await?],
        BatchCommand::List { n } => {
            let (mut rows, mut before) = (Vec::new(), None);
            loop {
                let want = (n as usize - rows.len()).min(limits::PAGE) as u32;
                let page = client.store().batches(client.project(), before, want).await?;
                rows.extend(page.rows);
                before = page.next;
                if before.is_none() || rows.len() >= n as usize {
                    break;
                }
            }
            if app.out.json {
                return app.out.json(&rows);
            }
            if rows.is_empty() {
                return app
                    .out
                    .line("No batches yet. A job makes one with fan_out, a program with open_batch.");
            }
            rows
        }
    };
    if app.out.json {
        return app.out.json(&rows[0]);
    }
    let table = table(app, &rows);
    app.out.table(&table)
}

fn table(app: &App, rows: &[BatchRecord]) -> Table {
    let mut table = Table::new(&[
        "id",
        "name",
        "state",
        ">jobs",
        ">done",
        ">partial",
        ">failed",
        ">cancelled",
        ">pending",
        "opened",
        "ended",
        "follow-up",
    ]);
    for b in rows {
        let paint = match b.state {
            BatchState::Open => Paint::Busy,
            BatchState::Complete => Paint::Good,
            BatchState::Partial => Paint::Warn,
            BatchState::Failed => Paint::Bad,
        };
        table.row([
            b.id.to_string().into(),
            b.name.as_str().into(),
            Cell::new(b.state.as_str(), paint),
            count(b.counts.total).into(),
            count(b.counts.succeeded).into(),
            count(b.counts.partial).into(),
            count(b.counts.failed).into(),
            count(b.counts.cancelled).into(),
            count(b.counts.pending()).into(),
            app.ago(b.created_at).into(),
            b.finished_at.map(|t| app.ago(t)).unwrap_or_default().into(),
            b.follow_up.map(|j| format!("job {j}")).unwrap_or_default().into(),
        ]);
    }
    table
}

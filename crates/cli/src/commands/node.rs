//! `mainspring node`: who runs jobs.

use crate::app::{App, Make};
use crate::args::NodeCommand;
use crate::error::Result;
use crate::out::Paint;
use crate::out::table::{Cell, Table};
use mainspring_core::time;

/// Runs it.
pub async fn run(app: &mut App, command: NodeCommand) -> Result<()> {
    let NodeCommand::List = command;
    let client = app.client(Make::No).await?;
    let mut nodes = client.store().nodes().await?;
    nodes.retain(|node| node.info.runs_jobs());
    if app.out.json {
        return app.out.json(&nodes);
    }
    if nodes.is_empty() {
        return app.out.line("No node runs jobs on this store. Start one: mainspring up");
    }
    let mut table =
        Table::new(&["node", "name", "state", ">running", ">slots", "queues", "since", "version", "pid"]);
    for node in &nodes {
        let silent = time::since(node.heartbeat_at, app.now);
        let state = if node.has_left() {
            Cell::new("left", Paint::Dim)
        } else if silent > app.settings.lease {
            Cell::new(format!("silent, last seen {}", app.ago(node.heartbeat_at)), Paint::Bad)
        } else {
            Cell::new("alive", Paint::Good)
        };
        let queues = if node.info.queues.is_empty() { "all".to_owned() } else { node.info.queues.join(", ") };
        table.row([
            node.info.id.to_string().into(),
            node.info.name.as_str().into(),
            state,
            node.running.to_string().into(),
            node.info.slots.to_string().into(),
            queues.into(),
            app.ago(node.joined_at).into(),
            node.info.version.as_str().into(),
            node.info.pid.to_string().into(),
        ]);
    }
    app.out.table(&table)
}

//! `mainspring events`: what happened, oldest first.

use crate::app::{App, Make, look_again};
use crate::args::EventsArgs;
use crate::clock;
use crate::error::Result;
use crate::out::Paint;
use mainspring_core::event::Event;
use mainspring_core::limits;

/// Runs it.
pub async fn run(app: &mut App, args: EventsArgs) -> Result<()> {
    let client = app.client(Make::No).await?;
    let project = client.project();
    let mut after = match args.after {
        Some(id) => id,
        None => {
            // Ids rise but may have holes, so this shows at most as many as were asked for.
            let last = client.store().last_event(project).await?;
            (last - i64::from(args.n)).max(0)
        }
    };
    let mut any = false;
    loop {
        let events = client.store().events(project, after, limits::PAGE as u32).await?;
        let Some(last) = events.last() else {
            if !args.follow {
                break;
            }
            app.out.flush()?;
            look_again().await;
            app.now = clock::now();
            continue;
        };
        after = last.id;
        any = true;
        for event in &events {
            line(app, event)?;
        }
    }
    if !any && !app.out.json {
        app.out.line("Nothing worth telling has happened yet.")?;
    }
    Ok(())
}

fn line(app: &mut App, event: &Event) -> Result<()> {
    if app.out.json {
        return app.out.json_line(event);
    }
    let name = event.event.name.as_str();
    let paint = match name.rsplit('.').next().unwrap_or_default() {
        "failed" | "lost" => Paint::Bad,
        "retrying" | "partial" | "skipped" | "missed" | "coalesced" | "interrupted" | "paused" => Paint::Warn,
        "complete" | "joined" | "resumed" => Paint::Good,
        _ => Paint::Plain,
    };
    let name = app.out.paint(paint, &format!("{name:<20}"));
    let by = event.event.actor.as_deref().map(|a| format!("  by {a}")).unwrap_or_default();
    let data = match event.event.data.value() {
        serde_json::Value::Object(fields) => fields
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| match v {
                serde_json::Value::String(s) => format!("{k}={}", crate::out::one_line(s, 120)),
                other => format!("{k}={}", crate::out::one_line(&other.to_string(), 120)),
            })
            .collect::<Vec<_>>()
            .join("  "),
        _ => String::new(),
    };
    let at = app.full(event.at);
    app.out.line(format!("{at}  {name} {}{by}  {data}", event.event.subject).trim_end())
}

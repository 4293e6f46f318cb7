//! `mainspring backup` and `mainspring restore`: a checked copy of the store, and the way back.

use crate::app::{App, Make};
use crate::args::{BackupArgs, RestoreArgs};
use crate::error::{CliError, Result};
use crate::out::{plural, when};
use crate::store::{self, Purpose};
use mainspring_core::backup::Copied;
use mainspring_core::code::Code;
use mainspring_core::event::NewEvent;

/// Copies the store.
pub async fn backup(app: &mut App, args: BackupArgs) -> Result<()> {
    let copied = store::backup(&app.settings, &args.file).await?;
    tell(app, &copied, &format!("Copied {} to {}", app.settings.store.shown(), args.file.display()))?;
    if app.out.json {
        return Ok(());
    }
    app.out
        .line("The copy was read back and recounted. It holds everything, secrets as they are stored too:")?;
    app.out.line("keep it as safe as the store. mainspring restore puts it back.")
}

/// Puts it back, looks it over, and writes down that it was done.
pub async fn restore(app: &mut App, args: RestoreArgs) -> Result<()> {
    let copied = store::restore(&app.settings, &args.file).await?;
    // Also brings an older schema up to date.
    let opened = store::open(&app.settings, Purpose::Beside, Make::No).await?;
    let looked_over = async {
        let differences = opened.audit().await?;
        if !differences.is_empty() {
            let text = format!("the restored store does not agree with itself: {}", differences.join("; "));
            return Err(CliError::new(Code::STORE_INTERNAL, text));
        }
        let file = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (project, _) in opened.projects().await? {
            let data = serde_json::json!({ "file": file });
            let event = NewEvent::new("store.restored", "store".into(), data).by("cli");
            opened.record(app.now, project, event).await?;
        }
        Ok(())
    };
    let done = looked_over.await;
    opened.close().await;
    done?;
    tell(app, &copied, &format!("Restored {} into {}", args.file.display(), app.settings.store.shown()))?;
    if app.out.json {
        return Ok(());
    }
    app.out.line(
        "The recount agrees. Fires since the backup are missed ones: each schedule's misfire policy says",
    )?;
    app.out.line("what becomes of them when a node starts. What ran since then may run again.")
}

fn tell(app: &mut App, copied: &Copied, what: &str) -> Result<()> {
    if app.out.json {
        return app.out.json(copied);
    }
    let tables = copied.rows.iter().filter(|(_, n)| *n > 0).count() as u64;
    let rows = plural(copied.total(), "row");
    app.out.line(format!("{what}: {}, {rows} in {}.", when::bytes(copied.bytes), plural(tables, "table")))
}

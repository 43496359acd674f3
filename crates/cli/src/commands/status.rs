//! `dockless status`

use crate::{amounts, context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use dockless_model::{Clock as _, SystemClock};

/// Nothing to choose.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless status
  dockless status --server http://10.0.0.5:3000 --json")]
pub struct Args {}

pub(crate) async fn run(_: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let status = client.status().await?;
    if ctx.printer.is_json() {
        ctx.printer.json(&status).context("cannot print")?;
        return Ok(Exit::Done);
    }
    let up = amounts::span(SystemClock.now().since(status.started_at));
    let mut rows = vec![
        ("server", client.address().to_string()),
        ("version", status.version.clone()),
        ("process", format!("{} for {up}", status.pid)),
        ("domain", status.domain.to_string()),
        ("region", status.region.clone()),
        ("instances", status.instances.to_string()),
        ("builds", status.builds.to_string()),
        ("free disk", amounts::size(status.free_disk_bytes)),
    ];
    rows.extend(
        status.runtimes.iter().map(|runtime| ("runtime", format!("{} (shelf: {})", runtime.id, runtime.shelf))),
    );
    for (name, value) in rows {
        ctx.printer.answer(&format!("{name:<10} {value}")).context("cannot print")?;
    }
    if env!("CARGO_PKG_VERSION") != status.version {
        let text = format!("this client is {}, the server {}", env!("CARGO_PKG_VERSION"), status.version);
        ctx.printer.warn(&text);
    }
    Ok(Exit::Done)
}

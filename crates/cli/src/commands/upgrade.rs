//! `dockless upgrade`

use crate::{context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;

/// Nothing to choose.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless upgrade
  dockless upgrade --data /srv/dockless")]
pub struct Args {}

pub(crate) async fn run(_: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let waiting = ctx.printer.progress().spinner("Waiting for the new server");
    ctx.on_leaving("the hand-over continues; `dockless status` shows which server answers");
    let upgraded = client.upgrade().await?;
    drop(waiting);
    if ctx.printer.is_json() {
        ctx.printer.json(&upgraded).context("cannot print")?;
    } else {
        ctx.printer.answer("a new server answers").context("cannot print")?;
    }
    Ok(Exit::Done)
}

//! `dockless usage [PROJECT]`

use crate::{amounts, context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use std::time::Duration;

/// Of which project.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless usage
  dockless usage hello --json")]
pub struct Args {
    /// Only deployments of this project
    pub project: Option<String>,
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let list = client.usage(args.project.as_deref()).await?;
    if ctx.printer.is_json() {
        ctx.printer.json(&list).context("cannot print")?;
        return Ok(Exit::Done);
    }
    if list.usage.is_empty() {
        ctx.printer.note("nothing was used yet");
        return Ok(Exit::Done);
    }
    let rows: Vec<[String; 7]> = list
        .usage
        .iter()
        .map(|usage| {
            [
                usage.project.to_string(),
                usage.url.to_string(),
                usage.requests.to_string(),
                format!("{}.{:03}", usage.cpu_ms / 1000, usage.cpu_ms % 1000),
                format!("{:.3}", usage.gb_seconds),
                amounts::size(usage.bytes_out),
                amounts::span(Duration::from_secs(usage.asleep_seconds)),
            ]
        })
        .collect();
    let heading = ["PROJECT", "DEPLOYMENT", "REQUESTS", "CPU-S", "GB-S", "SENT", "ASLEEP"];
    ctx.printer.table(heading, &rows).context("cannot print")?;
    Ok(Exit::Done)
}

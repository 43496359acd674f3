//! `dockless promote URL`

use crate::{client::Name, context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use dockless_wire::Promoted;

/// Which deployment.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless promote http://hello-abcdefghi.localhost:3000
  dockless promote dpl_abcdefghijklmnopqrst --json")]
pub struct Args {
    /// Which deployment
    #[arg(value_name = "URL|ID", value_parser = Name::parse)]
    pub deployment: Name,
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let deployment = client.deployment(&args.deployment).await?;
    answer(ctx, &client.promote(&deployment).await?)
}

/// What both directions print.
pub(crate) fn answer(ctx: &Context, done: &Promoted) -> Outcome {
    if ctx.printer.is_json() {
        ctx.printer.json(done).context("cannot print")?;
        return Ok(Exit::Done);
    }
    let from = match &done.from_deployment_id {
        Some(from) => format!("; it led to {from} before"),
        None => String::new(),
    };
    ctx.printer.note(&format!("{} now leads to {}{from}", done.alias, done.url));
    ctx.printer.answer(&format!("{}/", done.href)).context("cannot print")?;
    Ok(Exit::Done)
}

//! `dockless sleep URL`

use crate::{amounts, client::Name, context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;

/// Which deployment.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless sleep http://hello.localhost:3000
  dockless sleep dpl_abcdefghijklmnopqrst --json")]
pub struct Args {
    /// Which deployment
    #[arg(value_name = "URL|ID", value_parser = Name::parse)]
    pub deployment: Name,
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let slept = ctx.client()?.sleep(&args.deployment).await?;
    if ctx.printer.is_json() {
        ctx.printer.json(&slept).context("cannot print")?;
    } else {
        let text = format!("{} retired", amounts::count(slept.retired, "instance"));
        ctx.printer.answer(&text).context("cannot print")?;
    }
    Ok(Exit::Done)
}

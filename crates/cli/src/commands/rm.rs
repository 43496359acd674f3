//! `dockless rm URL|ID…`

use crate::{client::Name, context::Context, exit::Exit, exit::Outcome, links};
use anyhow::Context as _;

/// Which deployments.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless rm http://hello-abcdefghi.localhost:3000
  dockless rm dpl_abcdefghijklmnopqrst --yes")]
pub struct Args {
    /// Which deployments
    #[arg(value_name = "URL|ID", required = true, value_parser = Name::parse)]
    pub deployments: Vec<Name>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    // All are looked up before the first is removed: a misspelt name removes nothing.
    let mut found = Vec::new();
    for name in &args.deployments {
        let deployment = client.deployment(name).await?;
        if found.iter().all(|other: &dockless_wire::Deployment| other.id != deployment.id) {
            found.push(deployment);
        }
    }
    let mut question = String::from("Remove ");
    for (index, deployment) in found.iter().enumerate() {
        let aliases = links::aliases(deployment, client.address());
        let alias = if aliases.is_empty() { String::new() } else { format!(" (now at {})", aliases.join(", ")) };
        let separator = if index == 0 { "" } else { ", " };
        question.push_str(&format!("{separator}{}{alias}", links::of(deployment, client.address())));
    }
    question.push('?');
    ctx.confirm(args.yes, "removing", &question).await?;
    for deployment in &found {
        let removed = client.remove(&deployment.id).await?;
        if ctx.printer.is_json() {
            ctx.printer.json(&removed).context("cannot print")?;
        } else {
            ctx.printer.answer(&format!("{} removed", deployment.url)).context("cannot print")?;
        }
    }
    Ok(Exit::Done)
}

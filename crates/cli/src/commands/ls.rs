//! `dockless ls [PROJECT]`

use crate::{amounts, context::Context, exit::Exit, exit::Outcome, links};
use anyhow::Context as _;
use dockless_model::{Clock as _, SystemClock, Timestamp};

/// Which deployments.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless ls
  dockless ls hello --limit 5 --json")]
pub struct Args {
    /// Only those of this project
    pub project: Option<String>,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
    /// Only those created before this: milliseconds since 1970, as `pagination.next` of --json says
    #[arg(long, value_name = "MS")]
    pub until: Option<i64>,
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let list = client.deployments(args.project.as_deref(), args.limit, args.until.map(Timestamp)).await?;
    if ctx.printer.is_json() {
        ctx.printer.json(&list).context("cannot print")?;
        return Ok(Exit::Done);
    }
    if list.deployments.is_empty() {
        ctx.printer.note("no deployments yet");
        ctx.printer.hint("`dockless` in a folder makes one");
        return Ok(Exit::Done);
    }
    let now = SystemClock.now();
    let rows: Vec<[String; 5]> = list
        .deployments
        .iter()
        .map(|deployment| {
            [
                deployment.name.to_string(),
                deployment.ready_state.label().to_owned(),
                amounts::age(now, deployment.created_at),
                links::of(deployment, client.address()),
                links::aliases(deployment, client.address()).join(" "),
            ]
        })
        .collect();
    ctx.printer.table(["PROJECT", "STATE", "AGE", "URL", "ALIAS"], &rows).context("cannot print")?;
    if let Some(next) = list.pagination.next {
        ctx.printer.hint(&format!("there are more: dockless ls --until {}", next.0));
    }
    Ok(Exit::Done)
}

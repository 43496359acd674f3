//! `dockless ls [PROJECT]`

use crate::{amounts, client::ListRange, context::Context, exit::Exit, exit::Outcome, links};
use anyhow::Context as _;
use dockless_model::{Clock as _, DeploymentState, SystemClock, Timestamp};
use std::time::Duration;

/// Which deployments.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless ls
  dockless ls hello --limit 5 --json
  dockless ls --state error --since 1d")]
pub struct Args {
    /// Only those of this project
    pub project: Option<String>,
    /// Only those in one of these states: queued, building, ready, error, canceled
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state)]
    pub state: Vec<DeploymentState>,
    /// Only those that were created within this time: 90s, 10m, 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = amounts::parse_span)]
    pub since: Option<Duration>,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
    /// Only those created before this: milliseconds since 1970, as `pagination.next` of --json says
    #[arg(long, value_name = "MS")]
    pub until: Option<i64>,
}

fn state(text: &str) -> Result<DeploymentState, String> {
    DeploymentState::from_label(&text.to_ascii_uppercase())
        .ok_or_else(|| "expected queued, building, ready, error or canceled".to_owned())
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let range = ListRange {
        project: args.project.clone(),
        states: args.state.clone(),
        since: args.since.map(|ago| {
            Timestamp(SystemClock.now().since(Timestamp(0)).saturating_sub(ago).as_millis().try_into().unwrap_or(0))
        }),
        until: args.until.map(Timestamp),
        limit: args.limit,
    };
    let list = client.deployments(&range).await?;
    if ctx.printer.is_json() {
        ctx.printer.json(&list).context("cannot print")?;
        return Ok(Exit::Done);
    }
    if list.deployments.is_empty() && (args.project.is_some() || !args.state.is_empty() || args.since.is_some()) {
        ctx.printer.note("no such deployments");
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

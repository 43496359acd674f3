//! `dockless ps [URL|ID]`

use crate::{amounts, client::Name, context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use dockless_model::{Clock as _, SystemClock};

/// Which instances.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless ps
  dockless ps http://hello.localhost:3000 --json
  dockless ps --project hello --state frozen")]
pub struct Args {
    /// Only those of this deployment
    #[arg(value_name = "URL|ID", value_parser = Name::parse)]
    pub deployment: Option<Name>,
    /// Only those of this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Only those of this function: its path, e.g. api/date
    #[arg(long, value_name = "PATH")]
    pub function: Option<String>,
    /// Only those in one of these states: booting, ready, busy, frozen, draining, abandoned
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = ["booting", "ready", "busy", "frozen", "draining", "abandoned"])]
    pub state: Vec<String>,
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let mut list = client.instances().await?;
    if let Some(name) = &args.deployment {
        let id = client.deployment(name).await?.id;
        list.instances.retain(|instance| instance.deployment == id);
    }
    list.instances.retain(|instance| {
        args.project.as_ref().is_none_or(|project| instance.project.as_str() == project)
            && args.function.as_ref().is_none_or(|function| instance.function == *function)
            && (args.state.is_empty() || args.state.iter().any(|state| instance.state.label() == state))
    });
    let filtered =
        args.deployment.is_some() || args.project.is_some() || args.function.is_some() || !args.state.is_empty();
    if ctx.printer.is_json() {
        ctx.printer.json(&list).context("cannot print")?;
        return Ok(Exit::Done);
    }
    if list.instances.is_empty() {
        ctx.printer.note(if filtered { "no such instances" } else { "no instances: everything is scaled to zero" });
        return Ok(Exit::Done);
    }
    let now = SystemClock.now();
    let rows: Vec<[String; 9]> = list
        .instances
        .iter()
        .map(|instance| {
            [
                instance.id.to_string(),
                instance.url.to_string(),
                instance.function.clone(),
                instance.state.label().to_owned(),
                amounts::age(now, instance.started_at),
                instance.requests.to_string(),
                instance.memory_bytes.map_or_else(|| "-".to_owned(), amounts::size),
                instance.memory_peak_bytes.map_or_else(|| "-".to_owned(), amounts::size),
                instance.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            ]
        })
        .collect();
    let heading = ["INSTANCE", "DEPLOYMENT", "FUNCTION", "STATE", "AGE", "REQUESTS", "MEMORY", "PEAK", "PID"];
    ctx.printer.table(heading, &rows).context("cannot print")?;
    Ok(Exit::Done)
}

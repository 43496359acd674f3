//! `dockless inspect URL`

use crate::{amounts, client::Name, commands::scale, context::Context, exit::Exit, exit::Outcome, links};
use anyhow::Context as _;
use dockless_model::{Clock as _, SystemClock};
use dockless_wire::{Build, BuildOutput, Deployment, Instance};
use serde::Serialize;

/// Which deployment.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless inspect http://hello.localhost:3000
  dockless inspect dpl_abcdefghijklmnopqrst --json")]
pub struct Args {
    /// Which deployment
    #[arg(value_name = "URL|ID", value_parser = Name::parse)]
    pub deployment: Name,
}

/// The answer of --json: what three endpoints say.
#[derive(Serialize)]
struct Inspected {
    deployment: Deployment,
    builds: Vec<Build>,
    instances: Vec<Instance>,
}

/// Files that are listed before the rest is only counted.
const FILES: usize = 10;

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let deployment = client.deployment(&args.deployment).await?;
    let name = Name::from(&deployment.id);
    let builds = client.builds(&name).await?.builds;
    let mut instances = client.instances().await?.instances;
    instances.retain(|instance| instance.deployment == deployment.id);
    if ctx.printer.is_json() {
        ctx.printer.json(&Inspected { deployment, builds, instances }).context("cannot print")?;
        return Ok(Exit::Done);
    }
    let now = SystemClock.now();
    let mut rows = vec![
        ("url", links::of(&deployment, client.address())),
        ("id", deployment.id.to_string()),
        ("project", deployment.name.to_string()),
        ("state", deployment.ready_state.label().to_owned()),
        ("created", format!("{} ago by {}", amounts::age(now, deployment.created_at), deployment.creator.username)),
    ];
    if let (Some(began), Some(ready)) = (deployment.building_at, deployment.ready) {
        rows.push(("built in", amounts::span(ready.since(began))));
    }
    rows.extend(deployment.target.iter().map(|target| ("target", target.clone())));
    rows.push(("regions", deployment.regions.join(", ")));
    rows.push(("scale", scale::said(&deployment.scale)));
    rows.push(("instances", instances.len().to_string()));
    rows.extend(links::aliases(&deployment, client.address()).into_iter().map(|alias| ("alias", alias)));
    rows.extend(deployment.alias_error.iter().map(|error| ("alias error", error.message.clone())));
    rows.extend(deployment.error_message.iter().map(|error| ("error", error.replace('\n', " "))));
    for (name, value) in rows {
        ctx.printer.answer(&format!("{name:<12} {value}")).context("cannot print")?;
    }
    let outputs: Vec<&BuildOutput> = builds.iter().flat_map(|build| &build.output).collect();
    let functions = outputs.iter().filter_map(|output| Some((*output, output.lambda.as_ref()?)));
    for (output, lambda) in functions {
        let text =
            format!("{} ({}, {} MB, {})", output.path, lambda.runtime, lambda.memory_size, amounts::size(output.size));
        ctx.printer.answer(&format!("{:<12} {text}", "function")).context("cannot print")?;
    }
    let files: Vec<_> = outputs.iter().filter(|output| output.lambda.is_none()).collect();
    for file in files.iter().take(FILES) {
        let text = format!("{} ({})", file.path, amounts::size(file.size));
        ctx.printer.answer(&format!("{:<12} {text}", "file")).context("cannot print")?;
    }
    if files.len() > FILES {
        ctx.printer.note(&format!("and {} more files: --json lists them", files.len() - FILES));
    }
    Ok(Exit::Done)
}

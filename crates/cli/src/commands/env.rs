//! `dockless env set|ls|rm`

use crate::{amounts, context::Context, exit::Exit, exit::Failure, exit::Outcome, variables};
use anyhow::Context as _;
use dockless_model::{Clock as _, Secret, SystemClock};
use dockless_wire::CreateVariable;

/// What to do with a project's variables.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless env set shop GREETING=hello API_KEY=@api-key
  dockless env set shop DATABASE_URL --target production
  dockless env ls shop")]
pub struct Args {
    /// Which
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Set variables for the deployments to come; the project is made if it does not exist
    Set {
        /// Name of the project
        project: String,
        /// NAME=VALUE; NAME alone takes the value it has here, NAME=@secret that of a secret
        #[arg(value_name = "NAME=VALUE", required = true, value_parser = variables::keep)]
        variables: Vec<Secret>,
        /// For which deployments: production (deployed with that target), preview (all others), development
        #[arg(long, value_delimiter = ',', default_values = ["production", "preview"], value_parser = ["production", "preview", "development"])]
        target: Vec<String>,
    },
    /// List variables, without their values
    Ls {
        /// Name of the project
        project: String,
    },
    /// Remove variables; what is deployed keeps them
    Rm {
        /// Name of the project
        project: String,
        /// Names, or ids of --json
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

const SEE_PROJECTS: &str = "`dockless ls` shows the projects";

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    match &args.action {
        Action::Set { project, variables, target } => {
            let variables = variables::read(variables)?;
            for (key, value) in variables {
                let wish = CreateVariable { key, value, target: target.clone() };
                let set = match client.set_variable(project, &wish).await {
                    // A project may have variables before its first deployment.
                    Err(error) if error.is_missing() => {
                        client.create_project(project).await?;
                        client.set_variable(project, &wish).await?
                    }
                    other => other?,
                };
                if ctx.printer.is_json() {
                    ctx.printer.json(&set).context("cannot print")?;
                } else {
                    let text = format!("{} set for {}", set.key, set.target.join(", "));
                    ctx.printer.answer(&text).context("cannot print")?;
                }
            }
            ctx.printer
                .hint(&format!("deployments keep what they have: `dockless --name {project}` makes one with it"));
        }
        Action::Ls { project } => {
            let list = client.variables(project).await.map_err(|error| error.or_see(SEE_PROJECTS))?;
            if ctx.printer.is_json() {
                ctx.printer.json(&list).context("cannot print")?;
                return Ok(Exit::Done);
            }
            if list.envs.is_empty() {
                ctx.printer.note("no variables");
                return Ok(Exit::Done);
            }
            let now = SystemClock.now();
            let rows: Vec<[String; 4]> = list
                .envs
                .iter()
                .map(|variable| {
                    let value = if variable.value.is_empty() { "(encrypted)" } else { &variable.value };
                    let age = amounts::age(now, variable.updated_at);
                    [variable.key.clone(), value.to_owned(), variable.target.join(","), age]
                })
                .collect();
            ctx.printer.table(["NAME", "VALUE", "TARGETS", "SET"], &rows).context("cannot print")?;
        }
        Action::Rm { project, names } => {
            for name in names {
                let see = format!("`dockless env ls {project}` shows what there is");
                let removed = client.remove_variable(project, name).await;
                let removed = removed.map_err(|error| -> Failure { error.or_see(&see) })?;
                if ctx.printer.is_json() {
                    ctx.printer.json(&removed).context("cannot print")?;
                } else {
                    ctx.printer.answer(&format!("{name} removed")).context("cannot print")?;
                }
            }
        }
    }
    Ok(Exit::Done)
}

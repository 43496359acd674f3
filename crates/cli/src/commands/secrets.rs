//! `dockless secrets add|ls|rename|rm`

use crate::{amounts, context::Context, exit::Exit, exit::Outcome, variables};
use anyhow::Context as _;
use dockless_model::{Clock as _, Secret, SystemClock};
use dockless_wire::CreateSecret;

/// What to do with secrets.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless secrets add api-key < key.txt
  dockless --env API_KEY=@api-key
  dockless secrets rm api-key --yes")]
pub struct Args {
    /// Which
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Add a secret; without VALUE it is read from stdin, which keeps it out of lists of processes and histories
    Add {
        /// Its name: a-z, 0-9, -, _ and .
        name: String,
        /// Its value
        #[arg(value_parser = variables::keep)]
        value: Option<Secret>,
    },
    /// List secrets by name, without their values
    Ls,
    /// Give a secret another name; variables that it gives follow
    Rename {
        /// Its name now
        old: String,
        /// Its new name
        new: String,
    },
    /// Remove a secret; what is deployed keeps its value
    Rm {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

const SEE: &str = "`dockless secrets ls` shows what there is";

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    match &args.action {
        Action::Add { name, value } => {
            let value = match value {
                Some(value) => value.clone(),
                None => from_stdin().await.context("cannot read the value")?,
            };
            let added = client.add_secret(&CreateSecret { name: name.clone(), value }).await?;
            if ctx.printer.is_json() {
                ctx.printer.json(&added).context("cannot print")?;
            } else {
                ctx.printer.answer(&format!("{} added", added.name)).context("cannot print")?;
                ctx.printer.hint(&format!("a function gets it by `dockless --env NAME=@{}`", added.name));
            }
        }
        Action::Ls => {
            let list = client.secrets().await?;
            if ctx.printer.is_json() {
                ctx.printer.json(&list).context("cannot print")?;
                return Ok(Exit::Done);
            }
            if list.secrets.is_empty() {
                ctx.printer.note("no secrets yet");
                return Ok(Exit::Done);
            }
            let now = SystemClock.now();
            let rows: Vec<[String; 2]> =
                list.secrets.iter().map(|row| [row.name.clone(), amounts::age(now, row.created)]).collect();
            ctx.printer.table(["NAME", "AGE"], &rows).context("cannot print")?;
        }
        Action::Rename { old, new } => {
            let renamed = client.rename_secret(old, new).await.map_err(|error| error.or_see(SEE))?;
            if ctx.printer.is_json() {
                ctx.printer.json(&renamed).context("cannot print")?;
            } else {
                let text = format!("{} is now {}", renamed.old_name, renamed.name);
                ctx.printer.answer(&text).context("cannot print")?;
            }
        }
        Action::Rm { name, yes } => {
            ctx.confirm(*yes, "removing a secret", &format!("Remove the secret {name}?")).await?;
            let removed = client.remove_secret(name).await.map_err(|error| error.or_see(SEE))?;
            if ctx.printer.is_json() {
                ctx.printer.json(&removed).context("cannot print")?;
            } else {
                ctx.printer.answer(&format!("{} removed", removed.name)).context("cannot print")?;
            }
        }
    }
    Ok(Exit::Done)
}

/// All of it, without one line end behind it.
async fn from_stdin() -> std::io::Result<Secret> {
    let text = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Secret::new(text))
}

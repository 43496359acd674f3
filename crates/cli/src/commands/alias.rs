//! `dockless alias set|ls|rm`

use crate::{amounts, client::Name, context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use dockless_model::{Clock as _, SystemClock};

/// What to do with aliases.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless alias set http://hello-abcdefghi.localhost:3000 shop
  dockless alias ls
  dockless alias rm shop.localhost --yes")]
pub struct Args {
    /// Which
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Point an alias at a deployment, in one step
    Set {
        /// Which deployment
        #[arg(value_name = "URL|ID", value_parser = Name::parse)]
        deployment: Name,
        /// Host of the alias; a name without a dot becomes NAME.DOMAIN
        #[arg(value_name = "HOST")]
        alias: String,
    },
    /// List aliases, newest first
    Ls,
    /// Remove an alias; what it leads to stays
    Rm {
        /// Host of the alias
        #[arg(value_name = "HOST")]
        alias: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

const SEE: &str = "`dockless alias ls` shows what there is";

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    match &args.action {
        Action::Set { deployment, alias } => {
            let set = client.set_alias(deployment, &without_scheme(alias)).await?;
            if ctx.printer.is_json() {
                ctx.printer.json(&set).context("cannot print")?;
            } else {
                if let Some(old) = &set.old_deployment_id {
                    ctx.printer.note(&format!("it led to {old} before"));
                }
                let url = set.href.map_or_else(|| set.alias.to_string(), |href| format!("{href}/"));
                ctx.printer.answer(&url).context("cannot print")?;
            }
        }
        Action::Ls => {
            let list = client.aliases().await?;
            if ctx.printer.is_json() {
                ctx.printer.json(&list).context("cannot print")?;
                return Ok(Exit::Done);
            }
            if list.aliases.is_empty() {
                ctx.printer.note("no aliases yet");
                ctx.printer
                    .hint("a project's own comes with its first deployment; `dockless alias set URL HOST` adds one");
                return Ok(Exit::Done);
            }
            let now = SystemClock.now();
            let rows: Vec<[String; 3]> = list
                .aliases
                .iter()
                .map(|alias| {
                    [alias.alias.to_string(), alias.deployment.url.to_string(), amounts::age(now, alias.created_at)]
                })
                .collect();
            ctx.printer.table(["ALIAS", "DEPLOYMENT", "AGE"], &rows).context("cannot print")?;
            if list.pagination.next.is_some() {
                ctx.printer.hint("there are more than 1,000: these are the newest");
            }
        }
        Action::Rm { alias, yes } => {
            let host = without_scheme(alias);
            ctx.confirm(*yes, "removing an alias", &format!("Remove the alias {host}?")).await?;
            let removed = client.remove_alias(&host).await.map_err(|error| error.or_see(SEE))?;
            if ctx.printer.is_json() {
                ctx.printer.json(&removed).context("cannot print")?;
            } else {
                ctx.printer.answer(&format!("{} removed", removed.uid)).context("cannot print")?;
            }
        }
    }
    Ok(Exit::Done)
}

/// `http://shop.localhost:3000/` is what `alias set` prints: it may be given back.
fn without_scheme(text: &str) -> String {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    text.split('/').next().unwrap_or(text).to_owned()
}

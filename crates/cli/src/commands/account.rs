//! `dockless account add|ls|rm`: for the owner of the platform.

use crate::{amounts, context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use dockless_model::{Clock as _, Plan, SystemClock};
use dockless_wire::CreateAccount;

/// What to do with accounts.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless account add anna
  dockless account ls --json
  dockless account rm anna --yes")]
pub struct Args {
    /// Which
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Make an account; prints its first token, once
    Add {
        /// Its name: a-z, 0-9 and -
        name: String,
        /// Caps: owner (those of the machine alone), pro or oss; pro if not given
        #[arg(long, value_parser = plan)]
        plan: Option<Plan>,
        /// It may act on the platform itself: status, upgrade, accounts
        #[arg(long)]
        owner: bool,
    },
    /// List accounts, oldest first
    Ls,
    /// Remove an account with its tokens, projects, deployments and addresses; this cannot be undone
    Rm {
        /// Name or id
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

fn plan(text: &str) -> Result<Plan, String> {
    let plans = [Plan::Owner, Plan::Pro, Plan::Oss];
    plans.into_iter().find(|plan| plan.label() == text).ok_or_else(|| "expected owner, pro or oss".to_owned())
}

const SEE: &str = "`dockless account ls` shows what there is";

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    match &args.action {
        Action::Add { name, plan, owner } => {
            let role = owner.then(|| "owner".to_owned());
            let made = client.add_account(&CreateAccount { username: name.clone(), plan: *plan, role }).await?;
            if ctx.printer.is_json() {
                ctx.printer.json(&made).context("cannot print")?;
            } else {
                ctx.printer.note(&format!("account {name} made; its token is shown this once:"));
                ctx.printer.answer(made.bearer_token.expose()).context("cannot print")?;
                ctx.printer
                    .hint(&format!("{name} sets DOCKLESS_TOKEN to it, and DOCKLESS_SERVER to this server's address"));
            }
        }
        Action::Ls => {
            let list = client.accounts().await?;
            if ctx.printer.is_json() {
                ctx.printer.json(&list).context("cannot print")?;
                return Ok(Exit::Done);
            }
            let now = SystemClock.now();
            let rows: Vec<[String; 5]> = list
                .accounts
                .iter()
                .map(|account| {
                    [
                        account.username.clone(),
                        account.role.clone(),
                        account.plan.label().to_owned(),
                        amounts::age(now, account.created_at),
                        account.id.to_string(),
                    ]
                })
                .collect();
            ctx.printer.table(["NAME", "ROLE", "PLAN", "AGE", "ID"], &rows).context("cannot print")?;
        }
        Action::Rm { name, yes } => {
            let question = format!("Remove the account {name} with all its deployments?");
            ctx.confirm(*yes, "removing an account", &question).await?;
            let removed = client.remove_account(name).await.map_err(|error| error.or_see(SEE))?;
            if ctx.printer.is_json() {
                ctx.printer.json(&removed).context("cannot print")?;
            } else {
                ctx.printer.answer(&format!("{name} removed")).context("cannot print")?;
            }
        }
    }
    Ok(Exit::Done)
}

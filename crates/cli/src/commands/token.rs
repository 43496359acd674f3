//! `dockless token add|ls|rm`

use crate::{amounts, context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use dockless_model::{Clock as _, SystemClock};
use dockless_wire::CreateToken;
use std::time::Duration;

/// What to do with tokens.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless token add laptop --expires 90d
  dockless token ls
  dockless token rm laptop --yes")]
pub struct Args {
    /// Which
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Make a token; it is printed once and stored nowhere
    Add {
        /// Its name, for people
        name: String,
        /// How long it is valid: 12h, 30d, 8w; for ever if not given
        #[arg(long, value_name = "TIME", value_parser = amounts::parse_span)]
        expires: Option<Duration>,
        /// Of this account instead of one's own: for the owner of the platform
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
    },
    /// List tokens, oldest first
    Ls,
    /// Revoke a token: it is refused from the next request on
    Rm {
        /// Name or id
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

const SEE: &str = "`dockless token ls` shows what there is";

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    match &args.action {
        Action::Add { name, expires, account } => {
            let expires_at = expires.map(|span| SystemClock.now().plus(span));
            let wish = CreateToken { name: name.clone(), expires_at };
            let made = client.add_token(account.as_deref(), &wish).await.map_err(|error| error.or_see(ACCOUNTS))?;
            if ctx.printer.is_json() {
                ctx.printer.json(&made).context("cannot print")?;
            } else {
                ctx.printer.note("shown this once:");
                ctx.printer.answer(made.bearer_token.expose()).context("cannot print")?;
            }
        }
        Action::Ls => {
            let list = client.tokens().await?;
            if ctx.printer.is_json() {
                ctx.printer.json(&list).context("cannot print")?;
                return Ok(Exit::Done);
            }
            let now = SystemClock.now();
            let rows: Vec<[String; 4]> = list
                .tokens
                .iter()
                .map(|token| {
                    let end = match token.expires_at {
                        None => "never".to_owned(),
                        Some(end) if end <= now => "expired".to_owned(),
                        Some(end) => format!("in {}", amounts::span(end.since(now))),
                    };
                    [token.name.clone(), end, amounts::age(now, token.created_at), token.id.to_string()]
                })
                .collect();
            ctx.printer.table(["NAME", "EXPIRES", "AGE", "ID"], &rows).context("cannot print")?;
        }
        Action::Rm { name, yes } => {
            ctx.confirm(*yes, "revoking a token", &format!("Revoke the token {name}?")).await?;
            let removed = client.remove_token(name).await.map_err(|error| error.or_see(SEE))?;
            if ctx.printer.is_json() {
                ctx.printer.json(&removed).context("cannot print")?;
            } else {
                ctx.printer.answer(&format!("{name} revoked")).context("cannot print")?;
            }
        }
    }
    Ok(Exit::Done)
}

const ACCOUNTS: &str = "`dockless account ls` shows what there is";

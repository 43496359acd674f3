//! `dockless rollback [PROJECT|URL]`

use crate::{client::Name, commands::promote, context::Context, exit::Failure, exit::Outcome, source};
use anyhow::Context as _;
use std::path::Path;

/// Of which project, or to which deployment.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless rollback
  dockless rollback shop
  dockless rollback http://shop-abcdefghi.localhost:3000")]
pub struct Args {
    /// A project, or the URL of the deployment to go back to; the project of this folder if not given
    #[arg(value_name = "PROJECT|URL")]
    pub target: Option<String>,
}

const SEE: &str = "`dockless ls` shows what there is";

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let named = match &args.target {
        None => {
            let here = Path::new(".").canonicalize().context("cannot find this folder")?;
            source::project_name(None, &here).map_err(Failure::refused)?.to_string()
        }
        Some(target) => target.clone(),
    };
    // A project's name has neither dots nor colons, and no underscore.
    let done = if args.target.is_some() && named.contains(['.', ':', '_', '/']) {
        let name = Name::parse(&named).map_err(|error| Failure::usage(anyhow::anyhow!(error)))?;
        let deployment = client.deployment(&name).await?;
        // Its own host or id means this one; an alias means the one before what it leads to.
        let own = name.as_str() == deployment.url.as_str() || name.as_str() == deployment.id.as_str();
        client.roll_back(deployment.project_id.as_str(), own.then_some(deployment.id.as_str())).await
    } else {
        client.roll_back(&named, None).await
    };
    promote::answer(ctx, &done.map_err(|error| error.or_see(SEE))?)
}

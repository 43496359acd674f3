//! `dockless [deploy] [DIR]`
//!
//! ```text
//! read the folder ─► create ──► missing? upload those, create again ─► follow the build ─► URL
//! ```

pub(crate) mod follow;
mod image;
pub(crate) mod send;

use crate::{
    amounts,
    client::Client,
    context::Context,
    exit::Exit,
    exit::{Failure, Outcome},
    links,
    source::{self, NameError, Source, SourceError},
    variables,
};
use anyhow::{Context as _, anyhow};
use dockless_model::{DeploymentState, ProjectName, Secret};
use dockless_wire::Deployment;
use image::ImageSource;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

/// Which folder, as what, how.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless
  dockless deploy site --name shop --env GREETING=hello
  dockless deploy --image ghcr.io/me/app:1.2 --slot c1-m1024")]
pub struct Args {
    /// The folder
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub folder: PathBuf,
    /// An image in its place
    #[command(flatten)]
    pub image: image::ImageArgs,
    /// Name of the project; that of package.json or the folder if not given
    #[arg(long, short)]
    pub name: Option<String>,
    /// Send what a build here has left in .vercel/output, instead of the folder
    #[arg(long, conflicts_with = "image")]
    pub prebuilt: bool,
    /// Answer every question with yes
    #[arg(long, short)]
    pub yes: bool,
    /// Make a new deployment although an equal one was just made
    #[arg(long, short)]
    pub force: bool,
    /// Set a variable for the functions; NAME alone takes the value it has here, NAME=@secret that of a secret
    #[arg(long = "env", short, value_name = "NAME=VALUE", value_parser = variables::keep)]
    pub env: Vec<Secret>,
    /// Set a variable for the build's own commands; as --env
    #[arg(long = "build-env", short, value_name = "NAME=VALUE", value_parser = variables::keep)]
    pub build_env: Vec<Secret>,
    /// Leave the project's address where it is
    #[arg(long)]
    pub no_alias: bool,
    /// Return once the deployment is accepted, before it is built
    #[arg(long)]
    pub no_wait: bool,
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let started = Instant::now();
    if let Some(wanted) = &args.image.image {
        let client = ctx.client()?;
        let name = image::name(args, wanted)?;
        let created = match wanted {
            ImageSource::Registry(reference) => {
                ctx.printer.note(&format!("Deploying {name}: {reference}"));
                image::create(args, reference, &name, &client, ctx).await?
            }
            ImageSource::Local { path, tag } => {
                let staged = image::stage(path, tag.as_deref()).await?;
                let source = read(staged.path(), false, ctx).await?;
                ctx.printer.note(&format!("Deploying {name}: {}, {}", path.display(), amounts::size(source.bytes())));
                let env = variables::read(&args.env)?;
                let (build_env, image) = (BTreeMap::new(), Some(&args.image));
                let sent = send::Send {
                    client: &client,
                    printer: &ctx.printer,
                    source: &source,
                    name: &name,
                    env,
                    build_env,
                    image,
                };
                sent.send(args.force, args.no_alias).await?
            }
        };
        return settle(args, ctx, &client, &name, &created, started).await;
    }
    let root = Source::root(&args.folder).map_err(|error| unreadable(error, &args.folder))?;
    let (env, build_env) = (variables::read(&args.env)?, variables::read(&args.build_env)?);
    // Without a server there is no use in reading a large folder.
    let client = ctx.client()?;
    guard(&root, args.yes, ctx).await?;
    let source = read(&args.folder, args.prebuilt, ctx).await?;
    let name = source::project_name(args.name.as_deref(), &source.root).map_err(misnamed)?;
    let files = amounts::count(source.files.len(), "file");
    ctx.printer.note(&format!("Deploying {name}: {files}, {}", amounts::size(source.bytes())));

    ctx.on_leaving("nothing was deployed; what was uploaded is not sent again next time");
    let sent = send::Send {
        client: &client,
        printer: &ctx.printer,
        source: &source,
        name: &name,
        env,
        build_env,
        image: None,
    };
    let created = sent.send(args.force, args.no_alias).await?;
    settle(args, ctx, &client, &name, &created, started).await
}

/// From the creation to READY or ERROR.
async fn settle(
    args: &Args,
    ctx: &Context,
    client: &Client,
    name: &ProjectName,
    created: &Deployment,
    started: Instant,
) -> Outcome {
    if args.no_wait {
        answer(ctx, client, created)?;
        return Ok(Exit::Done);
    }

    let url = links::of(created, client.address());
    ctx.on_leaving(format!(
        "the build of {url} continues on the server; `dockless ls {name}` shows it, `dockless rm {} --yes` removes it",
        created.id
    ));
    let settled =
        follow::Follow { client, printer: &ctx.printer, id: created.id.clone(), look: follow::LOOK, details: true }
            .follow()
            .await?;
    finish(ctx, client, &settled, started)
}

/// Home and what is above it hold far more than a site: keys, mail, everything.
pub(crate) async fn guard(root: &Path, yes: bool, ctx: &Context) -> Result<(), Failure> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    if !holds_home(root, home.as_deref()) {
        return Ok(());
    }
    let shown = root.display();
    ctx.confirm(yes, &format!("deploying {shown}, which holds a home folder,"), &format!("Deploy all of {shown}?"))
        .await
}

fn holds_home(root: &Path, home: Option<&Path>) -> bool {
    let home = home.map(|home| home.canonicalize().unwrap_or_else(|_| home.to_owned()));
    root.parent().is_none() || home.is_some_and(|home| home.starts_with(root))
}

async fn read(folder: &Path, prebuilt: bool, ctx: &Context) -> Result<Source, Failure> {
    let waiting = ctx.printer.progress().spinner("Reading the folder");
    let owned = folder.to_owned();
    let read = move || if prebuilt { Source::read_prebuilt(&owned) } else { Source::read(&owned) };
    let read = tokio::task::spawn_blocking(read).await.context("reading was cut short")?;
    drop(waiting);
    read.map_err(|error| unreadable(error, folder))
}

pub(crate) fn unreadable(error: SourceError, folder: &Path) -> Failure {
    let hint = hint_for(&error, folder);
    let failure = Failure::refused(error);
    if let Some(hint) = hint { failure.hint(hint) } else { failure }
}

fn hint_for(error: &SourceError, folder: &Path) -> Option<String> {
    Some(match error {
        SourceError::Root { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            // `dockless lss` is read as `dockless deploy lss`.
            format!("{} is neither a folder nor a command: see `dockless --help`", folder.display())
        }
        SourceError::NotAFolder(_) => "name the folder it is in".to_owned(),
        SourceError::NotBuilt(_) => "run `vercel build` first, or deploy without --prebuilt".to_owned(),
        SourceError::Empty { rules: Some(rules), .. } => format!("{rules} ignores everything that is there"),
        SourceError::Unreadable { .. }
        | SourceError::LinkOutside { .. }
        | SourceError::LinkLoop(_)
        | SourceError::Special { .. }
        | SourceError::Name { .. } => "to leave it out, write its name into .docklessignore".to_owned(),
        SourceError::Root { .. } | SourceError::Empty { rules: None, .. } | SourceError::Rules { .. } => return None,
    })
}

pub(crate) fn misnamed(error: NameError) -> Failure {
    match error {
        NameError::Flag(_) => Failure::usage(error),
        NameError::Unreadable(_) | NameError::NotJson(_) => Failure::refused(error),
    }
}

/// READY, ERROR or CANCELED.
fn finish(ctx: &Context, client: &Client, deployment: &Deployment, started: Instant) -> Outcome {
    if deployment.ready_state == DeploymentState::Ready {
        ctx.printer.done(&format!("Ready in {}", amounts::span(started.elapsed())));
        if let Some(error) = &deployment.alias_error {
            ctx.printer.warn(&format!("the project's address stays where it was: {}", error.message));
        }
        for alias in links::aliases(deployment, client.address()) {
            ctx.printer.note(&format!("  now also at {alias}"));
        }
        answer(ctx, client, deployment)?;
        if client.address().is_loopback() && deployment.url.as_str().ends_with(".localhost") {
            let curl = links::curl(deployment, client.address());
            ctx.printer.hint(&format!("where *.localhost does not resolve: {curl}"));
        }
        return Ok(Exit::Done);
    }
    if ctx.printer.is_json() {
        ctx.printer.json(deployment).context("cannot print")?;
    }
    if deployment.ready_state == DeploymentState::Canceled {
        return Err(Failure::refused(anyhow!("the deployment was canceled")));
    }
    Err(failed_build(deployment))
}

/// The server's message ends with a line `hint: …` where it has one.
pub(crate) fn failed_build(deployment: &Deployment) -> Failure {
    let message = deployment.error_message.as_deref().unwrap_or("the server gives no reason");
    let (message, hint) = match message.rsplit_once("\nhint: ") {
        Some((message, hint)) => (message, Some(hint)),
        None => (message, None),
    };
    let step = deployment.error_step.as_deref().map_or_else(String::new, |step| format!(" in step {step}"));
    let what = anyhow!("the build failed{step}: {message}");
    if deployment.error_code.as_deref() == Some("UNEXPECTED_ERROR") {
        return Failure::bug(what).hint(hint.unwrap_or("the server's own log says more"));
    }
    Failure::refused(what).hint(hint.unwrap_or("mend it and deploy again; what was online before still is"))
}

fn answer(ctx: &Context, client: &Client, deployment: &Deployment) -> anyhow::Result<()> {
    if ctx.printer.is_json() {
        ctx.printer.json(deployment)
    } else {
        ctx.printer.answer(&links::of(deployment, client.address()))
    }
    .context("cannot print")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_and_what_is_above_it_are_guarded() {
        let home = Path::new("/home/me");
        for (root, guarded) in
            [("/", true), ("/home", true), ("/home/me", true), ("/home/me/site", false), ("/srv", false)]
        {
            assert_eq!(holds_home(Path::new(root), Some(home)), guarded, "{root}");
        }
        assert!(holds_home(Path::new("/"), None));
    }
}

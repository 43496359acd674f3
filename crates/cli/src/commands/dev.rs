//! `dockless dev [DIR]`: a platform of its own for one folder, rebuilt on every save.
//!
//! ```text
//! watch ─► round: read, send what changed, build ─► live: ready | broken ─► events in the browser
//!                                    │
//! browser ─► front (localhost:3000) ─┴─► the platform (a child, on a port of its own)
//! ```
//! Deployments are made and served as anywhere else; the front only adds a script to pages. What is online stays so until
//! the next build is.

mod dotenv;
mod front;
mod inject;
mod live;
mod platform;
mod round;
mod watch;

use crate::{
    amounts,
    commands::deploy,
    context::Context,
    exit::{Exit, Failure, Outcome},
    source::{self, Source},
    variables,
};
use anyhow::{Context as _, anyhow};
use dockless_model::Secret;
use live::Live;
use platform::Platform;
use round::Round;
use serde::Serialize;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use watch::{Change, Watch};

pub use platform::{PLATFORM, under_command};

/// Port where nobody asks for another, and how many after it are tried.
const PORT: u16 = 3000;
const PORTS: u16 = 20;
/// Names of changed files in one line.
const NAMED: usize = 3;

/// Which folder, on which port.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless dev
  dockless dev site --port 8080 --open
  dockless dev --env API=http://localhost:9000 --json")]
pub struct Args {
    /// The folder
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub folder: PathBuf,
    /// Port on 127.0.0.1; the first free one from 3000 on if not given
    #[arg(long, short, value_name = "PORT")]
    pub port: Option<u16>,
    /// Open the page in a browser when it is ready
    #[arg(long, overrides_with = "no_open")]
    pub open: bool,
    /// Open no browser (the default)
    #[arg(long, overrides_with = "open")]
    pub no_open: bool,
    /// Name of the project; that of package.json or the folder if not given
    #[arg(long, short)]
    pub name: Option<String>,
    /// Set a variable for the functions, before what .env and .env.local say; as of `deploy`
    #[arg(long = "env", short, value_name = "NAME=VALUE", value_parser = variables::keep)]
    pub env: Vec<Secret>,
    /// Answer every question with yes
    #[arg(long, short)]
    pub yes: bool,
}

/// What `--json` prints, one a line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Told<'a> {
    /// The front listens; what it serves comes with the first `ready`.
    Listening { url: &'a str },
    /// A build is online.
    Ready { url: &'a str, deployment: &'a str, ms: u128, changed: &'a [String] },
    /// A build failed; what was online before still is.
    Broken { message: &'a str, changed: &'a [String] },
    /// A function wrote a line.
    Log { record: &'a dockless_wire::LogRecord },
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let (mut interrupt, mut terminate, mut hang_up) = (
        signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?,
        signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
        signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?,
    );
    let mut leaving = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    if !rustix::process::geteuid().is_root() {
        let what = anyhow!("sandboxes need root on this machine, and `dockless dev` runs a platform of its own");
        return Err(Failure::refused(what).hint("sudo dockless dev"));
    }
    let root = Source::root(&args.folder).map_err(|error| deploy::unreadable(error, &args.folder))?;
    deploy::guard(&root, args.yes, ctx).await?;
    let env = variables::read(&args.env)?;
    let name = source::project_name(args.name.as_deref(), &root).map_err(deploy::misnamed)?;
    let listener = listen(args.port, ctx).await?;
    let address = listener.local_addr().context("cannot listen")?;

    let (mut platform, messages) = tokio::select! {
        started = Platform::start(&root, ctx) => started?,
        () = leaving() => return Ok(Exit::Done),
    };
    let session = Session { args, ctx, address, live: Live::new() };
    let outcome = tokio::select! {
        outcome = session.run(&platform, listener, Round::new(root, name, env)) => outcome,
        ended = Platform::ended(messages, &ctx.printer) => Err(ended),
        () = leaving() => Ok(Exit::Done),
    };
    tokio::select! {
        () = platform.stop() => {}
        () = leaving() => platform.kill(),
    }
    outcome
}

/// The port that is asked for, or the first that is free.
async fn listen(asked: Option<u16>, ctx: &Context) -> Result<TcpListener, Failure> {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = asked {
        return TcpListener::bind(at(port)).await.map_err(|error| {
            let failure = Failure::refused(anyhow!(error).context(format!("cannot listen on {}", at(port))));
            failure.hint("leave --port out to take the next free one")
        });
    }
    for port in PORT..PORT + PORTS {
        match TcpListener::bind(at(port)).await {
            Ok(listener) => {
                if port != PORT {
                    ctx.printer.note(&format!("port {PORT} is taken: using {port}"));
                }
                return Ok(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(anyhow!(error).context(format!("cannot listen on {}", at(port))).into()),
        }
    }
    Err(Failure::refused(anyhow!("ports {PORT} to {} are taken", PORT + PORTS - 1)).hint("choose one with --port"))
}

struct Session<'a> {
    args: &'a Args,
    ctx: &'a Context,
    address: SocketAddr,
    live: Live,
}

impl Session<'_> {
    fn url(&self) -> String {
        format!("http://localhost:{}/", self.address.port())
    }

    async fn run(&self, platform: &Platform, listener: TcpListener, round: Round) -> Outcome {
        let front = front::Front { upstream: platform.address(), port: self.address.port(), live: self.live.watch() };
        self.tell(&Told::Listening { url: &self.url() }).context("cannot print")?;
        let logs = round.logs().print(platform.client(), self.ctx, |record| self.log(record));
        tokio::select! {
            outcome = self.rounds(platform, round) => outcome,
            failure = front.serve(listener) => Err(failure),
            failure = logs => Err(failure),
        }
    }

    /// Builds, waits for a save, builds again.
    async fn rounds(&self, platform: &Platform, mut round: Round) -> Outcome {
        let client = platform.client();
        round.forget_earlier(client).await;
        let mut watch = Watch::begin(round.root())?;
        let mut change = Change::first();
        let mut told_url = false;
        loop {
            // Before anything is read: what is saved from here on makes the next round.
            watch.sync()?;
            self.live.building();
            match round.build(client, &self.ctx.printer).await {
                Ok(Some(deployment)) => {
                    self.live.ready(deployment.alias.first().unwrap_or(&deployment.url).as_str());
                    let took = change.since.elapsed();
                    let ready = Told::Ready {
                        url: &self.url(),
                        deployment: deployment.id.as_str(),
                        ms: took.as_millis(),
                        changed: &change.names,
                    };
                    self.tell(&ready).context("cannot print")?;
                    self.ctx.printer.done(&format!("Ready in {}{}", amounts::span(took), named(&change)));
                    if !told_url {
                        told_url = true;
                        if !self.ctx.printer.is_json() {
                            self.ctx.printer.answer(&self.url()).context("cannot print")?;
                        }
                        if self.args.open {
                            open(&self.url(), self.ctx);
                        }
                    }
                    round.settle(client).await;
                }
                // Saved as it was.
                Ok(None) => self.live.same(),
                Err(failure) => {
                    self.ctx.printer.failure(&failure);
                    let hint = failure.hint.as_deref().map_or_else(String::new, |hint| format!("\n\n{hint}"));
                    let message = format!("{failure}{hint}");
                    self.live.broken(&message);
                    let broken = Told::Broken { message: &message, changed: &change.names };
                    self.tell(&broken).context("cannot print")?;
                }
            }
            change = watch.next().await;
        }
    }

    fn log(&self, record: &dockless_wire::LogRecord) -> io::Result<()> {
        if self.ctx.printer.is_json() {
            return self.ctx.printer.json(&Told::Log { record });
        }
        let speaker = if record.kind == "system" { "dockless: " } else { "" };
        self.ctx.printer.note(&format!("{} │ {speaker}{}", record.function.as_deref().unwrap_or("-"), record.text));
        Ok(())
    }

    fn tell(&self, told: &Told<'_>) -> io::Result<()> {
        if self.ctx.printer.is_json() { self.ctx.printer.json(told) } else { Ok(()) }
    }
}

/// ` (index.html, api/date.js and 3 more)`
fn named(change: &Change) -> String {
    let names = &change.names;
    match names.len() {
        0 => String::new(),
        count if count <= NAMED => format!(" ({})", names.join(", ")),
        count => format!(" ({} and {} more)", names[..NAMED].join(", "), count - NAMED),
    }
}

/// As the person behind sudo: browsers refuse to run as root.
fn open(url: &str, ctx: &Context) {
    use std::os::unix::process::CommandExt as _;
    let mut command = std::process::Command::new("xdg-open");
    command.arg(url).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if let (Some(uid), Some(gid)) = (number("SUDO_UID"), number("SUDO_GID")) {
        command.uid(uid).gid(gid);
    }
    if let Err(error) = command.spawn() {
        ctx.printer.warn(&format!("cannot open a browser with xdg-open: {error}"));
    }
}

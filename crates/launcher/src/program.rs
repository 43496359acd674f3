//! A program that the bundle brings along: a compiled function, or a server that listens for itself. It is started when it
//! is known whose function this is, and each request comes to it on a connection of its own.
//!
//! ```text
//! go ─► the bundle's own word (`program.json`) ─► start ─► listens ─► loaded
//!                                                    ▲ descriptor 0, listening already; or whatever port it opens
//! ```

mod forward;
mod ports;

use crate::{
    answers, code_of, control, inherited,
    instance::{self, Instance},
};
use dockless_sandbox::frames::Go;
use dockless_sandbox::program::{Listens, Program};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Where a program accepts on its descriptor 0: a name in the network namespace, which is this sandbox's alone.
const ADDRESS: &[u8] = b"dockless-program";
/// The port that a server is told, unless its owner says another one.
const PORT: u16 = 3000;
/// Longest word of a bundle about its program.
const MAX_PLAN: u64 = 64 * 1024;

/// Where requests go, once that is known.
pub(crate) type Served = Instance<watch::Sender<Option<Address>>>;

/// Where a program listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Unix(UnixAddress),
    Tcp(SocketAddr),
}

pub(crate) async fn live() -> io::Result<u8> {
    let (listener, channel) = inherited()?;
    let (control, frames) = control::open(channel)?;
    let instance = Served::new(control, watch::Sender::new(None));
    instance.started("program");
    let served = instance.clone();
    tokio::task::spawn_local(answers::accept(listener, move |request| forward::answer(served.clone(), request)));
    let running = async {
        match instance.known_function().await {
            Some(go) => run(&instance, &go).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        code = running => Ok(code),
        reason = instance.obey(frames) => {
            instance::tell(&format!("dockless: the host broke the control protocol: {reason}\n"));
            Ok(1)
        }
    }
}

/// Starts the program and stays for as long as it does.
async fn run(instance: &Served, go: &Go) -> u8 {
    let started = plan(go).and_then(|plan| Ok((start(go, &plan)?, plan)));
    let ((mut child, address), plan) = match started {
        Ok(started) => started,
        Err(error) => {
            instance::tell(&format!("the program of {} cannot be started: {error}\n", go.entry));
            return 127;
        }
    };
    let listening = async {
        match (address, plan.listens) {
            (Some(address), _) => Address::Unix(address),
            (None, _) => Address::Tcp(ports::wait(port(go)).await),
        }
    };
    tokio::select! {
        biased;
        status = child.wait() => return status.map_or(1, code_of),
        address = listening => instance.backend().send_replace(Some(address)),
    };
    instance.loaded("program");
    // It ends by no request: whatever ended it ended the instance.
    child.wait().await.map_or(1, code_of)
}

fn plan(go: &Go) -> io::Result<Program> {
    let file = std::fs::File::open(Path::new(&go.root).join(Program::FILE))?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_PLAN), &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn port(go: &Go) -> u16 {
    go.env.get("PORT").and_then(|port| port.parse().ok()).filter(|port| *port > 0).unwrap_or(PORT)
}

fn start(go: &Go, plan: &Program) -> io::Result<(Child, Option<UnixAddress>)> {
    let [program, arguments @ ..] = &plan.argv[..] else {
        return Err(io::Error::other("no program was named"));
    };
    let mut command = Command::new(Path::new(&go.root).join(program));
    command.args(arguments).current_dir(&go.root).env_clear().envs(&go.env);
    let address = match plan.listens {
        Listens::Descriptor => {
            let address = UnixAddress::from_abstract_name(ADDRESS)?;
            command.stdin(Stdio::from(OwnedFd::from(UnixListener::bind_addr(&address)?)));
            Some(address)
        }
        Listens::Port => {
            command.stdin(Stdio::null()).env("PORT", port(go).to_string());
            None
        }
    };
    Ok((command.spawn()?, address))
}

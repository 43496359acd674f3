//! An interpreter that speaks FastCGI (PHP), started with the command line behind our own name. What a request needs of its
//! own start (modules, its configuration) is done before anybody knows whose function it will be.

mod exchange;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod params;
mod record;
mod serve;

use crate::{
    answers, code_of, control, inherited,
    instance::{self, Instance},
};
use exchange::Interpreter;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Stdio;
use tokio::sync::Mutex;

/// Where the interpreter listens: a name in the network namespace, which is this sandbox's alone.
const ADDRESS: &[u8] = b"dockless-fastcgi";

/// It answers one request at a time.
type Php = Instance<Mutex<Interpreter>>;

pub(crate) async fn live(argv: &[String]) -> std::io::Result<u8> {
    let (listener, channel) = inherited()?;
    let address = SocketAddr::from_abstract_name(ADDRESS)?;
    let interpreter = UnixListener::bind_addr(&address)?;
    let [program, arguments @ ..] = argv else {
        return Err(std::io::Error::other("no interpreter was named"));
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("PHP_FCGI_MAX_REQUESTS", "0")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(interpreter)))
        .spawn()?;
    let (control, frames) = control::open(channel)?;
    let instance = Php::new(control, Mutex::new(Interpreter::at(address)));
    instance.started("php");
    let served = instance.clone();
    tokio::task::spawn_local(answers::accept(listener, move |request| serve::answer(served.clone(), request)));
    let loaded = instance.clone();
    tokio::task::spawn_local(async move {
        let Some(go) = loaded.known_function().await else { return };
        if !std::path::Path::new(&go.root).join(&go.entry).is_file() {
            instance::tell(&format!("{} is not part of the bundle\n", go.entry));
        }
        loaded.loaded("fastcgi");
    });
    tokio::select! {
        // It ends by no request: whatever ended it ended the instance.
        status = child.wait() => Ok(code_of(status?)),
        reason = instance.obey(frames) => {
            instance::tell(&format!("dockless: the host broke the control protocol: {reason}\n"));
            Ok(1)
        }
    }
}

//! The program inside sandboxes of functions whose interpreter speaks FastCGI (PHP): the interpreter's parent.
//!
//! ```text
//!            fd 3: listening unix socket, HTTP/1.1        fd 4: control channel, JSON frames
//!   host ───────────────────────┬──────────────────────────────────┬──────────────────────
//!                             serve                              control
//!                               └───────────► instance ◄────────────┘
//!                                    exchange, record: FastCGI
//!                                                │  a unix socket of this sandbox alone
//!                                             php-cgi
//! ```
//! It is the platform's own binary under another name ([`NAME`]), started with the interpreter's command line behind it.
//! What a request needs of the interpreter's own start (modules, its configuration) is done before anybody knows whose
//! function it will be.

mod control;
mod exchange;
mod instance;
mod params;
mod record;
mod serve;

pub use dockless_sandbox::FASTCGI as NAME;

use dockless_sandbox::{CONTROL_FD, LISTENER_FD};
use instance::Instance;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{ExitCode, Stdio};

/// Where the interpreter listens: a name in the network namespace, which is this sandbox's alone.
const ADDRESS: &[u8] = b"dockless-fastcgi";

/// If this process was started as such a launcher: its whole life, and how it ended.
#[must_use]
pub fn inside_function() -> Option<ExitCode> {
    let mut args = std::env::args();
    if args.next()? != NAME {
        return None;
    }
    let argv: Vec<String> = args.collect();
    // The interpreter runs as the same user.
    if dockless_sys::privileges::hide_memory().is_err() {
        return Some(ExitCode::from(70));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let local = tokio::task::LocalSet::new();
    let lived = runtime.and_then(|runtime| local.block_on(&runtime, live(&argv)));
    Some(match lived {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            instance::tell(&format!("dockless: the launcher failed: {error}\n"));
            ExitCode::from(70)
        }
    })
}

async fn live(argv: &[String]) -> std::io::Result<u8> {
    let listener = UnixListener::from(dockless_sys::exec::inherited(LISTENER_FD)?);
    let channel = std::os::unix::net::UnixStream::from(dockless_sys::exec::inherited(CONTROL_FD)?);
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
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let (control, frames) = control::open(channel)?;
    let instance = Instance::new(control, address);
    instance.started();
    tokio::task::spawn_local(serve::accept(listener, instance.clone()));
    tokio::select! {
        // It ends by no request: whatever ended it ended the instance.
        status = child.wait() => {
            let status = status?;
            let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
            Ok(status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        reason = instance.obey(frames) => {
            instance::tell(&format!("dockless: the host broke the control protocol: {reason}\n"));
            Ok(1)
        }
    }
}

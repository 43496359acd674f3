//! The first program inside sandboxes of functions that no launcher of their own language serves: the platform's own binary
//! under other names, the parent of what answers.
//!
//! ```text
//!            fd 3: listening unix socket, HTTP/1.1        fd 4: control channel, JSON frames
//!   host ───────────────────────┬──────────────────────────────────┬──────────────────────
//!                            answers                            control
//!                               └───────────► instance ◄────────────┘
//!                  fastcgi: an interpreter ([`FASTCGI`])   program: what the bundle brings ([`PROGRAM`])
//! ```

mod answers;
mod control;
mod fastcgi;
#[cfg(fuzzing)]
pub mod fuzzing;
mod instance;
mod program;

use dockless_sandbox::{CONTROL_FD, FASTCGI, LISTENER_FD, PROGRAM};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{ExitCode, ExitStatus};

/// If this process was started as such a launcher: its whole life, and how it ended.
#[must_use]
pub fn inside_function() -> Option<ExitCode> {
    let mut args = std::env::args();
    let name = args.next()?;
    if name != FASTCGI && name != PROGRAM {
        return None;
    }
    let argv: Vec<String> = args.collect();
    // What it starts runs as the same user.
    if dockless_sys::privileges::hide_memory().is_err() {
        return Some(ExitCode::from(70));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let local = tokio::task::LocalSet::new();
    let live = async { if name == FASTCGI { fastcgi::live(&argv).await } else { program::live().await } };
    Some(match runtime.and_then(|runtime| local.block_on(&runtime, live)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            instance::tell(&format!("dockless: the launcher failed: {error}\n"));
            ExitCode::from(70)
        }
    })
}

/// The host's connections, and its channel.
fn inherited() -> std::io::Result<(tokio::net::UnixListener, UnixStream)> {
    let listener = UnixListener::from(dockless_sys::exec::inherited(LISTENER_FD)?);
    let channel = UnixStream::from(dockless_sys::exec::inherited(CONTROL_FD)?);
    listener.set_nonblocking(true)?;
    Ok((tokio::net::UnixListener::from_std(listener)?, channel))
}

/// What a process's end becomes as this one's: a signal is told as shells tell it.
fn code_of(status: ExitStatus) -> u8 {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

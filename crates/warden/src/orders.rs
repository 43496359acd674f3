//! Warden ↔ spawner: what is to be made, and what became of it. Both sides are one program and one fork apart, so the
//! words need no version.

use crate::ids::{IdBlock, WideBlock};
use dockless_model::image::Process;
use dockless_model::{Digest, InstanceId};
use dockless_sandbox::protocol::Refusal;
use dockless_sys::seqpacket;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Ties a report to its order.
pub(crate) type Ticket = u64;

/// To a spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Make a function sandbox and start its launcher.
    Launch(Launch),
    /// Make a service sandbox without a root.
    Blank(Blank),
    /// Give a blank sandbox its root and start its program. Descriptors: its gate, its user namespace.
    Serve(Serve),
    /// Make a build sandbox and start its foreman.
    Build(crate::builds::BuildLaunch),
    /// Make a tree. Descriptors: manifest, contents.
    Import { ticket: Ticket, ids: IdBlock },
    /// Unpack a layer. Descriptor: its archive.
    Unpack { ticket: Ticket, diff_id: Digest, ids: WideBlock },
}

/// A function sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) ticket: Ticket,
    pub(crate) instance: InstanceId,
    /// Root tree of the runtime.
    pub(crate) root: Digest,
    /// Program and arguments inside it.
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_weight: u16,
    pub(crate) ids: IdBlock,
}

/// A service sandbox that is nobody's yet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Blank {
    pub(crate) ticket: Ticket,
    pub(crate) instance: InstanceId,
    pub(crate) ids: WideBlock,
}

/// What a blank sandbox becomes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serve {
    pub(crate) ticket: Ticket,
    /// From the lowest to the topmost.
    pub(crate) layers: Vec<Digest>,
    pub(crate) process: Process,
    pub(crate) memory_bytes: u64,
    pub(crate) ids: WideBlock,
}

/// From a spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Descriptors: pidfd, control, stdout, stderr, freezer control, freezer events; of a service also its gate and its
    /// user namespace.
    Launched {
        ticket: Ticket,
        pid: u32,
    },
    /// A blank sandbox has its root, and its program starts.
    Served {
        ticket: Ticket,
    },
    /// Descriptors: pidfd, foreman's socket, its messages, listener inside.
    Built {
        ticket: Ticket,
        pid: u32,
    },
    Imported {
        ticket: Ticket,
        tree: Digest,
    },
    Unpacked {
        ticket: Ticket,
        opaque: bool,
    },
    Failed {
        ticket: Ticket,
        refusal: Refusal,
    },
}

impl Report {
    pub(crate) fn ticket(&self) -> Ticket {
        match self {
            Self::Launched { ticket, .. }
            | Self::Served { ticket }
            | Self::Built { ticket, .. }
            | Self::Imported { ticket, .. }
            | Self::Unpacked { ticket, .. }
            | Self::Failed { ticket, .. } => *ticket,
        }
    }
}

/// The longest order: an environment at its bound.
const MAX_ORDER: usize = 2 * dockless_sandbox::protocol::MAX_MESSAGE;

/// Sends one message, waiting for room: the other side always reads.
pub(crate) fn send<T: Serialize>(socket: &OwnedFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    loop {
        match seqpacket::send(socket.as_fd(), &bytes, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(socket, rustix::event::PollFlags::OUT)?,
            done => return done,
        }
    }
}

/// Sends one message if there is room for it now: the warden never waits for a spawner.
pub(crate) fn try_send<T: Serialize>(socket: &OwnedFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    seqpacket::send(socket.as_fd(), &serde_json::to_vec(message)?, fds)
}

/// Receives one message if there is one; `None` when the other side is gone.
pub(crate) fn receive<T: for<'a> Deserialize<'a>>(socket: &OwnedFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MAX_ORDER];
    let (length, fds) = seqpacket::receive(socket.as_fd(), &mut buffer)?;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..length])?, fds)))
}

/// Blocks until the socket is ready.
pub(crate) fn wait(socket: &OwnedFd, flags: rustix::event::PollFlags) -> io::Result<()> {
    loop {
        let mut polled = [rustix::event::PollFd::new(socket, flags)];
        match rustix::event::poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

//! One server process and the socket to it.

use dockless_sandbox::protocol::{Event, FromWarden, Happening, Reply};
use dockless_sys::seqpacket;
use rustix::process::Pid;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Messages that may wait for a server that does not read. Replies are bounded by its own requests in flight, events by
/// the number of sandboxes; a server this far behind is broken and is ended.
const MAX_WAITING: usize = 100_000;

/// A server's side of the warden.
#[derive(Debug)]
pub(crate) struct Session {
    /// Counted from 1.
    pub(crate) number: u64,
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) channel: OwnedFd,
    pub(crate) state: SessionState,
    pub(crate) since: Instant,
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
}

/// Life of a session: Starting → Greeted → Serving → Draining; it ends with its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SessionState {
    Starting,
    Greeted,
    Serving,
    Draining,
}

impl Session {
    pub(crate) fn new(number: u64, pid: Pid, pidfd: OwnedFd, channel: OwnedFd) -> Self {
        Self {
            number,
            pid,
            pidfd,
            channel,
            state: SessionState::Starting,
            since: Instant::now(),
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn reply(&mut self, reply: Reply, fds: Vec<OwnedFd>) {
        self.push(&FromWarden::Reply(reply), fds);
    }

    pub(crate) fn event(&mut self, seq: u64, what: Happening) {
        self.push(&FromWarden::Event(Event { seq, what }), Vec::new());
    }

    fn push(&mut self, message: &FromWarden, fds: Vec<OwnedFd>) {
        match serde_json::to_vec(message) {
            Ok(bytes) => self.waiting.push_back((bytes, fds)),
            Err(error) => tracing::error!(error = %error, "a message cannot be written"),
        }
        if self.waiting.len() > MAX_WAITING {
            tracing::error!(session = self.number, "the server does not read: ending it");
            self.kill();
        }
        self.flush();
    }

    /// Whether something waits for the socket to take it.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self) {
        while let Some((bytes, fds)) = self.waiting.front() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match seqpacket::send(self.channel.as_fd(), bytes, &borrowed) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The process is gone or going: its end is seen by its exit, not here.
                Err(_) => {
                    self.waiting.clear();
                    return;
                }
            }
        }
    }

    pub(crate) fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }
}

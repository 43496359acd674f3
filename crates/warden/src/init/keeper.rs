//! The loop of the first process, once the program runs.

use super::not_started;
use super::program::Newborn;
use dockless_sandbox::frames::{FromLauncher, ToLauncher};
use dockless_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Signal, WaitOptions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Listening sockets that are taken over; more ports than any server has. Whatever listens later does it by itself.
const TAKEN_OVER: usize = 16;
/// Longest frame of the server that makes sense here.
const LONGEST: usize = 4096;
/// How long the server may take none of our frames.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

struct Keeper {
    newborn: Newborn,
    control: OwnedFd,
    /// What the server has sent of its next frame.
    heard: Vec<u8>,
    listening: Vec<SocketAddr>,
    /// The program did not start; it is about to exit.
    failed: bool,
    /// Somebody is under the filter that notifies.
    notifying: bool,
}

/// Keeps the sandbox until the program has ended; its code, or 128 and the signal's number.
pub(super) fn keep(newborn: Newborn, signals: &Signals, control: OwnedFd) -> i32 {
    let mut keeper =
        Keeper { newborn, control, heard: Vec::new(), listening: Vec::new(), failed: false, notifying: true };
    let mut newborn = true;
    let mut server = true;
    loop {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        if newborn {
            fds.push(PollFd::new(&keeper.newborn.birth, PollFlags::IN));
        }
        let mut notified = None;
        if keeper.notifying {
            notified = Some(fds.len());
            fds.push(PollFd::new(&keeper.newborn.notifications, PollFlags::IN));
        }
        let mut ordered = None;
        if server {
            ordered = Some(fds.len());
            fds.push(PollFd::new(&keeper.control, PollFlags::IN));
        }
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 70,
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        // Whole, before its end is looked at: a program that could not be started says so and ends at once.
        if newborn && !ready[1].is_empty() {
            newborn = keeper.on_birth();
        }
        if notified.is_some_and(|at| !ready[at].is_empty()) {
            keeper.on_listen();
        }
        if ordered.is_some_and(|at| !ready[at].is_empty()) {
            server = keeper.on_order();
        }
        if !ready[0].is_empty()
            && let Some(code) = keeper.on_signals(signals)
        {
            return code;
        }
    }
}

impl Keeper {
    /// Hears what became of the newborn; says whether more may come.
    fn on_birth(&mut self) -> bool {
        match self.newborn.failure() {
            Ok(Some(failed)) => {
                self.failed = true;
                self.tell(&not_started(failed));
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            // It has become the program, or it is gone.
            Ok(None) | Err(_) => false,
        }
    }

    fn on_listen(&mut self) {
        let notifications = &self.newborn.notifications;
        match notifications.receive() {
            Ok(Some(listen)) => {
                let room = self.listening.len() < TAKEN_OVER;
                let address = if room { notifications.take_over(&listen) } else { None };
                if let Some(address) = address
                    && !self.listening.contains(&address)
                {
                    self.listening.push(address);
                    // Before the program goes on: connections are accepted already.
                    self.tell(&FromLauncher::Listening { address });
                }
                // Whoever asked may be gone.
                let _ = self.newborn.notifications.answer(&listen, address.is_some());
            }
            Ok(None) => {}
            // Nobody is under the filter any more.
            Err(_) => self.notifying = false,
        }
    }

    /// Whether the server is still there.
    fn on_order(&mut self) -> bool {
        let mut chunk = [0; 1024];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.control, &mut chunk[..], flags) {
            Ok((0, _)) => return false,
            Ok((length, _)) => self.heard.extend_from_slice(&chunk[..length]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
            Err(_) => return false,
        }
        while let Some(end) = self.heard.iter().position(|byte| *byte == 0) {
            let frame: Vec<u8> = self.heard.drain(..=end).collect();
            match serde_json::from_slice::<ToLauncher>(&frame[..end]) {
                Ok(ToLauncher::Signal { signal }) => self.pass_on(signal),
                Ok(ToLauncher::Status) => self.on_status(),
                // Not for services, or of a later version.
                Ok(ToLauncher::Go(_)) | Err(_) => {}
            }
        }
        if self.heard.len() > LONGEST {
            self.heard.clear();
        }
        true
    }

    fn on_status(&self) {
        for address in &self.listening {
            self.tell(&FromLauncher::Listening { address: *address });
        }
        self.tell(&FromLauncher::Status { state: "idle".into(), invocation_id: None, request_id: None });
    }

    /// The program's code once it has ended.
    fn on_signals(&self, signals: &Signals) -> Option<i32> {
        let mut ended = None;
        while let Ok(Some(signal)) = signals.next() {
            if signal == Signal::CHILD.as_raw() {
                ended = self.reap().or(ended);
            } else {
                // Whoever means the sandbox means its program.
                self.pass_on(signal);
            }
        }
        ended
    }

    /// Collects every process that has ended: orphans come to the first process.
    fn reap(&self) -> Option<i32> {
        let mut ended = None;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid != self.newborn.pid {
                continue;
            }
            let (code, signal) = (status.exit_status(), status.terminating_signal());
            if !self.failed {
                self.tell(&FromLauncher::Exited { code, signal });
            }
            ended = Some(code.unwrap_or_else(|| 128 + signal.unwrap_or(0)));
        }
        ended
    }

    fn pass_on(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            // It may have ended already.
            let _ = rustix::process::kill_process(self.newborn.pid, signal);
        }
    }

    fn tell(&self, frame: &FromLauncher) {
        tell(&self.control, frame);
    }
}

/// Sends a frame to the server. One that takes nothing for a second, or is gone, is not told.
pub(super) fn tell(control: &OwnedFd, frame: &FromLauncher) {
    let Ok(mut bytes) = serde_json::to_vec(frame) else { return };
    bytes.push(0);
    let mut rest = &bytes[..];
    let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
    while !rest.is_empty() {
        match rustix::net::send(control, rest, flags) {
            Ok(sent) => rest = &rest[sent..],
            Err(rustix::io::Errno::AGAIN) => {
                let mut polled = [PollFd::new(control, PollFlags::OUT)];
                if !matches!(rustix::event::poll(&mut polled, Some(&PATIENCE)), Ok(1..)) {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

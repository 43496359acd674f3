//! The loop of the first process, once the program runs.

use super::{Birth, listener, not_started};
use crate::orders;
use dockless_sandbox::frames::{FromLauncher, ToLauncher};
use dockless_sys::notify::Notifications;
use dockless_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, WaitOptions};
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
    program: Pid,
    control: OwnedFd,
    /// What the server has sent of its next frame.
    heard: Vec<u8>,
    notifications: Option<Notifications>,
    listening: Vec<SocketAddr>,
    /// The program did not start; it is about to exit.
    failed: bool,
}

/// Keeps the sandbox until the program has ended; its code, or 128 and the signal's number.
pub(super) fn keep(program: Pid, births: &OwnedFd, signals: &Signals, control: OwnedFd) -> i32 {
    let mut keeper =
        Keeper { program, control, heard: Vec::new(), notifications: None, listening: Vec::new(), failed: false };
    let mut newborn = true;
    let mut server = true;
    loop {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        if newborn {
            fds.push(PollFd::new(births, PollFlags::IN));
        }
        let mut notified = None;
        if let Some(notifications) = &keeper.notifications {
            notified = Some(fds.len());
            fds.push(PollFd::new(notifications, PollFlags::IN));
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
            newborn = keeper.on_births(births);
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
    /// Hears all that is there; says whether more may come.
    fn on_births(&mut self, births: &OwnedFd) -> bool {
        loop {
            match orders::receive::<Birth>(births) {
                Ok(Some((Birth::Listener, fds))) => self.notifications = listener(fds),
                Ok(Some((Birth::Failed(failed), _))) => {
                    self.failed = true;
                    self.tell(&not_started(failed));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // It has become the program, or it is gone.
                Ok(None) | Err(_) => return false,
            }
        }
    }

    fn on_listen(&mut self) {
        let Some(notifications) = self.notifications.take() else { return };
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
                let _ = notifications.answer(&listen, address.is_some());
                self.notifications = Some(notifications);
            }
            Ok(None) => self.notifications = Some(notifications),
            // Nobody is under the filter any more.
            Err(_) => {}
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
            if pid != self.program {
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
            let _ = rustix::process::kill_process(self.program, signal);
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

//! A process that ends with its guard.

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How often a process is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Sends SIGTERM when dropped, waits, and kills what stays.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    grace: Duration,
}

impl Running {
    /// Starts it in a process group of its own: a terminal's Ctrl-C is ours to pass on.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command, grace: Duration) -> anyhow::Result<Self> {
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, grace })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The status if it has ended.
    ///
    /// # Errors
    /// None known.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Not reaped yet, so the number is still its own.
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    fn wait(&mut self, limit: Duration) -> bool {
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(None) if began.elapsed() < limit => std::thread::sleep(LOOK),
                Ok(None) => return false,
                Ok(Some(_)) | Err(_) => return true,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.wait(Duration::ZERO) {
            self.signal(Signal::TERM);
            if !self.wait(self.grace) {
                crate::say(&format!("process {} did not end within {:?} and is killed", self.child.id(), self.grace));
                self.signal(Signal::KILL);
                let _ = self.child.wait();
            }
        }
    }
}

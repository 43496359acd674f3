//! Freezing and thawing through open descriptors, so that no path and no privilege is needed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{pread, pwrite, retry_on_intr};

use super::usage::number_after;

/// Which freezer stands behind the descriptors; the receiver of the descriptors has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezerKind {
    /// `freezer.state`, both for writing and for reading.
    V1,
    /// `cgroup.freeze` for writing, `cgroup.events` for reading.
    V2,
}

/// The freezer of one group: two open files.
///
/// The kernel checks permission when a group file is opened, not when it is written, so a process without privileges
/// that was handed the descriptors can freeze this group and nothing else. All access is at offset 0, since duplicates
/// of a descriptor share its position.
#[derive(Debug)]
pub struct Freezer {
    control: OwnedFd,
    events: OwnedFd,
    kind: FreezerKind,
}

/// First and longest pause between two looks. The kernel holds back events of a file for 10 ms after the last one
/// (CGROUP_FILE_NOTIFY_MIN_INTV), and a freeze usually takes 0.06 ms, so the event alone would be late.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

impl Freezer {
    /// Puts a freezer together from descriptors received from another process.
    #[must_use]
    pub fn from_fds(kind: FreezerKind, control: OwnedFd, events: OwnedFd) -> Self {
        Self { control, events, kind }
    }

    /// Takes it apart again: kind, control, events.
    #[must_use]
    pub fn into_fds(self) -> (FreezerKind, OwnedFd, OwnedFd) {
        (self.kind, self.control, self.events)
    }

    /// The descriptors for sending over a socket: control, then events.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.control.as_fd(), self.events.as_fd()]
    }

    /// Which freezer this is.
    #[must_use]
    pub fn kind(&self) -> FreezerKind {
        self.kind
    }

    /// A second freezer on duplicated descriptors.
    ///
    /// # Errors
    /// The process has no descriptor left (EMFILE).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { control: self.control.try_clone()?, events: self.events.try_clone()?, kind: self.kind })
    }

    /// Asks the kernel to stop every task of the group. Returns before they have stopped; see [`Self::wait_frozen`].
    ///
    /// # Errors
    /// ENODEV after the group was removed.
    pub fn freeze(&self) -> io::Result<()> {
        self.write(match self.kind {
            FreezerKind::V1 => "FROZEN",
            FreezerKind::V2 => "1",
        })
    }

    /// Lets the tasks run again. Harmless if they do.
    ///
    /// # Errors
    /// ENODEV after the group was removed.
    pub fn thaw(&self) -> io::Result<()> {
        self.write(match self.kind {
            FreezerKind::V1 => "THAWED",
            FreezerKind::V2 => "0",
        })
    }

    /// True once every task has stopped; an empty group that was told to freeze counts as frozen.
    ///
    /// # Errors
    /// ENODEV after the group was removed.
    pub fn is_frozen(&self) -> io::Result<bool> {
        Ok(self.state()? == State::Frozen)
    }

    fn state(&self) -> io::Result<State> {
        let mut page = [0; 256];
        let got = retry_on_intr(|| pread(&self.events, &mut page, 0))?;
        Ok(State::parse(self.kind, &String::from_utf8_lossy(&page[..got])))
    }

    /// Waits until every task has stopped; false if `timeout` passes first (the group may freeze later).
    ///
    /// v2 waits for the event of `cgroup.events`, v1 looks again and repeats the request, which a task in the middle
    /// of a fork can have missed. Blocks the thread. Thaw from the same thread: on v1 the repeated request could
    /// otherwise come just after somebody else's thaw.
    ///
    /// # Errors
    /// ENODEV after the group was removed.
    pub fn wait_frozen(&self, timeout: Duration) -> io::Result<bool> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let state = self.state()?;
            if state == State::Frozen {
                return Ok(true);
            }
            let Some(left) = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return Ok(false);
            };
            let wait = pause.min(left);
            match self.kind {
                // Even with the event the wait is short: a reader of a duplicate may have consumed it.
                FreezerKind::V2 => wait_event(&self.events, wait)?,
                FreezerKind::V1 => {
                    if state == State::Freezing {
                        self.freeze()?;
                    }
                    std::thread::sleep(wait);
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn write(&self, word: &str) -> io::Result<()> {
        retry_on_intr(|| pwrite(&self.control, word.as_bytes(), 0))?;
        Ok(())
    }
}

fn wait_event(events: &OwnedFd, at_most: Duration) -> io::Result<()> {
    let wait = Timespec::try_from(at_most).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(events, PollFlags::PRI)], Some(&wait)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// What the freezer says. v2 does not tell a freeze under way from none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Frozen,
    Freezing,
    Running,
}

impl State {
    fn parse(kind: FreezerKind, text: &str) -> Self {
        match kind {
            FreezerKind::V1 if text.trim_end() == "FROZEN" => Self::Frozen,
            FreezerKind::V1 if text.trim_end() == "FREEZING" => Self::Freezing,
            FreezerKind::V2 if number_after(text, "frozen") == Some(1) => Self::Frozen,
            _ => Self::Running,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finished_freeze_counts() {
        let rows = [
            (FreezerKind::V1, "FROZEN\n", State::Frozen),
            (FreezerKind::V1, "FREEZING\n", State::Freezing),
            (FreezerKind::V1, "THAWED\n", State::Running),
            (FreezerKind::V2, "populated 1\nfrozen 1\n", State::Frozen),
            (FreezerKind::V2, "populated 1\nfrozen 0\n", State::Running),
            (FreezerKind::V2, "populated 1\n", State::Running),
            (FreezerKind::V2, "", State::Running),
        ];
        for (kind, text, expected) in rows {
            assert_eq!(State::parse(kind, text), expected, "{kind:?} {text:?}");
        }
    }
}

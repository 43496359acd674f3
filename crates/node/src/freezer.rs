//! Stops and resumes sandboxes, without asking the warden.
//!
//! Freezing is done by one thread of the node: the write takes some 50-100 µs and nobody waits for it. Thawing is on
//! the way of a request and as short as handing it to another thread would be, so whoever needs it writes it himself.

use crate::InstanceError;
use dockless_sandbox::protocol::FreezerKind;
use dockless_sys::cgroup;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest wait for the kernel's word that everything stands still; a process in an uninterruptible wait delays it.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
/// How often the kernel is asked while something is not yet still.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// The freezer of one sandbox.
#[derive(Debug)]
pub(crate) struct Freezer {
    cgroup: cgroup::Freezer,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Runs.
    Running,
    /// Is to be frozen; the thread has not come to it.
    Asked,
    /// `FROZEN` is written.
    Written,
    /// It is another server's, as it stands.
    Released,
}

type Done = oneshot::Sender<Result<(), InstanceError>>;

/// The thread.
#[derive(Debug, Clone)]
pub(crate) struct FreezeThread(mpsc::Sender<(Arc<Freezer>, Done)>);

impl Freezer {
    pub(crate) fn new(kind: FreezerKind, control: OwnedFd, events: OwnedFd, frozen: bool) -> Self {
        let kind = match kind {
            FreezerKind::V1 => cgroup::FreezerKind::V1,
            FreezerKind::V2 => cgroup::FreezerKind::V2,
        };
        let state = if frozen { State::Written } else { State::Running };
        Self { cgroup: cgroup::Freezer::from_fds(kind, control, events), state: Mutex::new(state) }
    }

    /// Asks for a freeze, without doing it. Whoever asks does so under the lock that also gives the sandbox away, so
    /// that a freeze asked for before cannot be done after.
    pub(crate) fn ask(&self) {
        let mut state = self.state();
        if *state == State::Running {
            *state = State::Asked;
        }
    }

    /// Resumes it if it is frozen or about to be; says whether a write was needed.
    pub(crate) fn thaw(&self) -> io::Result<bool> {
        let mut state = self.state();
        let written = *state == State::Written;
        if written {
            self.cgroup.thaw()?;
        }
        *state = State::Running;
        Ok(written)
    }

    /// Nothing is written any more: a freeze that was asked for, or is being confirmed, would come after a thaw by the
    /// server that has it next.
    pub(crate) fn release(&self) {
        *self.state() = State::Released;
    }

    /// Whether `FROZEN` is written.
    pub(crate) fn is_frozen(&self) -> bool {
        *self.state() == State::Written
    }

    fn write(&self) -> Result<(), InstanceError> {
        let mut state = self.state();
        match *state {
            State::Running | State::Released => return Err(InstanceError::Thawed),
            State::Asked => self.cgroup.freeze().map_err(|source| InstanceError::Io { step: "freeze", source })?,
            State::Written => {}
        }
        *state = State::Written;
        Ok(())
    }

    /// `None` while it is not decided. On v1 a task in the middle of a fork can miss the request, so it is repeated;
    /// under the lock, or the repetition could come just after a thaw.
    fn confirm(&self, asked: Instant) -> Option<Result<(), InstanceError>> {
        let state = self.state();
        if *state != State::Written {
            return Some(Err(InstanceError::Thawed));
        }
        let frozen = self
            .cgroup
            .is_frozen()
            .and_then(|frozen| if frozen { Ok(true) } else { self.cgroup.freeze().map(|()| false) });
        match frozen {
            Ok(true) => Some(Ok(())),
            Ok(false) if asked.elapsed() < CONFIRM_WITHIN => None,
            Ok(false) => Some(Err(InstanceError::Late(CONFIRM_WITHIN))),
            Err(source) => Some(Err(InstanceError::Io { step: "see whether it is frozen", source })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FreezeThread {
    /// Starts it; it ends with the last handle.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        std::thread::Builder::new().name("freezer".into()).spawn(move || run(&jobs))?;
        Ok(Self(sender))
    }

    /// Freezes what was asked to be frozen, and ends when the kernel confirms it. A thaw since then wins.
    pub(crate) async fn freeze(&self, freezer: &Arc<Freezer>) -> Result<(), InstanceError> {
        let (done, confirmed) = oneshot::channel();
        self.0.send((freezer.clone(), done)).map_err(|_| InstanceError::Gone)?;
        confirmed.await.unwrap_or(Err(InstanceError::Gone))
    }
}

fn run(jobs: &mpsc::Receiver<(Arc<Freezer>, Done)>) {
    let mut unconfirmed: VecDeque<(Arc<Freezer>, Done, Instant)> = VecDeque::new();
    loop {
        let job = if unconfirmed.is_empty() {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(ASK_EVERY)
        };
        match job {
            Ok((freezer, done)) => match freezer.write() {
                Ok(()) => unconfirmed.push_back((freezer, done, Instant::now())),
                Err(error) => tell(done, Err(error)),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for _ in 0..unconfirmed.len() {
            let Some((freezer, done, asked)) = unconfirmed.pop_front() else { break };
            match freezer.confirm(asked) {
                Some(verdict) => tell(done, verdict),
                None => unconfirmed.push_back((freezer, done, asked)),
            }
        }
    }
}

/// Whoever asked may have gone; the state is in the freezer.
fn tell(done: Done, verdict: Result<(), InstanceError>) {
    let _: Result<(), Result<(), InstanceError>> = done.send(verdict);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};

    #[tokio::test]
    async fn a_freeze_that_was_asked_for_is_not_written_after_a_release() {
        let file = || memfd_create("freezer", MemfdFlags::CLOEXEC).unwrap();
        let control = file();
        let length = || std::fs::File::from(control.try_clone().unwrap()).metadata().unwrap().len();
        let freezer = Arc::new(Freezer::new(FreezerKind::V2, control.try_clone().unwrap(), file(), false));
        freezer.ask();
        freezer.release();
        let frozen = FreezeThread::start().unwrap().freeze(&freezer).await;
        assert!(matches!(frozen, Err(InstanceError::Thawed)), "{frozen:?}");
        assert_eq!(length(), 0);
        // Written before, it stays as it is, and is not repeated.
        let freezer = Arc::new(Freezer::new(FreezerKind::V2, control.try_clone().unwrap(), file(), true));
        freezer.release();
        assert!(matches!(freezer.confirm(Instant::now()), Some(Err(InstanceError::Thawed))));
        assert_eq!(length(), 0);
    }
}

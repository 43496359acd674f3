//! What a connection is doing, and how long it may.
//!
//! ```text
//! Fresh ─ byte ─► Head ─ head complete ─► Busy ─ answer written ─► Idle ─ byte ─► Head
//! ```
//! hyper's own timer for heads runs between requests too; ours tells an idle connection from a slow head, and sees a
//! client that does not take its answer.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long each phase may last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) stall: Duration,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Nothing is going on.
    Idle,
    /// The head of a request did not arrive.
    Head,
    /// The client does not read.
    Stalled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Head,
    Busy,
    Idle,
}

/// Shared by a connection's socket, its requests and its timer.
#[derive(Debug)]
pub(crate) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When the phase began; `Head` after `Fresh` counts from the connection's begin.
    since: Instant,
    /// Requests whose answers are not written yet.
    requests: usize,
    /// Since when the socket takes no more bytes.
    blocked: Option<Instant>,
    draining: Option<Draining>,
}

#[derive(Debug, Clone, Copy)]
struct Draining {
    since: Instant,
    idle_grace: Duration,
}

impl Activity {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(State::new(now)))
    }

    /// Bytes came in.
    pub(crate) fn received(&self) {
        self.state().received(Instant::now());
    }

    /// The socket takes no more bytes, or takes them again.
    pub(crate) fn sent(&self, blocked: bool) {
        self.state().sent(blocked, Instant::now());
    }

    /// A request begins; it lasts until the mark is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.state().begin();
        Busy(Arc::clone(self))
    }

    /// From now on an idle connection ends after the grace.
    pub(crate) fn drain(&self, idle_grace: Duration) {
        self.state().drain(idle_grace, Instant::now());
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.state().draining.is_some()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.state().phase == Phase::Busy
    }

    /// When the connection ends if nothing happens until then, and why. `None`: whoever answers decides.
    pub(crate) fn deadline(&self, allowance: &Allowance) -> Option<(Instant, Expiry)> {
        self.state().deadline(allowance)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { phase: Phase::Fresh, since: now, requests: 0, blocked: None, draining: None }
    }

    fn received(&mut self, now: Instant) {
        match self.phase {
            Phase::Fresh => self.phase = Phase::Head,
            Phase::Idle => (self.phase, self.since) = (Phase::Head, now),
            Phase::Head | Phase::Busy => {}
        }
    }

    fn sent(&mut self, blocked: bool, now: Instant) {
        self.blocked = if blocked { self.blocked.or(Some(now)) } else { None };
    }

    fn begin(&mut self) {
        self.phase = Phase::Busy;
        self.requests += 1;
    }

    fn end(&mut self, now: Instant) {
        self.requests -= 1;
        if self.requests == 0 {
            (self.phase, self.since) = (Phase::Idle, now);
        }
    }

    fn drain(&mut self, idle_grace: Duration, now: Instant) {
        self.draining = self.draining.or(Some(Draining { since: now, idle_grace }));
    }

    fn deadline(&self, allowance: &Allowance) -> Option<(Instant, Expiry)> {
        if let Some(blocked) = self.blocked {
            return Some((blocked + allowance.stall, Expiry::Stalled));
        }
        let (end, expiry) = match self.phase {
            Phase::Busy => return None,
            Phase::Fresh | Phase::Head => (self.since + allowance.head, Expiry::Head),
            Phase::Idle => (self.since + allowance.idle, Expiry::Idle),
        };
        match self.draining {
            // A request that has begun to arrive is read to its end.
            Some(draining) if self.phase != Phase::Head => {
                Some((end.min(draining.since.max(self.since) + draining.idle_grace), expiry))
            }
            _ => Some((end, expiry)),
        }
    }
}

/// The mark of a request being answered.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state().end(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance =
        Allowance { head: Duration::from_secs(30), idle: Duration::from_secs(75), stall: Duration::from_secs(120) };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn ends(state: &State, begin: Instant) -> Option<(u64, Expiry)> {
        state.deadline(&ALLOWANCE).map(|(at, expiry)| ((at - begin).as_secs(), expiry))
    }

    #[test]
    fn each_phase_has_its_own_deadline() {
        let begin = Instant::now();
        let mut state = State::new(begin);
        assert_eq!(ends(&state, begin), Some((30, Expiry::Head)));
        state.received(begin + seconds(10));
        assert_eq!(ends(&state, begin), Some((30, Expiry::Head)), "a slow first head counts from the begin");
        state.begin();
        state.received(begin + seconds(10));
        assert_eq!(ends(&state, begin), None);
        state.sent(true, begin + seconds(10));
        state.sent(true, begin + seconds(20));
        assert_eq!(ends(&state, begin), Some((130, Expiry::Stalled)), "counted from the first refusal");
        state.sent(false, begin + seconds(20));
        state.end(begin + seconds(20));
        assert_eq!(ends(&state, begin), Some((95, Expiry::Idle)));
        state.received(begin + seconds(30));
        assert_eq!(ends(&state, begin), Some((60, Expiry::Head)), "a later head counts from its first byte");
    }

    #[test]
    fn draining_shortens_idleness_and_nothing_else() {
        let begin = Instant::now();
        let mut state = State::new(begin);
        state.begin();
        state.drain(seconds(2), begin);
        assert_eq!(ends(&state, begin), None);
        state.end(begin + seconds(10));
        assert_eq!(ends(&state, begin), Some((12, Expiry::Idle)));
        state.received(begin + seconds(10));
        assert_eq!(ends(&state, begin), Some((40, Expiry::Head)));
    }
}

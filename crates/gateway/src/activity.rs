//! What a connection is doing, and how long it may.
//!
//! ```text
//! Fresh ─ byte ─► Head ─ head complete ─► Busy ─ answer written ─► Idle ─ byte ─► Head
//! ```
//! hyper's own timer for heads runs between requests too; ours tells an idle connection from a slow head, and sees a
//! client that does not take its answer.
//!
//! A connection with many requests at once (HTTP/2) is `Idle` or `Busy` alone: bytes between requests are acknowledgements
//! as often as heads. What such a client may do that others cannot is to take requests back as fast as it makes them; that
//! is counted here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};
use tokio::time::Instant;

/// Requests that a client may take back at once: a person who leaves a page with many pictures. Each one that is answered
/// to its end gives one back.
const CANCELS: u32 = 100;
/// And in the long run: so many a second.
const CANCELS_A_SECOND: u64 = 10;

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
    /// The client takes back more requests than it lets us answer ("rapid reset", CVE-2023-44487).
    Flood,
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
    /// Many requests at once.
    multiplexed: bool,
    /// Requests that may still be taken back, and when that was counted.
    cancels: (u32, Instant),
    flooded: bool,
    /// Whoever waits for the deadline, where it changes behind his back: answers of a multiplexed connection are written
    /// by tasks of their own.
    waiter: Option<Waker>,
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
        Busy { activity: Arc::clone(self), done: false }
    }

    /// From now on there may be many requests at once.
    pub(crate) fn multiplex(&self) {
        self.state().multiplex(Instant::now());
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

    /// When the connection ends if nothing happens until then, and why. `None`: whoever answers decides. Wakes the
    /// context's task when the answer may have changed.
    pub(crate) fn deadline(&self, allowance: &Allowance, context: &Context<'_>) -> Option<(Instant, Expiry)> {
        let mut state = self.state();
        if state.multiplexed && !state.waiter.as_ref().is_some_and(|waiter| waiter.will_wake(context.waker())) {
            state.waiter = Some(context.waker().clone());
        }
        state.deadline(allowance)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Fresh,
            since: now,
            requests: 0,
            blocked: None,
            draining: None,
            multiplexed: false,
            cancels: (CANCELS, now),
            flooded: false,
            waiter: None,
        }
    }

    fn multiplex(&mut self, now: Instant) {
        self.multiplexed = true;
        (self.phase, self.since) = (Phase::Idle, now);
    }

    fn received(&mut self, now: Instant) {
        match self.phase {
            _ if self.multiplexed => {}
            Phase::Fresh => self.phase = Phase::Head,
            Phase::Idle => (self.phase, self.since) = (Phase::Head, now),
            Phase::Head | Phase::Busy => {}
        }
    }

    fn sent(&mut self, blocked: bool, now: Instant) {
        self.blocked = if blocked { self.blocked.or(Some(now)) } else { None };
        // The last bytes of an answer leave as the client makes room for them, after its request counts as done.
        if self.multiplexed && !blocked && self.phase == Phase::Idle {
            self.since = now;
        }
    }

    fn begin(&mut self) {
        self.phase = Phase::Busy;
        self.requests += 1;
    }

    fn end(&mut self, done: bool, now: Instant) {
        self.requests -= 1;
        if self.requests == 0 {
            (self.phase, self.since) = (Phase::Idle, now);
        }
        if !self.multiplexed {
            return;
        }
        let (left, since) = self.cancels;
        if done {
            self.cancels.0 = left.saturating_add(1).min(CANCELS);
        } else {
            let regained = (now - since).as_secs() * CANCELS_A_SECOND;
            let left = left.saturating_add(u32::try_from(regained).unwrap_or(CANCELS)).min(CANCELS);
            let counted = if regained > 0 { now } else { since };
            self.flooded |= left == 0;
            self.cancels = (left.saturating_sub(1), counted);
        }
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    fn drain(&mut self, idle_grace: Duration, now: Instant) {
        self.draining = self.draining.or(Some(Draining { since: now, idle_grace }));
    }

    fn deadline(&self, allowance: &Allowance) -> Option<(Instant, Expiry)> {
        if self.flooded {
            return Some((self.since, Expiry::Flood));
        }
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

/// The mark of a request being answered. Dropped before it is [`Busy::done`], the request was taken back.
#[derive(Debug)]
pub(crate) struct Busy {
    activity: Arc<Activity>,
    done: bool,
}

impl Busy {
    /// The answer is complete, or failed by our fault.
    pub(crate) fn done(&mut self) {
        self.done = true;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.state().end(self.done, Instant::now());
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
        state.end(true, begin + seconds(20));
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
        state.end(true, begin + seconds(10));
        assert_eq!(ends(&state, begin), Some((12, Expiry::Idle)));
        state.received(begin + seconds(10));
        assert_eq!(ends(&state, begin), Some((40, Expiry::Head)));
    }

    #[test]
    fn a_multiplexed_connection_is_idle_or_busy_and_nothing_else() {
        let begin = Instant::now();
        let mut state = State::new(begin);
        state.received(begin);
        state.multiplex(begin + seconds(1));
        assert_eq!(ends(&state, begin), Some((76, Expiry::Idle)));
        state.received(begin + seconds(5));
        assert_eq!(ends(&state, begin), Some((76, Expiry::Idle)), "an acknowledgement is not the begin of a head");
        state.begin();
        state.begin();
        state.end(true, begin + seconds(6));
        assert_eq!(ends(&state, begin), None);
        state.end(true, begin + seconds(7));
        assert_eq!(ends(&state, begin), Some((82, Expiry::Idle)));
        state.sent(false, begin + seconds(10));
        assert_eq!(ends(&state, begin), Some((85, Expiry::Idle)), "the rest of an answer leaves");
    }

    #[test]
    fn requests_may_be_taken_back_but_not_without_end() {
        let begin = Instant::now();
        let mut state = State::new(begin);
        state.multiplex(begin);
        let cancel = |state: &mut State, at: Instant| {
            state.begin();
            state.end(false, at);
            state.flooded
        };
        for n in 0..CANCELS {
            assert!(!cancel(&mut state, begin), "{n}");
        }
        // Ten more a second, and one for each that is answered.
        for n in 0..CANCELS_A_SECOND {
            assert!(!cancel(&mut state, begin + seconds(1)), "{n}");
        }
        state.begin();
        state.end(true, begin + seconds(1));
        assert!(!cancel(&mut state, begin + seconds(1)));
        assert!(cancel(&mut state, begin + seconds(1)));
        assert!(matches!(ends(&state, begin), Some((_, Expiry::Flood))));
    }
}

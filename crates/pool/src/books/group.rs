//! One function in the books.

use super::{Account, Grant, Occupant, Waiter};
use crate::PoolConfig;
use crate::plan::{Fleet, Limits, Member, Phase, Warmth};
use dockless_node::{KillReason, Spec};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Pauses between starts of a service that does not start: the first and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// This part of what a request waits at most on top of a boot, others of the account who came later keep their instances.
const HUNGER: u32 = 10;

/// Instances of one function and the requests that wait for them.
#[derive(Debug)]
pub struct Group<O, W> {
    pub(super) spec: Arc<Spec>,
    pub(super) fleet: Fleet<O>,
    /// With the time since when they wait.
    pub(super) waiting: VecDeque<(W, Instant)>,
    /// Whose it is, with its number there.
    pub(super) account: Arc<Account>,
    pub(super) start_after: Option<Instant>,
    /// The last start was refused for a cap.
    pub(super) capped: bool,
    /// Instances that are kept though nobody asks.
    pub(super) kept: usize,
    /// Starts that failed in a row.
    pub(super) failures: u32,
    /// The member that was just started: whoever takes it now waited for that.
    pub(super) fresh: Option<u64>,
    number: usize,
    next_key: u64,
}

impl<O, W> Group<O, W> {
    /// The function as last asked for.
    #[must_use]
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// Starts that failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What there is of it.
    #[must_use]
    pub fn fleet(&self) -> &Fleet<O> {
        &self.fleet
    }

    /// Who waits, the longest first, with the time since when.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = (&W, Instant)> {
        self.waiting.iter().map(|(waiter, since)| (waiter, *since))
    }

    /// Requests that wait beyond what the starts under way will take.
    #[must_use]
    pub fn excess(&self) -> usize {
        let concurrency = usize::try_from(self.spec.concurrency()).unwrap_or(1);
        self.waiting.len().saturating_sub(self.fleet.booting.saturating_mul(concurrency))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fleet.booting == 0 && self.fleet.members.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn max_instances(&self) -> usize {
        usize::try_from(self.spec.max_instances()).unwrap_or(usize::MAX)
    }

    // Seen from the plan every limit is a number.
    pub(super) fn limits(&self, config: &PoolConfig, draining: bool) -> Limits {
        let spec = &self.spec;
        Limits {
            concurrency: usize::try_from(spec.concurrency()).unwrap_or(1),
            max_instances: self.max_instances(),
            room: config.account_instances.saturating_sub(self.account.instances()),
            kept: self.kept,
            yields: 0,
            start_after: self.start_after,
            grace: config.grace,
            idle_timeout: spec.idle_timeout(),
            life: spec.life_limit(),
            farewell: config.farewell,
            freezes: spec.function().is_some(),
            settle: config.settle,
            draining,
        }
    }
}

impl<O: Occupant, W: Waiter> Group<O, W> {
    pub(super) fn new(spec: Arc<Spec>, account: Arc<Account>) -> Self {
        Self {
            number: account.enrol(),
            spec,
            fleet: Fleet { booting: 0, members: Vec::new() },
            waiting: VecDeque::new(),
            account,
            start_after: None,
            capped: false,
            kept: 0,
            failures: 0,
            fresh: None,
            next_key: 0,
        }
    }

    pub(super) fn member(&mut self, key: u64) -> Option<&mut Member<O>> {
        self.fleet.members.iter_mut().find(|member| member.key == key)
    }

    /// Adds an instance that is counted already.
    pub(super) fn enter(&mut self, phase: Phase, born: Instant, occupant: impl FnOnce(u64) -> O) -> u64 {
        self.next_key += 1;
        let key = self.next_key;
        let with = occupant(key);
        let loaded = with.news().loaded;
        self.fleet.members.push(Member { key, phase, loaded, born, replaced: false, leaving: None, with });
        key
    }

    /// Takes an instance out.
    pub(super) fn leave(&mut self, key: u64) {
        let before = self.fleet.members.len();
        self.fleet.members.retain(|member| member.key != key);
        if self.fleet.members.len() < before {
            self.count(-1);
        }
    }

    /// Ends an instance; its keeper takes it out when it is dead.
    pub(super) fn end(&mut self, key: u64, reason: KillReason) {
        if let Some(member) = self.member(key) {
            member.phase = Phase::Draining;
            member.with.end(reason);
        }
    }

    /// Gives an instance to whoever waits longest.
    pub(super) fn hand_out(&mut self, key: u64, now: Instant) -> Option<Grant<O, W>> {
        let limit = self.spec.invocation_limit();
        let fresh = self.fresh.take_if(|fresh| *fresh == key).is_some();
        let member = self.fleet.members.iter_mut().find(|member| member.key == key)?;
        let warmth = match member.phase {
            Phase::Idle { warmth, .. } => warmth,
            Phase::Serving { .. } => Warmth::Running,
            _ => return None,
        };
        let (waiter, since) = self.waiting.pop_front()?;
        member.phase = match (limit, member.phase) {
            (Some(limit), _) => Phase::Busy { deadline: now + limit },
            (None, Phase::Serving { active }) => Phase::Serving { active: active + 1 },
            (None, _) => Phase::Serving { active: 1 },
        };
        if warmth != Warmth::Running {
            // Its keeper sleeps until the idle timeout.
            member.with.wake();
        }
        Some(Grant { waiter, key, occupant: member.with.clone(), waited: now.duration_since(since), fresh })
    }

    /// Instances whose replacement has come leave.
    pub(super) fn relieve(&mut self, now: Instant) {
        let replaced = self.fleet.members.iter_mut().filter(|member| member.replaced && member.leaving.is_none());
        if let Some(member) = replaced.min_by_key(|member| member.born) {
            member.leaving = Some(now);
            member.with.wake();
        }
    }

    /// A start has failed: how long the next one waits. The first failure costs nothing, for whoever mends a broken image
    /// and tries again; a crash loop is slowed.
    pub(super) fn back_off(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.checked_sub(2)?;
        Some((BACK_OFF.0 * 2_u32.saturating_pow(doublings.min(16))).min(BACK_OFF.1))
    }

    /// Counts instances of the account, those on their way in included.
    pub(super) fn count(&self, change: isize) {
        self.account.count(change);
    }

    /// Instances that it is to give up for others of its account.
    pub(super) fn yields(&self, config: &PoolConfig, now: Instant) -> usize {
        let here = self.waiting.front().map(|(_, since)| *since);
        usize::from(self.account.asks(self.number, here, config.queue_wait / HUNGER, now))
    }

    /// After a plan: whether somebody waits in vain for room in the account.
    pub(super) fn note_hunger(&self, short: usize) {
        let since = self.waiting.front().map(|(_, since)| *since).filter(|_| short > 0);
        self.account.note(self.number, since);
    }

    /// Requests whose client has gone do not wait any more.
    pub(super) fn forget_gone(&mut self) {
        self.waiting.retain(|(waiter, _)| !waiter.is_gone());
    }
}

//! One function at a desk.

use super::limits_of;
use crate::plan::{Fleet, Limits, Member, Phase};
use crate::{PoolConfig, Refusal, lease::Lease};
use dockless_node::{Instance, KillReason, Spec};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// How long a service may take to end when it is asked to.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Pauses between starts of a service that does not start: the first and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Instances of one function and the requests that wait for them.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) spec: Arc<Spec>,
    pub(crate) fleet: Fleet<Crew>,
    pub(crate) waiting: VecDeque<Waiter>,
    /// Instances of the whole account.
    pub(crate) account: Arc<AtomicUsize>,
    pub(crate) start_after: Option<Instant>,
    /// The last start was refused for a cap.
    pub(crate) capped: bool,
    /// Starts that failed in a row.
    pub(crate) failures: u32,
    next_key: u64,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) sender: oneshot::Sender<Result<Lease, Refusal>>,
    pub(crate) since: Instant,
}

/// What is kept beside a member of the fleet.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) instance: Instance,
    /// Its keeper looks again.
    pub(crate) wake: Arc<Notify>,
    /// Just started, not yet taken by whoever waited for that.
    pub(crate) fresh: bool,
}

impl Group {
    pub(crate) fn new(spec: Arc<Spec>, account: Arc<AtomicUsize>) -> Self {
        let fleet = Fleet { booting: 0, members: Vec::new() };
        Self {
            spec,
            fleet,
            waiting: VecDeque::new(),
            account,
            start_after: None,
            capped: false,
            failures: 0,
            next_key: 0,
        }
    }

    pub(crate) fn limits(&self, config: &PoolConfig, draining: bool) -> Limits {
        limits_of(self, config, draining)
    }

    pub(crate) fn max_instances(&self) -> usize {
        usize::try_from(self.spec.max_instances()).unwrap_or(usize::MAX)
    }

    pub(crate) fn member(&mut self, key: u64) -> Option<&mut Member<Crew>> {
        self.fleet.members.iter_mut().find(|member| member.key == key)
    }

    /// Adds an instance that is counted already.
    pub(crate) fn enter(&mut self, instance: &Instance, phase: Phase, fresh: bool, born: Instant) -> u64 {
        self.next_key += 1;
        let with = Crew { instance: instance.clone(), wake: Arc::default(), fresh };
        let loaded = instance.peek().loaded;
        let key = self.next_key;
        self.fleet.members.push(Member { key, phase, loaded, born, replaced: false, leaving: None, with });
        self.next_key
    }

    /// Takes an instance out.
    pub(crate) fn leave(&mut self, key: u64) {
        let before = self.fleet.members.len();
        self.fleet.members.retain(|member| member.key != key);
        if self.fleet.members.len() < before {
            self.count(-1);
        }
    }

    /// Ends an instance; its keeper takes it out when it is dead.
    pub(crate) fn end(&mut self, key: u64, reason: KillReason) {
        if let Some(member) = self.member(key) {
            member.phase = Phase::Draining;
            let instance = &member.with.instance;
            match instance.spec().service() {
                Some(service) => instance.stop(service.image.process.stop_signal, STOP_WITHIN, reason),
                None => instance.kill(reason),
            }
        }
    }

    /// Requests that wait beyond what the starts under way will take.
    pub(crate) fn excess(&self) -> usize {
        let concurrency = usize::try_from(self.spec.concurrency()).unwrap_or(1);
        self.waiting.len().saturating_sub(self.fleet.booting.saturating_mul(concurrency))
    }

    /// Instances whose replacement has come leave.
    pub(crate) fn relieve(&mut self, now: Instant) {
        let replaced = self.fleet.members.iter_mut().filter(|member| member.replaced && member.leaving.is_none());
        if let Some(member) = replaced.min_by_key(|member| member.born) {
            member.leaving = Some(now);
            member.with.wake.notify_one();
        }
    }

    /// A start has failed: how long the next one waits. The first failure costs nothing, for whoever mends a broken image
    /// and tries again; a crash loop is slowed.
    pub(crate) fn back_off(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.checked_sub(2)?;
        Some((BACK_OFF.0 * 2_u32.saturating_pow(doublings.min(16))).min(BACK_OFF.1))
    }

    /// Counts instances of the account, those on their way in included.
    pub(crate) fn count(&self, change: isize) {
        match usize::try_from(change) {
            Ok(more) => self.account.fetch_add(more, Ordering::Relaxed),
            Err(_) => self.account.fetch_sub(change.unsigned_abs(), Ordering::Relaxed),
        };
    }

    /// Requests whose client has gone do not wait any more.
    pub(crate) fn forget_gone(&mut self) {
        self.waiting.retain(|waiter| !waiter.sender.is_closed());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fleet.booting == 0 && self.fleet.members.is_empty() && self.waiting.is_empty()
    }
}

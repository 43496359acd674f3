//! The books of one deployment: who waits for which function, what instances there are, and what follows from both.
//!
//! Every method takes in one piece of news, plans, and writes down what the plan decided; what is left to be done with
//! hands comes back as a [`Todo`]. Nothing here waits, looks at a clock or touches a socket: the desk does, and so can a
//! simulator.

mod account;
mod group;
mod occupant;
mod todo;

pub use account::Account;
pub use group::Group;
pub use occupant::{News, Occupant, Waiter};
pub use todo::{Grant, Todo, Todos};

use crate::plan::{self, Action, Demand, Limits, Member, Phase, Warmth};
use crate::{PoolConfig, Refusal};
use dockless_model::{AccountId, Code, SourcePath};
use dockless_node::{KillReason, Spec};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Pause after a start that a cap or a full machine refused.
const RETRY: Duration = Duration::from_millis(100);
/// Pause after a start that failed though nobody waited for it: there is nobody to tell, and another one follows.
const ALONE: Duration = Duration::from_secs(1);
/// How often an instance that is not frozen is looked at though nothing is told: a lease changes dates without waking
/// the keeper, because most never matter.
pub const AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// A deployment's books. `O` stands for its instances, `W` for who waits.
#[derive(Debug)]
pub struct Books<O, W> {
    config: PoolConfig,
    /// This server hands over.
    draining: Arc<AtomicBool>,
    /// Never shortened: a seat names its group by index.
    groups: Vec<Group<O, W>>,
    by_name: HashMap<SourcePath, usize>,
}

/// Why a start has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A cap is reached. Somebody else's instance may end; until then the queue is the answer.
    Capped,
    /// The machine is full, but something idle goes: its memory is free in a moment.
    Crowded,
    /// The machine is full.
    NoRoom,
    /// The program did not come up.
    Boot,
    /// Something of ours.
    Internal,
}

/// What a keeper is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Freeze the instance.
    Freeze,
    /// Wait for news, at most until then.
    Wait(Option<Instant>),
    /// It is gone.
    Over,
}

impl<O: Occupant, W: Waiter> Books<O, W> {
    /// Empty books. `draining` is set once this server hands over.
    #[must_use]
    pub fn new(config: PoolConfig, draining: Arc<AtomicBool>) -> Self {
        Self { config, draining, groups: Vec::new(), by_name: HashMap::new() }
    }

    /// A request comes: its group, and why it may not wait if it may not.
    pub fn enqueue(
        &mut self,
        spec: &Arc<Spec>,
        account: impl FnOnce() -> Arc<Account>,
        waiter: W,
        now: Instant,
    ) -> (usize, Result<(), Code>, Todo<O, W>) {
        let index = self.group_of(spec, account);
        self.groups[index].waiting.push_back((waiter, now));
        let todo = self.turn(index, now);
        // After the turn, this request waits only if it is among the last.
        let total: usize = self.groups.iter().map(Group::excess).sum();
        let group = &mut self.groups[index];
        if group.excess() > 0 && total > self.config.queue {
            group.waiting.pop_back();
            let full = group.fleet.booting + group.fleet.members.len() >= group.max_instances();
            let code = if full || group.capped { Code::CapReached } else { Code::QueueFull };
            return (index, Err(code), todo);
        }
        (index, Ok(()), todo)
    }

    /// Plans again: time has passed, or something outside has changed.
    pub fn look(&mut self, index: usize, now: Instant) -> Todo<O, W> {
        self.turn(index, now)
    }

    /// Plans every function again.
    pub fn look_all(&mut self, now: Instant) -> Todos<O, W> {
        (0..self.groups.len()).map(|index| (index, self.turn(index, now))).collect()
    }

    /// So many instances of a function are kept from now on though nobody asks. Says its index.
    pub fn keep(
        &mut self,
        spec: &Arc<Spec>,
        account: impl FnOnce() -> Arc<Account>,
        kept: u32,
        now: Instant,
    ) -> (usize, Todo<O, W>) {
        let index = self.group_of(spec, account);
        self.groups[index].kept = usize::try_from(kept).unwrap_or(usize::MAX);
        (index, self.turn(index, now))
    }

    /// No instance is kept any more.
    pub fn keep_none(&mut self, now: Instant) -> Todos<O, W> {
        self.groups.iter_mut().for_each(|group| group.kept = 0);
        self.look_all(now)
    }

    /// Whether instances are kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.groups.iter().any(|group| group.kept > 0)
    }

    /// A start has come to an end: what is made of the instance, by the key that it gets.
    pub fn started(&mut self, index: usize, now: Instant, occupant: impl FnOnce(u64) -> O) -> (u64, Todo<O, W>) {
        let group = &mut self.groups[index];
        group.fleet.booting = group.fleet.booting.saturating_sub(1);
        group.capped = false;
        group.failures = 0;
        let key = group.enter(Phase::Idle { since: now, warmth: Warmth::Running }, now, occupant);
        group.fresh = Some(key);
        group.relieve(now);
        let todo = self.turn(index, now);
        // If nobody took it at once, whoever takes it later did not wait for its start.
        self.groups[index].fresh = None;
        (key, todo)
    }

    /// An instance of another server joins, which may still serve that one's request.
    pub fn adopted(
        &mut self,
        spec: &Arc<Spec>,
        account: impl FnOnce() -> Arc<Account>,
        inheritance: Inheritance,
        now: Instant,
        occupant: impl FnOnce(u64) -> O,
    ) -> (usize, u64, Todo<O, W>) {
        let index = match self.by_name.get(&spec.name) {
            // What the group knows already is more than what an adopted instance knows of its function.
            Some(index) => *index,
            None => self.group_of(spec, account),
        };
        let warmth = if inheritance.frozen { Warmth::Frozen } else { Warmth::Running };
        let phase = match inheritance.busy {
            Some(serial) => Phase::Abandoned { serial, deadline: now + spec.invocation_limit().unwrap_or_default() },
            None => Phase::Idle { since: now, warmth },
        };
        let group = &mut self.groups[index];
        group.count(1);
        let key = group.enter(phase, now.checked_sub(inheritance.age).unwrap_or(now), occupant);
        (index, key, self.turn(index, now))
    }

    /// A start has failed: who waits longest may have to be told, in these words, and the others may have to wait. Says
    /// when to look again.
    pub fn failed(
        &mut self,
        index: usize,
        failure: Failure,
        detail: &str,
        now: Instant,
    ) -> (Option<Instant>, Todo<O, W>) {
        let group = &mut self.groups[index];
        let alone = group.waiting.is_empty();
        let (code, pause) = match failure {
            Failure::Capped | Failure::Crowded => (None, Some(RETRY)),
            Failure::NoRoom => (Some(Code::NoRoom), None),
            Failure::Boot => {
                (Some(Code::BootFailed), (alone || group.spec.service().is_some()).then(|| group.back_off()).flatten())
            }
            Failure::Internal => (Some(Code::Internal), None),
        };
        let retry = pause.max(alone.then_some(ALONE)).map(|pause| now + pause);
        group.fleet.booting = group.fleet.booting.saturating_sub(1);
        group.count(-1);
        group.start_after = retry.or(group.start_after);
        group.capped = failure == Failure::Capped;
        // Whoever was to be replaced is looked at again.
        group.fleet.members.iter_mut().for_each(|member| member.replaced &= member.leaving.is_some());
        group.forget_gone();
        let told = code.and_then(|code| Some((group.waiting.pop_front()?.0, Refusal::new(code, detail))));
        let mut todo = self.turn(index, now);
        todo.refusals.extend(told);
        (retry, todo)
    }

    /// What the keeper of an instance is to do, after what its life and the clock say is taken in.
    pub fn step(&mut self, index: usize, key: u64, now: Instant) -> (Step, Todo<O, W>) {
        let Some(member) = self.groups[index].member(key) else { return (Step::Over, Todo::default()) };
        let news = member.with.news();
        member.loaded = news.loaded;
        if news.dead {
            self.groups[index].leave(key);
            return (Step::Over, self.turn(index, now));
        }
        if news.hung_up {
            // What it was doing is over; that it is dead will be told.
            member.phase = Phase::Draining;
        } else if let Phase::Finishing { serial, .. } | Phase::Abandoned { serial, .. } = member.phase
            && news.has_ended(serial)
        {
            member.phase = Phase::Idle { since: now, warmth: Warmth::Running };
        }
        let todo = self.turn(index, now);
        let limits = self.limits(index);
        let step = match self.groups[index].member(key) {
            None => Step::Over,
            Some(Member { phase: Phase::Idle { warmth: Warmth::Freezing, .. }, .. }) => Step::Freeze,
            Some(member) => Step::Wait(plan::due(member, &limits)),
        };
        (step, todo)
    }

    /// A freeze has come to its end.
    pub fn frozen(&mut self, index: usize, key: u64, frozen: bool, now: Instant) {
        if let Some(member) = self.groups[index].member(key)
            && let Phase::Idle { since, warmth: Warmth::Freezing } = member.phase
        {
            member.phase = if frozen {
                Phase::Idle { since, warmth: Warmth::Frozen }
            } else {
                Phase::Idle { since: now, warmth: Warmth::Running }
            };
        }
    }

    /// Changes what a leased instance does, and plans. An instance that is on its way out stays there.
    pub fn become_(&mut self, index: usize, key: u64, phase: Phase, now: Instant) -> Todo<O, W> {
        let Some(member) = self.groups[index].member(key) else { return Todo::default() };
        if member.phase != Phase::Draining {
            member.phase = phase;
        }
        self.turn(index, now)
    }

    /// An answer of a function is complete. Its instance is idle if its program has said so already, else as soon as it
    /// does. That is looked up here, so that an `end` that comes at the same moment is seen by this or by the keeper.
    pub fn finished(&mut self, index: usize, key: u64, serial: u64, deadline: Instant, now: Instant) -> Todo<O, W> {
        let Some(member) = self.groups[index].member(key) else { return Todo::default() };
        let phase = if member.with.news().has_ended(serial) {
            Phase::Idle { since: now, warmth: Warmth::Running }
        } else {
            Phase::Finishing { serial, since: now, deadline }
        };
        self.become_(index, key, phase, now)
    }

    /// A request to a service is over.
    pub fn leave(&mut self, index: usize, key: u64, now: Instant) -> Todo<O, W> {
        let Some(member) = self.groups[index].member(key) else { return Todo::default() };
        if let Phase::Serving { active } = member.phase {
            member.phase = match active - 1 {
                0 => Phase::Idle { since: now, warmth: Warmth::Running },
                active => Phase::Serving { active },
            };
        }
        self.turn(index, now)
    }

    /// Wakes the keeper of an instance, because its next date has changed.
    pub fn wake(&mut self, index: usize, key: u64) {
        if let Some(member) = self.groups[index].member(key) {
            member.with.wake();
        }
    }

    /// An instance was let go for another server.
    pub fn released(&mut self, index: usize, key: u64, now: Instant) -> Todo<O, W> {
        self.wake(index, key);
        self.groups[index].leave(key);
        self.turn(index, now)
    }

    /// Sends every instance away: idle ones now, which are named, the others after their request. Says how many.
    pub fn dismiss(&mut self, now: Instant) -> (Vec<O>, usize, Todos<O, W>) {
        let (mut idle, mut count) = (Vec::new(), 0);
        for member in self.groups.iter_mut().flat_map(|group| &mut group.fleet.members) {
            if member.phase == Phase::Draining {
                continue;
            }
            member.leaving.get_or_insert(now);
            count += 1;
            if matches!(member.phase, Phase::Idle { .. }) {
                idle.push(member.with.clone());
            }
        }
        (idle, count, self.look_all(now))
    }

    /// Everybody who waits, to be refused.
    pub fn send_away(&mut self) -> Vec<W> {
        self.groups.iter_mut().flat_map(|group| group.waiting.drain(..)).map(|(waiter, _)| waiter).collect()
    }

    /// The idle instance that was not used for longest and is not kept, of this account if one is named: since when, its group and key.
    #[must_use]
    pub fn stalest(&self, account: Option<&AccountId>) -> Option<(Instant, usize, u64)> {
        let groups = self.groups.iter().enumerate();
        let groups = groups.filter(|(_, group)| account.is_none_or(|account| group.spec.account == *account));
        let groups = groups.filter(|(_, group)| {
            let stays = |member: &&Member<O>| member.leaving.is_none() && member.phase != Phase::Draining;
            group.fleet.members.iter().filter(stays).count() > group.kept
        });
        let members = groups.flat_map(|(index, group)| group.fleet.members.iter().map(move |member| (index, member)));
        let idle = members.filter_map(|(index, member)| match member.phase {
            Phase::Idle { since, .. } if member.leaving.is_none() => Some((since, index, member.key)),
            _ => None,
        });
        idle.min()
    }

    /// Instances of this account that are on their way out.
    #[must_use]
    pub fn going(&self, account: &AccountId) -> usize {
        let members = self.of_account(account).flat_map(|(_, group)| &group.fleet.members);
        members.filter(|member| member.phase == Phase::Draining).count()
    }

    /// The functions of this account for which somebody waits: since when, and their index.
    pub fn queues(&self, account: &AccountId) -> impl Iterator<Item = (Instant, usize)> {
        self.of_account(account).filter_map(|(index, group)| Some((group.waiting.front()?.1, index)))
    }

    fn of_account(&self, account: &AccountId) -> impl Iterator<Item = (usize, &Group<O, W>)> {
        self.groups.iter().enumerate().filter(move |(_, group)| group.spec.account == *account)
    }

    /// Sends one instance away.
    pub fn evict(&mut self, index: usize, key: u64, now: Instant) -> Todo<O, W> {
        if let Some(member) = self.groups[index].member(key) {
            member.leaving.get_or_insert(now);
        }
        self.turn(index, now)
    }

    /// Whether nothing is here and nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(Group::is_empty)
    }

    /// The functions, by index.
    #[must_use]
    pub fn groups(&self) -> &[Group<O, W>] {
        &self.groups
    }

    /// What stands beside a member.
    #[must_use]
    pub fn occupant(&self, index: usize, key: u64) -> Option<&O> {
        let member = self.groups[index].fleet.members.iter().find(|member| member.key == key);
        member.map(|member| &member.with)
    }

    /// The rules for a function now.
    #[must_use]
    pub fn limits(&self, index: usize) -> Limits {
        self.groups[index].limits(&self.config, self.draining.load(Ordering::Relaxed))
    }

    /// Plans and writes down what was decided.
    fn turn(&mut self, index: usize, now: Instant) -> Todo<O, W> {
        let mut todo = Todo::default();
        self.groups[index].forget_gone();
        let limits = Limits { yields: self.groups[index].yields(&self.config, now), ..self.limits(index) };
        let group = &mut self.groups[index];
        let demand = Demand { waiting: group.waiting.len() };
        for action in plan::plan(demand, &group.fleet, &limits, now) {
            match action {
                Action::Start => {
                    group.fleet.booting += 1;
                    group.count(1);
                    todo.starts += 1;
                }
                Action::Lease(key) => todo.grants.extend(group.hand_out(key, now)),
                Action::Replace(key) => {
                    if let Some(member) = group.member(key) {
                        member.replaced = true;
                    }
                }
                Action::Leave(key) => {
                    if let Some(member) = group.member(key) {
                        member.leaving = Some(now);
                    }
                }
                Action::Keep(key) => {
                    if let Some(member) = group.member(key)
                        && let Phase::Idle { since, .. } = &mut member.phase
                    {
                        *since = now;
                    }
                }
                Action::Freeze(key) => {
                    if let Some(member) = group.member(key)
                        && let Phase::Idle { warmth, .. } = &mut member.phase
                    {
                        *warmth = Warmth::Freezing;
                        member.with.ask_freeze();
                        member.with.wake();
                    }
                }
                Action::Retire(key) => {
                    group.end(key, KillReason::Retired);
                    if limits.yields > 0 {
                        group.account.feed();
                    }
                }
                Action::Expire(key) => {
                    let reason = match group.spec.invocation_limit() {
                        Some(limit) => KillReason::Deadline(limit),
                        // Its life was over: nobody is to blame.
                        None => KillReason::Retired,
                    };
                    group.end(key, reason);
                }
                Action::Release(key) => {
                    if let Some(member) = group.member(key) {
                        member.phase = Phase::Draining;
                        todo.releases.push((key, member.with.clone()));
                    }
                }
            }
        }
        let (limits, group) = (self.limits(index), &self.groups[index]);
        todo.short = plan::short(Demand { waiting: group.waiting.len() }, &group.fleet, &limits, now);
        group.note_hunger(todo.short);
        todo
    }

    /// The group of a function, made if it is new. The newest specification counts: an adopted instance brings a
    /// poor one.
    fn group_of(&mut self, spec: &Arc<Spec>, account: impl FnOnce() -> Arc<Account>) -> usize {
        if let Some(index) = self.by_name.get(&spec.name) {
            let group = &mut self.groups[*index];
            if !Arc::ptr_eq(&group.spec, spec) {
                group.spec = spec.clone();
            }
            return *index;
        }
        self.groups.push(Group::new(spec.clone(), account()));
        let index = self.groups.len() - 1;
        self.by_name.insert(spec.name.clone(), index);
        index
    }
}

/// When a keeper that got [`Step::Wait`] looks again though nothing is told.
#[must_use]
pub fn look_again(due: Option<Instant>, frozen: bool, now: Instant) -> Instant {
    let soon = now + AT_LEAST_EVERY;
    match due {
        Some(due) if frozen => due,
        Some(due) => due.min(soon),
        None => soon,
    }
}

/// How an instance of another server comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inheritance {
    /// Serial number of the request that it still serves.
    pub busy: Option<u64>,
    /// Whether it is frozen.
    pub frozen: bool,
    /// Time since it was given its code.
    pub age: Duration,
}

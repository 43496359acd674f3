//! One deployment's functions: who waits, what there is, and the lock around the two.
//!
//! Everything under the lock is short and waits for nothing. What takes time (starting, thawing, freezing, ending) is
//! done by whoever called, after the lock.

mod group;

pub(crate) use group::{Crew, Group, Waiter};

use crate::lease::{Lease, Start};
use crate::plan::{self, Action, Limits, Member, Phase, Warmth};
use crate::pool::Inner;
use crate::{PoolConfig, Refusal};
use dockless_model::{Clock, Code, DeploymentId, InstanceState, SourcePath, Timestamp};
use dockless_node::{Instance, KillReason, Spec};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A deployment's desk.
#[derive(Debug)]
pub(crate) struct Desk {
    pool: Weak<Inner>,
    deployment: DeploymentId,
    config: PoolConfig,
    draining: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Never shortened: a seat names its group by index.
    groups: Vec<Group>,
    by_name: HashMap<SourcePath, usize>,
}

/// What is to be done after the lock is let go.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Todo {
    /// Starts of this group.
    pub(crate) starts: usize,
    /// To be let go for another server: group and key.
    pub(crate) releases: Vec<(usize, u64, Instance)>,
    /// Leases whose taker had gone: their drop takes the lock again.
    pub(crate) returned: Vec<Lease>,
}

/// What became of a request that came to the desk.
#[derive(Debug)]
pub(crate) struct Queued {
    /// The function's group.
    pub(crate) index: usize,
    /// Where the lease will come, or why none will.
    pub(crate) place: Result<oneshot::Receiver<Result<Lease, Refusal>>, Refusal>,
    pub(crate) todo: Todo,
}

/// What a keeper is to do.
#[derive(Debug)]
pub(crate) enum Step {
    /// Freeze the instance.
    Freeze,
    /// Wait for news, at most until then.
    Wait(Option<Instant>),
    /// It is gone.
    Over,
}

impl Desk {
    pub(crate) fn new(
        pool: Weak<Inner>,
        deployment: DeploymentId,
        config: PoolConfig,
        draining: Arc<AtomicBool>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { pool, deployment, config, draining, clock, state: Mutex::default() }
    }

    /// Does what a plan left to be done, for those who have no pool at hand.
    pub(crate) fn perform(self: &Arc<Self>, index: usize, todo: Todo) {
        if let Some(pool) = self.pool.upgrade() {
            pool.perform(self, index, todo);
        }
    }

    /// The wall clock, for deadlines told to others.
    pub(crate) fn wall_clock(&self) -> Timestamp {
        self.clock.now()
    }

    /// What wakes the keeper of an instance.
    pub(crate) fn bell(&self, index: usize, key: u64) -> Option<Arc<Notify>> {
        self.lock().groups[index].member(key).map(|member| member.with.wake.clone())
    }

    /// Queues a request and plans; `Err` if the queue is full.
    pub(crate) fn enqueue(
        self: &Arc<Self>,
        spec: &Arc<Spec>,
        account: impl FnOnce() -> Arc<AtomicUsize>,
        now: Instant,
    ) -> Queued {
        let mut state = self.lock();
        let index = state.group(spec, account);
        let (sender, receiver) = oneshot::channel();
        state.groups[index].waiting.push_back(Waiter { sender, since: now });
        let todo = self.turn(&mut state, index, now);
        // After the turn, this request waits only if it is among the last.
        let total: usize = state.groups.iter().map(Group::excess).sum();
        let group = &mut state.groups[index];
        if group.excess() > 0 && total > self.config.queue {
            group.waiting.pop_back();
            let full = group.fleet.booting + group.fleet.members.len() >= group.max_instances();
            let code = if full || group.capped { Code::CapReached } else { Code::QueueFull };
            let detail = format!("{} requests wait at {}", total - 1, self.deployment);
            return Queued { index, place: Err(Refusal::new(code, detail)), todo };
        }
        Queued { index, place: Ok(receiver), todo }
    }

    /// Plans again: time has passed, or something outside has changed.
    pub(crate) fn look(self: &Arc<Self>, index: usize, now: Instant) -> Todo {
        self.turn(&mut self.lock(), index, now)
    }

    /// The function as last asked for.
    pub(crate) fn spec(&self, index: usize) -> Arc<Spec> {
        self.lock().groups[index].spec.clone()
    }

    /// A start has come to an end.
    pub(crate) fn started(self: &Arc<Self>, index: usize, instance: &Instance, now: Instant) -> (u64, Todo) {
        let mut state = self.lock();
        let group = &mut state.groups[index];
        group.fleet.booting = group.fleet.booting.saturating_sub(1);
        group.capped = false;
        group.failures = 0;
        let phase = Phase::Idle { since: now, warmth: Warmth::Running };
        let key = group.enter(instance, phase, true, now);
        group.relieve(now);
        let todo = self.turn(&mut state, index, now);
        // If nobody took it at once, whoever takes it later did not wait for its start.
        if let Some(member) = state.groups[index].member(key) {
            member.with.fresh = false;
        }
        (key, todo)
    }

    /// An instance of another server joins.
    pub(crate) fn adopted(
        self: &Arc<Self>,
        instance: &Instance,
        busy: Option<u64>,
        account: impl FnOnce() -> Arc<AtomicUsize>,
        now: Instant,
    ) -> (usize, u64, Todo) {
        let mut state = self.lock();
        let spec = instance.spec();
        let index = match state.by_name.get(&spec.name) {
            // What the group knows already is more than what an adopted instance knows of its function.
            Some(index) => *index,
            None => state.group(spec, account),
        };
        let phase = match busy {
            Some(serial) => Phase::Abandoned { serial, deadline: now + spec.invocation_limit().unwrap_or_default() },
            None if instance.is_frozen() => Phase::Idle { since: now, warmth: Warmth::Frozen },
            None => Phase::Idle { since: now, warmth: Warmth::Running },
        };
        let group = &mut state.groups[index];
        group.count(1);
        let age = self.clock.now().since(instance.started_at());
        let key = group.enter(instance, phase, false, now.checked_sub(age).unwrap_or(now));
        (index, key, self.turn(&mut state, index, now))
    }

    /// A start has failed. `refusal` goes to the request that waits longest; without one, all wait until `retry`.
    pub(crate) fn failed(
        self: &Arc<Self>,
        index: usize,
        refusal: Option<Refusal>,
        retry: Option<Instant>,
        capped: bool,
        now: Instant,
    ) -> Todo {
        let mut state = self.lock();
        let group = &mut state.groups[index];
        group.fleet.booting = group.fleet.booting.saturating_sub(1);
        group.count(-1);
        group.start_after = retry.or(group.start_after);
        group.capped = capped;
        // Whoever was to be replaced is looked at again.
        group.fleet.members.iter_mut().for_each(|member| member.replaced &= member.leaving.is_some());
        group.forget_gone();
        if let Some(refusal) = refusal
            && let Some(waiter) = group.waiting.pop_front()
        {
            // It may have given up this very moment.
            drop(waiter.sender.send(Err(refusal)));
        }
        self.turn(&mut state, index, now)
    }

    /// What the keeper of an instance is to do, after what its life and the clock say is taken in.
    pub(crate) fn step(self: &Arc<Self>, index: usize, key: u64, now: Instant) -> (Step, Todo) {
        let mut state = self.lock();
        let Some(member) = state.groups[index].member(key) else { return (Step::Over, Todo::default()) };
        let (dead, hung_up, ended) = {
            let life = member.with.instance.peek();
            member.loaded = life.loaded;
            let ended = |serial| life.has_ended(serial);
            let ended = match member.phase {
                Phase::Finishing { serial, .. } | Phase::Abandoned { serial, .. } => ended(serial),
                _ => false,
            };
            (life.death.is_some(), life.hung_up, ended)
        };
        if dead {
            state.groups[index].leave(key);
            return (Step::Over, self.turn(&mut state, index, now));
        }
        if hung_up {
            // What it was doing is over; that it is dead will be told.
            member.phase = Phase::Draining;
        } else if ended {
            member.phase = Phase::Idle { since: now, warmth: Warmth::Running };
        }
        let todo = self.turn(&mut state, index, now);
        let limits = state.groups[index].limits(&self.config, self.is_draining());
        let step = match state.groups[index].member(key) {
            None => Step::Over,
            Some(Member { phase: Phase::Idle { warmth: Warmth::Freezing, .. }, .. }) => Step::Freeze,
            Some(member) => Step::Wait(plan::due(member, &limits)),
        };
        (step, todo)
    }

    /// A freeze has come to its end.
    pub(crate) fn frozen(&self, index: usize, key: u64, frozen: bool, now: Instant) {
        let mut state = self.lock();
        if let Some(member) = state.groups[index].member(key)
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
    pub(crate) fn become_(self: &Arc<Self>, index: usize, key: u64, phase: Phase, now: Instant) -> Todo {
        let mut state = self.lock();
        let Some(member) = state.groups[index].member(key) else { return Todo::default() };
        if member.phase != Phase::Draining {
            member.phase = phase;
        }
        self.turn(&mut state, index, now)
    }

    /// A request to a service is over.
    pub(crate) fn leave(self: &Arc<Self>, index: usize, key: u64, now: Instant) -> Todo {
        let mut state = self.lock();
        let Some(member) = state.groups[index].member(key) else { return Todo::default() };
        if let Phase::Serving { active } = member.phase {
            member.phase = match active - 1 {
                0 => Phase::Idle { since: now, warmth: Warmth::Running },
                active => Phase::Serving { active },
            };
        }
        self.turn(&mut state, index, now)
    }

    /// A start of a service has failed: when the next one may begin.
    pub(crate) fn back_off(&self, index: usize) -> Option<Duration> {
        self.lock().groups[index].back_off()
    }

    /// Wakes the keeper of an instance, because its next date has changed.
    pub(crate) fn wake(&self, index: usize, key: u64) {
        if let Some(member) = self.lock().groups[index].member(key) {
            member.with.wake.notify_one();
        }
    }

    /// An instance was let go for another server.
    pub(crate) fn released(self: &Arc<Self>, index: usize, key: u64, now: Instant) -> Todo {
        let mut state = self.lock();
        let group = &mut state.groups[index];
        if let Some(member) = group.member(key) {
            member.with.wake.notify_one();
        }
        group.leave(key);
        self.turn(&mut state, index, now)
    }

    /// Sends every instance away: idle ones now, the others after their request.
    pub(crate) fn dismiss(self: &Arc<Self>, now: Instant) -> (Vec<Instance>, usize, Vec<(usize, Todo)>) {
        let mut state = self.lock();
        let (mut idle, mut count) = (Vec::new(), 0);
        for member in state.groups.iter_mut().flat_map(|group| &mut group.fleet.members) {
            if member.phase == Phase::Draining {
                continue;
            }
            member.leaving.get_or_insert(now);
            count += 1;
            if matches!(member.phase, Phase::Idle { .. }) {
                idle.push(member.with.instance.clone());
            }
        }
        let todos = self.turn_all(&mut state, now);
        (idle, count, todos)
    }

    /// Refuses everybody who waits.
    pub(crate) fn refuse_all(&self, refusal: &Refusal) {
        for waiter in self.lock().groups.iter_mut().flat_map(|group| group.waiting.drain(..)) {
            drop(waiter.sender.send(Err(refusal.clone())));
        }
    }

    /// Plans every function again.
    pub(crate) fn look_all(self: &Arc<Self>, now: Instant) -> Vec<(usize, Todo)> {
        self.turn_all(&mut self.lock(), now)
    }

    /// The idle instance that was not used for longest, of this account if one is named.
    pub(crate) fn stalest(&self, account: Option<&dockless_model::AccountId>) -> Option<(Instant, usize, u64)> {
        let state = self.lock();
        let groups = state.groups.iter().enumerate();
        let groups = groups.filter(|(_, group)| account.is_none_or(|account| group.spec.account == *account));
        let members = groups.flat_map(|(index, group)| group.fleet.members.iter().map(move |member| (index, member)));
        let idle = members.filter_map(|(index, member)| match member.phase {
            Phase::Idle { since, .. } if member.leaving.is_none() => Some((since, index, member.key)),
            _ => None,
        });
        idle.min()
    }

    /// Sends one instance away.
    pub(crate) fn evict(self: &Arc<Self>, index: usize, key: u64, now: Instant) -> Todo {
        let mut state = self.lock();
        if let Some(member) = state.groups[index].member(key) {
            member.leaving.get_or_insert(now);
        }
        self.turn(&mut state, index, now)
    }

    /// Whether nothing is here and nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().groups.iter().all(Group::is_empty)
    }

    /// Every instance, with its state.
    pub(crate) fn instances(&self) -> Vec<(Instance, InstanceState)> {
        let state = self.lock();
        let members = state.groups.iter().flat_map(|group| &group.fleet.members);
        members.map(|member| (member.with.instance.clone(), label(member))).collect()
    }

    fn turn_all(self: &Arc<Self>, state: &mut State, now: Instant) -> Vec<(usize, Todo)> {
        (0..state.groups.len()).map(|index| (index, self.turn(state, index, now))).collect()
    }

    /// Plans and does what can be done under the lock.
    fn turn(self: &Arc<Self>, state: &mut State, index: usize, now: Instant) -> Todo {
        let mut todo = Todo::default();
        let draining = self.is_draining();
        let group = &mut state.groups[index];
        group.forget_gone();
        let limits = group.limits(&self.config, draining);
        let demand = plan::Demand { waiting: group.waiting.len() };
        for action in plan::plan(demand, &group.fleet, &limits, now) {
            match action {
                Action::Start => {
                    group.fleet.booting += 1;
                    group.count(1);
                    todo.starts += 1;
                }
                Action::Lease(key) => todo.returned.extend(self.hand_out(group, index, key, now)),
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
                Action::Freeze(key) => {
                    if let Some(member) = group.member(key)
                        && let Phase::Idle { warmth, .. } = &mut member.phase
                    {
                        *warmth = Warmth::Freezing;
                        member.with.instance.ask_freeze();
                        member.with.wake.notify_one();
                    }
                }
                Action::Retire(key) => group.end(key, KillReason::Retired),
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
                        todo.releases.push((index, key, member.with.instance.clone()));
                    }
                }
            }
        }
        todo
    }

    /// Gives an idle instance to whoever waits longest; comes back if that one has just gone.
    fn hand_out(self: &Arc<Self>, group: &mut Group, index: usize, key: u64, now: Instant) -> Option<Lease> {
        let waiter = group.waiting.pop_front()?;
        let limit = group.spec.invocation_limit();
        let member = group.member(key)?;
        let warmth = match member.phase {
            Phase::Idle { warmth, .. } => warmth,
            Phase::Serving { .. } => Warmth::Running,
            _ => return None,
        };
        member.phase = match (limit, member.phase) {
            (Some(limit), _) => Phase::Busy { deadline: now + limit },
            (None, Phase::Serving { active }) => Phase::Serving { active: active + 1 },
            (None, _) => Phase::Serving { active: 1 },
        };
        if warmth != Warmth::Running {
            // Its keeper sleeps until the idle timeout.
            member.with.wake.notify_one();
        }
        let fresh = std::mem::take(&mut member.with.fresh);
        let instance = member.with.instance.clone();
        let waited = now.duration_since(waiter.since);
        let start = if fresh {
            let started = instance.started();
            Start::Boot { shelf: started.shelf, took: started.took }
        } else {
            Start::Warm
        };
        let queue = if let Start::Boot { took, .. } = start { waited.saturating_sub(took) } else { waited };
        let lease = Lease::new(self.clone(), index, key, instance, queue, start);
        waiter.sender.send(Ok(lease)).err().and_then(Result::ok)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a request of this function may wait.
    pub(crate) fn patience(&self, spec: &Spec) -> Duration {
        spec.boot() + self.config.queue_wait
    }

    pub(crate) fn settle(&self) -> Duration {
        self.config.settle
    }
}

impl State {
    /// The group of a function, made if it is new. The newest specification counts: an adopted instance brings a
    /// poor one.
    fn group(&mut self, spec: &Arc<Spec>, account: impl FnOnce() -> Arc<AtomicUsize>) -> usize {
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

fn label(member: &Member<Crew>) -> InstanceState {
    match member.phase {
        Phase::Idle { warmth: Warmth::Running | Warmth::Freezing, .. } => InstanceState::Ready,
        Phase::Idle { warmth: Warmth::Frozen, .. } => InstanceState::Frozen,
        Phase::Busy { .. } | Phase::Serving { .. } | Phase::Finishing { .. } => InstanceState::Busy,
        Phase::Abandoned { .. } => InstanceState::Abandoned,
        Phase::Draining => InstanceState::Draining,
    }
}

// Seen from the plan every limit is a number.
fn limits_of(group: &Group, config: &PoolConfig, draining: bool) -> Limits {
    let spec = &group.spec;
    Limits {
        concurrency: usize::try_from(spec.concurrency()).unwrap_or(1),
        max_instances: group.max_instances(),
        room: config.account_instances.saturating_sub(group.account.load(Ordering::Relaxed)),
        start_after: group.start_after,
        grace: config.grace,
        idle_timeout: spec.idle_timeout(),
        life: spec.life_limit(),
        farewell: config.farewell,
        freezes: spec.function().is_some(),
        settle: config.settle,
        draining,
    }
}

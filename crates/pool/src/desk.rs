//! One deployment's functions: the lock around their [`Books`], and the hands that do what those decide.
//!
//! Everything under the lock is short and waits for nothing. What takes time (starting, thawing, freezing, ending) is
//! done by whoever called, after the lock.

use crate::books::{Account, Books, Failure, Grant, Inheritance, News, Occupant, Step, Todo as Decided, Waiter};
use crate::lease::{Lease, Start};
use crate::plan::{Member, Phase, Warmth};
use crate::pool::Inner;
use crate::{PoolConfig, Population, Refusal, metrics};
use dockless_model::{AccountId, Clock, DeploymentId, InstanceState, Timestamp};
use dockless_node::{Instance, KillReason, Spec};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// How long a service may take to end when it is asked to.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A deployment's desk.
#[derive(Debug)]
pub(crate) struct Desk {
    pool: Weak<Inner>,
    deployment: DeploymentId,
    config: PoolConfig,
    clock: Arc<dyn Clock>,
    books: Mutex<Books<Crew, Queuer>>,
}

/// What is kept beside a member of the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Crew {
    instance: Instance,
    /// Its keeper looks again.
    bell: Arc<Notify>,
}

/// A request that waits.
type Queuer = oneshot::Sender<Result<Lease, Refusal>>;

/// What is to be done after the lock is let go.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Todo {
    /// Starts of this group.
    pub(crate) starts: usize,
    /// Starts for which its account has no room.
    pub(crate) short: usize,
    /// To be let go for another server, by key.
    pub(crate) releases: Vec<(u64, Instance)>,
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

impl Desk {
    pub(crate) fn new(
        pool: Weak<Inner>,
        deployment: DeploymentId,
        config: PoolConfig,
        draining: Arc<AtomicBool>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { pool, deployment, config, clock, books: Mutex::new(Books::new(config, draining)) }
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
        self.books().occupant(index, key).map(|crew| crew.bell.clone())
    }

    /// Queues a request and plans.
    pub(crate) fn enqueue(
        self: &Arc<Self>,
        spec: &Arc<Spec>,
        account: impl FnOnce() -> Arc<Account>,
        now: Instant,
    ) -> Queued {
        let (sender, receiver) = oneshot::channel();
        let (index, place, decided) = self.books().enqueue(spec, account, sender, now);
        let refused = |code| Refusal::new(code, format!("{} requests wait at {}", self.config.queue, self.deployment));
        Queued { index, place: place.map(|()| receiver).map_err(refused), todo: self.hand_out(index, decided) }
    }

    /// So many instances of a function are kept from now on.
    pub(crate) fn keep(
        self: &Arc<Self>,
        spec: &Arc<Spec>,
        account: impl FnOnce() -> Arc<Account>,
        kept: u32,
        now: Instant,
    ) -> (usize, Todo) {
        let (index, decided) = self.books().keep(spec, account, kept, now);
        (index, self.hand_out(index, decided))
    }

    /// None is kept any more.
    pub(crate) fn keep_none(self: &Arc<Self>, now: Instant) -> Vec<(usize, Todo)> {
        let decided = self.books().keep_none(now);
        self.hand_out_all(decided)
    }

    /// Whether instances are kept.
    pub(crate) fn keeps(&self) -> bool {
        self.books().keeps()
    }

    /// Plans again: time has passed, or something outside has changed.
    pub(crate) fn look(self: &Arc<Self>, index: usize, now: Instant) -> Todo {
        let decided = self.books().look(index, now);
        self.hand_out(index, decided)
    }

    /// The function as last asked for.
    pub(crate) fn spec(&self, index: usize) -> Arc<Spec> {
        self.books().groups()[index].spec().clone()
    }

    /// Starts that failed in a row.
    pub(crate) fn failures(&self, index: usize) -> u32 {
        self.books().groups()[index].failures()
    }

    /// A start has come to an end.
    pub(crate) fn started(self: &Arc<Self>, index: usize, instance: &Instance, now: Instant) -> (u64, Todo) {
        let (key, decided) = self.books().started(index, now, |_| Crew::of(instance));
        (key, self.hand_out(index, decided))
    }

    /// An instance of another server joins.
    pub(crate) fn adopted(
        self: &Arc<Self>,
        instance: &Instance,
        busy: Option<u64>,
        account: impl FnOnce() -> Arc<Account>,
        now: Instant,
    ) -> (usize, u64, Todo) {
        let age = self.clock.now().since(instance.started_at());
        let inheritance = Inheritance { busy, frozen: instance.is_frozen(), age };
        let crew = |_| Crew::of(instance);
        let (index, key, decided) = self.books().adopted(instance.spec(), account, inheritance, now, crew);
        (index, key, self.hand_out(index, decided))
    }

    /// A start has failed. Says when to look again.
    pub(crate) fn failed(
        self: &Arc<Self>,
        index: usize,
        failure: Failure,
        detail: &str,
        now: Instant,
    ) -> (Option<Instant>, Todo) {
        let (retry, decided) = self.books().failed(index, failure, detail, now);
        (retry, self.hand_out(index, decided))
    }

    /// What the keeper of an instance is to do, after what its life and the clock say is taken in.
    pub(crate) fn step(self: &Arc<Self>, index: usize, key: u64, now: Instant) -> (Step, Todo) {
        let (step, decided) = self.books().step(index, key, now);
        (step, self.hand_out(index, decided))
    }

    /// A freeze has come to its end.
    pub(crate) fn frozen(&self, index: usize, key: u64, frozen: bool, now: Instant) {
        self.books().frozen(index, key, frozen, now);
    }

    /// Changes what a leased instance does, and plans. An instance that is on its way out stays there.
    pub(crate) fn become_(self: &Arc<Self>, index: usize, key: u64, phase: Phase, now: Instant) -> Todo {
        let decided = self.books().become_(index, key, phase, now);
        self.hand_out(index, decided)
    }

    /// A function's answer is complete.
    pub(crate) fn finished(
        self: &Arc<Self>,
        index: usize,
        key: u64,
        serial: u64,
        deadline: Instant,
        now: Instant,
    ) -> Todo {
        let decided = self.books().finished(index, key, serial, deadline, now);
        self.hand_out(index, decided)
    }

    /// A request to a service is over.
    pub(crate) fn leave(self: &Arc<Self>, index: usize, key: u64, now: Instant) -> Todo {
        let decided = self.books().leave(index, key, now);
        self.hand_out(index, decided)
    }

    /// Wakes the keeper of an instance, because its next date has changed.
    pub(crate) fn wake(&self, index: usize, key: u64) {
        self.books().wake(index, key);
    }

    /// An instance was let go for another server.
    pub(crate) fn released(self: &Arc<Self>, index: usize, key: u64, now: Instant) -> Todo {
        let decided = self.books().released(index, key, now);
        self.hand_out(index, decided)
    }

    /// Sends every instance away: idle ones now, the others after their request.
    pub(crate) fn dismiss(self: &Arc<Self>, now: Instant) -> (Vec<Instance>, usize, Vec<(usize, Todo)>) {
        let (idle, count, decided) = self.books().dismiss(now);
        (idle.into_iter().map(|crew| crew.instance).collect(), count, self.hand_out_all(decided))
    }

    /// Refuses everybody who waits.
    pub(crate) fn refuse_all(&self, refusal: &Refusal) {
        for waiter in self.books().send_away() {
            // It may have given up this very moment.
            drop(waiter.send(Err(refusal.clone())));
        }
    }

    /// Plans every function again.
    pub(crate) fn look_all(self: &Arc<Self>, now: Instant) -> Vec<(usize, Todo)> {
        let decided = self.books().look_all(now);
        self.hand_out_all(decided)
    }

    /// The idle instance that was not used for longest, of this account if one is named.
    pub(crate) fn stalest(&self, account: Option<&AccountId>) -> Option<(Instant, usize, u64)> {
        self.books().stalest(account)
    }

    /// Instances of this account that are on their way out.
    pub(crate) fn going(&self, account: &AccountId) -> usize {
        self.books().going(account)
    }

    /// The functions of this account for which somebody waits: since when, and their index.
    pub(crate) fn queues(&self, account: &AccountId) -> Vec<(Instant, usize)> {
        self.books().queues(account).collect()
    }

    /// Sends one instance away.
    pub(crate) fn evict(self: &Arc<Self>, index: usize, key: u64, now: Instant) -> Todo {
        let decided = self.books().evict(index, key, now);
        self.hand_out(index, decided)
    }

    /// Whether nothing is here and nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.books().is_empty()
    }

    /// Every instance, with its state.
    pub(crate) fn instances(&self) -> Vec<(Instance, InstanceState)> {
        let books = self.books();
        let members = books.groups().iter().flat_map(|group| &group.fleet().members);
        members.map(|member| (member.with.instance.clone(), label(member))).collect()
    }

    /// Adds what is here.
    pub(crate) fn count(&self, population: &mut Population, now: Instant) {
        for group in self.books().groups() {
            let kind = metrics::kind(group.spec());
            for member in &group.fleet().members {
                *population.instances.entry((kind, label(member).label())).or_default() += 1;
            }
            *population.instances.entry((kind, InstanceState::Booting.label())).or_default() += group.fleet().booting;
            for (waiter, since) in group.waiting() {
                if !waiter.is_gone() {
                    population.waiting += 1;
                    population.longest_wait = population.longest_wait.max(now.saturating_duration_since(since));
                }
            }
        }
    }

    /// How long a request of this function may wait.
    pub(crate) fn patience(&self, spec: &Spec) -> Duration {
        self.config.patience(spec)
    }

    pub(crate) fn settle(&self) -> Duration {
        self.config.settle
    }

    fn hand_out_all(self: &Arc<Self>, decided: Vec<(usize, Decided<Crew, Queuer>)>) -> Vec<(usize, Todo)> {
        decided.into_iter().map(|(index, decided)| (index, self.hand_out(index, decided))).collect()
    }

    /// Tells those who waited what they got.
    fn hand_out(self: &Arc<Self>, index: usize, decided: Decided<Crew, Queuer>) -> Todo {
        let mut todo = Todo { starts: decided.starts, short: decided.short, ..Todo::default() };
        todo.releases.extend(decided.releases.into_iter().map(|(key, crew)| (key, crew.instance)));
        for (waiter, refusal) in decided.refusals {
            // It may have given up this very moment.
            drop(waiter.send(Err(refusal)));
        }
        for Grant { waiter, key, occupant: Crew { instance, .. }, waited, fresh } in decided.grants {
            let (start, queue) = if fresh {
                let started = instance.started();
                (Start::Boot { shelf: started.shelf, took: started.took }, waited.saturating_sub(started.took))
            } else {
                (Start::Warm, waited)
            };
            let lease = Lease::new(self.clone(), index, key, instance, queue, start);
            todo.returned.extend(waiter.send(Ok(lease)).err().and_then(Result::ok));
        }
        todo
    }

    fn books(&self) -> MutexGuard<'_, Books<Crew, Queuer>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    fn of(instance: &Instance) -> Self {
        Self { instance: instance.clone(), bell: Arc::default() }
    }
}

impl Occupant for Crew {
    fn news(&self) -> News {
        let life = self.instance.peek();
        News {
            loaded: life.loaded,
            ended: life.ended.as_ref().map(|ended| ended.request),
            hung_up: life.hung_up,
            dead: life.death.is_some(),
        }
    }

    fn ask_freeze(&self) {
        self.instance.ask_freeze();
    }

    fn wake(&self) {
        self.bell.notify_one();
    }

    fn end(&self, reason: KillReason) {
        match self.instance.spec().service() {
            Some(service) => self.instance.stop(service.image.process.stop_signal, STOP_WITHIN, reason),
            None => self.instance.kill(reason),
        }
    }
}

impl Waiter for Queuer {
    fn is_gone(&self) -> bool {
        self.is_closed()
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

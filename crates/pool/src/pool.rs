//! The pool itself.

use crate::books::Account;
use crate::boot::{Driven, boot};
use crate::desk::{Desk, Queued, Todo};
use crate::metrics::Metrics;
use crate::{InstanceInfo, Lease, PoolConfig, Population, Refusal, keeper};
use dockless_model::{AccountId, Code, DeploymentId, InstanceState};
use dockless_node::{Instance, Node, Spec};
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Instances that may turn out to be gone before a request gives up.
const TRIES: usize = 5;
/// How long [`Pool::sleep`] waits to see what it retired end.
const SEE_THE_END: Duration = Duration::from_secs(5);
/// How often memory is looked at, and how many idle instances go at once when it is short.
const PRESSURE: (Duration, usize) = (Duration::from_millis(500), 4);
/// How often desks that stand empty are cleared away.
const TIDY: Duration = Duration::from_secs(60);
/// How often a drain looks whether everything has gone.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// The pool; clones share it.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) node: Node,
    pub(crate) metrics: Metrics,
    config: PoolConfig,
    desks: RwLock<HashMap<DeploymentId, Arc<Desk>>>,
    accounts: Mutex<HashMap<AccountId, Arc<Account>>>,
    draining: Arc<AtomicBool>,
}

impl Pool {
    /// A pool over this node. Its housekeeping goes on until `shutdown`.
    #[must_use]
    pub fn new(node: Node, config: PoolConfig, shutdown: CancellationToken) -> Self {
        let inner = Arc::new(Inner {
            node,
            metrics: Metrics::new(),
            config,
            desks: RwLock::default(),
            accounts: Mutex::default(),
            draining: Arc::default(),
        });
        let kept = inner.clone();
        tokio::spawn(async move {
            shutdown.run_until_cancelled(kept.housekeeping()).await;
        });
        Self(inner)
    }

    /// The node it starts instances on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// Gets the right to send one request: to an idle instance, thawed if need be, or a new one. Waits for its turn,
    /// at most the function's boot limit and the queue's time. If dropped, its place is given up; a start that it
    /// caused goes on.
    ///
    /// # Errors
    /// [`Refusal`] with `QUEUE_FULL`, `CAP_REACHED`, `QUEUE_TIMEOUT`, `NO_ROOM`, `BOOT_FAILED`, `INSTANCE_DIED` or
    /// `INTERNAL`.
    pub async fn acquire(&self, spec: &Arc<Spec>) -> Result<Lease, Refusal> {
        for _ in 0..TRIES {
            let mut lease = self.0.obtain(spec).await?;
            match lease.ready().await {
                Ok(()) => return Ok(lease),
                Err(error) => {
                    tracing::info!(instance = %lease.instance(), %error, "an instance was gone, another is taken");
                    lease.discard();
                }
            }
        }
        Err(Refusal::new(Code::InstanceDied, format!("{TRIES} instances were gone before the request")))
    }

    /// So many instances of a function are kept from now on though nobody asks for them: started, not retired for being
    /// idle, and replaced. Telling it again changes nothing.
    pub fn keep(&self, spec: &Arc<Spec>, kept: u32) {
        let desk = self.0.desk(&spec.deployment);
        let (index, todo) = desk.keep(spec, || self.0.account(&spec.account), kept, Instant::now());
        self.0.perform(&desk, index, todo);
    }

    /// No instance of a deployment is kept any more.
    pub fn keep_none(&self, deployment: &DeploymentId) {
        if let Some(desk) = self.0.find(deployment) {
            let todos = desk.keep_none(Instant::now());
            self.0.perform_all(&desk, todos);
        }
    }

    /// Retires a deployment's instances: idle ones now, and this ends when they are gone; the others after their
    /// request. The next request starts a new one, and so do those that are kept. Says how many.
    pub async fn sleep(&self, deployment: &DeploymentId) -> usize {
        let Some(desk) = self.0.find(deployment) else { return 0 };
        let (idle, count, todos) = desk.dismiss(Instant::now());
        self.0.perform_all(&desk, todos);
        let ends = async {
            for instance in idle {
                instance.death().await;
            }
        };
        // Whatever does not end in time is the warden's to end.
        drop(tokio::time::timeout(SEE_THE_END, ends).await);
        count
    }

    /// A deployment is removed: who waits is refused, its instances go.
    pub async fn forget(&self, deployment: &DeploymentId) {
        if let Some(desk) = self.0.find(deployment) {
            self.keep_none(deployment);
            desk.refuse_all(&Refusal::new(Code::DeploymentNotFound, "the deployment is removed"));
            self.sleep(deployment).await;
        }
    }

    /// Every instance of a function.
    #[must_use]
    pub fn instances(&self) -> Vec<InstanceInfo> {
        self.0.list().into_iter().map(|(_, info)| info).collect()
    }

    /// How many instances there are by kind and state, and how many requests wait.
    #[must_use]
    pub fn population(&self) -> Population {
        let mut population = Population::default();
        let now = Instant::now();
        for desk in self.0.all() {
            desk.count(&mut population, now);
        }
        population
    }

    /// Adds what the pool counts to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.0.metrics.register(registry);
    }

    /// Every instance, with the memory and processor time it has used.
    pub async fn instances_measured(&self) -> Vec<InstanceInfo> {
        let mut measuring = tokio::task::JoinSet::new();
        for (instance, mut info) in self.0.list() {
            measuring.spawn(async move {
                let usage = instance.usage().await.ok();
                info.memory_bytes = usage.map(|usage| usage.memory_bytes);
                info.memory_peak_bytes = usage.map(|usage| usage.memory_peak_bytes);
                info.cpu_us = usage.map(|usage| usage.cpu_us);
                info
            });
        }
        measuring.join_all().await
    }

    /// Takes in an instance that another server left behind: [`dockless_node::NodeEvent::Adopted`].
    pub fn adopt(&self, instance: Instance, busy: Option<u64>) {
        let spec = instance.spec().clone();
        let desk = self.0.desk(&spec.deployment);
        let account = || self.0.account(&spec.account);
        let (index, key, todo) = desk.adopted(&instance, busy, account, Instant::now());
        keeper::keep(&self.0, &desk, index, key, instance);
        self.0.perform(&desk, index, todo);
    }

    /// Hands everything over to another server: idle instances are released at once, the others when their lease
    /// ends. Ends when none is left and nobody waits. Requests are still served meanwhile.
    pub async fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        loop {
            let desks = self.0.all();
            for desk in &desks {
                let todos = desk.look_all(Instant::now());
                self.0.perform_all(desk, todos);
            }
            if desks.iter().all(|desk| desk.is_empty()) {
                return;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
}

impl Inner {
    /// Waits in the queue, driving one of the starts that it caused.
    async fn obtain(self: &Arc<Self>, spec: &Arc<Spec>) -> Result<Lease, Refusal> {
        let began = Instant::now();
        let desk = self.desk(&spec.deployment);
        let Queued { index, place, mut todo } = desk.enqueue(spec, || self.account(&spec.account), began);
        let mut receiver = match place {
            Ok(receiver) => receiver,
            Err(refusal) => {
                // The plan may have found work for others.
                self.perform(&desk, index, todo);
                return Err(refusal);
            }
        };
        let driven = todo.starts > 0;
        todo.starts = todo.starts.saturating_sub(1);
        self.perform(&desk, index, todo);
        let gone = || Refusal::new(Code::Internal, "the queue was given up");
        if let Ok(answer) = receiver.try_recv() {
            return answer;
        }
        let mut start = if driven { Driven::new(boot(self.clone(), desk.clone(), index)) } else { Driven::none() };
        let patience = began + desk.patience(spec);
        // Once: by then an `end` that was awaited instead of a start has come, or a start is made.
        let settled = tokio::time::sleep_until(began + desk.settle());
        tokio::pin!(settled);
        let mut looked = false;
        loop {
            tokio::select! {
                biased;
                answer = &mut receiver => return answer.unwrap_or_else(|_| Err(gone())),
                () = &mut start => {}
                () = &mut settled, if !looked => {
                    looked = true;
                    let todo = desk.look(index, Instant::now());
                    self.perform(&desk, index, todo);
                }
                () = tokio::time::sleep_until(patience) => {
                    let waited = began.elapsed().as_secs_f64();
                    return Err(Refusal::new(Code::QueueTimeout, format!("waited {waited:.1} s at {}", spec.deployment)));
                }
            }
        }
    }

    /// Does what a plan left to be done outside the lock.
    pub(crate) fn perform(self: &Arc<Self>, desk: &Arc<Desk>, index: usize, todo: Todo) {
        for _ in 0..todo.starts {
            tokio::spawn(boot(self.clone(), desk.clone(), index));
        }
        for (key, instance) in todo.releases {
            let (pool, desk) = (self.clone(), desk.clone());
            tokio::spawn(async move {
                if let Err(error) = instance.release().await {
                    tracing::warn!(instance = %instance.id(), %error, "an instance was not handed over");
                }
                let todo = desk.released(index, key, Instant::now());
                pool.perform(&desk, index, todo);
            });
        }
        // Each goes back to its desk by being dropped.
        drop(todo.returned);
        if todo.short > 0 {
            self.make_room(&desk.spec(index).account, todo.short);
        }
    }

    pub(crate) fn perform_all(self: &Arc<Self>, desk: &Arc<Desk>, todos: Vec<(usize, Todo)>) {
        for (index, todo) in todos {
            self.perform(desk, index, todo);
        }
    }

    /// An instance or a start is gone: functions of the same account that have no room may start one, whoever waits
    /// longest first.
    pub(crate) fn freed(self: &Arc<Self>, id: &AccountId) {
        if !self.account(id).gone() {
            return;
        }
        let desks = self.all();
        let queues =
            desks.iter().flat_map(|desk| desk.queues(id).into_iter().map(move |(since, index)| (since, index, desk)));
        let mut queues: Vec<_> = queues.collect();
        queues.sort_by_key(|(since, ..)| *since);
        for (_, index, desk) in queues {
            let todo = desk.look(index, Instant::now());
            self.perform(desk, index, todo);
        }
    }

    /// Idle instances of an account make room for as many starts, those on their way out counted.
    fn make_room(self: &Arc<Self>, account: &AccountId, starts: usize) {
        let going: usize = self.all().iter().map(|desk| desk.going(account)).sum();
        for _ in going..starts {
            if !self.evict(Some(account)) {
                return;
            }
        }
    }

    /// Retires the idle instance that was not used for longest; says whether there was one.
    pub(crate) fn evict(self: &Arc<Self>, account: Option<&AccountId>) -> bool {
        let candidates = self.all().into_iter().filter_map(|desk| {
            let (since, index, key) = desk.stalest(account)?;
            Some((since, index, key, desk))
        });
        let Some((_, index, key, desk)) = candidates.min_by_key(|(since, ..)| *since) else { return false };
        self.metrics.evicted();
        let todo = desk.evict(index, key, Instant::now());
        self.perform(&desk, index, todo);
        true
    }

    async fn housekeeping(self: Arc<Self>) {
        let mut tidied = Instant::now();
        loop {
            tokio::time::sleep(PRESSURE.0).await;
            for _ in 0..PRESSURE.1 {
                if self.node.has_room() || !self.evict(None) {
                    break;
                }
            }
            if tidied.elapsed() > TIDY {
                tidied = Instant::now();
                self.tidy();
            }
        }
    }

    /// Clears away desks where nobody sits or waits. Whoever holds one still uses it, so that one is left.
    fn tidy(&self) {
        let mut desks = self.desks.write().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|_, desk| Arc::strong_count(desk) > 1 || !desk.is_empty() || desk.keeps());
    }

    fn find(&self, deployment: &DeploymentId) -> Option<Arc<Desk>> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner).get(deployment).cloned()
    }

    fn desk(self: &Arc<Self>, deployment: &DeploymentId) -> Arc<Desk> {
        if let Some(desk) = self.find(deployment) {
            return desk;
        }
        let mut desks = self.desks.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let (draining, clock) = (self.draining.clone(), self.node.clock().clone());
            Arc::new(Desk::new(Arc::downgrade(self), deployment.clone(), self.config, draining, clock))
        };
        desks.entry(deployment.clone()).or_insert_with(new).clone()
    }

    fn all(&self) -> Vec<Arc<Desk>> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn account(&self, account: &AccountId) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.entry(account.clone()).or_default().clone()
    }

    fn list(&self) -> Vec<(Instance, InstanceInfo)> {
        let instances = self.all().into_iter().flat_map(|desk| desk.instances());
        let describe = |(instance, state): (Instance, InstanceState)| {
            let spec = instance.spec();
            let info = InstanceInfo {
                id: instance.id().clone(),
                deployment: spec.deployment.clone(),
                account: spec.account.clone(),
                url: spec.url.clone(),
                project: spec.project.clone(),
                function: spec.name.clone(),
                state,
                pid: instance.pid(),
                started_at: instance.started_at(),
                memory_bytes: None,
                memory_peak_bytes: None,
                cpu_us: None,
                requests: instance.requests(),
            };
            (instance, info)
        };
        instances.map(describe).collect()
    }
}

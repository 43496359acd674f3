//! Prewarmed sandboxes, nobody's yet: of functions, booted, warmed with requests to themselves and frozen; of services,
//! empty. Each is used once.
//!
//! Starting Node takes some 45 ms, waking a process that has already served requests takes two. Making namespaces and
//! joining control groups takes the kernel ten, giving a sandbox that has both a root takes less than one. The shelf is refilled
//! one at a time and only while nothing else starts: a refill takes the processor that somebody's first request needs.

use crate::node::Tools;
use crate::prepare::prepare;
use crate::{Instance, ShelfConfig, StartError, service};
use bytes::Bytes;
use dockless_model::{MemoryMib, RuntimeId};
use dockless_sandbox::frames::WARMUP;
use http_body_util::{BodyExt as _, Empty};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Requests to itself. The first has the launcher rehearse everything and exercises the connection; more were measured
/// to save nothing, and what they leave in memory every instance keeps.
const WARMUPS: usize = 1;
/// Quiet time after the last start before the shelf is refilled.
const QUIET: Duration = Duration::from_millis(50);
/// A class that was not asked for this long is not kept.
const IN_USE: Duration = Duration::from_secs(600);
/// Longest boot of a sandbox for the shelf.
const BOOT: Duration = Duration::from_secs(10);
/// First and longest pause after a sandbox that could not be made.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often the shelf is looked over without being asked.
const LOOK_OVER: Duration = Duration::from_secs(1);

/// What makes two sandboxes interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShelfClass {
    /// A launcher that waits for code: V8 sizes its heap by the memory it sees at start.
    Runtime(RuntimeId, MemoryMib),
    /// A sandbox that waits for an image.
    Service,
}

impl ShelfClass {
    /// What one that waits takes of this machine's memory, in bytes.
    fn cost(&self) -> u64 {
        match self {
            // Measured: 6 to 8 MiB for Node 20, 16 MiB for Python 3.11 with the modules that most functions import; the
            // rest is shared.
            Self::Runtime(runtime, _) if runtime.language() == "python" => 20 * 1024 * 1024,
            // Our own launcher alone.
            Self::Runtime(runtime, _) if runtime.language() == crate::capture::PROGRAM => 4 * 1024 * 1024,
            Self::Runtime(..) => 12 * 1024 * 1024,
            // A process that has done little, and what the kernel keeps for its namespaces and groups.
            Self::Service => 2 * 1024 * 1024,
        }
    }
}

impl std::fmt::Display for ShelfClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Runtime(runtime, memory) => write!(f, "{runtime}, {} MiB", memory.get()),
            Self::Service => f.write_str("service"),
        }
    }
}

/// A handle; clones share the shelf.
#[derive(Debug, Clone)]
pub(crate) struct Shelf(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tools: Arc<Tools>,
    config: ShelfConfig,
    /// Kept in the default class whether used or not.
    current: Vec<RuntimeId>,
    stocks: Mutex<HashMap<ShelfClass, Stock>>,
    changed: Notify,
    starting: AtomicUsize,
    last_start: Mutex<Option<Instant>>,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Stock {
    /// The one put last is taken first: its pages are the warmest.
    ready: Vec<Instance>,
    used: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
}

/// While this is held, something starts.
#[derive(Debug)]
pub(crate) struct Busy<'a>(&'a Inner);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.last_start.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.0.starting.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

impl Shelf {
    /// Opens an empty shelf and the task that fills it.
    pub(crate) fn begin(tools: &Arc<Tools>, config: ShelfConfig, current: Vec<RuntimeId>) -> Self {
        let shelf = Self(Arc::new(Inner {
            tools: tools.clone(),
            config,
            current,
            stocks: Mutex::default(),
            changed: Notify::new(),
            starting: AtomicUsize::new(0),
            last_start: Mutex::default(),
            closed: tools.shutdown.child_token(),
        }));
        let filled = shelf.clone();
        tokio::spawn(async move {
            let closed = filled.0.closed.clone();
            closed.run_until_cancelled(filled.keep()).await;
            filled.empty().await;
        });
        shelf
    }

    /// Says that something starts, so that no refill begins.
    pub(crate) fn busy(&self) -> Busy<'_> {
        self.0.starting.fetch_add(1, Ordering::Relaxed);
        Busy(&self.0)
    }

    /// Takes a sandbox; each is taken once.
    pub(crate) fn take(&self, class: &ShelfClass) -> Option<Instance> {
        let mut stocks = self.stocks();
        let stock = stocks.entry(class.clone()).or_default();
        stock.used = Some(Instant::now());
        std::iter::from_fn(|| stock.ready.pop()).find(Instance::is_alive)
    }

    /// Puts a frozen sandbox on it; one too many is ended.
    pub(crate) fn put(&self, instance: Instance) {
        let class = instance.shelf_class();
        let full = {
            let mut stocks = self.stocks();
            let stock = stocks.entry(class).or_default();
            (stock.failures, stock.not_before) = (0, None);
            if self.0.closed.is_cancelled() || stock.ready.len() >= self.0.config.per_class {
                Some(instance)
            } else {
                stock.ready.push(instance);
                None
            }
        };
        if let Some(surplus) = full {
            surplus.kill(crate::KillReason::Retired);
        }
    }

    /// How many wait.
    pub(crate) fn ready(&self) -> BTreeMap<ShelfClass, usize> {
        let stocks = self.stocks();
        let count = |stock: &Stock| stock.ready.iter().filter(|instance| instance.is_alive()).count();
        let counted = stocks.iter().map(|(class, stock)| (class.clone(), count(stock)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Nothing is made or kept any more; another server may adopt what waits.
    pub(crate) fn close(&self) {
        self.0.closed.cancel();
    }

    fn stocks(&self) -> MutexGuard<'_, HashMap<ShelfClass, Stock>> {
        self.0.stocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is missing, for ever.
    async fn keep(&self) {
        loop {
            self.quiet().await;
            let (surplus, missing) = self.review(Instant::now());
            for instance in surplus {
                instance.kill(crate::KillReason::Retired);
            }
            let Some(class) = missing else {
                // A stock that was taken from, a class asked for, a death or a pause that has passed.
                drop(tokio::time::timeout(LOOK_OVER, self.0.changed.notified()).await);
                continue;
            };
            match tokio::time::timeout(BOOT, self.make(&class))
                .await
                .unwrap_or(Err(StartError::BootFailed { death: None }))
            {
                Ok(instance) => self.put(instance),
                Err(error) => {
                    tracing::warn!(%class, %error, "no sandbox for the shelf");
                    let mut stocks = self.stocks();
                    let stock = stocks.entry(class).or_default();
                    let pause = BACK_OFF.0.saturating_mul(1 << stock.failures.min(6)).min(BACK_OFF.1);
                    stock.failures += 1;
                    stock.not_before = Some(Instant::now() + pause);
                }
            }
        }
    }

    /// Ends when nothing has started for a moment.
    async fn quiet(&self) {
        loop {
            let last = *self.0.last_start.lock().unwrap_or_else(PoisonError::into_inner);
            match last.map(|last| QUIET.saturating_sub(last.elapsed())) {
                _ if self.0.starting.load(Ordering::Relaxed) > 0 => {
                    drop(tokio::time::timeout(LOOK_OVER, self.0.changed.notified()).await);
                }
                Some(wait) if !wait.is_zero() => tokio::time::sleep(wait).await,
                _ => return,
            }
        }
    }

    /// Takes out what is dead or not wanted, and names the class that lacks most.
    fn review(&self, now: Instant) -> (Vec<Instance>, Option<ShelfClass>) {
        let mut stocks = self.stocks();
        for runtime in &self.0.current {
            stocks.entry(ShelfClass::Runtime(runtime.clone(), MemoryMib::default())).or_default();
        }
        stocks.entry(ShelfClass::Service).or_default();
        let mut surplus = Vec::new();
        for (class, stock) in stocks.iter_mut() {
            stock.ready.retain(Instance::is_alive);
            if !self.is_wanted(class, stock, now) {
                surplus.append(&mut stock.ready);
            }
        }
        stocks.retain(|class, stock| self.is_wanted(class, stock, now));
        let of_stock = |(class, stock): (&ShelfClass, &Stock)| class.cost() * stock.ready.len() as u64;
        let taken: u64 = stocks.iter().map(of_stock).sum();
        let budget = self.0.tools.memory.available() / 100 * self.0.config.memory_percent;
        let affordable = |class: &ShelfClass| taken + class.cost() <= budget && self.0.tools.memory.has_room();
        let lacking = |(_, stock): &(&ShelfClass, &Stock)| {
            stock.ready.len() < self.0.config.per_class && stock.not_before.is_none_or(|at| at <= now)
        };
        // A language that nobody deploys takes nothing from one that is used.
        let first = |(_, stock): &(&ShelfClass, &Stock)| (stock.used.is_none(), stock.ready.len());
        let missing = stocks.iter().filter(lacking).min_by_key(first);
        let missing = missing.map(|(class, _)| class.clone()).filter(affordable);
        (surplus, missing)
    }

    fn is_wanted(&self, class: &ShelfClass, stock: &Stock, now: Instant) -> bool {
        let always = match class {
            ShelfClass::Runtime(runtime, memory) => *memory == MemoryMib::default() && self.0.current.contains(runtime),
            ShelfClass::Service => true,
        };
        always || stock.used.is_some_and(|used| now.duration_since(used) < IN_USE)
    }

    /// Makes one. Of a runtime: booted, warm, frozen. What waits for an image does nothing that had to be frozen.
    async fn make(&self, class: &ShelfClass) -> Result<Instance, StartError> {
        let instance = match class {
            ShelfClass::Runtime(runtime, memory) => prepare(&self.0.tools, runtime, *memory, BTreeMap::new()).await?,
            ShelfClass::Service => {
                let blank = service::prepare(&self.0.tools).await?;
                return blank.done().ok_or(StartError::BootFailed { death: None });
            }
        };
        if !instance.listens().await {
            return Err(StartError::BootFailed { death: Some(instance.death().await) });
        }
        for _ in 0..WARMUPS {
            warm(&instance).await?;
        }
        let other = |error| StartError::Io { step: "freeze", source: std::io::Error::other(error) };
        instance.ask_freeze();
        instance.freeze().await.map_err(other)?;
        instance.done().ok_or(StartError::BootFailed { death: None })
    }

    /// Lets go of everything: the next server adopts it, or the warden ends it with us.
    async fn empty(&self) {
        let stocks = std::mem::take(&mut *self.stocks());
        for instance in stocks.into_values().flat_map(|stock| stock.ready) {
            if let Err(error) = instance.release().await {
                tracing::debug!(instance = %instance.id(), %error, "a sandbox of the shelf was not released");
            }
        }
    }
}

/// A request that the launcher answers itself, over the connection that the first real one will take.
async fn warm(instance: &Instance) -> Result<(), StartError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| StartError::Io {
        step: "warm a sandbox up",
        source: std::io::Error::other(error),
    };
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed();
    let request = http::Request::builder().uri("/").header(http::header::HOST, "localhost").header(WARMUP, "1");
    let request = request.body(body).map_err(|error| failed(error.into()))?;
    let response = instance.send(request).await.map_err(|error| failed(error.into()))?;
    response.into_body().collect().await.map_err(|error| failed(error.into()))?;
    Ok(())
}

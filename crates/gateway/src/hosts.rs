//! Host → deployment: what is known is answered at once; what is not is loaded once, however many ask.

use crate::{Deployment, Directory, HostsConfig, request::Failure};
use dockless_model::{Code, DeploymentId, Host};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, timeout},
};

/// The hosts a gateway knows; clones share the table.
///
/// Whoever changes where a host leads says so here, after the change is stored: [`HostTable::publish`] with the new
/// deployment, or [`HostTable::forget`] to have it loaded when somebody asks. A load that was under way meanwhile still
/// answers those who wait for it, and is not kept.
#[derive(Clone)]
pub struct HostTable {
    shared: Arc<Shared>,
}

struct Shared {
    directory: Arc<dyn Directory>,
    config: HostsConfig,
    /// Read by every request.
    known: RwLock<HashMap<Host, Known>>,
    /// Taken before `known` where both are.
    unknown: Mutex<Unknown>,
    loads: Semaphore,
    /// Counts look-ups: a cheap clock for eviction.
    tick: AtomicU64,
}

struct Known {
    deployment: Arc<Deployment>,
    used: AtomicU64,
}

#[derive(Default)]
struct Unknown {
    /// Leads nowhere, as was found then.
    absent: HashMap<Host, Instant>,
    loading: HashMap<Host, Arc<Load>>,
}

type Load = OnceCell<Result<Option<Arc<Deployment>>, Arc<str>>>;

enum Step {
    Known(Arc<Deployment>),
    Absent,
    Load(Arc<Load>),
    Refuse,
}

impl HostTable {
    pub(crate) fn new(directory: Arc<dyn Directory>, config: HostsConfig) -> Self {
        let shared = Shared {
            directory,
            config,
            known: RwLock::default(),
            unknown: Mutex::default(),
            loads: Semaphore::new(config.loads_at_once),
            tick: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// From now on this host leads to this deployment.
    pub fn publish(&self, host: Host, deployment: Arc<Deployment>) {
        let mut unknown = self.shared.unknown();
        unknown.absent.remove(&host);
        unknown.loading.remove(&host);
        self.shared.keep(host, deployment);
    }

    /// Where this host leads must be asked again.
    pub fn forget(&self, host: &Host) {
        let mut unknown = self.shared.unknown();
        unknown.absent.remove(host);
        unknown.loading.remove(host);
        self.shared.known_mut().remove(host);
    }

    /// Every host that leads to this deployment must be asked again.
    pub fn forget_deployment(&self, id: &DeploymentId) {
        let mut unknown = self.shared.unknown();
        // A load under way may be about to bring it.
        unknown.loading.clear();
        self.shared.known_mut().retain(|_, known| known.deployment.id != *id);
    }

    /// Everything must be asked again.
    pub fn clear(&self) {
        let mut unknown = self.shared.unknown();
        *unknown = Unknown::default();
        self.shared.known_mut().clear();
    }

    /// Whether a host leads to a deployment of the account whose sandbox has this address.
    pub async fn leads(&self, host: &Host, asker: IpAddr) -> bool {
        match self.find(host).await {
            Ok(deployment) => self.is_sibling(&deployment, asker).await,
            Err(_) => false,
        }
    }

    pub(crate) async fn is_sibling(&self, deployment: &Deployment, asker: IpAddr) -> bool {
        self.shared.directory.account_at(asker).await.is_some_and(|account| account == deployment.account)
    }

    /// The deployment of a host. Cancel-safe: another waiter takes a load over.
    pub(crate) async fn find(&self, host: &Host) -> Result<Arc<Deployment>, Failure> {
        let absent = || Failure::new(Code::DeploymentNotFound, host.as_str());
        let load = match self.shared.step(host) {
            Step::Known(deployment) => return Ok(deployment),
            Step::Absent => return Err(absent()),
            Step::Load(load) => load,
            Step::Refuse => return Err(Failure::new(Code::NoRoom, "too many hosts are being loaded")),
        };
        let loaded = load.get_or_init(|| self.shared.load(host)).await.clone();
        self.shared.settle(host, &load, &loaded);
        match loaded {
            Ok(Some(deployment)) => Ok(deployment),
            Ok(None) => Err(absent()),
            Err(detail) => Err(Failure::new(Code::Internal, &*detail)),
        }
    }
}

impl Shared {
    fn step(&self, host: &Host) -> Step {
        if let Some(deployment) = self.get(host) {
            return Step::Known(deployment);
        }
        let mut unknown = self.unknown();
        // It may have come while we waited for the lock.
        if let Some(deployment) = self.get(host) {
            return Step::Known(deployment);
        }
        if let Some(since) = unknown.absent.get(host) {
            if since.elapsed() < self.config.absent_ttl {
                return Step::Absent;
            }
            unknown.absent.remove(host);
        }
        if let Some(load) = unknown.loading.get(host) {
            return Step::Load(Arc::clone(load));
        }
        if unknown.loading.len() >= self.config.max_loading {
            // Loads whose last waiter left before their end are nobody's.
            unknown.loading.retain(|_, load| Arc::strong_count(load) > 1);
            if unknown.loading.len() >= self.config.max_loading {
                return Step::Refuse;
            }
        }
        let load = Arc::new(Load::new());
        unknown.loading.insert(host.clone(), Arc::clone(&load));
        Step::Load(load)
    }

    async fn load(&self, host: &Host) -> Result<Option<Arc<Deployment>>, Arc<str>> {
        let load = async {
            let _place = self.loads.acquire().await;
            self.directory.load(host).await
        };
        match timeout(self.config.load_timeout, load).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Failure::internal(&error).detail.into()),
            Err(_) => Err(format!("host {host} was not loaded within {:?}", self.config.load_timeout).into()),
        }
    }

    /// Keeps what a load brought, if it is still the one that counts.
    fn settle(&self, host: &Host, load: &Arc<Load>, loaded: &Result<Option<Arc<Deployment>>, Arc<str>>) {
        let mut unknown = self.unknown();
        if !unknown.loading.get(host).is_some_and(|current| Arc::ptr_eq(current, load)) {
            return;
        }
        unknown.loading.remove(host);
        match loaded {
            Ok(Some(deployment)) => self.keep(host.clone(), Arc::clone(deployment)),
            Ok(None) => {
                if unknown.absent.len() >= self.config.max_absent {
                    let ttl = self.config.absent_ttl;
                    unknown.absent.retain(|_, since| since.elapsed() < ttl);
                }
                if unknown.absent.len() < self.config.max_absent {
                    unknown.absent.insert(host.clone(), Instant::now());
                }
            }
            // The next request tries again.
            Err(_) => {}
        }
    }

    fn get(&self, host: &Host) -> Option<Arc<Deployment>> {
        let known = self.known();
        let found = known.get(host)?;
        found.used.store(self.tick.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(Arc::clone(&found.deployment))
    }

    fn keep(&self, host: Host, deployment: Arc<Deployment>) {
        let mut known = self.known_mut();
        let used = AtomicU64::new(self.tick.fetch_add(1, Ordering::Relaxed));
        known.insert(host, Known { deployment, used });
        if known.len() > self.config.max_known {
            // A tenth at once, so that the sorting is paid rarely.
            let mut ages: Vec<u64> = known.values().map(|known| known.used.load(Ordering::Relaxed)).collect();
            ages.sort_unstable();
            let youngest_to_go = ages[ages.len() / 10];
            known.retain(|_, known| *known.used.get_mut() > youngest_to_go);
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, HashMap<Host, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, HashMap<Host, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for HostTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostTable").field("known", &self.shared.known().len()).finish_non_exhaustive()
    }
}

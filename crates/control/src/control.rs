//! The whole, and its loops.

use crate::{ControlConfig, Error, Platform, feed::Feed, logins::Logins, platform::Placed};
use dockless_blob::BlobStore;
use dockless_model::{Clock, Digest, Entropy, RequestId, Timestamp, entropy::base32};
use dockless_store::Db;
use futures_util::future::BoxFuture;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The control plane; clones share it.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    blobs: BlobStore,
    platform: Arc<dyn Platform>,
    config: ControlConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// This process among those on the same database.
    session: String,
    started_at: Timestamp,
    feed: Feed,
    /// Of creations whose builds have not ended.
    logins: Logins,
    /// Trees of builds that have not ended.
    placing: Mutex<Vec<Placed>>,
    /// A build may be waiting.
    queued: Notify,
    /// Something may have to be cleaned up.
    removed: Notify,
    /// Open runtime log streams end.
    closing: CancellationToken,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("session", &self.inner.session).finish_non_exhaustive()
    }
}

impl Control {
    /// Puts the parts together. Nothing happens on its own until [`Self::run`].
    ///
    /// # Errors
    /// The database fails; [`Error::KeyMissing`].
    pub async fn open(
        db: Db,
        blobs: BlobStore,
        platform: Arc<dyn Platform>,
        config: ControlConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        let feed = Feed::new(db.revision().await?);
        let (session, started_at) = (base32(&*entropy, 20), clock.now());
        let inner = Inner {
            db,
            blobs,
            platform,
            config,
            clock,
            entropy,
            session,
            started_at,
            feed,
            logins: Logins::default(),
            placing: Mutex::default(),
            queued: Notify::new(),
            removed: Notify::new(),
            closing: CancellationToken::new(),
        };
        let control = Self { inner: Arc::new(inner) };
        control.seal_all().await?;
        Ok(control)
    }

    /// Works until told to stop: builds, follows changes, recovers lost builds, cleans up. Then it takes no new build,
    /// ends open runtime log streams, finishes the builds it has begun (their leases hold, so nobody else repeats
    /// them) and returns. Dropped before that, its builds are cancelled and somebody else's once their leases expire.
    pub async fn run(&self, shutdown: CancellationToken) {
        let finished = CancellationToken::new();
        let work = async {
            self.build_loop(&shutdown).await;
            finished.cancel();
        };
        let close = async {
            shutdown.cancelled().await;
            self.inner.closing.cancel();
        };
        tokio::join!(
            work,
            close,
            // Builds that are being finished still publish hosts.
            self.follow(finished.clone()),
            self.every(self.config().lease / 2, &shutdown, |control| Box::pin(async move { control.recover().await })),
            self.clean_up_loop(&shutdown),
            self.every(self.config().collect_every, &shutdown, |control| Box::pin(
                async move { control.collect().await }
            )),
        );
    }

    /// Follows the changes of hosts beyond the end of [`Self::run`], until told to stop: a process that has handed over
    /// still answers on its old connections, and must not serve there what was removed meanwhile.
    pub async fn follow(&self, ending: CancellationToken) {
        self.every(self.config().poll, &ending, |control| Box::pin(async move { control.poll().await })).await;
    }

    /// An id for a request that came without one.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        RequestId::random(self.entropy())
    }

    /// Runs a step at once and then at intervals. A failure is logged, and the next turn tries again.
    async fn every(
        &self,
        interval: Duration,
        shutdown: &CancellationToken,
        step: fn(Control) -> BoxFuture<'static, Result<(), Error>>,
    ) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = step(self.clone()).await {
                log(&error);
            }
        }
    }

    async fn clean_up_loop(&self, shutdown: &CancellationToken) {
        // Also now and then unasked: what could not be done is tried again.
        let retry = Duration::from_secs(60);
        loop {
            if let Err(error) = self.clean_up().await {
                log(&error);
            }
            let woken = async {
                let _ = tokio::time::timeout(retry, self.inner.removed.notified()).await;
            };
            if shutdown.run_until_cancelled(woken).await.is_none() {
                return;
            }
        }
    }

    /// A list for the trees of one more build; it counts while somebody else holds it.
    pub(crate) fn placing(&self) -> Placed {
        let placed = Placed::default();
        let mut all = self.inner.placing.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(Placed::is_held);
        all.push(placed.clone());
        placed
    }

    /// Whether a build that goes on put this tree in place: its output may name it.
    pub(crate) fn is_placing(&self, tree: &Digest) -> bool {
        let all = self.inner.placing.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|placed| placed.is_held() && placed.has(tree))
    }

    pub(crate) fn logins(&self) -> &Logins {
        &self.inner.logins
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn blobs(&self) -> &BlobStore {
        &self.inner.blobs
    }

    pub(crate) fn platform(&self) -> &dyn Platform {
        &*self.inner.platform
    }

    pub(crate) fn config(&self) -> &ControlConfig {
        &self.inner.config
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.inner.entropy
    }

    pub(crate) fn session(&self) -> &str {
        &self.inner.session
    }

    pub(crate) fn started_at(&self) -> Timestamp {
        self.inner.started_at
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// Woken when a build may be waiting.
    pub(crate) fn queued(&self) -> &Notify {
        &self.inner.queued
    }

    /// Woken when something may have to be cleaned up.
    pub(crate) fn removed(&self) -> &Notify {
        &self.inner.removed
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }
}

/// Logs a failure of a loop once, as a chain.
pub(crate) fn log(error: &dyn std::error::Error) {
    tracing::error!(error = dockless_model::chain(error), "control loop failed, trying again");
}

//! The gateway's parts and its handle.

use crate::{
    BodyError, BoxFuture, Directory, Drain, GatewayConfig, HostTable, crowd::Crowd, elsewhere::Elsewhere, files::Files,
    metrics::Metrics,
};
use bytes::Bytes;
use dockless_blob::BlobStore;
use dockless_pool::Pool;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// Body of an answer of the API.
pub type ApiBody = UnsyncBoxBody<Bytes, BodyError>;

/// Answers requests for API hosts. Finds the [`dockless_model::RequestId`] and the [`Peer`] among the request's
/// extensions.
pub type ApiService = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<ApiBody>> + Send + Sync>;

/// The other end of the connection a request came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The gateway; clones share it.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) hosts: HostTable,
    pub(crate) pool: Pool,
    pub(crate) files: Files,
    pub(crate) api: ApiService,
    pub(crate) config: GatewayConfig,
    /// Places for connections.
    pub(crate) slots: Arc<Semaphore>,
    /// Places for those of sandboxes: they cannot take the others'.
    pub(crate) inside_slots: Arc<Semaphore>,
    pub(crate) crowd: Crowd,
    /// Places for TLS handshakes.
    pub(crate) handshakes: Semaphore,
    pub(crate) metrics: Arc<Metrics>,
    /// Requests to servers elsewhere.
    pub(crate) elsewhere: Elsewhere,
    drain: Mutex<Drain>,
}

impl Gateway {
    /// Puts a gateway together; it does nothing until [`Gateway::serve`].
    #[must_use]
    pub fn new(
        directory: Arc<dyn Directory>,
        pool: Pool,
        blobs: BlobStore,
        api: ApiService,
        config: GatewayConfig,
    ) -> Self {
        let inner = Inner {
            hosts: HostTable::new(directory, config.hosts),
            pool,
            files: Files::new(blobs, config.file_cache_bytes),
            api,
            slots: Arc::new(Semaphore::new(config.max_connections)),
            inside_slots: Arc::new(Semaphore::new(config.max_connections)),
            crowd: Crowd::default(),
            handshakes: Semaphore::new(config.max_handshakes),
            metrics: Arc::new(Metrics::new()),
            elsewhere: Elsewhere::default(),
            drain: Mutex::new(config.drain),
            config,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The hosts this gateway knows: to be told of every change.
    #[must_use]
    pub fn hosts(&self) -> HostTable {
        self.inner.hosts.clone()
    }

    /// Adds what the gateway counts to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
    }

    /// Connections that are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        let open = |slots: &Semaphore| self.inner.config.max_connections.saturating_sub(slots.available_permits());
        open(&self.inner.slots) + open(&self.inner.inside_slots)
    }

    /// Chooses how listeners end, before their shutdown is asked for: leaving for good is quicker than a hand-over.
    pub fn set_drain(&self, drain: Drain) {
        *self.inner.drain.lock().unwrap_or_else(PoisonError::into_inner) = drain;
    }
}

impl Inner {
    pub(crate) fn drain(&self) -> Drain {
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

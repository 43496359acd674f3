//! Accepting connections, and ending that in good order.

use crate::{
    Gateway, Role, Tls,
    connection::{self, Ending},
    crowd::Guest,
    gateway::{Inner, Peer},
};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Waits after failed accepts: descriptors that ran out (EMFILE) come back when connections end, not by asking at once.
const MIN_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// How a listener's drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were still running at the deadline.
    pub cut: usize,
}

impl Gateway {
    /// Accepts connections until `shutdown`, then drains as [`Gateway::set_drain`] says: answers carry
    /// `Connection: close` (HTTP/2: connections are told GOAWAY), idle connections end after their grace, running requests
    /// are finished. Returns when all are done or the deadline has passed.
    ///
    /// HTTP/1 and HTTP/2 are told apart by what a client sends first, or by ALPN where `tls` is given.
    ///
    /// Several listeners may be served at once; they share the bound on connections. Dropping the future leaves open
    /// connections to the runtime.
    ///
    /// # Errors
    /// The listener cannot be registered with the runtime.
    pub async fn serve(
        &self,
        listener: std::net::TcpListener,
        role: Role,
        tls: Option<Tls>,
        shutdown: CancellationToken,
    ) -> io::Result<Drained> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
        let ending = Ending { shutdown: shutdown.clone(), cut: cut.clone() };
        let cut_requests = Arc::new(AtomicUsize::new(0));
        loop {
            let Some((stream, peer, slot)) = next(&self.inner, &listener, role, &shutdown).await else { break };
            let Some(guest) = admit(&self.inner, role, peer) else {
                self.inner.metrics.crowded.inc();
                continue;
            };
            // Answers are written whole; waiting to fill a segment only delays them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set nodelay");
            }
            self.inner.metrics.connections.inc();
            let inner = Arc::clone(&self.inner);
            let run = connection::run(inner, stream, Peer(peer), role, tls.clone(), ending.clone());
            let cut_requests = Arc::clone(&cut_requests);
            connections.spawn(async move {
                if run.await {
                    cut_requests.fetch_add(1, Ordering::Relaxed);
                }
                drop((slot, guest));
            });
        }
        drop(listener);
        connections.close();
        let open = connections.len();
        tracing::info!(open, "listener drains");
        if timeout(self.inner.drain().deadline, connections.wait()).await.is_err() {
            cut.cancel();
            connections.wait().await;
        }
        let drained = Drained { cut: cut_requests.load(Ordering::Relaxed) };
        tracing::info!(cut = drained.cut, "listener drained");
        Ok(drained)
    }
}

/// Whether this address may have one more connection.
fn admit(inner: &Inner, role: Role, peer: SocketAddr) -> Option<Guest> {
    let most = match role {
        Role::Inside => inner.config.max_connections_inside,
        _ if peer.ip().to_canonical().is_loopback() => usize::MAX,
        _ => inner.config.max_connections_each,
    };
    inner.crowd.enter(peer.ip(), most)
}

/// The next connection and its place under the bound; `None` after shutdown.
async fn next(
    inner: &Inner,
    listener: &TcpListener,
    role: Role,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    // A place first: what we do not accept waits in the kernel's queue instead of in our memory.
    let slots = if role == Role::Inside { &inner.inside_slots } else { &inner.slots };
    let slot = select! {
        biased;
        () = shutdown.cancelled() => return None,
        slot = Arc::clone(slots).acquire_owned() => slot.ok()?,
    };
    let mut backoff = MIN_BACKOFF;
    loop {
        let accepted = select! {
            biased;
            () = shutdown.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => return Some((stream, peer, slot)),
            // The connection failed, not the listener, accept(2).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                tracing::warn!(%error, wait_ms = backoff.as_millis(), "cannot accept connections");
                select! {
                    () = shutdown.cancelled() => return None,
                    () = sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

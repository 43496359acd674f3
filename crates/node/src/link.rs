//! Connections to a service: HTTP/1.1 over TCP, made inside its own network, kept between requests; for gRPC one of HTTP/2.
//!
//! ```text
//! sockets (made by the warden inside the sandbox, a few in stock) ─ connect ─► connection ─ send ─► answer
//!                                                                   ▲                                 │
//!                                                                   └── idle, newest first ◄── body at its end
//! ```
//! A server may close an idle connection at any moment, also while the next request is on its way. A request that could
//! not be sent a second time therefore never takes a kept connection.

mod http2;

use crate::connection::NotSent;
use crate::{CallError, RequestBody};
use dockless_model::InstanceId;
use dockless_sandbox::protocol::{Answer, Verb};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use crate::warden::Warden;

/// Sockets asked for at once; one is used, the others wait for the next connections.
const DIAL: u8 = 4;
/// Connections kept between requests: more than a service has requests at once would never be used.
const KEPT: usize = 64;
/// Servers close idle connections after five seconds and more (Node); younger ones are taken to be open.
const FRESH: Duration = Duration::from_secs(4);
/// How long a connection to a port inside this machine may take: the other side's queue is full, or it is frozen.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Largest head of an answer, and most fields in it.
const MAX_HEAD: usize = 128 * 1024;
const MAX_HEADERS: usize = 256;

/// The way to one service instance; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    instance: InstanceId,
    warden: Warden,
    target: OnceLock<SocketAddr>,
    /// Not connected yet, for IPv4.
    sockets: Mutex<Vec<OwnedFd>>,
    idle: Mutex<Vec<Connection>>,
    http2: http2::Shared,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    /// Absent once the connection is another protocol's.
    driver: Option<AbortHandle>,
    /// Has carried a request.
    used: bool,
    since: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

/// The connection an answer comes on. To be kept once the answer is complete; dropped before, it is closed, which is how
/// the server learns that its client has gone.
#[derive(Debug)]
pub struct Carrier {
    /// Absent where it is shared with other requests.
    connection: Option<Connection>,
    link: Link,
}

impl Carrier {
    /// The answer is complete: the connection serves the next request.
    pub fn keep(self) {
        let Self { connection: Some(mut connection), link } = self else { return };
        (connection.used, connection.since) = (true, Instant::now());
        let mut idle = link.idle();
        if idle.len() < KEPT && !connection.sender.is_closed() {
            idle.push(connection);
        }
    }

    /// The connection becomes another protocol's: it lives on without us.
    pub fn upgrade(mut self) {
        // The driver ends by itself when it has handed its socket over.
        if let Some(connection) = &mut self.connection {
            connection.driver = None;
        }
    }
}

impl Link {
    pub(crate) fn new(instance: InstanceId, warden: Warden, sockets: Vec<OwnedFd>) -> Self {
        Self(Arc::new(Inner {
            instance,
            warden,
            target: OnceLock::new(),
            sockets: Mutex::new(sockets),
            idle: Mutex::default(),
            http2: http2::Shared::default(),
        }))
    }

    /// Where requests go from now on; the first word counts.
    pub(crate) fn aim(&self, listening: SocketAddr) {
        // Whoever listens everywhere is met at home.
        let ip = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let _: Result<(), SocketAddr> = self.0.target.set(SocketAddr::new(ip, listening.port()));
    }

    pub(crate) fn target(&self) -> Option<SocketAddr> {
        self.0.target.get().copied()
    }

    /// Makes sure that a connection waits for the next request.
    pub(crate) async fn open(&self) -> io::Result<()> {
        if self.idle().iter().any(|connection| !connection.sender.is_closed()) {
            return Ok(());
        }
        let fresh = self.connect().await?;
        self.idle().push(fresh);
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.idle().clear();
    }

    /// Sends one request; ends with the head of its answer. Dropping this before closes the connection.
    pub(crate) async fn send(
        &self,
        request: Request<RequestBody>,
        repeatable: bool,
    ) -> Result<(Response<Incoming>, Carrier), NotSent> {
        if http2::is_asked_for(&request) {
            let response = self.0.http2.send(request, self.dial()).await?;
            return Ok((response, Carrier { connection: None, link: self.clone() }));
        }
        let mut request = request;
        while let Some(kept) = self.kept(repeatable) {
            // Closed meanwhile, and nothing was written: the next one.
            request = match self.try_on(kept, request).await {
                Err(NotSent::Untouched { request, .. }) => *request,
                settled => return settled,
            };
        }
        match self.connect().await {
            Ok(fresh) => self.try_on(fresh, request).await,
            Err(cause) => Err(NotSent::Untouched { request: request.into(), cause: cause.into() }),
        }
    }

    async fn try_on(
        &self,
        mut connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Carrier), NotSent> {
        match connection.sender.try_send_request(request).await {
            Ok(response) => Ok((response, Carrier { connection: Some(connection), link: self.clone() })),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => NotSent::Untouched { request: request.into(), cause: error.into_error().into() },
                None => NotSent::Unanswered(error.into_error()),
            }),
        }
    }

    /// A kept connection that is fit for the request. One that was never used is known to be open: nobody had a reason
    /// to close it.
    fn kept(&self, repeatable: bool) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|connection| !connection.sender.is_closed() && connection.since.elapsed() < FRESH);
        let fits = |connection: &Connection| (repeatable || !connection.used) && connection.sender.is_ready();
        let ready = idle.iter().rposition(fits)?;
        Some(idle.remove(ready))
    }

    async fn connect(&self) -> io::Result<Connection> {
        handshake(self.dial().await?).await
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let target = self.target().ok_or_else(|| io::Error::other("the service does not listen yet"))?;
        let socket = self.socket(target.is_ipv6()).await.map_err(io::Error::other)?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        let stream = tokio::time::timeout(CONNECT_WITHIN, socket.connect(target)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn socket(&self, v6: bool) -> Result<OwnedFd, CallError> {
        if !v6 && let Some(socket) = self.stock().pop() {
            return Ok(socket);
        }
        let verb = Verb::Dial { instance: self.0.instance.clone(), v6, count: if v6 { 1 } else { DIAL } };
        let (answer, mut fds) = self.0.warden.call(verb, &[]).await?;
        let (Answer::Dialled, Some(socket)) = (answer, fds.pop()) else {
            return Err(CallError::Confused("without a socket"));
        };
        if !v6 {
            self.stock().append(&mut fds);
        }
        Ok(socket)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stock(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.0.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn handshake(stream: TcpStream) -> io::Result<Connection> {
    let (sender, driver) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Its failures reach whoever sends; what ends between requests is noticed by `is_closed`.
    let driver = tokio::spawn(async move { drop(driver.with_upgrades().await) }).abort_handle();
    Ok(Connection { sender, driver: Some(driver), used: false, since: Instant::now() })
}

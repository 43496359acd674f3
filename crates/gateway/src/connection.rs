//! One client connection, from accept to close.
//!
//! ```text
//! accept ─► TLS, if the listener has it ─► HTTP/1 or HTTP/2 ─► requests ─► close
//!           └────────────── Opening ──────────────┘
//! ```
//! Each stage is driven by [`drive`], which holds it to the deadlines of the connection's [`Activity`] and to the order of
//! the drain.

use crate::{
    activity::{Activity, Allowance, Expiry},
    answers::Answers,
    authority::{Role, Scheme},
    gateway::{Inner, Peer},
    socket::{Protocol, Socket, Watched},
    streams::Streams,
    tls::Tls,
    tunnel::Passage,
};
use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Bytes in flight to us of one stream, and of all streams of a connection: what a request's body may take of our memory
/// while nobody reads it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait in a stream for the client to make room.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that were reset before we saw their request, and that we reset ourselves: more end the connection.
const EARLY_RESETS: usize = 20;
const OWN_RESETS: usize = 100;
/// After a goodbye on HTTP/2: how long the client may take to say that it has read it.
const GOODBYE: Duration = Duration::from_secs(10);

/// What a connection shares with its requests.
pub(crate) struct Link {
    pub(crate) inner: Arc<Inner>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) peer: Peer,
    pub(crate) role: Role,
    pub(crate) scheme: Scheme,
    /// What the connection becomes once its last answer, a 101, is written.
    tunnel: OnceLock<Passage>,
}

impl Link {
    /// The answer that is about to be written opens a tunnel.
    pub(crate) fn carry(&self, passage: Passage) {
        // There is no second one: no request follows a 101.
        let _: Result<(), Passage> = self.tunnel.set(passage);
    }
}

/// How connections of a listener are told of its end.
#[derive(Clone)]
pub(crate) struct Ending {
    /// No new requests are wanted.
    pub(crate) shutdown: CancellationToken,
    /// No further byte is.
    pub(crate) cut: CancellationToken,
}

/// How a stage ended before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By our timer.
    Expired(Expiry),
    /// By the deadline of the drain.
    Cut,
}

/// Serves a connection to its end. Says whether a request was cut.
pub(crate) async fn run(
    inner: Arc<Inner>,
    stream: TcpStream,
    peer: Peer,
    role: Role,
    tls: Option<Tls>,
    ending: Ending,
) -> bool {
    let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
    let activity = Arc::new(Activity::new(Instant::now()));
    let allowance = Allowance {
        head: inner.config.head_timeout,
        idle: inner.config.idle_timeout,
        stall: inner.config.stall_timeout,
    };
    let link = Arc::new(Link { inner, activity, peer, role, scheme, tunnel: OnceLock::new() });
    let mut opening = Opening(Box::pin(open(Arc::clone(&link), stream, tls)));
    let (socket, protocol, begin) = match drive(&mut opening, &link, &allowance, &ending).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            tracing::trace!(peer = %peer.0, %error, "connection came to nothing");
            return false;
        }
        Err(end) => {
            tracing::trace!(peer = %peer.0, ?end, "connection ended before its first request");
            return false;
        }
    };
    drop(opening);
    match protocol {
        Protocol::Http1 => serve_http1(&link, socket, begin, &allowance, &ending).await,
        Protocol::Http2 => serve_http2(&link, socket, begin, allowance, &ending).await,
    }
}

/// Until it is known what the client speaks.
async fn open(link: Arc<Link>, stream: TcpStream, tls: Option<Tls>) -> io::Result<(Socket, Protocol, Bytes)> {
    let mut socket = match tls {
        None => Socket::Plain(stream),
        Some(tls) => {
            let stream = tls.accept(&link.inner, stream).await?;
            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            let socket = Socket::Tls(Box::new(stream));
            match protocol.as_deref() {
                Some(b"h2") => return Ok((socket, Protocol::Http2, Bytes::new())),
                Some(_) => return Ok((socket, Protocol::Http1, Bytes::new())),
                // The client did not say.
                None => socket,
            }
        }
    };
    let (protocol, begin) = socket.sniff(&link.activity).await?;
    Ok((socket, protocol, begin))
}

async fn serve_http1(link: &Arc<Link>, socket: Socket, begin: Bytes, allowance: &Allowance, ending: &Ending) -> bool {
    let config = &link.inner.config;
    let mut watched = Watched::new(socket, begin, Arc::clone(&link.activity), true);
    let answers = Answers::new(Arc::clone(link), watched.send_files());
    let io = TokioIo::new(watched);
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Ours, see `activity`.
        .header_read_timeout(None)
        .max_headers(config.max_headers)
        .max_header_size(config.max_head_bytes)
        // Room for the largest head and what follows it in the same packet.
        .max_buf_size(config.max_head_bytes.max(8 * 1024) + 64 * 1024)
        // What is sent by the kernel must not be copied on the way, see `sendfile`.
        .writev(true)
        .serve_connection(io, answers)
        .with_upgrades();
    let end = drive(&mut connection, link, allowance, ending).await;
    if matches!(end, Ok(Ok(())))
        && let Some(tunnel) = link.tunnel.get().and_then(Passage::take)
    {
        // As long as it lives it is a connection like others: counted, and cut when the listener's time is up.
        let cut = ending.cut.run_until_cancelled(tunnel.run()).await.is_none();
        tracing::trace!(peer = %link.peer.0, cut, "tunnel ended");
        return cut;
    }

    let busy = link.activity.is_busy();
    tracing::trace!(peer = %link.peer.0, ?end, "connection ended");
    let lingers = match &end {
        Ok(Ok(())) | Err(End::Expired(Expiry::Idle | Expiry::Head)) => true,
        // The refusal of a malformed head has been written; whatever follows it is unread.
        Ok(Err(error)) => error.is_parse(),
        Err(End::Expired(Expiry::Stalled | Expiry::Flood) | End::Cut) => false,
    };
    if lingers && let Some(parts) = connection.into_parts() {
        parts.io.into_inner().into_socket().linger().await;
    }
    busy && matches!(end, Err(End::Cut))
}

async fn serve_http2(link: &Arc<Link>, socket: Socket, begin: Bytes, allowance: Allowance, ending: &Ending) -> bool {
    let config = &link.inner.config;
    link.activity.multiplex();
    let io = TokioIo::new(Watched::new(socket, begin, Arc::clone(&link.activity), false));
    let mut connection = http2::Builder::new(Streams::new(config.stall_timeout))
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(u32::try_from(config.max_head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(EARLY_RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .enable_connect_protocol()
        .serve_connection(io, Answers::new(Arc::clone(link), None));
    let mut end = drive(&mut connection, link, &allowance, ending).await;
    if matches!(end, Err(End::Expired(Expiry::Idle))) {
        // Unlike HTTP/1 there is a way to say goodbye: a request that crosses it on the way is still answered.
        connection.drain();
        let allowance = Allowance { idle: allowance.idle + GOODBYE, ..allowance };
        end = drive(&mut connection, link, &allowance, ending).await;
    }
    tracing::trace!(peer = %link.peer.0, ?end, "connection ended");
    link.activity.is_busy() && matches!(end, Err(End::Cut))
}

/// A stage of a connection.
trait Stage {
    type Output;

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Self::Output>;

    /// The listener ends: the client is told, where there is a way.
    fn drain(&mut self) {}
}

type Opened = io::Result<(Socket, Protocol, Bytes)>;

struct Opening(Pin<Box<dyn Future<Output = Opened> + Send>>);

impl Stage for Opening {
    type Output = Opened;

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Opened> {
        self.0.as_mut().poll(context)
    }
}

impl Stage for http1::UpgradeableConnection<TokioIo<Watched>, Answers> {
    type Output = hyper::Result<()>;

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(self).poll(context)
    }

    // Answers say `Connection: close`: what is idle may get one more request, and cannot be told not to.
}

impl Stage for http2::Connection<TokioIo<Watched>, Answers, Streams> {
    type Output = hyper::Result<()>;

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(self).poll(context)
    }

    /// GOAWAY twice, RFC 9113 §6.8: first without a last stream, then, after a round trip, with it.
    fn drain(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

/// Polls a stage until it is done or its time is over.
async fn drive<S: Stage>(stage: &mut S, link: &Link, allowance: &Allowance, ending: &Ending) -> Result<S::Output, End> {
    let mut shutdown = pin!(ending.shutdown.cancelled());
    let mut cut = pin!(ending.cut.cancelled());
    let mut timer = pin!(sleep_until(Instant::now() + allowance.head));
    let mut told = false;
    poll_fn(|context| {
        if let Poll::Ready(output) = stage.poll(context) {
            return Poll::Ready(Ok(output));
        }
        if cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(End::Cut));
        }
        if !told && (link.activity.is_draining() || shutdown.as_mut().poll(context).is_ready()) {
            told = true;
            link.activity.drain(link.inner.drain().idle_grace);
            stage.drain();
            // What was said must be written.
            context.waker().wake_by_ref();
        }
        // Phases change while the stage is polled above, or wake this task.
        let Some((deadline, expiry)) = link.activity.deadline(allowance, context) else { return Poll::Pending };
        // Deadlines move away with every request; setting the timer anew each time would cost more than waking up early.
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(Err(End::Expired(expiry)));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}

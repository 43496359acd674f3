//! One client connection, from accept to close.

use crate::{
    activity::{Activity, Allowance, Expiry},
    authority::Role,
    body::Tracked,
    gateway::{Inner, Peer},
};
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// After our last byte: how long a client may stay silent, and take in all, until the socket is closed under it.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
const LINGER_TOTAL: Duration = Duration::from_secs(10);

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// By itself: closed by the client, or after an answer that said so.
    Served(Result<(), hyper::Error>),
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
    shutdown: CancellationToken,
    cut: CancellationToken,
) -> bool {
    let activity = Arc::new(Activity::new(Instant::now()));
    let io = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
    let service = service_fn({
        let (inner, activity) = (Arc::clone(&inner), Arc::clone(&activity));
        move |request| answer(Arc::clone(&inner), Arc::clone(&activity), request, peer, role)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Ours, see `activity`.
        .header_read_timeout(None)
        .max_headers(inner.config.max_headers)
        .max_header_size(inner.config.max_head_bytes)
        // Room for the largest head and what follows it in the same packet.
        .max_buf_size(inner.config.max_head_bytes.max(8 * 1024) + 64 * 1024)
        .serve_connection(io, service);
    let allowance = Allowance {
        head: inner.config.head_timeout,
        idle: inner.config.idle_timeout,
        stall: inner.config.stall_timeout,
    };

    let mut shutdown = pin!(shutdown.cancelled());
    let mut cut = pin!(cut.cancelled());
    let mut timer = pin!(sleep_until(Instant::now() + allowance.head));
    let end = poll_fn(|context| {
        if let Poll::Ready(result) = connection.poll_without_shutdown(context) {
            return Poll::Ready(End::Served(result));
        }
        if cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(End::Cut);
        }
        if !activity.is_draining() && shutdown.as_mut().poll(context).is_ready() {
            activity.drain(inner.drain().idle_grace);
        }
        // All phases change while the connection is polled above, so this is up to date.
        let Some((deadline, expiry)) = activity.deadline(&allowance) else { return Poll::Pending };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context).map(|()| End::Expired(expiry))
    })
    .await;

    let busy = activity.is_busy();
    tracing::trace!(peer = %peer.0, ?end, "connection ended");
    let lingers = match &end {
        End::Served(Ok(())) | End::Expired(Expiry::Idle | Expiry::Head) => true,
        // The refusal of a malformed head has been written; whatever follows it is unread.
        End::Served(Err(error)) => error.is_parse(),
        End::Expired(Expiry::Stalled) | End::Cut => false,
    };
    if lingers {
        linger(connection.into_parts().io.into_inner().stream).await;
    }
    busy && matches!(end, End::Cut)
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Tracked>, Infallible>> + Send>>;

fn answer(inner: Arc<Inner>, activity: Arc<Activity>, request: Request<Incoming>, peer: Peer, role: Role) -> Answer {
    let busy = activity.begin();
    Box::pin(async move {
        let mut response = inner.answer(request, peer, role).await;
        if activity.is_draining() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Tracked { body, _busy: busy }))
    })
}

/// Closes so that the client gets our last answer even while it still sends: closing a socket with unread bytes
/// resets the connection, and a reset discards what the client has not read yet (RFC 9112 §9.6).
async fn linger(mut stream: TcpStream) {
    let mut sink = vec![0; 16 * 1024];
    let discard = async {
        stream.shutdown().await?;
        while timeout(LINGER_SILENCE, stream.read(&mut sink)).await.map_err(io::Error::from)?? > 0 {}
        io::Result::Ok(())
    };
    // How it ends does not matter: nobody is left to be told.
    let _ = timeout(LINGER_TOTAL, discard).await;
}

/// A socket whose traffic is seen by its [`Activity`].
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.sent(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.sent(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

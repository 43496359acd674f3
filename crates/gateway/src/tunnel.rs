//! A connection that has become another protocol's, a WebSocket say: bytes both ways until one side ends.
//!
//! ```text
//! request with Upgrade ─► service ─► 101 ─► Tunnel, kept by the client's connection ─► Tunnel::run once both have switched
//! ```
//! It holds the lease of its instance: an open WebSocket is one of the requests at once. When the instance is ended, the
//! client of a WebSocket is told so between two frames, by the status for that (1001, RFC 6455 §7.4.1). Thousands of them are idle most
//! of the time, so a tunnel has no buffers but for bytes that one side has sent and the other has not taken yet.

use crate::frames::{Frames, GOING_AWAY};
use crate::metrics::OpenTunnel;
use bytes::{Buf as _, BytesMut};
use dockless_pool::InvocationBody;
use http::{HeaderMap, HeaderValue, Version, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// After the client has ended its side: how long the service may take to end its own.
const FAREWELL: Duration = Duration::from_secs(30);
/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// What a client asks to switch to.
pub(crate) struct Wish {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Wish {
    fn is_websocket(&self) -> bool {
        self.protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
    }
}

impl Wish {
    /// Takes it from a request; `None` if it asks for nothing, or for HTTP/2, which is offered elsewhere.
    pub(crate) fn of(head: &mut Parts) -> Option<Self> {
        let client = head.extensions.remove::<OnUpgrade>()?;
        let lists = |name, wanted: &str| {
            let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
        };
        if head.version != Version::HTTP_11 || !lists(header::CONNECTION, "upgrade") || lists(header::UPGRADE, "h2c") {
            return None;
        }
        let protocol = head.headers.get(header::UPGRADE)?.clone();
        Some(Self { protocol, client })
    }

    /// Says it to the service, in a head from which what concerns one connection alone has been stripped.
    pub(crate) fn say(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
    }

    /// The service has agreed.
    pub(crate) fn granted(self, service: OnUpgrade, lease: InvocationBody, counted: OpenTunnel) -> Tunnel {
        Tunnel { websocket: self.is_websocket(), client: self.client, service, lease, _counted: counted }
    }
}

/// Both sides, about to switch.
pub(crate) struct Tunnel {
    client: OnUpgrade,
    service: OnUpgrade,
    websocket: bool,
    /// The instance is in use until the tunnel ends.
    lease: InvocationBody,
    _counted: OpenTunnel,
}

/// A tunnel on its way from the answer that opens it to the connection that carries it, among the answer's extensions.
#[derive(Clone)]
pub(crate) struct Passage(Arc<Mutex<Option<Tunnel>>>);

impl Passage {
    pub(crate) fn new(tunnel: Tunnel) -> Self {
        Self(Arc::new(Mutex::new(Some(tunnel))))
    }

    pub(crate) fn take(&self) -> Option<Tunnel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Tunnel {
    /// Carries bytes until both sides have ended. Dropping this closes both.
    pub(crate) async fn run(self) {
        let (client, service) = match tokio::try_join!(self.client, self.service) {
            Ok((client, service)) => (TokioIo::new(client), TokioIo::new(service)),
            Err(error) => {
                tracing::debug!(%error, "a connection was not handed over");
                return;
            }
        };
        let frames = self.websocket.then(Frames::default);
        let ending = self.lease.ending();
        let ending = async {
            match ending {
                Some(ending) => ending.cancelled_owned().await,
                None => std::future::pending().await,
            }
        };
        if let Err(error) = carry(client, service, frames, ending).await {
            tracing::trace!(%error, "a tunnel broke");
        }
    }
}

type Side = TokioIo<Upgraded>;

async fn carry(
    mut client: Side,
    mut service: Side,
    frames: Option<Frames>,
    ending: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut up, mut down) = (Way::default(), Way { frames, ..Way::default() });
    tokio::pin!(ending);
    let farewell = tokio::time::sleep(FAREWELL);
    tokio::pin!(farewell);
    let mut leaving = false;
    poll_fn(|context| {
        if !down.closing && ending.as_mut().poll(context).is_ready() {
            down.close();
        }
        // What the service says last is what ends the tunnel: nobody listens to the client after that.
        if down.poll(context, Pin::new(&mut service), Pin::new(&mut client))?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !leaving && up.poll(context, Pin::new(&mut client), Pin::new(&mut service))?.is_ready() {
            leaving = true;
            farewell.as_mut().reset(tokio::time::Instant::now() + FAREWELL);
        }
        if leaving { farewell.as_mut().poll(context).map(Ok) } else { Poll::Pending }
    })
    .await
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Read and not written; without memory while empty.
    rest: BytesMut,
    ended: bool,
    /// Of a WebSocket, towards its client.
    frames: Option<Frames>,
    /// The next frame is ours, and the last one.
    closing: bool,
}

impl Way {
    /// Says goodbye where the protocol has a word for it; else the service's own end has to do.
    fn close(&mut self) {
        self.closing = true;
        if self.frames.as_ref().is_some_and(Frames::is_between) {
            self.say_goodbye();
        }
    }

    fn say_goodbye(&mut self) {
        self.rest.extend_from_slice(&GOING_AWAY);
        self.ended = true;
    }

    /// Ready once `from` has ended and `to` has been told.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut from: Pin<&mut Side>,
        mut to: Pin<&mut Side>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.rest.is_empty() {
                let written = ready!(to.as_mut().poll_write(context, &self.rest))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.rest.advance(written);
            }
            self.rest = BytesMut::new();
            if self.ended {
                return to.as_mut().poll_shutdown(context);
            }
            let mut piece = [0; PIECE];
            let mut buffer = ReadBuf::new(&mut piece);
            if from.as_mut().poll_read(context, &mut buffer)?.is_pending() {
                ready!(to.as_mut().poll_flush(context))?;
                return Poll::Pending;
            }
            let read = buffer.filled();
            if read.is_empty() {
                self.ended = true;
                continue;
            }
            let border = self.frames.as_mut().and_then(|frames| frames.pass(read));
            if self.closing
                && let Some(border) = border
            {
                self.rest.extend_from_slice(&read[..border]);
                self.say_goodbye();
                continue;
            }
            let written = match to.as_mut().poll_write(context, read)? {
                Poll::Ready(written) => written,
                Poll::Pending => 0,
            };
            self.rest.extend_from_slice(&read[written..]);
        }
    }
}

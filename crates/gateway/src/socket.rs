//! A client's socket, plain or TLS, whose traffic is seen by its [`Activity`].

use crate::{activity::Activity, sendfile::Direct};
use bytes::{Buf as _, Bytes};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

/// After our last byte: how long a client may stay silent, and take in all, until the socket is closed under it.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
const LINGER_TOTAL: Duration = Duration::from_secs(10);

/// What a client of HTTP/2 sends first, RFC 9113 §3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// The socket itself.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Reads as far as a client of HTTP/1 differs from one that begins with the preface of HTTP/2. What was read must
    /// be read again.
    pub(crate) async fn sniff(&mut self, activity: &Activity) -> io::Result<(Protocol, Bytes)> {
        let mut begin = [0; PREFACE.len()];
        let mut length = 0;
        while length < begin.len() {
            let count = self.read(&mut begin[length..]).await?;
            if count == 0 {
                break;
            }
            activity.received();
            length += count;
            if begin[..length] != PREFACE[..length] {
                break;
            }
        }
        let protocol = if begin == *PREFACE { Protocol::Http2 } else { Protocol::Http1 };
        Ok((protocol, Bytes::copy_from_slice(&begin[..length])))
    }

    /// Closes so that the client gets our last answer even while it still sends: closing a socket with unread bytes
    /// resets the connection, and a reset discards what the client has not read yet (RFC 9112 §9.6).
    pub(crate) async fn linger(mut self) {
        let mut sink = vec![0; 16 * 1024];
        let discard = async {
            self.shutdown().await?;
            while timeout(LINGER_SILENCE, self.read(&mut sink)).await.map_err(io::Error::from)?? > 0 {}
            io::Result::Ok(())
        };
        // How it ends does not matter: nobody is left to be told.
        let _ = timeout(LINGER_TOTAL, discard).await;
    }
}

/// Does the same with either kind.
macro_rules! either {
    ($socket:expr, $inner:ident => $body:expr) => {
        match $socket {
            Socket::Plain($inner) => $body,
            Socket::Tls($inner) => $body,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut *self, inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, inner => Pin::new(inner).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, inner => inner.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_shutdown(context))
    }
}

/// A socket in use.
pub(crate) struct Watched {
    socket: Socket,
    /// Read already, by who found out the protocol.
    begin: Bytes,
    activity: Arc<Activity>,
    /// Whether the library's wish to close is left to [`Socket::linger`].
    lingers: bool,
    /// Files that the kernel sends.
    direct: Option<Direct>,
}

impl Watched {
    pub(crate) fn new(socket: Socket, begin: Bytes, activity: Arc<Activity>, lingers: bool) -> Self {
        Self { socket, begin, activity, lingers, direct: None }
    }

    /// Where files may be sent by the kernel: on a plain socket.
    pub(crate) fn send_files(&mut self) -> Option<Direct> {
        if matches!(self.socket, Socket::Plain(_)) {
            self.direct = Some(Direct::default());
        }
        self.direct.clone()
    }

    /// A slice of a file, or the slices before the first of one.
    fn poll_slices(&mut self, slices: &[io::IoSlice<'_>], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let file = slices.iter().position(|slice| Direct::stands_for(slice));
        match (file, &self.socket, &self.direct) {
            (Some(0), Socket::Plain(stream), Some(direct)) => direct.poll_send(stream, &slices[0], context),
            (Some(0), _, _) => Poll::Ready(Err(io::Error::other("a file cannot be sent here"))),
            (Some(count), _, _) => Pin::new(&mut self.socket).poll_write_vectored(context, &slices[..count]),
            (None, _, _) => Pin::new(&mut self.socket).poll_write_vectored(context, slices),
        }
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begin.is_empty() {
            let count = self.begin.len().min(buffer.remaining());
            buffer.put_slice(&self.begin[..count]);
            self.begin.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = if Direct::stands_for(bytes) {
            self.poll_slices(&[io::IoSlice::new(bytes)], context)
        } else {
            Pin::new(&mut self.socket).poll_write(context, bytes)
        };
        self.activity.sent(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_slices(slices, context);
        self.activity.sent(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingers {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

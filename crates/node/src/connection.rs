//! The one HTTP connection to an instance.

use crate::RequestBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

/// How long a connection may be busy with the rest of the last request, an upload its handler did not read, before a
/// new one is made.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// A request that did not get an answer.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// No byte of it was written; here it is again.
    #[error("the request was not sent")]
    Untouched {
        /// As it was given.
        request: Box<Request<RequestBody>>,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It was written at least in part, and no response came.
    #[error("the connection ended before a response")]
    Unanswered(#[source] hyper::Error),
}

/// Where the connection lies between requests.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<Option<Connection>>);

#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Its failures reach whoever sends; what ends between requests is noticed by `is_closed`.
        let driver = tokio::spawn(async move { drop(driver.await) }).abort_handle();
        Ok(Self { sender, driver })
    }

    async fn is_ready(&mut self) -> bool {
        self.sender.is_ready() || matches!(tokio::time::timeout(READY_WITHIN, self.sender.ready()).await, Ok(Ok(())))
    }
}

impl Slot {
    /// Makes sure there is an open connection.
    pub(crate) async fn open(&self, socket: &Path) -> io::Result<()> {
        if self.lock().as_ref().is_some_and(|connection| !connection.sender.is_closed()) {
            return Ok(());
        }
        let fresh = Connection::open(socket).await?;
        *self.lock() = Some(fresh);
        Ok(())
    }

    /// Closes it.
    pub(crate) fn close(&self) {
        drop(self.lock().take());
    }

    /// Sends one request; ends with the head of its response. Dropping this before closes the connection, which is how
    /// a function learns that its client has gone.
    pub(crate) async fn send(
        &self,
        socket: &Path,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, NotSent> {
        let mut kept = self.lock().take();
        if let Some(connection) = &mut kept
            && !connection.is_ready().await
        {
            kept = None;
        }
        let mut connection = match kept {
            Some(kept) => kept,
            None => match Connection::open(socket).await {
                Ok(fresh) => fresh,
                Err(cause) => return Err(NotSent::Untouched { request: request.into(), cause: cause.into() }),
            },
        };
        let answer = connection.sender.try_send_request(request);
        *self.lock() = Some(connection);
        answer.await.map_err(|mut error| match error.take_message() {
            Some(request) => NotSent::Untouched { request: request.into(), cause: error.into_error().into() },
            None => NotSent::Unanswered(error.into_error()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

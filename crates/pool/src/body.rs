//! The body of an answer, which holds the lease until its end.

use crate::running::Running;
use crate::serving::Serving;
use bytes::Bytes;
use dockless_node::BodyError;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::sync::CancellationToken;

/// A streamed answer. Read to its end it returns the instance; dropped before, it abandons it.
#[derive(Debug)]
pub struct InvocationBody {
    inner: Incoming,
    /// Absent once the lease has ended.
    lease: Option<Held>,
}

#[derive(Debug)]
enum Held {
    Function(Running),
    Service(Serving),
}

impl Held {
    fn finish(self) {
        match self {
            Self::Function(mut running) => running.finish(),
            Self::Service(mut serving) => serving.finish(),
        }
    }

    fn is_alive(&self) -> bool {
        match self {
            Self::Function(running) => running.instance().is_alive(),
            Self::Service(serving) => serving.instance().is_alive(),
        }
    }

    /// Ready once the deadline has passed; services have none.
    fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Function(running) => running.poll_time(context),
            Self::Service(_) => Poll::Pending,
        }
    }

    fn expire(self) {
        if let Self::Function(mut running) = self {
            let limit = running.instance().spec().invocation_limit().unwrap_or_default();
            running.expire(limit);
        }
    }
}

/// Bytes of a failure's body that are read for politeness; a launcher's own has none.
const FAILURE_BYTES: usize = 64 * 1024;

impl InvocationBody {
    pub(crate) fn of_function(inner: Incoming, running: Running) -> Self {
        Self { inner, lease: Some(Held::Function(running)) }
    }

    pub(crate) fn of_service(inner: Incoming, serving: Serving) -> Self {
        Self { inner, lease: Some(Held::Service(serving)) }
    }

    /// Cancelled when the instance begins to end: at the end of its life, or because it is put to sleep.
    #[must_use]
    pub fn ending(&self) -> Option<CancellationToken> {
        self.lease.as_ref().map(|lease| match lease {
            Held::Function(running) => running.instance().ending(),
            Held::Service(serving) => serving.instance().ending(),
        })
    }

    /// Reads a short body to its end and throws it away.
    pub(crate) async fn run_out(&mut self) {
        let mut seen = 0;
        while let Some(Ok(frame)) = self.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > FAILURE_BYTES {
                return;
            }
        }
    }

    fn finish_if_ended(&mut self) {
        if self.inner.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.finish();
        }
    }
}

impl Body for InvocationBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.finish_if_ended();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let gone = self.lease.take().is_some_and(|lease| !lease.is_alive());
                let error = if gone { BodyError::InstanceGone } else { BodyError::Broken(error.into()) };
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                if let Some(lease) = self.lease.take() {
                    lease.finish();
                }
                Poll::Ready(None)
            }
            Poll::Pending => {
                let late = self.lease.as_mut().is_some_and(|lease| lease.poll_time(context).is_ready());
                if !late {
                    return Poll::Pending;
                }
                if let Some(lease) = self.lease.take() {
                    lease.expire();
                }
                Poll::Ready(Some(Err(BodyError::TimedOut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for InvocationBody {
    /// A server does not ask for more than it has announced: an empty body, or one whose length is known, may be
    /// complete without having been polled to its end.
    fn drop(&mut self) {
        self.finish_if_ended();
    }
}

//! The body of an answer, which holds the lease until its end.

use crate::running::Running;
use bytes::Bytes;
use dockless_node::BodyError;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A streamed answer. Read to its end it returns the instance; dropped before, it abandons it.
#[derive(Debug)]
pub struct InvocationBody {
    inner: Incoming,
    /// Absent once the lease has ended.
    running: Option<Running>,
}

/// Bytes of a failure's body that are read for politeness; a launcher's own has none.
const FAILURE_BYTES: usize = 64 * 1024;

impl InvocationBody {
    pub(crate) fn new(inner: Incoming, running: Running) -> Self {
        Self { inner, running: Some(running) }
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
            && let Some(mut running) = self.running.take()
        {
            running.finish();
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
                let gone = self.running.take().is_some_and(|running| !running.instance().is_alive());
                let error = if gone { BodyError::InstanceGone } else { BodyError::Broken(error.into()) };
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                if let Some(mut running) = self.running.take() {
                    running.finish();
                }
                Poll::Ready(None)
            }
            Poll::Pending => {
                let late = self.running.as_mut().is_some_and(|running| running.poll_time(context).is_ready());
                if !late {
                    return Poll::Pending;
                }
                if let Some(mut running) = self.running.take() {
                    let duration = running.instance().spec().function.limits.duration();
                    running.expire(duration);
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

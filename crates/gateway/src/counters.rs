//! What a deployment's visitors cost: counted as answers leave, read by who keeps accounts.

use crate::{BodyError, body::Body};
use bytes::Bytes;
use dockless_pool::Spec;
use http::Response;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

/// Sums since the process began; they only rise.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    bytes_out: AtomicU64,
    memory_mib_ms: AtomicU64,
}

/// Sums of one deployment at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests that reached the deployment, whatever the answer.
    pub requests: u64,
    /// Bytes of answers' bodies that were written.
    pub bytes_out: u64,
    /// Memory of functions in MiB, times the milliseconds from a request to the end of its answer.
    pub memory_mib_ms: u64,
}

impl Counters {
    /// The sums now.
    #[must_use]
    pub fn read(&self) -> Counted {
        Counted {
            requests: self.requests.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            memory_mib_ms: self.memory_mib_ms.load(Ordering::Relaxed),
        }
    }
}

/// What is known of a request while it is answered.
#[derive(Debug)]
pub(crate) struct Bill {
    begin: Instant,
    counters: Option<Arc<Counters>>,
    memory_mib: u64,
}

impl Bill {
    pub(crate) fn new(begin: Instant) -> Self {
        Self { begin, counters: None, memory_mib: 0 }
    }

    /// The request is one of this deployment's.
    pub(crate) fn goes_to(&mut self, counters: &Arc<Counters>) {
        counters.requests.fetch_add(1, Ordering::Relaxed);
        self.counters = Some(Arc::clone(counters));
    }

    /// The request takes one of this program's instances.
    pub(crate) fn uses(&mut self, spec: &Spec) {
        // A service's instance serves many at once: its time is not a request's.
        self.memory_mib = spec.function().map_or(0, |function| u64::from(function.limits.memory.get()));
    }

    /// Counts the answer as it leaves.
    pub(crate) fn settle(self, response: Response<Body>) -> Response<Body> {
        let Some(counters) = &self.counters else { return response };
        match response.body() {
            // It is all there: no need to watch it go.
            Body::Full(bytes) if self.memory_mib == 0 => {
                counters.bytes_out.fetch_add(bytes.as_ref().map_or(0, length), Ordering::Relaxed);
                response
            }
            _ => response.map(|body| Body::Counted(Box::new(CountedBody { body, bill: self }))),
        }
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A body that is counted as it goes, and billed when it is gone.
pub(crate) struct CountedBody {
    body: Body,
    bill: Bill,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), Some(counters)) = (&polled, &self.bill.counters)
            && let Some(bytes) = frame.data_ref()
        {
            counters.bytes_out.fetch_add(length(bytes), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for CountedBody {
    fn drop(&mut self) {
        let Some(counters) = &self.bill.counters else { return };
        let took = u64::try_from(self.bill.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        counters.memory_mib_ms.fetch_add(took.saturating_mul(self.bill.memory_mib), Ordering::Relaxed);
    }
}

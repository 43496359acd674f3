//! What a deployment's visitors cost: counted as answers leave, read by who keeps accounts.

use crate::{
    BodyError,
    body::Body,
    metrics::{self, Metrics, Target},
};
use bytes::Bytes;
use dockless_pool::{Spec, Timings};
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

/// What is known of a request while it is answered: counted when the answer is gone, or given up.
#[derive(Debug)]
pub(crate) struct Bill {
    begin: Instant,
    metrics: Arc<Metrics>,
    target: Target,
    start: &'static str,
    /// `gone` until there is an answer.
    outcome: &'static str,
    sent: u64,
    counters: Option<Arc<Counters>>,
    memory_mib: u64,
}

impl Bill {
    pub(crate) fn new(begin: Instant, metrics: &Arc<Metrics>) -> Self {
        metrics.begin();
        Self {
            begin,
            metrics: Arc::clone(metrics),
            target: Target::Gateway,
            start: "none",
            outcome: "gone",
            sent: 0,
            counters: None,
            memory_mib: 0,
        }
    }

    /// The request is one of this deployment's.
    pub(crate) fn goes_to(&mut self, counters: &Arc<Counters>) {
        counters.requests.fetch_add(1, Ordering::Relaxed);
        self.counters = Some(Arc::clone(counters));
    }

    /// This part of the platform answers.
    pub(crate) fn answered_by(&mut self, target: Target) {
        self.target = target;
    }

    /// The request takes one of this program's instances.
    pub(crate) fn uses(&mut self, spec: &Spec) {
        self.target = Target::of(spec);
        // A service's instance serves many at once: its time is not a request's.
        self.memory_mib = spec.function().map_or(0, |function| u64::from(function.limits.memory.get()));
    }

    /// The request got an instance.
    pub(crate) fn leased(&mut self, timings: &Timings) {
        self.start = metrics::start_label(&timings.start);
    }

    /// Counts the answer as it leaves.
    pub(crate) fn settle(mut self, response: Response<Body>) -> Response<Body> {
        self.outcome = metrics::outcome(response.status().as_u16());
        match response.body() {
            // It is all there: no need to watch it go.
            Body::Full(bytes) if self.memory_mib == 0 => {
                self.sends(bytes.as_ref().map_or(0, length));
                response
            }
            _ => response.map(|body| Body::Counted(Box::new(CountedBody { body, bill: self }))),
        }
    }

    fn sends(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
        if let Some(counters) = &self.counters {
            counters.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let took = self.begin.elapsed();
        self.metrics.sent(self.target, self.sent);
        self.metrics.end(self.target, self.start, self.outcome, took);
        if let Some(counters) = &self.counters {
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            counters.memory_mib_ms.fetch_add(took.saturating_mul(self.memory_mib), Ordering::Relaxed);
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
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
        {
            self.bill.sends(length(bytes));
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

//! The right to send one request to an instance.

use crate::body::InvocationBody;
use crate::desk::Desk;
use crate::failure::{self, Replay, SendFailure};
use crate::headers;
use crate::plan::{Phase, Warmth};
use crate::running::Running;
use crate::serving::Serving;
use dockless_model::{Code, InstanceId, RequestId};
use dockless_node::{Instance, InstanceError, KillReason, NotSent, RequestBody, Spec};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A lease. Used by [`Lease::send`] or [`Lease::finish`]; dropped unused, its instance is idle again.
#[derive(Debug)]
pub struct Lease {
    /// Absent once used.
    seat: Option<Seat>,
    id: InstanceId,
    timings: Timings,
}

/// An instance at its desk.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) desk: Arc<Desk>,
    pub(crate) index: usize,
    pub(crate) key: u64,
    pub(crate) instance: Instance,
}

/// Where the time before the request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// Waiting for a turn, a start that it waited for taken off.
    pub queue: Duration,
    /// How the instance came to run.
    pub start: Start,
}

/// How a leased instance came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It ran.
    Warm,
    /// It was frozen; thawing took this long.
    Thaw(Duration),
    /// It was started for this request.
    Boot {
        /// From a prewarmed sandbox.
        shelf: bool,
        /// From the wish to the moment the request could be sent; its code may load after that.
        took: Duration,
    },
}

/// How a lease that was not used for [`Lease::send`] ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The instance is as it was.
    Unused,
    /// The instance is of no use any more.
    Broken,
}

impl Lease {
    pub(crate) fn new(
        desk: Arc<Desk>,
        index: usize,
        key: u64,
        instance: Instance,
        queue: Duration,
        start: Start,
    ) -> Self {
        let id = instance.id().clone();
        Self { seat: Some(Seat { desk, index, key, instance }), id, timings: Timings { queue, start } }
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.id
    }

    /// Where the time went so far.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Gives it back without a request.
    pub fn finish(self, outcome: Outcome) {
        match outcome {
            Outcome::Unused => drop(self),
            Outcome::Broken => self.discard(),
        }
    }

    /// Sends the request and waits for the head of the answer. The lease goes on in the answer's body: its end is the
    /// good end; dropping it, or this, before that means that the client has gone, and the instance is abandoned until
    /// its program says that it is done, at most until the function's duration has passed.
    ///
    /// In a service a place is taken until then; it learns that its client has gone by the end of its connection.
    ///
    /// The request has an origin-form target and its `host` header; its id is taken from a [`RequestId`] among its
    /// extensions. Internal headers are set here and taken off the answer.
    ///
    /// # Errors
    /// See [`SendFailure`].
    pub async fn send(mut self, mut request: Request<RequestBody>) -> Result<Response<InvocationBody>, SendFailure> {
        let Some(seat) = self.seat.take() else {
            return Err(SendFailure::new(Code::Internal, "the lease is used", Replay::Untouched(Box::new(request))));
        };
        let spec: Arc<Spec> = seat.instance.spec().clone();
        let Some(duration) = spec.invocation_limit() else { return send_to_service(seat, request).await };
        let id: Arc<str> = match request.extensions().get::<RequestId>() {
            Some(id) => id.as_str().into(),
            None => RequestId::random(&dockless_model::OsEntropy).as_str().into(),
        };
        let serial = seat.instance.begin(id.clone());
        let wall_deadline = seat.desk.wall_clock().plus(duration);
        headers::prepare(&mut request, &id, serial, wall_deadline);
        let mut running = Running::begin(seat, serial, Instant::now() + duration);
        let instance = running.instance();
        // Pinned outside, so that its connection closes after the instance is condemned: the program sees its client leave
        // and may end the request before the kill arrives, and the log would not know whose time was up.
        let mut sending = std::pin::pin!(instance.send(request));
        let sent = tokio::select! {
            biased;
            sent = &mut sending => sent,
            () = running.time_is_up() => {
                running.expire(duration);
                return Err(SendFailure::new(Code::FunctionTimeout, "no answer in time", Replay::No));
            }
        };
        match sent {
            // Whoever reads 101 after us would take the rest of the connection for another protocol; other interim answers
            // never come here.
            Ok(response) if response.status().is_informational() => {
                running.discard();
                let detail =
                    format!("the instance answered {} to a request that asked for no upgrade", response.status());
                Err(SendFailure::new(Code::FunctionFailed, detail, Replay::No))
            }
            Ok(mut response) => {
                let verdict = headers::take_verdict(response.headers_mut());
                let (head, body) = response.into_parts();
                let mut body = InvocationBody::of_function(body, running);
                if verdict == Some(Code::FunctionFailed) {
                    body.run_out().await;
                    return Err(failure::verdict(&instance).await);
                }
                Ok(Response::from_parts(head, body))
            }
            Err(NotSent::Untouched { request, cause }) => {
                running.discard();
                Err(SendFailure::new(Code::InstanceDied, cause.to_string(), Replay::Untouched(request)))
            }
            Err(NotSent::Unanswered(error)) => Err(failure::explain(running, error).await),
        }
    }

    /// Makes the instance ready for the request: thawed, alive, connected.
    pub(crate) async fn ready(&mut self) -> Result<(), InstanceError> {
        let Some(seat) = &self.seat else { return Err(InstanceError::Gone) };
        let began = Instant::now();
        if seat.instance.thaw()? {
            self.timings.start = Start::Thaw(began.elapsed());
        }
        if !seat.instance.is_alive() {
            return Err(InstanceError::Gone);
        }
        seat.instance.confirm().await?;
        seat.instance.connect().await
    }

    /// The instance is of no use: it is ended.
    pub(crate) fn discard(mut self) {
        if let Some(seat) = self.seat.take() {
            seat.discard();
        }
    }
}

impl Drop for Lease {
    /// Nothing was sent: this is no pessimistic path.
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.leave();
        }
    }
}

/// Sends a request to a service. A `101` answer turns the connection into another protocol's: the caller upgrades it and
/// holds the body meanwhile.
async fn send_to_service(seat: Seat, request: Request<RequestBody>) -> Result<Response<InvocationBody>, SendFailure> {
    let repeatable =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && request.body().is_end_stream();
    let wants_upgrade = request.headers().contains_key(http::header::UPGRADE);
    let mut serving = Serving::new(seat);
    let instance = serving.instance().clone();
    match instance.send_to_service(request, repeatable).await {
        Ok((response, carrier)) => {
            serving.carried_by(carrier);
            match response.status() {
                StatusCode::SWITCHING_PROTOCOLS if wants_upgrade => serving.upgrade(),
                status if status.is_informational() => {
                    let detail = format!("the service answered {status} to a request that asked for no upgrade");
                    return Err(SendFailure::new(Code::FunctionFailed, detail, Replay::No));
                }
                _ => {}
            }
            Ok(response.map(|body| InvocationBody::of_service(body, serving)))
        }
        Err(NotSent::Untouched { request, cause }) => {
            if instance.is_alive() {
                serving.discard();
            }
            Err(SendFailure::new(Code::InstanceDied, cause.to_string(), Replay::Untouched(request)))
        }
        Err(NotSent::Unanswered(error)) => Err(failure::explain_service(&instance, &error, repeatable).await),
    }
}

impl Seat {
    /// The lease is over, the instance is as it was.
    pub(crate) fn leave(&self) {
        if self.instance.spec().service().is_some() {
            let todo = self.desk.leave(self.index, self.key, Instant::now());
            self.desk.perform(self.index, todo);
        } else {
            self.become_(Phase::Idle { since: Instant::now(), warmth: Warmth::Running });
        }
    }

    pub(crate) fn become_(&self, phase: Phase) {
        let todo = self.desk.become_(self.index, self.key, phase, Instant::now());
        self.desk.perform(self.index, todo);
    }

    /// The answer of a function is complete.
    pub(crate) fn finished(&self, serial: u64, deadline: Instant) {
        let todo = self.desk.finished(self.index, self.key, serial, deadline, Instant::now());
        self.desk.perform(self.index, todo);
    }

    pub(crate) fn wake(&self) {
        self.desk.wake(self.index, self.key);
    }

    pub(crate) fn discard(&self) {
        self.instance.kill(KillReason::Broken);
        self.become_(Phase::Draining);
    }
}

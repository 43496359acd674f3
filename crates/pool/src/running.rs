//! A request on its way through an instance: the part of a lease that outlives its sending.

use crate::lease::Seat;
use crate::plan::Phase;
use dockless_node::{Instance, KillReason};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Ends by [`Running::finish`], [`Running::expire`] or [`Running::discard`]; dropped otherwise, the instance is
/// abandoned.
#[derive(Debug)]
pub(crate) struct Running {
    /// Absent once ended.
    seat: Option<Seat>,
    instance: Instance,
    serial: u64,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Running {
    pub(crate) fn begin(seat: Seat, serial: u64, deadline: Instant) -> Self {
        let instance = seat.instance.clone();
        Self { seat: Some(seat), instance, serial, deadline, timer: Box::pin(tokio::time::sleep_until(deadline)) }
    }

    pub(crate) fn instance(&self) -> Instance {
        self.instance.clone()
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Ends at the deadline.
    pub(crate) fn time_is_up(&mut self) -> impl Future<Output = ()> {
        self.timer.as_mut()
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(context)
    }

    /// The answer is complete. The instance is idle if its program has said so already, else as soon as it does.
    pub(crate) fn finish(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.finished(self.serial, self.deadline);
        }
    }

    /// It took too long: the instance is ended.
    pub(crate) fn expire(&mut self, duration: Duration) {
        if let Some(seat) = self.seat.take() {
            self.instance.kill(KillReason::Deadline(duration));
            seat.become_(Phase::Draining);
        }
    }

    /// The instance is of no use any more.
    pub(crate) fn discard(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.discard();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        // The function sees its client leave.
        self.instance.disconnect();
        seat.become_(Phase::Abandoned { serial: self.serial, deadline: self.deadline });
        seat.wake();
    }
}

//! Trying again, later each time.

use crate::client::CallError;
use std::time::Duration;

/// Delays of an operation that may be tried `tries` times.
#[derive(Debug)]
pub(crate) struct Backoff {
    left: u32,
    delay: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);

    /// `tries` in all, the first included.
    pub(crate) const fn new(tries: u32) -> Self {
        Self { left: tries.saturating_sub(1), delay: Self::FIRST }
    }

    /// How long to wait before the next try; `None` if this error will not pass or the tries are used up. What the server
    /// asks for counts if it is longer.
    pub(crate) fn after(&mut self, error: &CallError) -> Option<Duration> {
        if self.left == 0 || !error.may_pass() {
            return None;
        }
        self.left -= 1;
        let delay = self.delay.max(error.retry_after().unwrap_or_default().min(Self::LONGEST));
        self.delay = (self.delay * 2).min(Self::LONGEST);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_wire::ErrorDetail;

    fn refused(status: u16, retry_after: Option<u64>) -> CallError {
        let retry_after = retry_after.map(Duration::from_secs);
        CallError::Refused { status, detail: Box::new(ErrorDetail::default()), retry_after }
    }

    #[test]
    fn failures_of_the_server_are_tried_again_later_each_time() {
        let mut backoff = Backoff::new(5);
        let waits: Vec<_> = std::iter::from_fn(|| backoff.after(&refused(502, None))).collect();
        assert_eq!(waits, [200, 400, 800, 1600].map(Duration::from_millis));
    }

    #[test]
    fn the_server_s_own_wish_counts_within_reason() {
        let mut backoff = Backoff::new(3);
        assert_eq!(backoff.after(&refused(503, Some(3))), Some(Duration::from_secs(3)));
        assert_eq!(backoff.after(&refused(429, Some(3600))), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_refusal_is_final() {
        assert_eq!(Backoff::new(5).after(&refused(400, None)), None);
    }
}

//! What became of every request.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The end of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A complete answer of the deployment, whatever its status.
    Answered(u16),
    /// The platform refused it, with this code.
    Refused(String),
    /// Neither: no answer, half an answer, or an error of the platform's own.
    Lost(String),
}

/// The sums. Once nothing is on its way, `sent` is the sum of the others.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ledger {
    /// Requests that left.
    pub(crate) sent: u64,
    /// Requests that should have left, but too many were on their way.
    pub(crate) held_back: u64,
    /// Complete answers.
    pub(crate) answered: u64,
    /// By status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Refusals by code.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Losses by reason.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Whether the platform may repeat such requests: a loss then is its own fault.
    pub(crate) repeatable: bool,
    /// Milliseconds to the complete answer: median, 95th and 99th percentile, most.
    pub(crate) latency_ms: Latency,
    #[serde(skip)]
    took: Vec<u32>,
}

/// Of answered requests, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Ledger {
    pub(crate) fn new(repeatable: bool) -> Self {
        Self { repeatable, ..Self::default() }
    }

    /// Writes the end of a request down.
    pub(crate) fn note(&mut self, fate: Fate, took: Duration) {
        match fate {
            Fate::Answered(status) => {
                self.answered += 1;
                *self.statuses.entry(status).or_default() += 1;
                // Up to 71 minutes in four bytes.
                self.took.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            }
            Fate::Refused(code) => *self.refused.entry(code).or_default() += 1,
            Fate::Lost(reason) => *self.lost.entry(reason).or_default() += 1,
        }
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(crate) fn losses(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Closes the book: percentiles are of all that was answered.
    pub(crate) fn close(mut self) -> Self {
        self.took.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.took.len() * percent).div_ceil(100).max(1);
            self.took.get(rank - 1).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        self.latency_ms = Latency { p50: at(50), p95: at(95), p99: at(99), max: at(100) };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_twice_and_nothing_is_forgotten() {
        let mut ledger = Ledger { sent: 203, ..Ledger::new(true) };
        for ms in 1..=200 {
            ledger.note(Fate::Answered(if ms % 2 == 0 { 200 } else { 404 }), Duration::from_millis(ms));
        }
        ledger.note(Fate::Refused("CAP_REACHED".into()), Duration::ZERO);
        ledger.note(Fate::Lost("no connection".into()), Duration::ZERO);
        ledger.note(Fate::Lost("no connection".into()), Duration::ZERO);
        let ledger = ledger.close();
        assert_eq!(ledger.answered + ledger.refusals() + ledger.losses(), ledger.sent);
        assert_eq!(ledger.statuses, BTreeMap::from([(200, 100), (404, 100)]));
        assert_eq!(ledger.latency_ms, Latency { p50: 100.0, p95: 190.0, p99: 198.0, max: 200.0 });
        assert_eq!(Ledger::new(false).close().latency_ms, Latency::default());
    }
}

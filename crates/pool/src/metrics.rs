//! What the pool counts, for the operator. No label holds a user's text.

use dockless_model::Code;
use dockless_node::{Spec, StartError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// From a sandbox that waits to the longest boot, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StartLabels {
    kind: &'static str,
    /// `shelf` or `cold`, or why it came to nothing.
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FromLabels {
    kind: &'static str,
    from: &'static str,
}

/// The pool's numbers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    starts: Family<StartLabels, Counter>,
    seconds: Family<FromLabels, Histogram, fn() -> Histogram>,
    evictions: Counter,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// `function` or `service`.
pub(crate) fn kind(spec: &Spec) -> &'static str {
    if spec.function().is_some() { "function" } else { "service" }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            starts: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            evictions: Counter::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "instance_starts",
            "Starts of instances: from the shelf, cold, or the code of why there is none",
            self.starts.clone(),
        );
        registry.register_with_unit(
            "instance_start",
            "From the wish to an instance that takes requests",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "evictions",
            "Idle instances that were ended to make room for others",
            self.evictions.clone(),
        );
    }

    pub(crate) fn started(&self, spec: &Spec, shelf: bool, took: Duration) {
        let (kind, from) = (kind(spec), if shelf { "shelf" } else { "cold" });
        self.starts.get_or_create(&StartLabels { kind, result: from }).inc();
        self.seconds.get_or_create(&FromLabels { kind, from }).observe(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, spec: &Spec, error: &StartError) {
        let code = match error {
            StartError::CapReached(_) => Code::CapReached,
            StartError::NoRoom(_) => Code::NoRoom,
            StartError::BootFailed { .. } | StartError::NeverListened { .. } => Code::BootFailed,
            StartError::RuntimeMissing(_)
            | StartError::Bundle(_)
            | StartError::Environment
            | StartError::Warden(_)
            | StartError::Io { .. } => Code::Internal,
        };
        self.starts.get_or_create(&StartLabels { kind: kind(spec), result: code.as_str() }).inc();
    }

    pub(crate) fn evicted(&self) {
        self.evictions.inc();
    }
}

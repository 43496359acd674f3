//! What the gateway counts, for the operator: no label holds a user's text, so that the series are few and known.

use dockless_model::Code;
use dockless_pool::{Spec, Start, Timings};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Bounds of all latencies in seconds: from a file in memory to the longest function.
const SECONDS: [f64; 18] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Who answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Api,
    File,
    Function,
    Service,
    /// A server elsewhere that a route leads to.
    Elsewhere,
    /// The gateway itself: a redirect, a listing, a refusal.
    Gateway,
}

impl Target {
    const fn label(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::File => "file",
            Self::Function => "function",
            Self::Service => "service",
            Self::Elsewhere => "elsewhere",
            Self::Gateway => "gateway",
        }
    }

    pub(crate) fn of(spec: &Spec) -> Self {
        if spec.function().is_some() { Self::Function } else { Self::Service }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    target: &'static str,
    start: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabel {
    target: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// How the instance came to run, as a label.
pub(crate) const fn start_label(start: &Start) -> &'static str {
    match start {
        Start::Warm => "warm",
        Start::Thaw(_) => "thawed",
        Start::Boot { shelf: true, .. } => "shelf",
        Start::Boot { shelf: false, .. } => "cold",
    }
}

/// The gateway's numbers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    in_flight: Gauge,
    seconds: Family<TargetLabel, Histogram, fn() -> Histogram>,
    phases: Family<PhaseLabel, Histogram, fn() -> Histogram>,
    sent: Family<TargetLabel, Counter>,
    received: Counter,
    refusals: Family<CodeLabel, Counter>,
    replays: Counter,
    tunnels: Gauge,
    pub(crate) connections: Counter,
    pub(crate) crowded: Counter,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            requests: Family::default(),
            in_flight: Gauge::default(),
            seconds: Family::new_with_constructor(histogram),
            phases: Family::new_with_constructor(histogram),
            sent: Family::default(),
            received: Counter::default(),
            refusals: Family::default(),
            replays: Counter::default(),
            tunnels: Gauge::default(),
            connections: Counter::default(),
            crowded: Counter::default(),
        };
        // A rate over a series that appears with its first event misses that event.
        for code in Code::ALL {
            drop(metrics.refusals.get_or_create(&CodeLabel { code: code.as_str() }));
        }
        metrics
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Requests by who answered (target), how the instance came to run (start), and the answer (outcome: the class \
             of its status, or gone if the client left before it)",
            self.requests.clone(),
        );
        registry.register("requests_in_flight", "Requests whose answer is not complete", self.in_flight.clone());
        registry.register_with_unit(
            "request_duration",
            "From a request's head to the end of its answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "request_phase",
            "Parts of the way to the first byte: queue (a turn is waited for), thawed, shelf or cold (the instance is made \
             to run), run (the program works)",
            Unit::Seconds,
            self.phases.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Bodies of answers, without what goes over upgraded connections",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register_with_unit(
            "received",
            "Bodies of requests that functions and services read",
            Unit::Bytes,
            self.received.clone(),
        );
        registry.register(
            "refusals",
            "Requests that the platform answered instead of the deployment, by code",
            self.refusals.clone(),
        );
        registry.register("replays", "Requests that were sent to a second instance", self.replays.clone());
        registry.register("tunnels", "Open upgraded connections, WebSockets say", self.tunnels.clone());
        registry.register(
            "connections_refused",
            "Connections closed at once because their address had as many as it may",
            self.crowded.clone(),
        );
        registry.register("connections", "Connections accepted", self.connections.clone());
    }

    pub(crate) fn begin(&self) {
        self.in_flight.inc();
    }

    /// A request is over, its answer gone or given up.
    pub(crate) fn end(&self, target: Target, start: &'static str, outcome: &'static str, took: Duration) {
        self.in_flight.dec();
        self.requests.get_or_create(&RequestLabels { target: target.label(), start, outcome }).inc();
        self.seconds.get_or_create(&TargetLabel { target: target.label() }).observe(took.as_secs_f64());
    }

    pub(crate) fn sent(&self, target: Target, bytes: u64) {
        if bytes > 0 {
            self.sent.get_or_create(&TargetLabel { target: target.label() }).inc_by(bytes);
        }
    }

    /// The counter of bytes of requests' bodies.
    pub(crate) fn received(&self) -> &Counter {
        &self.received
    }

    /// Where the time went until the first byte.
    pub(crate) fn phases(&self, timings: &Timings, run: Duration) {
        let observe = |phase, took: Duration| {
            self.phases.get_or_create(&PhaseLabel { phase }).observe(took.as_secs_f64());
        };
        observe("queue", timings.queue);
        match timings.start {
            Start::Warm => {}
            Start::Thaw(took) | Start::Boot { took, .. } => observe(start_label(&timings.start), took),
        }
        observe("run", run);
    }

    pub(crate) fn refused(&self, code: Code) {
        self.refusals.get_or_create(&CodeLabel { code: code.as_str() }).inc();
    }

    /// A connection switches protocols; it is counted as long as this lives.
    pub(crate) fn tunnel(&self) -> OpenTunnel {
        self.tunnels.inc();
        OpenTunnel(self.tunnels.clone())
    }

    pub(crate) fn replayed(&self) {
        self.replays.inc();
    }
}

/// An upgraded connection, counted.
#[derive(Debug)]
pub(crate) struct OpenTunnel(Gauge);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The class of a status, as a label.
pub(crate) const fn outcome(status: u16) -> &'static str {
    match status {
        0..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

//! What the node counts, for the operator. No label holds a user's text.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family};
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabel {
    answer: &'static str,
}

/// The node's numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    connections: Family<VerdictLabel, Counter>,
    carried: Counter,
    names: Family<AnswerLabel, Counter>,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "build_connections",
            "Connections that build sandboxes asked for: allowed, or refused by the rules or by the other end",
            self.connections.clone(),
        );
        registry.register_with_unit(
            "build_carried",
            "Carried for build sandboxes, both directions summed",
            Unit::Bytes,
            self.carried.clone(),
        );
        registry.register(
            "names",
            "Questions for names by instances: own (an app of their account), forwarded, none (such a name is not there), \
             failed, refused, dropped (malformed, or too many at once)",
            self.names.clone(),
        );
    }

    pub(crate) fn build_connection(&self, allowed: bool) {
        let verdict = if allowed { "allowed" } else { "refused" };
        self.connections.get_or_create(&VerdictLabel { verdict }).inc();
    }

    pub(crate) fn carried(&self, bytes: u64) {
        self.carried.inc_by(bytes);
    }

    pub(crate) fn name(&self, answer: &'static str) {
        self.names.get_or_create(&AnswerLabel { answer }).inc();
    }
}

//! What `dockless serve` says about services.

use dockless_model::{NamedSlot, ServiceRules};

/// Flags about services.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServiceFlags {
    /// Shortest duration, in seconds, that may be asked for a service's instances: 1 to 60
    #[arg(long, value_name = "SECONDS", env = "DOCKLESS_SERVICE_MIN_DURATION", default_value_t = 60, value_parser = floor())]
    service_min_duration: u64,
    /// Shortest timeout, in seconds, that may be asked for a service's instances: 1 to 60
    #[arg(long, value_name = "SECONDS", env = "DOCKLESS_SERVICE_MIN_TIMEOUT", default_value_t = 60, value_parser = floor())]
    service_min_timeout: u64,
    /// Largest concurrency that may be asked for a service's instances: 256 to 65536
    #[arg(long, value_name = "N", env = "DOCKLESS_SERVICE_MAX_CONCURRENCY", default_value_t = 256, value_parser = ceiling())]
    service_max_concurrency: u32,
    /// A name for a slot, such as big=c2-m8192; may be repeated
    #[arg(long, value_name = "NAME=SLOT", env = "DOCKLESS_SERVICE_SLOT", value_delimiter = ',')]
    service_slot: Vec<NamedSlot>,
}

fn floor() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(ServiceRules::FLOORS_S)
}

fn ceiling() -> clap::builder::RangedI64ValueParser<u32> {
    let (least, most) = (i64::from(*ServiceRules::CEILINGS.start()), i64::from(*ServiceRules::CEILINGS.end()));
    clap::value_parser!(u32).range(least..=most)
}

impl ServiceFlags {
    /// The last of two slots with one name counts.
    pub(crate) fn rules(&self) -> ServiceRules {
        ServiceRules {
            least_duration_ms: self.service_min_duration * 1000,
            least_timeout_ms: self.service_min_timeout * 1000,
            most_concurrency: self.service_max_concurrency,
            slots: self.service_slot.iter().map(|named| (named.name.clone(), named.slot)).collect(),
        }
    }
}

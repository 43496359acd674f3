//! How much memory this machine has left. Measured, because limits of sandboxes are not reservations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Reading /proc/meminfo takes some 30 µs: done apart from requests.
const EVERY: Duration = Duration::from_millis(250);
/// What a boot may take before it shows in the measurement.
const PER_BOOT: u64 = 64 * 1024 * 1024;

/// The gauge; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<Gauge>);

#[derive(Debug)]
struct Gauge {
    available: AtomicU64,
    /// Started since the last measurement.
    boots: AtomicU64,
    reserve: u64,
}

impl Memory {
    /// Measures now and from then on until `shutdown`.
    pub(crate) fn watch(reserve: u64, shutdown: CancellationToken) -> Self {
        let gauge = Self(Arc::new(Gauge { available: AtomicU64::new(measure()), boots: AtomicU64::new(0), reserve }));
        let watched = gauge.clone();
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
                watched.0.available.store(measure(), Ordering::Relaxed);
                watched.0.boots.store(0, Ordering::Relaxed);
            }
        });
        gauge
    }

    /// Bytes that can still be used, boots since the last measurement taken off.
    pub(crate) fn available(&self) -> u64 {
        let boots = self.0.boots.load(Ordering::Relaxed).saturating_mul(PER_BOOT);
        self.0.available.load(Ordering::Relaxed).saturating_sub(boots)
    }

    /// Whether another sandbox may begin.
    pub(crate) fn has_room(&self) -> bool {
        self.available() > self.0.reserve
    }

    /// Notes that one begins.
    pub(crate) fn note_boot(&self) {
        self.0.boots.fetch_add(1, Ordering::Relaxed);
    }
}

/// `MemAvailable` in bytes; everything if the kernel does not say, because refusing would be worse.
fn measure() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    parse(&text).unwrap_or(u64::MAX)
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        assert_eq!(parse("MemTotal:  9 kB\nMemAvailable:   24353012 kB\n"), Some(24_353_012 * 1024));
        assert_eq!(parse("MemTotal:  9 kB\n"), None);
        assert!(measure() > 0);
    }
}

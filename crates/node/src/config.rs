//! What a node is told when it begins.

use dockless_model::{Clock, Entropy, OsEntropy, SystemClock};
use std::{path::PathBuf, sync::Arc};

/// Settings of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Folder of the log rings; made if missing.
    pub logs: PathBuf,
    /// The shelf.
    pub shelf: ShelfConfig,
    /// Memory in bytes that is kept free: below it nothing is started. Default: 128 MiB.
    pub reserve_bytes: u64,
    /// Boots from nothing at once, so that each has a chance within its limit. Default: 8 for each core.
    pub boots_at_once: usize,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl NodeConfig {
    /// Defaults, with logs in this folder.
    #[must_use]
    pub fn new(logs: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            logs,
            shelf: ShelfConfig::default(),
            reserve_bytes: 128 * 1024 * 1024,
            boots_at_once: 8 * cores,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        }
    }
}

/// Settings of the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShelfConfig {
    /// Sandboxes kept ready for each runtime and memory class in use. 0 switches the shelf off. Default: 4.
    pub per_class: usize,
    /// Share of the memory available at each refill that the whole shelf may take, in percent. Default: 10.
    pub memory_percent: u64,
}

impl Default for ShelfConfig {
    fn default() -> Self {
        Self { per_class: 4, memory_percent: 10 }
    }
}

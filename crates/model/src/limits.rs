//! What an instance may use.

use crate::ParseError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Memory of a function in MiB: 128 to 3,008.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct MemoryMib(u32);

impl MemoryMib {
    /// Smallest function.
    pub const MIN: u32 = 128;
    /// Largest function, and what a function gets that says nothing.
    pub const MAX: u32 = 3008;
    /// Memory that comes with one whole core (AWS Lambda's published proportion).
    const PER_CORE: u32 = 1769;

    /// # Errors
    /// Outside 128 to 3,008.
    pub fn new(mib: u32) -> Result<Self, ParseError> {
        if (Self::MIN..=Self::MAX).contains(&mib) {
            Ok(Self(mib))
        } else {
            Err(ParseError::new("memory", &mib.to_string(), "expected 128 to 3008 MiB"))
        }
    }

    /// MiB.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 as u64 * 1024 * 1024
    }

    /// Relative share of the processor in cgroup v2's scale (1 to 10,000, 100 is the usual group): 100 for each 1,769 MiB.
    #[must_use]
    pub fn cpu_weight(self) -> u16 {
        u16::try_from((self.0 * 100 / Self::PER_CORE).max(1)).unwrap_or(100)
    }
}

impl Default for MemoryMib {
    fn default() -> Self {
        Self(Self::MAX)
    }
}

impl TryFrom<u32> for MemoryMib {
    type Error = ParseError;
    fn try_from(mib: u32) -> Result<Self, ParseError> {
        Self::new(mib)
    }
}

impl From<MemoryMib> for u32 {
    fn from(memory: MemoryMib) -> Self {
        memory.0
    }
}

/// Limits of one function. Milliseconds, so that the manifest is plain JSON numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionLimits {
    /// Memory; /tmp comes on top.
    pub memory: MemoryMib,
    /// Longest time from lease to `end`.
    pub duration_ms: u64,
    /// Unused for this long: the instance is retired.
    pub idle_timeout_ms: u64,
    /// Longest time from start to ready.
    pub boot_ms: u64,
    /// Largest request body in bytes.
    pub body_bytes: u64,
    /// Most instances of this function at once.
    pub max_instances: u32,
}

impl FunctionLimits {
    /// Size of /tmp in bytes, a tmpfs whose pages are charged to the instance: memory.max is memory plus this.
    pub const TMP_BYTES: u64 = 512 * 1024 * 1024;

    /// Deadline of an invocation.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// Idle time until retired.
    #[must_use]
    pub const fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// Boot limit.
    #[must_use]
    pub const fn boot(&self) -> Duration {
        Duration::from_millis(self.boot_ms)
    }
}

impl Default for FunctionLimits {
    /// Zero-config rules: 3,008 MB, 5 min to answer, 5 min idle, 10 s to boot, 5 MiB of body, 100 instances.
    fn default() -> Self {
        Self {
            memory: MemoryMib::default(),
            duration_ms: 300_000,
            idle_timeout_ms: 300_000,
            boot_ms: 10_000,
            body_bytes: 5 * 1024 * 1024,
            max_instances: 100,
        }
    }
}

/// Limits of one service. Milliseconds, so that the manifest is plain JSON numbers. [`crate::ServiceRules`] has the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLimits {
    /// Requests at once in an instance.
    pub concurrency: u32,
    /// Life of an instance: afterwards a replacement takes its requests.
    pub duration_ms: u64,
    /// Unused for this long, an instance is stopped.
    pub idle_timeout_ms: u64,
    /// Longest time from start to the first listening port.
    pub boot_ms: u64,
    /// Most instances at once; absent: as the plan allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<u32>,
}

impl ServiceLimits {
    /// Life of an instance.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// Idle time until stopped.
    #[must_use]
    pub const fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// Boot limit.
    #[must_use]
    pub const fn boot(&self) -> Duration {
        Duration::from_millis(self.boot_ms)
    }
}

impl Default for ServiceLimits {
    /// Ten requests at once, five minutes of life, one minute idle, 30 seconds to listen.
    fn default() -> Self {
        Self { concurrency: 10, duration_ms: 300_000, idle_timeout_ms: 60_000, boot_ms: 30_000, max_instances: None }
    }
}

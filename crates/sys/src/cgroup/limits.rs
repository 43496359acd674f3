//! Limits of a group and how each version spells them.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::files;
use super::root::Version;

/// What a group may use. `None` leaves the value as it is; the largest value of the type lifts the limit.
///
/// Swap is never available: v2 sets `memory.swap.max` to 0 once on our whole subtree, v1 gives memory and
/// memory+swap the same limit where the kernel accounts swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Bytes of memory, tmpfs pages included; `u64::MAX` is unlimited. The kernel rounds down to pages.
    ///
    /// At the limit the kernel kills: on v2 the whole group at once (`memory.oom.group`), on v1 one process.
    pub memory_bytes: Option<u64>,
    /// Processes and threads together; `u32::MAX` is unlimited. Beyond it fork(2) fails with EAGAIN.
    pub pids: Option<u32>,
    /// Share of the CPU under contention, 1 to 10,000, the kernel's default being 100. Values outside are brought to
    /// the nearest end. On v1 it becomes `cpu.shares` by the kernel's own rule: 100 are 1024.
    pub cpu_weight: Option<u16>,
    /// Hard cap on CPU time.
    pub cpu_quota: Option<CpuQuota>,
}

/// CPU time per period, both in microseconds; 12,500 per 100,000 is an eighth of one core.
///
/// The kernel takes quotas from 1,000 and periods from 1,000 to 1,000,000 and refuses others with EINVAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuQuota {
    /// Microseconds of CPU time in each period; `u64::MAX` lifts the cap.
    pub quota_us: u64,
    /// Length of a period in microseconds.
    pub period_us: u64,
}

impl CpuQuota {
    /// No cap.
    pub const UNLIMITED: Self = Self { quota_us: u64::MAX, period_us: 100_000 };
}

/// The weight the kernel gives a v2 group that was told nothing; 1024 shares.
const DEFAULT_WEIGHT: u64 = 100;

/// `cpu.shares` for a v2 weight, rounded as the kernel rounds (sched_weight_from_cgroup in kernel/sched/core.c).
pub(super) fn shares_from_weight(weight: u16) -> u64 {
    (u64::from(weight.clamp(1, 10_000)) * 1024 + DEFAULT_WEIGHT / 2) / DEFAULT_WEIGHT
}

/// Why a limit was not set: the file that refused.
pub(super) type Refusal = (&'static str, io::Error);

/// The part of `limits` that controller `what` of this version takes care of. `at` names the group, slash at the end.
pub(super) struct Writer<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) at: String,
    pub(super) version: Version,
    /// v1: the kernel has `memory.memsw.limit_in_bytes`.
    pub(super) memsw: bool,
}

impl Writer<'_> {
    fn put(&self, file: &'static str, value: &str) -> Result<(), Refusal> {
        files::write(self.dir, &format!("{}{file}", self.at), value).map_err(|e| (file, e))
    }

    pub(super) fn memory(&self, bytes: u64) -> Result<(), Refusal> {
        if self.version == Version::V2 {
            self.put("memory.oom.group", "1")?;
            return self.put("memory.max", &or_word(bytes, "max"));
        }
        let (limit, both) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
        let value = or_word(bytes, "-1");
        // memory <= memory+swap holds at all times. A new group has no limit and a smaller one is lowered in this
        // order; the kernel says EINVAL when the limit is raised, and then the other one goes first.
        match self.put(limit, &value) {
            Err((_, e)) if self.memsw && Errno::from_io_error(&e) == Some(Errno::INVAL) => {
                self.put(both, &value)?;
                self.put(limit, &value)
            }
            Ok(()) if self.memsw => self.put(both, &value),
            other => other,
        }
    }

    pub(super) fn pids(&self, most: u32) -> Result<(), Refusal> {
        self.put("pids.max", &if most == u32::MAX { "max".to_owned() } else { most.to_string() })
    }

    pub(super) fn cpu_weight(&self, weight: u16) -> Result<(), Refusal> {
        match self.version {
            Version::V2 => self.put("cpu.weight", &weight.clamp(1, 10_000).to_string()),
            Version::V1 => self.put("cpu.shares", &shares_from_weight(weight).to_string()),
        }
    }

    pub(super) fn cpu_quota(&self, cap: CpuQuota) -> Result<(), Refusal> {
        if self.version == Version::V2 {
            return self.put("cpu.max", &format!("{} {}", or_word(cap.quota_us, "max"), cap.period_us));
        }
        let (quota, period) = ("cpu.cfs_quota_us", "cpu.cfs_period_us");
        if cap.quota_us == u64::MAX {
            return self.put(quota, "-1");
        }
        // A new period with the old quota may ask for more than the parent has; without a quota it asks for nothing.
        let micros = cap.period_us.to_string();
        if let Err((_, e)) = self.put(period, &micros) {
            if Errno::from_io_error(&e) != Some(Errno::INVAL) {
                return Err((period, e));
            }
            self.put(quota, "-1")?;
            self.put(period, &micros)?;
        }
        self.put(quota, &cap.quota_us.to_string())
    }
}

fn or_word(value: u64, unlimited: &str) -> String {
    if value == u64::MAX { unlimited.to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares_as_the_kernel_does_it() {
        for (weight, shares) in
            [(0, 10), (1, 10), (50, 512), (58, 594), (100, 1024), (10_000, 102_400), (20_000, 102_400)]
        {
            assert_eq!(shares_from_weight(weight), shares, "{weight}");
        }
    }

    #[test]
    fn every_weight_survives_the_way_to_shares_and_back() {
        for weight in 1..=10_000_u16 {
            let back = (shares_from_weight(weight) * DEFAULT_WEIGHT + 512) / 1024;
            assert_eq!(back, u64::from(weight));
        }
    }
}

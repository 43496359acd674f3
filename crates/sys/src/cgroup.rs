//! Control groups: what a sandbox may use, and how it is frozen, counted and killed.
//!
//! A [`GroupRoot`] is our subtree in every hierarchy in use; a [`Group`] is one leaf of it, the same name in each:
//!
//! ```text
//! V2      /sys/fs/cgroup/<own>/dockless-1a2b3c/<leaf>            everything
//! Hybrid  /sys/fs/cgroup/unified/<own>/dockless-1a2b3c/<leaf>    place, freeze, kill, CPU time
//!         /sys/fs/cgroup/{memory,pids,cpu}/<own>/dockless-…      limits and the other counters
//! V1      /sys/fs/cgroup/{freezer,memory,pids,cpu,cpuacct}/…     everything
//! ```
//!
//! `<own>` is the group this process is in, so that limits put on it from outside keep counting. The one idea: a
//! hierarchy is a [`Controller`] list and a directory descriptor, and each verb asks for the place of the controller
//! it needs. What a layout can do is never guessed from names: [`GroupRoot::detect`] creates a group, limits it,
//! reads the limits back, freezes, thaws, kills and removes it before it says yes.
//!
//! Source: Linux kernel, `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/`.

mod detect;
mod error;
mod files;
mod freezer;
mod group;
mod limits;
mod mounts;
mod plan;
mod record;
mod root;
mod sweep;
mod usage;

#[cfg(test)]
mod tests;

pub use error::CgroupError;
pub use freezer::{Freezer, FreezerKind};
pub use group::Group;
pub use limits::{CpuQuota, GroupLimits};
pub use root::{GroupRoot, Layout};
pub use sweep::SweepReport;
pub use usage::Usage;

/// What a hierarchy can count or do for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Memory limit and use.
    Memory,
    /// Number of processes and threads.
    Pids,
    /// CPU weight and quota.
    Cpu,
    /// CPU time used; its own controller on v1, always present on v2.
    Cpuacct,
    /// Freezing; its own controller on v1, always present on v2.
    Freezer,
}

impl Controller {
    const ALL: [Self; 5] = [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuacct, Self::Freezer];

    /// The kernel's word for it: `memory`, `pids`, `cpu`, `cpuacct`, `freezer`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Freezer => "freezer",
        }
    }

    fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.label() == label)
    }
}

impl std::fmt::Display for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

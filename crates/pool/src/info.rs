//! What `ps` and metrics show.

use dockless_model::{AccountId, DeploymentId, Host, InstanceId, InstanceState, ProjectName, SourcePath, Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceInfo {
    /// Which.
    pub id: InstanceId,
    /// Whose version.
    pub deployment: DeploymentId,
    /// Who is counted.
    pub account: AccountId,
    /// The deployment's own host.
    pub url: Host,
    /// The project's name.
    pub project: ProjectName,
    /// The function, e.g. `api/date`.
    pub function: SourcePath,
    /// What it does.
    pub state: InstanceState,
    /// First process, as the host counts.
    pub pid: u32,
    /// When it was given its code.
    pub started_at: Timestamp,
    /// Memory now, where it was measured ([`crate::Pool::instances_measured`]).
    pub memory_bytes: Option<u64>,
    /// The most memory that it has held at once, if measured.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time since it was given its code, in microseconds, where it was measured.
    pub cpu_us: Option<u64>,
    /// Requests given to it by this server.
    pub requests: u64,
}

/// How much there is at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Population {
    /// Instances by kind (`function` or `service`) and state.
    pub instances: BTreeMap<(&'static str, &'static str), usize>,
    /// Requests that wait for one.
    pub waiting: usize,
    /// How long the first of them has waited.
    pub longest_wait: Duration,
}

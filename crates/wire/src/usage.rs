//! What deployments cost: `GET /v1/usage?project=NAME`.

use dockless_model::{DeploymentId, Host, ProjectName, Timestamp};
use serde::{Deserialize, Serialize};

/// Answer: deployments with requests, the most asked for first; removed ones too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageList {
    /// At most 1,000.
    pub usage: Vec<Usage>,
}

/// What one deployment cost so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Which; it may be gone.
    pub deployment_id: DeploymentId,
    /// Its own host.
    pub url: Host,
    /// Of which project.
    pub project: ProjectName,
    /// Requests that reached it.
    pub requests: u64,
    /// Processor time of its instances, counted when they end.
    pub cpu_ms: u64,
    /// Memory of its functions in GB, times seconds from a request to the end of its answer.
    pub gb_seconds: f64,
    /// Bytes of bodies sent.
    pub bytes_out: u64,
    /// Time that its instances spent frozen.
    pub asleep_seconds: u64,
    /// Counted since.
    pub since: Timestamp,
}

//! Instances: `GET /v1/instances`, `POST /v1/deployments/{x}/sleep`.

use dockless_model::{DeploymentId, Host, InstanceId, InstanceState, ProjectName, Timestamp};
use serde::{Deserialize, Serialize};

/// Answer to `GET /v1/instances`: those of the caller's account, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceList {
    /// All of them.
    pub instances: Vec<Instance>,
}

/// A sandbox that runs or sleeps for a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Which.
    pub id: InstanceId,
    /// Of which deployment.
    pub deployment: DeploymentId,
    /// The deployment's host.
    pub url: Host,
    /// Of which project.
    pub project: ProjectName,
    /// Output path, e.g. `api/date`.
    pub function: String,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Process id on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since when.
    pub started_at: Timestamp,
    /// Memory it holds, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The most memory that it has held at once, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Requests it was given.
    pub requests: u64,
}

/// Answer to `POST /v1/deployments/{x}/sleep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slept {
    /// Which deployment.
    pub deployment: DeploymentId,
    /// Instances retired, those included that end after the request they serve.
    pub retired: usize,
}

//! The platform itself: `GET /v1/status`, `POST /v1/upgrade`.

use dockless_model::{Host, Timestamp};
use serde::{Deserialize, Serialize};

/// Answer to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the server.
    pub version: String,
    /// Process id of the server that answered.
    pub pid: u32,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// Base domain of deployments.
    pub domain: Host,
    /// Region label of the node.
    pub region: String,
    /// What can be run.
    pub runtimes: Vec<RuntimeStatus>,
    /// Sandboxes that wait for an image.
    #[serde(default)]
    pub service_shelf: usize,
    /// Sandboxes with an owner, of all accounts.
    pub instances: usize,
    /// Builds waiting or running, of all accounts.
    pub builds: u64,
    /// Bytes left on the disk of the data folder.
    pub free_disk_bytes: u64,
}

/// A runtime and its shelf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeStatus {
    /// `node-20.20.2-…`
    pub id: String,
    /// Prewarmed sandboxes that wait.
    pub shelf: usize,
}

/// Answer to `POST /v1/upgrade`, sent once the new server answers requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Always `true`: what fails is an error.
    pub upgraded: bool,
}

//! Aliases: `POST /v2/deployments/{x}/aliases`, `GET /v2/aliases`, `GET` and `DELETE /v2/aliases/{host}`.

use crate::{Creator, Pagination};
use dockless_model::{DeploymentId, Host, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

/// A host that leads to a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// Same as `alias`: an alias is named by its host.
    pub uid: Host,
    /// The host.
    pub alias: Host,
    /// Where a browser finds it, with scheme and port: ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub href: Option<String>,
    /// Since.
    pub created: Timestamp,
    /// Same as `created`.
    pub created_at: Timestamp,
    /// Where it leads.
    pub deployment_id: DeploymentId,
    /// The same, with the deployment's own host.
    pub deployment: AliasTarget,
    /// Of which project.
    pub project_id: ProjectId,
    /// Whose.
    pub creator: Creator,
}

/// Where an alias leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasTarget {
    /// Which.
    pub id: DeploymentId,
    /// Its own host.
    pub url: Host,
}

/// Answer to a listing, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AliasList {
    /// One page.
    pub aliases: Vec<Alias>,
    /// The way to the next.
    pub pagination: Pagination,
}

/// Body of `POST …/deployments/{x}/aliases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAlias {
    /// A host, or a label under the platform's domain.
    pub alias: String,
}

/// Answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AliasSet {
    /// Same as `alias`.
    pub uid: Host,
    /// The whole host.
    pub alias: Host,
    /// Where a browser finds it: ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub href: Option<String>,
    /// Since when the alias exists.
    pub created: Timestamp,
    /// Where it led before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_deployment_id: Option<DeploymentId>,
}

/// Answer to the removal of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRemoved {
    /// Which.
    pub uid: Host,
    /// `SUCCESS`
    pub status: String,
}

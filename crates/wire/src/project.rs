//! Projects: `GET /v9/projects`, `POST /v9/projects`, `GET` and `DELETE /v9/projects/{x}`, `POST …/promote/{deployment}`,
//! `POST …/rollback[/{deployment}]`.

use dockless_model::{AccountId, DeploymentId, Host, ProjectId, ProjectName, Timestamp};
use serde::{Deserialize, Serialize};

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Which.
    pub id: ProjectId,
    /// Its name.
    pub name: ProjectName,
    /// Whose.
    pub account_id: AccountId,
    /// Since.
    pub created_at: Timestamp,
    /// Last creation of a deployment, promotion or rollback.
    pub updated_at: Timestamp,
    /// What its own alias leads to.
    pub targets: Targets,
    /// Last promotion or rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_alias_request: Option<AliasRequest>,
}

/// Where a project is online.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// The deployment that its own alias leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production: Option<Production>,
}

/// The deployment that a project's own alias leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Production {
    /// Which.
    pub id: DeploymentId,
    /// Its own host.
    pub url: Host,
    /// The project's alias.
    pub alias: Vec<Host>,
}

/// A promotion or rollback, done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AliasRequest {
    /// `promote` or `rollback`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the project's alias led.
    pub from_deployment_id: Option<DeploymentId>,
    /// Where it leads.
    pub to_deployment_id: DeploymentId,
    /// Always `succeeded`: what fails is an error.
    pub job_status: String,
    /// When.
    pub requested_at: Timestamp,
}

/// Body of `POST /v9/projects`; what else clients send (framework, commands) says nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateProject {
    /// Its name.
    pub name: String,
}

/// Answer to a promotion or rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promoted {
    /// Of which project.
    pub project: ProjectName,
    /// Its alias.
    pub alias: Host,
    /// Where a browser finds it.
    pub href: String,
    /// Where it led before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_deployment_id: Option<DeploymentId>,
    /// Where it leads.
    pub to_deployment_id: DeploymentId,
    /// That deployment's own host.
    pub url: Host,
}

/// Answer to the removal of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRemoved {
    /// Which.
    pub id: ProjectId,
    /// Deployments removed with it.
    pub deployments: usize,
}

//! Records of the build log: `GET …/deployments/{id}/events`, one JSON object a line.

use dockless_model::{DeploymentId, Timestamp};
use serde::{Deserialize, Serialize};

/// One record. A line `{}` is a keep-alive, not a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unique within the deployment; clients drop what they have seen.
    pub id: String,
    /// Order within the deployment, decimal.
    pub serial: String,
    /// When.
    pub created: Timestamp,
    /// Same as `created`.
    pub date: Timestamp,
    /// `command`, `stdout`, `stderr`, `event`, `deployment-state` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Without the line end; may be empty.
    pub text: String,
    /// `error` or `warning`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// `state` on records of type `event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The same once more, for clients that read it here.
    pub payload: EventPayload,
}

/// Body of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventPayload {
    /// As [`Event::id`].
    pub id: String,
    /// As [`Event::text`].
    pub text: String,
    /// As [`Event::created`].
    pub date: Timestamp,
    /// Which deployment.
    pub deployment_id: DeploymentId,
    /// New state, on records of type `event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

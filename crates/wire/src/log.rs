//! Runtime logs: `GET /v1/deployments/{x}/logs?follow=1&since=SEQ&limit=N`, one JSON object a line.

use dockless_model::{InstanceId, RequestId, Timestamp};
use serde::{Deserialize, Serialize};

/// One line of a function, or of the platform about it. A line `{}` is a keep-alive, not a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRecord {
    /// Sequence within the deployment: `since=SEQ` gives what came after it.
    pub id: u64,
    /// When.
    pub date: Timestamp,
    /// `stdout`, `stderr`, or `system` where the platform speaks (a crash, a deadline, dropped lines).
    #[serde(rename = "type")]
    pub kind: String,
    /// Without the line end.
    pub text: String,
    /// Output path of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Which instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Which request, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
}

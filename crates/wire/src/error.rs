//! The one shape of every refusal.

use serde::{Deserialize, Serialize};

/// `{"error": {"code": "missing_files", "message": "…", "missing": […]}}`, with a 4xx or 5xx status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was refused and why.
    pub error: ErrorDetail,
}

/// A refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorDetail {
    /// Stable name, snake case.
    pub code: String,
    /// For people.
    pub message: String,
    /// Of `missing_files`: SHA-1 of each file to upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<String>>,
    /// The field of the request that is at fault, e.g. `files[3].file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Of `env_value_invalid_type`: the name of the variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of `size_limit_exceeded`: bytes that would have been accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<u64>,
}

impl ErrorBody {
    /// A refusal without further fields.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error: ErrorDetail { code: code.into(), message: message.into(), ..ErrorDetail::default() } }
    }
}

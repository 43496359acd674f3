//! Secrets (`/v2/secrets`) and variables of a project (`/v10/projects/{x}/env`). Values go in and never come out.

use dockless_model::{Secret, SecretId, Timestamp, VariableId};
use serde::{Deserialize, Serialize};

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// Which; not secret.
    pub uid: SecretId,
    /// Lower case; `@name` refers to it.
    pub name: String,
    /// Since.
    pub created: Timestamp,
}

/// Answer to `GET /v2/secrets`, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretList {
    /// All of them.
    pub secrets: Vec<SecretInfo>,
}

/// Body of `POST /v2/secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSecret {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

/// Body of `PATCH /v2/secrets/{x}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameSecret {
    /// The new name.
    pub name: String,
}

/// Answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRenamed {
    /// Which.
    pub uid: SecretId,
    /// Its name now.
    pub name: String,
    /// Its name before.
    pub old_name: String,
    /// Since.
    pub created: Timestamp,
}

/// Answer to a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRemoved {
    /// Which.
    pub uid: SecretId,
    /// Its name.
    pub name: String,
    /// Since.
    pub created: Timestamp,
}

/// A variable of a project, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Which.
    pub id: VariableId,
    /// `GREETING`
    pub key: String,
    /// Empty, or `@name` of the secret that gives it.
    pub value: String,
    /// `sensitive`, or `secret`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `production`, `preview`, `development`.
    pub target: Vec<String>,
    /// Since.
    pub created_at: Timestamp,
    /// Set last.
    pub updated_at: Timestamp,
}

/// Answer to `GET …/env`, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableList {
    /// All of them.
    pub envs: Vec<Variable>,
}

/// Body of `POST …/env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVariable {
    /// Its name.
    pub key: String,
    /// Its value; `@name` is a secret's, `\@text` the text with its first character.
    pub value: Secret,
    /// `production`, `preview`, `development`.
    pub target: Vec<String>,
}

/// Answer to a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableRemoved {
    /// Name or id, as asked.
    pub key: String,
    /// How many.
    pub removed: u64,
}

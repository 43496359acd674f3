//! Plans: the caps of an account.

use serde::{Deserialize, Serialize};

/// Caps of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// The machine's owner: bounded by the node alone.
    Owner,
    /// Ten service instances, 500 connections.
    Pro,
    /// Three service instances, 500 connections.
    Oss,
}

impl Plan {
    /// Name in the database, on the wire and on pages.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Pro => "pro",
            Self::Oss => "oss",
        }
    }

    /// Function instances of one account at once, over all its deployments.
    #[must_use]
    pub const fn function_instances(self) -> u32 {
        1000
    }
}

//! Scaling: `PATCH` and `PUT /v3/deployments/{x}/instances`, `GET` of the same.

use crate::Instance;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bounds for one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleRule {
    /// Kept ready even if nobody asks.
    pub min: u32,
    /// At most.
    pub max: ScaleMax,
}

/// The most instances of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScaleMax {
    /// So many; 0 switches the deployment off.
    Count(u32),
    /// As many as the limits of program and account allow.
    Auto(Auto),
}

/// `"auto"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// `"auto"`
    Auto,
}

/// Body of `PATCH` and `PUT …/instances`: region, or `all`, to its bounds.
pub type ScaleRules = BTreeMap<String, ScaleRule>;

/// Answer to `GET …/instances`: region to what is there.
pub type InstancesByRegion = BTreeMap<String, RegionInstances>;

/// Instances of a deployment in one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionInstances {
    /// All of them.
    pub instances: Vec<Instance>,
}

//! `POST /v13/deployments`.

use dockless_model::{Secret, WireDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Body of a creation, as our CLI sends it. Other clients may send more; the server refuses keys it cannot honour.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateDeployment {
    /// 2: files become static files and functions.
    pub version: u32,
    /// Project; made if it does not exist.
    pub name: String,
    /// The source, in any order; empty for an image of a registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SourceFile>,
    /// The image to run instead of a source: `ghcr.io/me/app:1`, or [`OCI_LAYOUT`]. The login for its registry travels in the header
    /// [`REGISTRY_AUTH`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// CPU and memory of an instance of the image: `c1-m4096`, or a name that the operator gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Limits of an instance of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ImageLimits>,
    /// `false` keeps instances of the image from the internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<bool>,
    /// Environment of the functions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// Settings of the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildSettings>,
    /// Labels of the client.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// `production` or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `false` leaves the project's alias where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_assign_custom_domains: Option<bool>,
}

/// In place of an image's name: the files are an OCI layout with one image.
pub const OCI_LAYOUT: &str = "oci:.";
/// Header with the login for a registry, as the Docker Engine API has it: base64url of JSON with `username` and
/// `password`, `identitytoken` or `registrytoken`. Never stored.
pub const REGISTRY_AUTH: &str = "x-registry-auth";
/// Header with a name for a request: the same body under another name is another request. Images need it, because a tag
/// may name another image a moment later.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Limits of an instance. What is absent has its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLimits {
    /// Requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_reqs: Option<u32>,
    /// Life of an instance in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Idle time until it is stopped, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Settings of a build.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BuildSettings {
    /// Environment of the build.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
}

/// One file of a source: named by its digest after an upload, or with its content in `data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Path with `/`, relative to the source's root.
    pub file: String,
    /// SHA-1 of an uploaded content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<WireDigest>,
    /// Bytes of that content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// `st_mode` in decimal: 33188 is 0100644, 33261 is 0100755.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The content itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// How `data` is written: `utf-8` (also when absent) or `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

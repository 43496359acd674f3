//! Container images as the platform keeps them: layers by digest and the process they are made for.

use crate::{Digest, ServiceLimits, Slot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image that can be run: whoever holds it needs no registry any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// SHA-256 of the image's configuration: what `docker` calls its id.
    pub id: Digest,
    /// From the lowest to the topmost.
    pub layers: Vec<Layer>,
    /// What is started in it.
    pub process: Process,
}

/// An image as a deployment asks for it, before it is pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageWish {
    /// Its name in a registry: `ghcr.io/me/app:1`.
    pub reference: String,
    /// CPU and memory of an instance.
    #[serde(default)]
    pub slot: Slot,
    /// Limits.
    #[serde(default)]
    pub limits: ServiceLimits,
    /// Whether its instances reach the internet.
    #[serde(default = "yes")]
    pub egress: bool,
}

fn yes() -> bool {
    true
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// SHA-256 of the uncompressed archive: the name of its unpacked tree (OCI image specification, `rootfs.diff_ids`).
    pub diff_id: Digest,
    /// The archive as it came, in the blob store, so that a tree that was evicted can be made again.
    pub blob: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

/// How an image's program is started: the part of its configuration that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Entrypoint and arguments, never empty in an image that can be run.
    pub argv: Vec<String>,
    /// Environment of the image, the deployment's own not yet added.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// As written: empty, `name`, `uid`, `name:group` or `uid:gid`; looked up in the image's own `/etc/passwd`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Absolute; made if it is missing. Empty means `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// The signal that asks it to end: 15 (TERM) if the image names none.
    #[serde(default = "Process::default_stop_signal")]
    pub stop_signal: i32,
    /// TCP ports that the image declares, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

impl Process {
    /// SIGTERM.
    #[must_use]
    pub const fn default_stop_signal() -> i32 {
        15
    }
}

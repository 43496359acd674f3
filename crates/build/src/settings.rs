//! What the operator says about builds.

use dockless_node::workshop::Egress;
use serde::{Deserialize, Serialize};

/// Settings of builds, the same for all projects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSettings {
    /// Where builds may connect to.
    pub egress: Egress,
    /// Registry that package managers ask, if not the public one.
    #[serde(default)]
    pub registry: Option<String>,
    /// The tree of npm holds certificates that are to be trusted too.
    #[serde(default)]
    pub certificates: bool,
    /// Index that pip asks, if not the public one.
    #[serde(default)]
    pub pip_index: Option<String>,
    /// Runtimes hold the machine's certificates.
    #[serde(default)]
    pub system_certificates: bool,
    /// Where the interpreter's headers lie below /usr, if they do: packages that are compiled need them.
    #[serde(default)]
    pub headers: Option<String>,
    /// Bytes of results kept for later builds.
    pub cache_bytes: u64,
    /// Bytes of layers kept for later builds of images, all projects summed.
    #[serde(default = "image_cache_bytes")]
    pub image_cache_bytes: u64,
}

const fn image_cache_bytes() -> u64 {
    20 << 30
}

impl Default for BuildSettings {
    /// The public registries; 4 GiB of results, 20 GiB of layers.
    fn default() -> Self {
        Self {
            egress: Egress::default(),
            registry: None,
            certificates: false,
            pip_index: None,
            system_certificates: false,
            headers: None,
            cache_bytes: 4 << 30,
            image_cache_bytes: image_cache_bytes(),
        }
    }
}

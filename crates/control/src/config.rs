//! What control must be told.

use crate::SecretKeys;
use dockless_model::{Host, ServiceRules};
use std::time::Duration;

/// Settings of the control plane. [`ControlConfig::new`] fills in what need not be chosen.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Base domain: deployments answer at `NAME-HASH.DOMAIN`, projects at `NAME.DOMAIN`.
    pub domain: Host,
    /// How browsers reach those hosts.
    pub public: PublicUrl,
    /// Hosts outside the domain that aliases may have.
    pub foreign_hosts: ForeignHosts,
    /// What values are sealed with.
    pub keys: SecretKeys,
    /// What may be asked for a service.
    pub services: ServiceRules,
    /// Region label of this node.
    pub region: String,
    /// Name of this node in the database.
    pub node: String,
    /// Version that [`dockless_wire::Status`] reports.
    pub version: String,
    /// Uploads and creations are refused while less than this is free on the disk, in bytes.
    pub min_free_bytes: u64,
    /// Largest uploaded file, in bytes.
    pub max_file_bytes: u64,
    /// Largest uploaded layer of an image, in bytes.
    pub max_layer_bytes: u64,
    /// Most files in a source.
    pub max_files: usize,
    /// A file reported present stays this long for the creation that follows.
    pub pin: Duration,
    /// The same request within this time gives the same deployment.
    pub same_request: Duration,
    /// Builds at once in this process.
    pub parallel_builds: usize,
    /// Longest build.
    pub build_limit: Duration,
    /// A build whose worker has not been heard of for this long is somebody else's.
    pub lease: Duration,
    /// How often the database is asked for what other processes changed.
    pub poll: Duration,
    /// Uploads and blobs younger than this are not collected.
    pub collect_after: Duration,
    /// How often unused uploads and blobs are looked for.
    pub collect_every: Duration,
    /// How often a follow stream with nothing to say shows life.
    pub keep_alive: Duration,
}

impl ControlConfig {
    /// Usual settings for a domain and the keys of a platform.
    #[must_use]
    pub fn new(domain: Host, public: PublicUrl, keys: SecretKeys) -> Self {
        Self {
            domain,
            public,
            foreign_hosts: ForeignHosts::default(),
            keys,
            services: ServiceRules::default(),
            region: "dev1".to_owned(),
            node: "node1".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            min_free_bytes: 512 * 1024 * 1024,
            max_file_bytes: 100 * 1024 * 1024,
            max_layer_bytes: 8 * 1024 * 1024 * 1024,
            max_files: 150_000,
            pin: Duration::from_secs(3600),
            same_request: Duration::from_secs(60),
            parallel_builds: std::thread::available_parallelism().map_or(1, usize::from),
            build_limit: Duration::from_secs(15 * 60),
            lease: Duration::from_secs(10),
            poll: Duration::from_millis(250),
            collect_after: Duration::from_secs(3600),
            collect_every: Duration::from_secs(3600),
            keep_alive: Duration::from_secs(10),
        }
    }

    /// The host of a label under the domain. `None` if the two together are no host name.
    pub(crate) fn host(&self, label: &str) -> Option<Host> {
        format!("{label}.{}", self.domain).parse().ok()
    }
}

/// Hosts outside the platform's domain that accounts may point at their deployments: whoever asks first has it, so an
/// operator names them. None unless named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignHosts {
    /// Any host.
    pub any: bool,
    /// These domains, and every host below them.
    pub domains: Vec<Host>,
}

impl ForeignHosts {
    pub(crate) fn allow(&self, host: &Host) -> bool {
        let below = |domain: &Host| {
            host.as_str().strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.any || self.domains.iter().any(below)
    }
}

/// Scheme and port under which browsers reach deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicUrl {
    /// `https` instead of `http`.
    pub https: bool,
    /// Port, written where it is not the scheme's own.
    pub port: u16,
}

impl PublicUrl {
    /// `http://site.localhost:3000`
    #[must_use]
    pub fn href(&self, host: &Host) -> String {
        match (self.https, self.port) {
            (true, 443) => format!("https://{host}"),
            (false, 80) => format!("http://{host}"),
            (true, port) => format!("https://{host}:{port}"),
            (false, port) => format!("http://{host}:{port}"),
        }
    }
}

//! What a gateway is told when it begins.

use crate::Reach;
use dockless_model::{Entropy, Host, OsEntropy};
use std::{sync::Arc, time::Duration};

/// Settings of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Base domain: apps are `LABEL.DOMAIN`, the API is `DOMAIN` and `api.DOMAIN` where one listener serves both.
    pub domain: Host,
    /// Domains whose hosts belong to many accounts: cookies of one host do not reach the others. Default: `domain`.
    pub shared_domains: Vec<Host>,
    /// Whether answers of functions carry `Server-Timing`. Default: yes.
    pub server_timing: bool,
    /// Whether `x-forwarded-*`, `x-real-ip` and `forwarded` of clients are believed: only behind a proxy of one's own.
    /// Default: no.
    pub trust_forwarded: bool,
    /// Open connections at once; further ones wait in the kernel's queue. Default: 10,000.
    pub max_connections: usize,
    /// Of those, how many one address may have; of version 6, one network of 64 bits. Addresses of the loopback, where a
    /// proxy of one's own may be, may have all. What is beyond is closed. Default: 2,500.
    pub max_connections_each: usize,
    /// Open connections of one sandbox to the apps of its account; they do not count among the others. Default: 256.
    pub max_connections_inside: usize,
    /// Longest time for the head of a request, and for the first byte of a connection. Default: 30 s.
    pub head_timeout: Duration,
    /// Longest time between two requests of a connection. Default: 75 s.
    pub idle_timeout: Duration,
    /// Longest time a client may refuse to take the next byte of an answer. Default: 2 min.
    pub stall_timeout: Duration,
    /// Longest request line and headers in bytes; more is answered 431. Default: 64 KiB.
    pub max_head_bytes: usize,
    /// Most header fields of a request; more are answered 431. Default: 100.
    pub max_headers: usize,
    /// Requests at once on one HTTP/2 connection. Default: 100.
    pub max_streams: u32,
    /// Longest time for a TLS handshake. Default: 10 s.
    pub handshake_timeout: Duration,
    /// TLS handshakes at once; more wait. Default: 1,000.
    pub max_handshakes: usize,
    /// Memory in bytes for contents of small files. Default: 64 MiB.
    pub file_cache_bytes: usize,
    /// How servers elsewhere are reached that routes lead to; `None`: not at all. Default: not at all.
    pub reach: Option<Reach>,
    /// The table of hosts.
    pub hosts: HostsConfig,
    /// How listeners end.
    pub drain: Drain,
    /// Randomness of request ids.
    pub entropy: Arc<dyn Entropy>,
}

impl GatewayConfig {
    /// Defaults under this domain.
    #[must_use]
    pub fn new(domain: Host) -> Self {
        Self {
            shared_domains: vec![domain.clone()],
            domain,
            server_timing: true,
            trust_forwarded: false,
            max_connections: 10_000,
            max_connections_each: 2_500,
            max_connections_inside: 256,
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(120),
            max_head_bytes: 64 * 1024,
            max_headers: 100,
            max_streams: 100,
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1_000,
            file_cache_bytes: 64 * 1024 * 1024,
            reach: None,
            hosts: HostsConfig::default(),
            drain: Drain::default(),
            entropy: Arc::new(OsEntropy),
        }
    }
}

/// Settings of the table of hosts.
#[derive(Debug, Clone, Copy)]
pub struct HostsConfig {
    /// Hosts held with their manifests; the longest unused go first. Default: 10,000.
    pub max_known: usize,
    /// Hosts remembered as unknown. Default: 10,000.
    pub max_absent: usize,
    /// How long an unknown host is not asked for again. Default: 2 s.
    pub absent_ttl: Duration,
    /// Loads at once. Default: 16.
    pub loads_at_once: usize,
    /// Hosts that wait for their load; more are refused. Default: 1,000.
    pub max_loading: usize,
    /// Longest time for a load. Default: 10 s.
    pub load_timeout: Duration,
}

impl Default for HostsConfig {
    fn default() -> Self {
        Self {
            max_known: 10_000,
            max_absent: 10_000,
            absent_ttl: Duration::from_secs(2),
            loads_at_once: 16,
            max_loading: 1_000,
            load_timeout: Duration::from_secs(10),
        }
    }
}

/// How a listener ends once it accepts no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Connections without a request stay open this long: a client may just be sending one. Default: 2 s. A hand-over
    /// to another server wants [`GatewayConfig::idle_timeout`] here.
    pub idle_grace: Duration,
    /// Requests still running after this are cut. Default: 5 min 30 s, the longest function and then some.
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { idle_grace: Duration::from_secs(2), deadline: Duration::from_secs(330) }
    }
}

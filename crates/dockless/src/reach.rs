//! How routes of deployments reach other servers.

use dockless_gateway::Reach;
use dockless_node::workshop::is_reachable;
use dockless_warden::AddressRange;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// To the internet, and to these private ranges; trusting whom this machine trusts.
pub(crate) fn reach(ranges: Vec<AddressRange>) -> Reach {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        tracing::warn!(
            why,
            "routes lead to no server by https: this machine trusts nobody (apt install ca-certificates)"
        );
    }
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let allowed = move |address: IpAddr| match address {
        IpAddr::V4(address) => ranges.iter().any(|range| range.has(address)),
        IpAddr::V6(_) => false,
    };
    Reach { allows: Arc::new(move |address| is_reachable(address, &allowed)), tls: Arc::new(tls) }
}

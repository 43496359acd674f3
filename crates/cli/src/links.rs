//! Addresses that can be opened, from hosts.

use crate::server::Address;
use dockless_wire::Deployment;

/// The deployment's own URL, with a final slash: the server's word, or its host on the port we reach the server at.
pub(crate) fn of(deployment: &Deployment, server: &Address) -> String {
    match &deployment.href {
        Some(href) => slashed(href),
        None => on(server, deployment.url.as_str()),
    }
}

/// The URLs of its aliases.
pub(crate) fn aliases(deployment: &Deployment, server: &Address) -> Vec<String> {
    if deployment.alias_hrefs.is_empty() {
        deployment.alias.iter().map(|host| on(server, host.as_str())).collect()
    } else {
        deployment.alias_hrefs.iter().map(|href| slashed(href)).collect()
    }
}

/// A command that reaches the deployment where its name does not resolve: the name goes into the header.
pub(crate) fn curl(deployment: &Deployment, server: &Address) -> String {
    let url = of(deployment, server);
    let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).trim_end_matches('/');
    format!("curl -H 'Host: {authority}' {server}/")
}

fn on(server: &Address, host: &str) -> String {
    format!("{}://{}/", server.scheme(), server.authority_of(host))
}

fn slashed(href: &str) -> String {
    format!("{}/", href.trim_end_matches('/'))
}

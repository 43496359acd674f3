//! Public listeners: where they listen and what they answer for.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// What a listener answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// The platform's own API, whatever the host.
    Api,
    /// Deployments.
    Apps,
    /// Both, told apart by the host.
    Both,
}

/// `ADDRESS[=ROLE][+tls]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) role: Role,
    /// Marked as speaking TLS. Where no listener is marked, all do if there is a certificate.
    pub(crate) tls: bool,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, tls) = match text.strip_suffix("+tls") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (address, role) = match text.split_once('=') {
            Some((address, role)) => (address, Some(role)),
            None => (text, None),
        };
        // A bare port is the loopback's: what a person means who types 3000.
        let address: SocketAddr = match address.parse::<u16>() {
            Ok(port) => ([127, 0, 0, 1], port).into(),
            Err(_) => address.parse().map_err(|_| {
                format!(
                    "{address:?} is not an address: expected IP:PORT (127.0.0.1:3000, [::1]:3000, 0.0.0.0:80) or a port"
                )
            })?,
        };
        let role = match role {
            Some("api") => Role::Api,
            Some("apps") => Role::Apps,
            Some("both") => Role::Both,
            Some(other) => {
                return Err(format!(
                    "{other:?} is not a role: expected api, apps or both, and +tls behind it for HTTPS"
                ));
            }
            // The API must be asked for where strangers can reach it.
            None if address.ip().is_loopback() => Role::Both,
            None => Role::Apps,
        };
        Ok(Self { address, role, tls })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_answers_for_both_unasked() {
        for (text, address, role, tls) in [
            ("3000", "127.0.0.1:3000", Role::Both, false),
            ("127.0.0.1:0", "127.0.0.1:0", Role::Both, false),
            ("[::1]:80", "[::1]:80", Role::Both, false),
            ("0.0.0.0:80", "0.0.0.0:80", Role::Apps, false),
            ("10.1.2.3:80=api", "10.1.2.3:80", Role::Api, false),
            ("0.0.0.0:80=both", "0.0.0.0:80", Role::Both, false),
            ("443+tls", "127.0.0.1:443", Role::Both, true),
            ("0.0.0.0:443=apps+tls", "0.0.0.0:443", Role::Apps, true),
        ] {
            assert_eq!(text.parse(), Ok(Listen { address: address.parse().unwrap(), role, tls }), "{text}");
        }
        for bad in ["", "x", "127.0.0.1", "99999", "localhost:80", "80=all", "80=", "80+ssl", "80=+tls"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?} was accepted");
        }
    }
}

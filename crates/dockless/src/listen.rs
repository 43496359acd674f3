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

/// `ADDRESS[=ROLE]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) role: Role,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
            Some(other) => return Err(format!("{other:?} is not a role: expected api, apps or both")),
            // The API must be asked for where strangers can reach it.
            None if address.ip().is_loopback() => Role::Both,
            None => Role::Apps,
        };
        Ok(Self { address, role })
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
        for (text, address, role) in [
            ("3000", "127.0.0.1:3000", Role::Both),
            ("127.0.0.1:0", "127.0.0.1:0", Role::Both),
            ("[::1]:80", "[::1]:80", Role::Both),
            ("0.0.0.0:80", "0.0.0.0:80", Role::Apps),
            ("10.1.2.3:80=api", "10.1.2.3:80", Role::Api),
            ("0.0.0.0:80=both", "0.0.0.0:80", Role::Both),
        ] {
            assert_eq!(text.parse(), Ok(Listen { address: address.parse().unwrap(), role }), "{text}");
        }
        for bad in ["", "x", "127.0.0.1", "99999", "localhost:80", "80=all", "80="] {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?} was accepted");
        }
    }
}

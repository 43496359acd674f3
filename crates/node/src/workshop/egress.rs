//! Where builds may connect to, as the operator says.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Hosts that npm, yarn, pip and go ask, unless told otherwise.
const REGISTRIES: [&str; 6] = [
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "pypi.org",
    "files.pythonhosted.org",
    "proxy.golang.org",
    "sum.golang.org",
];

/// Hosts that steps of Dockerfiles ask beside those: packages of distributions and of languages.
const DISTRIBUTIONS: [&str; 17] = [
    "deb.debian.org",
    "security.debian.org",
    "archive.ubuntu.com",
    "security.ubuntu.com",
    "ports.ubuntu.com",
    "dl-cdn.alpinelinux.org",
    "mirrors.fedoraproject.org",
    "storage.googleapis.com",
    "index.crates.io",
    "static.crates.io",
    "crates.io",
    "rubygems.org",
    "index.rubygems.org",
    "repo.maven.apache.org",
    "repo.packagist.org",
    "deno.land",
    "jsr.io",
];

/// What leaves a build sandbox, and by which way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Hosts that may be reached.
    pub allowed: Vec<Allowed>,
    /// A proxy of this network through which they are reached, `host:port`; it also resolves their names.
    #[serde(default)]
    pub upstream: Option<Allowed>,
}

/// One host and port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// Lower case, without a dot at the end; an address without brackets.
    pub host: String,
    /// Port; `None` for 80 and 443.
    pub port: Option<u16>,
    /// The operator named it: it may lie in a private network.
    pub trusted: bool,
}

/// A host that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not HOST, HOST:PORT or a URL")]
pub struct EgressError(String);

impl Default for Egress {
    /// The public registries.
    fn default() -> Self {
        let of = |host: &&str| Allowed { host: (*host).to_owned(), port: None, trusted: false };
        Self { allowed: REGISTRIES.iter().map(of).collect(), upstream: None }
    }
}

impl Egress {
    /// The rule for a host and port, if there is one.
    pub(crate) fn rule(&self, host: &str, port: u16) -> Option<&Allowed> {
        let fits = |rule: &&Allowed| rule.port.map_or(port == 443 || port == 80, |own| own == port);
        self.allowed.iter().filter(|rule| rule.host == host).find(fits)
    }

    /// The same, and where steps of Dockerfiles find packages.
    #[must_use]
    pub fn with_distributions(mut self) -> Self {
        for host in DISTRIBUTIONS {
            self.allow(Allowed { host: host.to_owned(), port: None, trusted: false });
        }
        self
    }

    /// Adds a host.
    pub fn allow(&mut self, host: Allowed) {
        if !self.allowed.contains(&host) {
            self.allowed.push(host);
        }
    }
}

impl FromStr for Allowed {
    type Err = EgressError;

    /// `registry.example.org`, `npm.internal:4873`, `http://10.0.0.5:4873/npm/`; whoever writes it down trusts it.
    fn from_str(text: &str) -> Result<Self, EgressError> {
        let bad = || EgressError(text.to_owned());
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return Err(bad()),
            None => (None, text),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if scheme.is_none() && authority != rest {
            return Err(bad());
        }
        let (host, port) = split_port(authority).ok_or_else(bad)?;
        let port = port.or(match scheme {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
        Ok(Self { host, port, trusted: true })
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brackets = self.host.contains(':');
        let (open, close) = if brackets { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// `host`, `host:port`, `[v6]:port` → host in the form rules have it, and the port.
pub(crate) fn split_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return None,
        }
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok().filter(|port| *port != 0)?),
        Some(_) => return None,
        None => None,
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(plain)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("npm.example.org", "npm.example.org", None),
            ("NPM.Example.org.", "npm.example.org", None),
            ("npm.internal:4873", "npm.internal", Some(4873)),
            ("http://10.0.0.5:4873/npm/", "10.0.0.5", Some(4873)),
            ("https://user:pass@npm.example.org/x", "npm.example.org", Some(443)),
            ("http://[::1]:99/", "::1", Some(99)),
        ] {
            let allowed: Allowed = text.parse().unwrap();
            assert_eq!((allowed.host.as_str(), allowed.port), (host, port), "{text}");
        }
        for text in ["", "ftp://x", "a b", "a/b", "a:0", "a:b", "a:70000", "[::1", "[zz]:1", "a\r\nb"] {
            assert!(text.parse::<Allowed>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rule_fits_its_host_and_port_only() {
        let mut egress = Egress::default();
        egress.allow("npm.internal:4873".parse().unwrap());
        for (host, port, found) in [
            ("registry.npmjs.org", 443, true),
            ("registry.npmjs.org", 80, true),
            ("registry.npmjs.org", 22, false),
            ("npm.internal", 4873, true),
            ("npm.internal", 443, false),
            ("evil-registry.npmjs.org", 443, false),
            ("registry.npmjs.org.evil.com", 443, false),
        ] {
            assert_eq!(egress.rule(host, port).is_some(), found, "{host}:{port}");
        }
        assert!(!egress.rule("registry.npmjs.org", 443).unwrap().trusted);
    }
}

//! Names of projects and hosts.

use crate::{Entropy, ParseError, entropy::base32};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Random characters behind the last dash of a deployment's host label.
const HASH_LENGTH: usize = 9;
/// A DNS label, RFC 1035 §2.3.4.
const LABEL_LENGTH: usize = 63;

/// A project's name: 1 to 100 characters of `a-z 0-9 -`, neither first nor last a dash; not a reserved label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName(Box<str>);

impl ProjectName {
    /// Labels that name the platform itself under its domain.
    pub const RESERVED: [&'static str; 3] = ["api", "www", "localhost"];

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name to any text (a folder's name, say): lower case, other characters to dashes, runs of dashes
    /// folded, cut to 52. `app` where nothing is left or the label is reserved.
    #[must_use]
    pub fn from_any(text: &str) -> Self {
        let mut name = String::new();
        for c in text.chars() {
            let c = c.to_ascii_lowercase();
            if c.is_ascii_alphanumeric() {
                name.push(c);
            } else if !name.ends_with('-') && !name.is_empty() {
                name.push('-');
            }
            if name.len() == 52 {
                break;
            }
        }
        name.trim_matches('-').parse().unwrap_or_else(|_| Self("app".into()))
    }

    /// A new immutable host label `NAME-HASH`, at most 63 characters: the name is cut, the hash never. The last dash
    /// splits the two.
    #[must_use]
    pub fn deployment_label(&self, entropy: &dyn Entropy) -> String {
        let room = LABEL_LENGTH - HASH_LENGTH - 1;
        let name = self.0.get(..room.min(self.0.len())).unwrap_or(&self.0).trim_end_matches('-');
        format!("{name}-{}", base32(entropy, HASH_LENGTH))
    }

    /// The label of the project's own alias: the name cut to a DNS label.
    #[must_use]
    pub fn alias_label(&self) -> &str {
        self.0.get(..LABEL_LENGTH.min(self.0.len())).unwrap_or(&self.0).trim_end_matches('-')
    }
}

impl FromStr for ProjectName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let valid = (1..=100).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !valid {
            return Err(ParseError::new(
                "name",
                text,
                "expected 1 to 100 characters of a-z, 0-9 and -, no dash first or last",
            ));
        }
        if Self::RESERVED.contains(&text) {
            return Err(ParseError::new("name", text, "expected a name other than api, www and localhost"));
        }
        Ok(Self(text.into()))
    }
}

/// A host without port: lower-case DNS name or IP literal (v6 without brackets).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(Box<str>);

impl Host {
    /// The host as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a `Host` header or authority: `name`, `name:port`, `[v6]:port`; a single trailing dot is dropped.
    ///
    /// # Errors
    /// Empty or over-long names, characters outside `a-z 0-9 . - _ :`, empty labels, a port that is not a number.
    pub fn from_authority(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("host", text, "expected a DNS name or an IP address, and optionally a port");
        let (name, port) = if let Some(rest) = text.strip_prefix('[') {
            let (name, after) = rest.split_once(']').ok_or_else(bad)?;
            name.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (name, after.strip_prefix(':').or(after.is_empty().then_some("0")).ok_or_else(bad)?)
        } else {
            text.split_once(':').unwrap_or((text, "0"))
        };
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        name.parse()
    }

    /// `LABEL` if this host is exactly `LABEL.DOMAIN`.
    #[must_use]
    pub fn label_under(&self, domain: &Self) -> Option<&str> {
        let label = self.0.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        (!label.is_empty() && !label.contains('.')).then_some(label)
    }
}

impl FromStr for Host {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("host", text, "expected a DNS name or an IP address");
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(Self(name.into()));
        }
        let label_ok = |label: &str| {
            (1..=LABEL_LENGTH).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.is_empty() || name.len() > 253 || !name.split('.').all(label_ok) {
            return Err(bad());
        }
        Ok(Self(name.into()))
    }
}

macro_rules! text_traits {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text_traits!(ProjectName, Host);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsEntropy;

    #[test]
    fn a_label_always_fits_dns_and_splits_at_the_last_dash() {
        for name in ["a", "my-site", &"x".repeat(100), &format!("{}-{}", "y".repeat(52), "z".repeat(40))] {
            let name: ProjectName = name.parse().unwrap();
            let label = name.deployment_label(&OsEntropy);
            assert!(label.len() <= 63 && label.parse::<Host>().is_ok(), "{label}");
            assert_eq!(label.rsplit_once('-').unwrap().1.len(), HASH_LENGTH);
        }
    }

    #[test]
    fn any_folder_name_becomes_a_project_name() {
        for (text, name) in
            [("My Site!", "my-site"), ("", "app"), ("___", "app"), ("api", "app"), ("ünï", "n"), ("a--b", "a-b")]
        {
            assert_eq!(ProjectName::from_any(text).as_str(), name, "{text:?}");
        }
    }

    #[test]
    fn authorities() {
        let ok =
            [("A.b:80", "a.b"), ("a.b.", "a.b"), ("[::1]:3000", "::1"), ("[::1]", "::1"), ("127.0.0.1:1", "127.0.0.1")];
        for (text, host) in ok {
            assert_eq!(Host::from_authority(text).unwrap().as_str(), host, "{text}");
        }
        for bad in [
            "", ":80", "a:", "a:b", "a:99999", "a..b", "-a", "a/b", "a b", "[::1", "[::1]x", "user@a", "a:1:2",
            "[a.b]:1",
        ] {
            assert!(Host::from_authority(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_label_is_exactly_one_level_under_the_domain() {
        let domain: Host = "localhost".parse().unwrap();
        let label = |host: &str| host.parse::<Host>().unwrap().label_under(&domain).map(str::to_owned);
        assert_eq!(label("x-1.localhost").as_deref(), Some("x-1"));
        assert_eq!(label("a.b.localhost"), None);
        assert_eq!(label("localhost"), None);
        assert_eq!(label("xlocalhost"), None);
    }
}

//! Names of images: `nginx`, `ghcr.io/me/app:1.2`, `127.0.0.1:5000/app@sha256:…`.

use dockless_model::Digest;
use std::net::{IpAddr, Ipv6Addr};
use std::{fmt, str::FromStr};

/// The registry of names without one.
const DEFAULT_HOST: &str = "docker.io";
/// What that registry's machines are called.
const DEFAULT_API: &str = "registry-1.docker.io";
/// The tag of names without one.
const DEFAULT_TAG: &str = "latest";
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the name of an image: {why}")]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl Reference {
    /// `docker.io`, `ghcr.io`, `127.0.0.1:5000`: the key of its credentials.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `library/nginx`
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The last part of the repository: what a project may be called after it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(&self.repository)
    }

    /// The digest it is pinned to.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What its manifest is asked for by: the digest if there is one, else the tag.
    #[must_use]
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// Whether its registry is on this machine: only there plain HTTP is spoken.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(host_part(&self.host))
    }

    /// `https://registry-1.docker.io`
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = if self.is_loopback() { "http" } else { "https" };
        let host = if self.host == DEFAULT_HOST { DEFAULT_API } else { &self.host };
        format!("{scheme}://{host}")
    }
}

/// A host without its port, and an IPv6 address without its brackets.
fn host_part(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// RFC 6761 §6.3 for names.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let bad = |why| ReferenceError { text: text.to_owned(), why };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let hex = digest.strip_prefix("sha256:").ok_or_else(|| bad("a digest begins with sha256:"))?;
                (rest, Some(hex.parse().map_err(|_| bad("a digest has 64 lower-case hexadecimal characters"))?))
            }
            None => (text, None),
        };
        // A first part that could not be a folder is a host: it has a dot or a port, or is localhost.
        let (host, rest) = match rest.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => (DEFAULT_HOST, rest),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_host(host) {
            return Err(bad("the registry is not a host name with an optional port"));
        }
        let host = if matches!(host, "index.docker.io" | DEFAULT_API) { DEFAULT_HOST } else { host };
        let name = "expected [HOST/]NAME[:TAG][@sha256:DIGEST] with a name in lower case";
        if repository.is_empty() || !repository.split('/').all(is_component) {
            return Err(bad(name));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("a tag has 1 to 128 letters, digits, _ . -, and no . or - first"));
        }
        let repository = if host == DEFAULT_HOST && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        if repository.len() > MAX_REPOSITORY {
            return Err(bad(name));
        }
        Ok(Self { host: host.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (None, port.strip_prefix(':')),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        },
    };
    let letters = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
    };
    name.is_none_or(letters) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Groups of letters and digits, between them one `.`, one or two `_`, or any number of `-` (OCI distribution
/// specification, "Pulling manifests").
fn is_component(component: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(plain) || !bytes.last().copied().is_some_and(plain) {
        return false;
    }
    bytes
        .split(|byte| plain(*byte))
        .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match self.digest {
            Some(digest) => write!(f, "@sha256:{digest}"),
            None if self.tag.is_none() => write!(f, ":{DEFAULT_TAG}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_those_of_docker() {
        let digest = "a".repeat(64);
        for (text, shown, url) in [
            ("nginx", "docker.io/library/nginx:latest", "https://registry-1.docker.io"),
            ("me/app:1.2-x", "docker.io/me/app:1.2-x", "https://registry-1.docker.io"),
            ("index.docker.io/library/a", "docker.io/library/a:latest", "https://registry-1.docker.io"),
            ("ghcr.io/me/a/b_c__d-e--f.g:T", "ghcr.io/me/a/b_c__d-e--f.g:T", "https://ghcr.io"),
            ("localhost/app", "localhost/app:latest", "http://localhost"),
            ("localhost:5000/app", "localhost:5000/app:latest", "http://localhost:5000"),
            ("127.0.0.1:5000/app:t", "127.0.0.1:5000/app:t", "http://127.0.0.1:5000"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "http://[::1]:5000"),
            ("10.0.0.1:5000/app", "10.0.0.1:5000/app:latest", "https://10.0.0.1:5000"),
            ("127.0.0.1.example.com/app", "127.0.0.1.example.com/app:latest", "https://127.0.0.1.example.com"),
        ] {
            let parsed: Reference = text.parse().unwrap();
            assert_eq!((parsed.to_string().as_str(), parsed.base_url().as_str()), (shown, url), "{text}");
            let pinned: Reference = format!("{text}@sha256:{digest}").parse().unwrap();
            assert_eq!(pinned.version(), format!("sha256:{digest}"));
            assert_eq!(pinned.to_string().parse::<Reference>().unwrap(), pinned);
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        let long = format!("a/{}", "b".repeat(260));
        // Too long with the folder that it gets.
        let official = "b".repeat(250);
        for (text, why) in [
            ("", "expected"),
            ("Nginx", "lower case"),
            ("a//b", "expected"),
            ("a/../b", "expected"),
            ("-a", "expected"),
            ("a-", "expected"),
            ("a:", "a tag has"),
            ("a:-x", "a tag has"),
            ("a:b:c", "a tag has"),
            ("a@sha512:00", "begins with sha256"),
            ("a@sha256:00", "64 lower-case"),
            ("exa mple.com/a", "not a host"),
            ("a.b:99999/c", "not a host"),
            ("user@host.com/a", "begins with sha256"),
            ("[::g]:1/a", "not a host"),
            (long.as_str(), "expected"),
            (official.as_str(), "expected"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

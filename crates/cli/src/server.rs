//! Which server a command speaks to, and as whom.
//!
//! ```text
//! --server, DOCKLESS_SERVER ────────────────► address    --token, DOCKLESS_TOKEN ──► token
//! else /run/dockless/<folder>/server.json ──► address    else the local server's token file
//! ```
//! A token file is only ever sent to the server that wrote it: to another `--server` the token must be given.

mod local;

pub(crate) use local::Local;
pub use local::data_folder;

use crate::{args::Global, exit::Failure};
use anyhow::anyhow;
use dockless_model::{Host, Secret};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// A server and the right to speak to it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Where.
    pub address: Address,
    /// As whom.
    pub token: Secret,
    /// Where it is, if that is known better than by its name.
    pub connect: Option<SocketAddr>,
    /// Certificate of the authority of its own that it has.
    pub authority: Option<PathBuf>,
}

/// `http://HOST[:PORT]` or `https://HOST[:PORT]`, nothing behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Host name or IP literal, v6 without brackets.
    pub host: Host,
    /// 80, or 443 for https, where none is written.
    pub port: u16,
    /// Whether it is https.
    pub tls: bool,
}

impl Address {
    /// Reads `--server`.
    ///
    /// # Errors
    /// Not an address.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let bad = || {
            Failure::usage(anyhow!("server {text:?} is not an address"))
                .hint("expected http://HOST[:PORT] or https://HOST[:PORT], for example http://127.0.0.1:3000")
        };
        let (rest, tls) = match text.split_once("://") {
            Some(("http", rest)) => (rest, false),
            Some(("https", rest)) => (rest, true),
            Some(_) => return Err(bad()),
            None => (text, false),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = Host::from_authority(authority).map_err(|_| bad())?;
        // `from_authority` has checked that what follows the name is a port.
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if !authority.ends_with(']') => port.parse().map_err(|_| bad())?,
            _ if tls => 443,
            _ => 80,
        };
        Ok(Self { host, port, tls })
    }

    /// `HOST` or `HOST:PORT` for `host` on this server's port.
    #[must_use]
    pub(crate) fn authority_of(&self, host: &str) -> String {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// `http` or `https`.
    #[must_use]
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Whether it is this machine, so that nothing said to it crosses a wire. `*.localhost` is, by RFC 6761 §6.3.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host.as_str();
        host.parse::<IpAddr>()
            .map_or_else(|_| host == "localhost" || host.ends_with(".localhost"), |ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority_of(self.host.as_str()))
    }
}

impl Server {
    /// Finds the server and the token.
    ///
    /// # Errors
    /// No server here and none named, a file that cannot be trusted, no token: exit code 3. A wrong address: 2.
    pub(crate) fn find(global: &Global) -> Result<Self, Failure> {
        let said = global.server.as_deref().map(Address::parse).transpose()?;
        let local = Local::find(global.data.as_deref());
        let (address, local) = match (said, local) {
            (Some(address), Ok(Some(local))) => {
                let same = Address::parse(&local.url).is_ok_and(|own| own == address);
                (address, same.then_some(local))
            }
            // Somebody else's server is named: an oddity of this machine's own does not matter.
            (Some(address), _) => (address, None),
            (None, Ok(Some(local))) => (Address::parse(&local.url)?, Some(local)),
            (None, Ok(None)) => return Err(nobody_here(global.data.as_deref())),
            (None, Err(error)) => return Err(Failure::unreachable(error)),
        };
        let (connect, authority, token_file) = match local {
            Some(local) => (local.connect, local.authority, Some(local.token_file)),
            None => (None, None, None),
        };
        let token = match (&global.token, token_file) {
            (Some(token), _) => Secret::new(token.expose().trim()),
            (None, Some(file)) => read_token(&file)?,
            (None, None) => {
                return Err(Failure::unreachable(anyhow!("no token for {address}")).hint(
                    "give it with --token or DOCKLESS_TOKEN; it is in the file `token` of the server's data folder",
                ));
            }
        };
        Ok(Self { address, token, connect, authority })
    }
}

fn nobody_here(data: Option<&Path>) -> Failure {
    let failure = match data {
        Some(data) => anyhow!("no server runs on the data folder {}", data.display()),
        None => anyhow!("no server runs on this machine"),
    };
    Failure::unreachable(failure).hint("start one with `dockless serve`, or name one with --server URL")
}

fn read_token(file: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::unreachable(anyhow::Error::new(error).context(format!("cannot read the token in {}", file.display())))
            .hint("the file belongs to who started the server; others need --token or DOCKLESS_TOKEN")
    })?;
    match text.trim() {
        "" => Err(Failure::unreachable(anyhow!("the token file {} is empty", file.display()))),
        token => Ok(Secret::new(token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_the_same() {
        for (text, written, loopback) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000", true),
            ("http://127.0.0.1:3000/", "http://127.0.0.1:3000", true),
            ("127.0.0.1:3000", "http://127.0.0.1:3000", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("http://[::1]", "http://[::1]", true),
            ("api.localhost:80", "http://api.localhost", true),
            ("http://Apps.Example.com", "http://apps.example.com", false),
            ("http://10.0.0.1", "http://10.0.0.1", false),
            ("https://Apps.Example.com/", "https://apps.example.com", false),
            ("https://127.0.0.1:3000", "https://127.0.0.1:3000", true),
            ("https://api.localhost:80", "https://api.localhost:80", true),
            ("http://notlocalhost", "http://notlocalhost", false),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (written, loopback), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_a_usage_error() {
        for bad in [
            "",
            "http://",
            "ftp://x",
            "http://a/b",
            "http://user@a",
            "http://a:x",
            "http://a?b",
            "https://",
            "https://a/b",
        ] {
            let failure = Address::parse(bad).unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Usage, "{bad:?}");
            assert!(failure.hint.is_some(), "{bad:?}");
        }
    }
}

//! Certificates: which files, who opens them, and when they are read again.
//!
//! The key belongs to root and the server does not run as root: it asks the warden, which opens the files it was started
//! with and passes descriptors. So a certificate that was renewed is found without a signal and without a restart.

use crate::dev_ca::{self, Authority};
use anyhow::{Context as _, bail};
use dockless_gateway::Tls;
use dockless_model::Host;
use dockless_node::Node;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a changed certificate is looked for.
const LOOK: Duration = Duration::from_secs(10);
/// A chain of certificates is a few thousand bytes.
const MOST_BYTES: u64 = 1024 * 1024;

/// Flags of `dockless serve`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    /// Certificate for HTTPS, a PEM file with the whole chain; read again when it changes
    #[arg(long, value_name = "FILE", env = "DOCKLESS_TLS_CERT", requires = "tls_key", conflicts_with = "tls_dev")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", env = "DOCKLESS_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// HTTPS by certificates of an authority of this machine's own, kept in the data folder
    #[arg(long, env = "DOCKLESS_TLS_DEV")]
    tls_dev: bool,
}

/// What a server is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TlsConfig {
    /// One for each listener, in their order.
    pub(crate) listeners: Vec<bool>,
    /// Addresses for certificates of the development authority; absent: the certificate is somebody else's.
    pub(crate) dev: Option<Vec<IpAddr>>,
}

/// Certificates of a platform, before it starts.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Certificate and key, absolute: what the warden opens for the server.
    pub(crate) files: Vec<PathBuf>,
    /// The development authority's certificate, if it is that.
    pub(crate) authority: Option<PathBuf>,
}

/// Finds or makes the certificate, and sees that it can be used. `None`: no HTTPS.
pub(crate) fn prepare(args: &Flags, data: &Path, domain: &Host) -> anyhow::Result<Option<Prepared>> {
    if args.tls_dev {
        let place = dev_ca::keep(data, domain)?;
        let key =
            std::fs::read_to_string(&place.key).with_context(|| format!("cannot read {}", place.key.display()))?;
        Authority::new(domain.clone(), &key, &[])
            .with_context(|| format!("{} is of no use: remove it to get a new one", place.key.display()))?;
        let authority = Some(place.certificate.clone());
        return Ok(Some(Prepared { files: vec![place.certificate, place.key], authority }));
    }
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let read = |flag: &str, path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("cannot read {flag} {}", path.display()))
    };
    let (chain, secret) = (read("--tls-cert", certificate)?, read("--tls-key", key)?);
    Tls::new(&chain, &secret)
        .with_context(|| format!("--tls-cert {} --tls-key {}", certificate.display(), key.display()))?;
    let absolute = |path: &PathBuf| std::path::absolute(path).context("cannot find the current folder");
    Ok(Some(Prepared { files: vec![absolute(certificate)?, absolute(key)?], authority: None }))
}

/// Reads the certificate through the warden and keeps it current until the token ends.
pub(crate) async fn load(
    config: &TlsConfig,
    domain: &Host,
    node: &Node,
    until: CancellationToken,
) -> anyhow::Result<Tls> {
    let mut seen = Seen::new(&open(node).await?)?;
    let (certificate, key) = (seen.certificate.clone(), seen.key.clone());
    if let Some(addresses) = &config.dev {
        let key = String::from_utf8(key).context("the development authority's key is not text")?;
        let authority = Authority::new(domain.clone(), &key, addresses)?;
        return Ok(Tls::issued(std::sync::Arc::new(authority))?);
    }
    let tls = Tls::new(&certificate, &key)?;
    let (node, current) = (node.clone(), tls.clone());
    tokio::spawn(async move {
        while until.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let looked = open(&node).await.and_then(|files| seen.look(&files));
            match looked {
                Ok(false) => {}
                Ok(true) => match current.replace(&seen.certificate, &seen.key) {
                    Ok(()) => tracing::info!("the certificate was renewed"),
                    Err(error) => {
                        tracing::warn!(error = %anyhow::Error::new(error), "the new certificate is of no use; the old one stays")
                    }
                },
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "cannot look for a new certificate; the old one stays")
                }
            }
        }
    });
    Ok(tls)
}

async fn open(node: &Node) -> anyhow::Result<[File; 2]> {
    let files = node.open_files().await.context("the warden does not open the certificate")?;
    let files: Vec<File> = files.into_iter().map(<File as From<OwnedFd>>::from).collect();
    <[File; 2]>::try_from(files).map_err(|_| anyhow::anyhow!("the warden did not open certificate and key"))
}

/// The files as they were read last.
struct Seen {
    marks: [Mark; 2],
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// A file that has not changed has the same.
type Mark = (u64, u64, i64, i64, u64);

impl Seen {
    fn new(files: &[File; 2]) -> anyhow::Result<Self> {
        let marks = marks(files)?;
        Ok(Self { marks, certificate: read(&files[0])?, key: read(&files[1])? })
    }

    /// Whether there is something new.
    fn look(&mut self, files: &[File; 2]) -> anyhow::Result<bool> {
        if marks(files)? == self.marks {
            return Ok(false);
        }
        let fresh = Self::new(files)?;
        let changed = (&fresh.certificate, &fresh.key) != (&self.certificate, &self.key);
        *self = fresh;
        Ok(changed)
    }
}

fn marks(files: &[File; 2]) -> anyhow::Result<[Mark; 2]> {
    let mark = |file: &File| -> anyhow::Result<Mark> {
        let about = file.metadata()?;
        Ok((about.dev(), about.ino(), about.mtime(), about.mtime_nsec(), about.len()))
    };
    Ok([mark(&files[0])?, mark(&files[1])?])
}

fn read(file: &File) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MOST_BYTES {
        bail!("a certificate or key of more than {MOST_BYTES} bytes is none");
    }
    Ok(bytes)
}

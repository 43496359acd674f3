//! TLS of listeners: rustls, with a certificate that may be replaced while connections come.

use crate::gateway::Inner;
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};

/// First byte of a TLS record that begins a handshake, RFC 8446 §5.1.
const HANDSHAKE: u8 = 22;
/// How long a certificate that was made for a name is used, and how many are kept.
const ISSUED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
const MOST_ISSUED: usize = 1_000;
/// For those who come without TLS: better than a closed connection.
const WRONG_PROTOCOL: &str = "This port speaks HTTPS: ask with https://\n\nBAD_REQUEST\n";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No PEM, or PEM of something else.
    #[error("the certificate file has no certificate in PEM form")]
    Certificate(#[source] Option<pem::Error>),
    /// The same of the key.
    #[error("the key file has no private key in PEM form (PKCS#8, PKCS#1 or SEC1, without password)")]
    Key(#[source] pem::Error),
    /// They are not of each other, or of a kind that is not known.
    #[error("certificate and key cannot be used together")]
    Pair(#[source] tokio_rustls::rustls::Error),
    /// The library has a fault.
    #[error("cannot set up TLS")]
    Setup(#[source] tokio_rustls::rustls::Error),
}

/// TLS for a listener; clones share the certificate.
///
/// Which host a request is for is said by the request, not by the name in the handshake: that chooses a certificate only
/// where certificates are made for each name.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
}

struct Current {
    certificate: RwLock<Arc<CertifiedKey>>,
    /// Makes certificates for names as they are asked for.
    issuer: Option<Arc<dyn Issuer>>,
    /// What it has made, and when.
    made: Mutex<HashMap<String, (Arc<CertifiedKey>, Instant)>>,
}

/// Somebody who makes certificates for names.
pub trait Issuer: Send + Sync + 'static {
    /// A certificate for this name, or for clients that give none; `None` for a name that is not ours. Called once in a
    /// while for each name; takes less than a millisecond.
    fn issue(&self, name: Option<&str>) -> Option<Issued>;
}

/// A certificate and its key, both PEM.
pub struct Issued {
    /// With the chain.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Current {
    fn certificate(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certificate.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn issued(&self, issuer: &dyn Issuer, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((found, since)) = made.get(name)
            && since.elapsed() < ISSUED_FOR
        {
            return Some(Arc::clone(found));
        }
        let issued = issuer.issue(Some(name))?;
        let fresh = Arc::new(pair(issued.certificate.as_bytes(), issued.key.as_bytes()).ok()?);
        if made.len() >= MOST_ISSUED {
            made.clear();
        }
        made.insert(name.to_owned(), (Arc::clone(&fresh), Instant::now()));
        Some(fresh)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let issued =
            self.issuer.as_deref().zip(hello.server_name()).and_then(|(issuer, name)| self.issued(issuer, name));
        // Whoever asks for a name that is not ours sees whose certificate this is.
        issued.or_else(|| Some(self.certificate()))
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl Tls {
    /// From a chain of certificates, the server's first, and its key, both PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::with(pair(certificate, key)?, None)
    }

    /// With certificates that somebody makes for each name.
    ///
    /// # Errors
    /// [`TlsError`] of the first certificate, that for clients without a name.
    pub fn issued(issuer: Arc<dyn Issuer>) -> Result<Self, TlsError> {
        let first = issuer.issue(None).ok_or(TlsError::Certificate(None))?;
        Self::with(pair(first.certificate.as_bytes(), first.key.as_bytes())?, Some(issuer))
    }

    fn with(certificate: CertifiedKey, issuer: Option<Arc<dyn Issuer>>) -> Result<Self, TlsError> {
        let certificate = RwLock::new(Arc::new(certificate));
        let current = Arc::new(Current { certificate, issuer, made: Mutex::default() });
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Sessions are resumed without memory of ours.
        config.ticketer = ring::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(Self { config: Arc::new(config), current })
    }

    /// From the next handshake on another certificate counts.
    ///
    /// # Errors
    /// [`TlsError`]; then the old one stays.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let fresh = Arc::new(pair(certificate, key)?);
        *self.current.certificate.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The handshake. Slow clients have a deadline and a bounded number of places, in which they wait for one as well.
    pub(crate) async fn accept(&self, inner: &Inner, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
                let answer = format!(
                    "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n{WRONG_PROTOCOL}",
                    WRONG_PROTOCOL.len()
                );
                stream.write_all(answer.as_bytes()).await?;
                crate::socket::Socket::Plain(stream).linger().await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"));
            }
            let _place = inner.handshakes.acquire().await.map_err(io::Error::other)?;
            TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await
        };
        timeout_at(Instant::now() + inner.config.handshake_timeout, handshake).await?
    }
}

fn pair(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(Some(error)))?;
    if chain.is_empty() {
        return Err(TlsError::Certificate(None));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(TlsError::Pair)
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

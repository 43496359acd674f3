//! A registry, spoken to for one image (OCI distribution specification 1.1, "Pull").

mod access;
mod base;
mod fetch;

pub use access::Credentials;
pub use base::Base;
pub use fetch::Fetched;

use crate::document::{ACCEPT, ConfigFile, Descriptor, Manifest, for_platform, shortened};
use crate::error::pause;
use crate::process::from_config;
use crate::reference::is_loopback;
use crate::{MAX_IMAGE_BYTES, MAX_LAYER_BYTES, MAX_LAYERS, Platform, PullError, Reference};
use access::Access;
use dockless_model::image::{Image, Layer};
use dockless_model::{Digest, Secret};
use reqwest::header::{ACCEPT as ACCEPT_HEADER, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

/// A server on the same planet opens a connection within this.
const CONNECT: Duration = Duration::from_secs(10);
/// Silence that ends a connection.
const SILENCE: Duration = Duration::from_secs(30);
/// Tries of one request.
pub(crate) const TRIES: u32 = 6;
/// Redirections from one request: registries send to their storage, that sometimes to another.
const HOPS: usize = 5;
/// Largest manifest or configuration.
const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;
/// Of an answer that is no document, so much is read for its message.
const MAX_MESSAGE: usize = 64 * 1024;

/// One image's registry.
#[derive(Debug)]
pub struct Registry {
    http: reqwest::Client,
    reference: Reference,
    base: Url,
    access: Access,
}

impl Registry {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The HTTP library cannot be set up.
    pub fn new(reference: Reference, credentials: Option<Credentials>) -> Result<Self, PullError> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("dockless/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // By hand: what is sent where is the point.
            .redirect(reqwest::redirect::Policy::none());
        if reference.is_loopback() {
            http = http.no_proxy();
        }
        let http = http.build().map_err(PullError::Setup)?;
        let base = reference
            .base_url()
            .parse()
            .map_err(|_| PullError::Document(format!("{} is no address of a registry", shortened(reference.host()))))?;
        Ok(Self { http, reference, base, access: Access::new(credentials) })
    }

    /// The image's layers and process, from its documents.
    ///
    /// # Errors
    /// See [`PullError`].
    pub async fn resolve(&self, wanted: &Platform) -> Result<Image, PullError> {
        let first = self.document("manifests", &self.reference.version(), None).await?;
        if let Some(pinned) = self.reference.digest() {
            self.must_be(&first, pinned)?;
        }
        let (config, layers) = match Manifest::parse(&first)? {
            Manifest::Image { config, layers } => (config, layers),
            Manifest::Index(manifests) => {
                let chosen = for_platform(&manifests, wanted)?;
                match Manifest::parse(&self.document("manifests", &chosen.digest, Some(chosen)).await?)? {
                    Manifest::Image { config, layers } => (config, layers),
                    Manifest::Index(_) => return Err(PullError::Document("its index leads to an index".to_owned())),
                }
            }
        };
        let file = self.document("blobs", &config.digest, Some(&config)).await?;
        image(config.sha256()?, &file, &layers, wanted)
    }

    /// Reads a small document whole; with a descriptor its size and digest are verified.
    async fn document(&self, kind: &str, name: &str, expected: Option<&Descriptor>) -> Result<Vec<u8>, PullError> {
        let path = format!("/v2/{}/{kind}/{name}", self.reference.repository());
        let too_large = |found| PullError::TooLarge { what: "bytes in one document", found, most: MAX_DOCUMENT };
        if let Some(size) = expected.map(|expected| expected.size).filter(|size| *size > MAX_DOCUMENT) {
            return Err(too_large(size));
        }
        let mut attempt = 0;
        loop {
            let mut response = self.get(&path, None).await?;
            let mut bytes = Vec::new();
            let cut = loop {
                match response.chunk().await {
                    Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
                if bytes.len() as u64 > MAX_DOCUMENT {
                    return Err(too_large(bytes.len() as u64));
                }
            };
            attempt += 1;
            match cut {
                Some(error) if attempt >= TRIES => return Err(self.unreachable(&self.base, &error)),
                Some(_) => tokio::time::sleep(pause(attempt, None)).await,
                None => {
                    if let Some(expected) = expected {
                        self.must_be(&bytes, expected.sha256()?)?;
                    }
                    return Ok(bytes);
                }
            }
        }
    }

    fn must_be(&self, bytes: &[u8], wanted: Digest) -> Result<(), PullError> {
        let found = Digest::of(bytes);
        if found == wanted {
            return Ok(());
        }
        Err(PullError::WrongContent { host: self.host(), wanted, found: found.to_string() })
    }

    fn host(&self) -> String {
        self.reference.host().to_owned()
    }

    /// Asks until there is an answer: logs in, follows, waits. `from`: only what begins at this byte.
    pub(crate) async fn get(&self, path: &str, from: Option<u64>) -> Result<Response, PullError> {
        let mut url = self.base.clone();
        url.set_path(path);
        let mut attempt = 0;
        let mut asked_in = false;
        loop {
            attempt += 1;
            let (response, at) = match self.follow(url.clone(), from).await {
                Ok(answered) => answered,
                Err(error) if attempt < TRIES && matches!(error, PullError::Unreachable { .. }) => {
                    tracing::debug!(%error, attempt, "a registry is tried again");
                    tokio::time::sleep(pause(attempt, None)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let ours = at.origin() == self.base.origin();
            if status == StatusCode::UNAUTHORIZED && ours && !asked_in {
                asked_in = true;
                attempt -= 1;
                if self.log_in(response.headers()).await? {
                    continue;
                }
                return Err(self.refused(response, &at, path).await);
            }
            let again = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            if again && attempt < TRIES {
                let wish = retry_after(response.headers());
                tracing::debug!(%status, attempt, "a registry is tried again");
                tokio::time::sleep(pause(attempt, wish)).await;
                continue;
            }
            return Err(self.refused(response, &at, path).await);
        }
    }

    /// One request and its redirections. The login goes to the registry alone.
    async fn follow(&self, mut url: Url, from: Option<u64>) -> Result<(Response, Url), PullError> {
        for _ in 0..=HOPS {
            let mut request = self.http.get(url.clone()).header(ACCEPT_HEADER, ACCEPT);
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            if url.origin() == self.base.origin()
                && let Some(token) = self.access.header()
            {
                request = request.header(AUTHORIZATION, secret_header(&token));
            }
            let response = request.send().await.map_err(|error| self.unreachable(&url, &error))?;
            if !response.status().is_redirection() {
                return Ok((response, url));
            }
            let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
            let next = target.and_then(|target| url.join(target).ok()).ok_or_else(|| PullError::Status {
                host: shown(&url),
                status: response.status().as_u16(),
                what: "a request, without saying where to go".to_owned(),
                message: String::new(),
            })?;
            self.must_be_safe(&next)?;
            url = next;
        }
        Err(PullError::Unreachable { host: shown(&url), why: "it redirects without end".to_owned() })
    }

    /// Everything but https is spoken only where nobody can listen: both on this machine.
    pub(crate) fn must_be_safe(&self, url: &Url) -> Result<(), PullError> {
        let local = || {
            self.reference.is_loopback()
                && url.host_str().is_some_and(|host| is_loopback(host.trim_matches(['[', ']'])))
        };
        match url.scheme() {
            "https" => Ok(()),
            "http" if local() => Ok(()),
            _ => Err(PullError::Insecure { host: self.host(), url: shown(url) }),
        }
    }

    fn unreachable(&self, url: &Url, error: &reqwest::Error) -> PullError {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let why = if error.is_timeout() { "it does not answer in time".to_owned() } else { innermost.to_string() };
        PullError::Unreachable { host: shown(url), why }
    }

    async fn refused(&self, response: Response, at: &Url, path: &str) -> PullError {
        let (status, host) = (response.status(), self.host());
        let message = message(response).await;
        if at.origin() != self.base.origin() {
            return PullError::Status { host: shown(at), status: status.as_u16(), what: path.to_owned(), message };
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                PullError::Unauthorized { host, logged_in: self.access.has_credentials(), message }
            }
            StatusCode::FORBIDDEN => PullError::Forbidden { host, message },
            StatusCode::NOT_FOUND => {
                let what = path.trim_start_matches("/v2/").replacen("/manifests/", ":", 1).replacen("/blobs/", "@", 1);
                PullError::NotFound { host, what, message }
            }
            StatusCode::TOO_MANY_REQUESTS => PullError::TooManyRequests { host, message },
            _ => PullError::Status { host, status: status.as_u16(), what: path.to_owned(), message },
        }
    }
}

/// From the documents to what is kept of them.
pub(crate) fn image(id: Digest, file: &[u8], layers: &[Descriptor], wanted: &Platform) -> Result<Image, PullError> {
    let file: ConfigFile = serde_json::from_slice(file)
        .map_err(|error| PullError::Document(format!("its configuration cannot be read: {error}")))?;
    if file.platform != *wanted {
        return Err(PullError::Platform {
            wanted: wanted.clone(),
            offered: vec![shortened(&file.platform.to_string())],
        });
    }
    let diff_ids = file.rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() != layers.len() {
        let (named, carried) = (diff_ids.len(), layers.len());
        return Err(PullError::Document(format!("its configuration names {named} layers, its manifest {carried}")));
    }
    if layers.is_empty() {
        return Err(PullError::Document("it has no layers".to_owned()));
    }
    if layers.len() > MAX_LAYERS {
        return Err(PullError::TooLarge { what: "layers", found: layers.len() as u64, most: MAX_LAYERS as u64 });
    }
    let mut found = Vec::with_capacity(layers.len());
    let mut bytes = 0_u64;
    for (descriptor, diff_id) in layers.iter().zip(&diff_ids) {
        if descriptor.media_type.contains("encrypted") {
            return Err(PullError::Document("its layers are encrypted".to_owned()));
        }
        if descriptor.size > MAX_LAYER_BYTES {
            return Err(PullError::TooLarge {
                what: "bytes in one layer",
                found: descriptor.size,
                most: MAX_LAYER_BYTES,
            });
        }
        bytes = bytes.saturating_add(descriptor.size);
        let diff_id = diff_id.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
        let diff_id = diff_id.ok_or_else(|| PullError::Document("a diff_id is no SHA-256 digest".to_owned()))?;
        found.push(Layer { diff_id, blob: descriptor.sha256()?, size: descriptor.size });
    }
    if bytes > MAX_IMAGE_BYTES {
        return Err(PullError::TooLarge { what: "bytes", found: bytes, most: MAX_IMAGE_BYTES });
    }
    let process = from_config(file.config.unwrap_or_default())?;
    Ok(Image { id, layers: topmost(found), process })
}

/// Keeps of layers that come twice the topmost: it shows everything that the lower ones would, and an overlay takes a
/// folder only once.
fn topmost(layers: Vec<Layer>) -> Vec<Layer> {
    let mut seen = HashSet::new();
    let mut kept: Vec<Layer> = layers.into_iter().rev().filter(|layer| seen.insert(layer.diff_id)).collect();
    kept.reverse();
    kept
}

/// What the registry's own JSON says, or the beginning of a text.
async fn message(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_MESSAGE {
            break;
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let first = &json["errors"][0];
    let text = first["message"].as_str().or_else(|| first["code"].as_str()).or_else(|| json["details"].as_str());
    shortened(text.unwrap_or_default())
}

/// Scheme, host and port: paths of storage carry signatures that are as good as passwords.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?"))
}

pub(crate) fn secret_header(text: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(text.expose()).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Seconds or a date, RFC 9110 §10.2.3.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    at.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_comes_twice_stays_on_top() {
        let layer = |letter: &[u8]| Layer { diff_id: Digest::of(letter), blob: Digest::of(b"x"), size: 1 };
        let kept = topmost(vec![layer(b"a"), layer(b"b"), layer(b"a"), layer(b"c")]);
        assert_eq!(kept, [layer(b"b"), layer(b"a"), layer(b"c")]);
    }

    #[test]
    fn documents_that_disagree_are_refused() {
        let wanted = Platform { os: "linux".into(), architecture: "amd64".into() };
        let layer = |size| Descriptor {
            media_type: String::new(),
            digest: format!("sha256:{}", "a".repeat(64)),
            size,
            ..Descriptor::default()
        };
        let config = |architecture: &str, ids: usize, cmd: &str| {
            let ids = vec![format!("\"sha256:{}\"", "b".repeat(64)); ids].join(",");
            format!(
                r#"{{"os":"linux","architecture":"{architecture}","config":{{{cmd}}},"rootfs":{{"diff_ids":[{ids}]}}}}"#
            )
        };
        let cmd = r#""Cmd":["x"]"#;
        let read =
            |config: String, layers: Vec<Descriptor>| image(Digest::of(b"id"), config.as_bytes(), &layers, &wanted);
        assert_eq!(read(config("amd64", 1, cmd), vec![layer(9)]).unwrap().layers[0].size, 9);
        assert!(matches!(read(config("arm64", 1, cmd), vec![layer(9)]), Err(PullError::Platform { .. })));
        assert!(matches!(read(config("amd64", 2, cmd), vec![layer(9)]), Err(PullError::Document(_))));
        assert!(matches!(read(config("amd64", 0, cmd), vec![]), Err(PullError::Document(_))));
        assert!(matches!(read(config("amd64", 1, ""), vec![layer(9)]), Err(PullError::Process(_))));
        assert!(matches!(read(config("amd64", 1, cmd), vec![layer(1 << 40)]), Err(PullError::TooLarge { .. })));
        assert!(matches!(read(config("amd64", 128, cmd), vec![layer(9); 128]), Err(PullError::TooLarge { .. })));
        let mut encrypted = layer(9);
        encrypted.media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".into();
        assert!(matches!(read(config("amd64", 1, cmd), vec![encrypted]), Err(PullError::Document(_))));
    }
}

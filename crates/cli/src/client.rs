//! The typed client of the HTTP API. One method per endpoint; nothing here prints or decides.

mod error;
mod lines;
mod manage;
mod upload;

pub(crate) use error::CallError;
pub(crate) use lines::Lines;

use crate::{
    exit::Failure,
    server::{Address, Server},
};
use dockless_model::{DeploymentId, DeploymentState, Secret, Timestamp};
use dockless_wire as wire;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use std::{net::Ipv4Addr, path::Path, time::Duration};

/// A server on the same planet opens a connection within this.
const CONNECT: Duration = Duration::from_secs(10);
/// An answer that needs no build and no drain comes within this.
const ANSWER: Duration = Duration::from_secs(60);
/// A new server is up, or has failed to be, within this.
const UPGRADE: Duration = Duration::from_secs(300);
/// A stream is silent for less than this: the server sends keep-alives.
const SILENCE: Duration = Duration::from_secs(120);

/// A server, spoken to with one token. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    address: Address,
    token: Secret,
}

/// A deployment as the user names it: id, its own host, or an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Takes `dpl_…`, `HOST`, `HOST:PORT` or a whole URL, and keeps id or host.
    ///
    /// # Errors
    /// Neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or(authority);
        if text.parse::<DeploymentId>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        let host = dockless_model::Host::from_authority(authority)
            .map_err(|_| "expected the URL, host or id (dpl_…) of a deployment".to_owned())?;
        Ok(Self(host.to_string()))
    }

    /// Id or host.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&DeploymentId> for Name {
    fn from(id: &DeploymentId) -> Self {
        Self(id.to_string())
    }
}

/// Where a stream of records begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogRange {
    /// Only what came after this sequence.
    pub since: Option<u64>,
    /// The last so many.
    pub limit: Option<u32>,
    /// Stay for what comes.
    pub follow: bool,
}

/// Which deployments a listing shows.
#[derive(Debug, Clone)]
pub(crate) struct ListRange {
    /// Only of this project.
    pub project: Option<String>,
    /// Only in one of these states; empty is any.
    pub states: Vec<DeploymentState>,
    /// Only created after.
    pub since: Option<Timestamp>,
    /// Only created before.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
}

impl Client {
    /// Makes the connection pool; connects to nothing yet.
    ///
    /// # Errors
    /// The certificate of the server's authority cannot be read; the HTTP library cannot be set up: ours to mend.
    pub(crate) fn new(server: Server) -> Result<Self, Failure> {
        let Server { address, token, connect, authority } = server;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("dockless/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            // An API does not redirect; following one could carry the token to another place.
            .redirect(reqwest::redirect::Policy::none());
        // The system's authorities are read only where they are needed.
        http = http.tls_built_in_root_certs(address.tls && authority.is_none());
        if let Some(file) = authority.filter(|_| address.tls) {
            http = http.add_root_certificate(trusted(&file)?);
        }
        if let Some(connect) = connect {
            // A proxy could not reach it, and must not see the token.
            http = http.no_proxy().resolve(address.host.as_str(), connect);
        } else if address.is_loopback() {
            // A proxy could not reach our loopback, and must not see the token.
            http = http.no_proxy();
            if address.host.as_str().ends_with(".localhost") {
                // RFC 6761 §6.3: such names are loopback, also where the resolver does not know it.
                http = http.resolve(address.host.as_str(), (Ipv4Addr::LOCALHOST, address.port).into());
            }
        }
        let http =
            http.build().map_err(|error| Failure::bug(anyhow::Error::new(error).context("cannot set up HTTP")))?;
        Ok(Self { http, address, token })
    }

    /// The server.
    #[must_use]
    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// Creates a deployment, or is told what is missing. `force`: although an equal one may exist.
    ///
    /// # Errors
    /// [`CallError`]; `missing_files` among the refusals names what to upload.
    pub(crate) async fn create(
        &self,
        body: &wire::CreateDeployment,
        force: bool,
    ) -> Result<wire::Deployment, CallError> {
        let mut query = vec![("skipAutoDetectionConfirmation", "1")];
        if force {
            query.push(("forceNew", "1"));
        }
        self.ask(self.request(Method::POST, &["v13", "deployments"]).query(&query).json(body)).await
    }

    /// Creates a deployment of an image. `key` names the request: tries of one are answered with one deployment. `login`
    /// is the one for the image's registry, as `X-Registry-Auth` has it.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn create_from_image(
        &self,
        body: &wire::CreateDeployment,
        force: bool,
        key: &str,
        login: Option<&Secret>,
    ) -> Result<wire::Deployment, CallError> {
        let query = if force { vec![("forceNew", "1")] } else { Vec::new() };
        let mut request = self.request(Method::POST, &["v13", "deployments"]).query(&query).json(body);
        request = request.header(wire::IDEMPOTENCY_KEY, key);
        if let Some(login) = login
            && let Ok(mut value) = reqwest::header::HeaderValue::from_str(login.expose())
        {
            value.set_sensitive(true);
            request = request.header(wire::REGISTRY_AUTH, value);
        }
        self.ask(request).await
    }

    /// Reads a deployment.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn deployment(&self, name: &Name) -> Result<wire::Deployment, CallError> {
        self.ask(self.request(Method::GET, &["v13", "deployments", name.as_str()])).await
    }

    /// Lists deployments, newest first.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn deployments(&self, range: &ListRange) -> Result<wire::DeploymentList, CallError> {
        let mut query = vec![("limit", range.limit.to_string())];
        query.extend(range.project.iter().map(|project| ("app", project.clone())));
        query.extend(range.until.map(|until| ("until", until.0.to_string())));
        query.extend(range.since.map(|since| ("since", since.0.to_string())));
        let states: Vec<_> = range.states.iter().map(|state| state.label()).collect();
        query.extend((!states.is_empty()).then(|| ("state", states.join(","))));
        self.ask(self.request(Method::GET, &["v6", "deployments"]).query(&query)).await
    }

    /// Removes a deployment.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn remove(&self, id: &DeploymentId) -> Result<wire::Removed, CallError> {
        self.ask(self.request(Method::DELETE, &["v13", "deployments", id.as_str()])).await
    }

    /// Follows the build log; the stream ends with the build. `since`: not what is older.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn events(&self, id: &DeploymentId, since: Option<Timestamp>) -> Result<Lines, CallError> {
        let mut query =
            vec![("direction", "forward".to_owned()), ("follow", "1".to_owned()), ("format", "lines".to_owned())];
        query.extend(since.map(|since| ("since", since.0.to_string())));
        self.stream(self.request(Method::GET, &["v3", "deployments", id.as_str(), "events"]).query(&query)).await
    }

    /// Reads the runtime log.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn logs(&self, name: &Name, range: LogRange) -> Result<Lines, CallError> {
        let mut query = Vec::new();
        query.extend(range.since.map(|since| ("since", since.to_string())));
        query.extend(range.limit.map(|limit| ("limit", limit.to_string())));
        query.extend(range.follow.then(|| ("follow", "1".to_owned())));
        self.stream(self.request(Method::GET, &["v1", "deployments", name.as_str(), "logs"]).query(&query)).await
    }

    /// Lists instances.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn instances(&self) -> Result<wire::InstanceList, CallError> {
        self.ask(self.request(Method::GET, &["v1", "instances"])).await
    }

    /// Retires a deployment's instances.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn sleep(&self, name: &Name) -> Result<wire::Slept, CallError> {
        self.ask(self.request(Method::POST, &["v1", "deployments", name.as_str(), "sleep"])).await
    }

    /// Asks for a new server; answers once it serves.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn upgrade(&self) -> Result<wire::Upgraded, CallError> {
        self.ask(self.request(Method::POST, &["v1", "upgrade"]).timeout(UPGRADE)).await
    }

    /// How the platform is.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn status(&self) -> Result<wire::Status, CallError> {
        self.ask(self.request(Method::GET, &["v1", "status"])).await
    }

    /// Every request is made here: path segments are escaped, the token is marked as sensitive.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let path: Vec<_> = path.iter().map(|segment| percent(segment)).collect();
        let url = format!("{}/{}", self.address, path.join("/"));
        self.http.request(method, url).bearer_auth(self.token.expose())
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CallError> {
        // A timeout set before, by who knows better, stays: `build` shows it.
        let (http, request) = request.build_split();
        let mut request = request.map_err(|error| self.lost(error))?;
        request.timeout_mut().get_or_insert(ANSWER);
        let response = http.execute(request).await.map_err(|error| self.lost(error))?;
        let response = self.accepted(response).await?;
        let bytes = response.bytes().await.map_err(|error| self.lost(error))?;
        serde_json::from_slice(&bytes).map_err(|source| CallError::Shape { address: self.address.clone(), source })
    }

    async fn stream(&self, request: RequestBuilder) -> Result<Lines, CallError> {
        let sent = tokio::time::timeout(ANSWER, request.send()).await;
        let response = sent.map_err(|_| CallError::Silent(self.address.clone()))?.map_err(|error| self.lost(error))?;
        Ok(Lines::new(self.accepted(response).await?, self.address.clone(), SILENCE))
    }

    /// A success, or the refusal it carries.
    async fn accepted(&self, response: Response) -> Result<Response, CallError> {
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(reqwest::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let bytes = response.bytes().await.map_err(|error| self.lost(error))?;
        match serde_json::from_slice::<wire::ErrorBody>(&bytes) {
            Ok(body) => Err(CallError::Refused { status: status.as_u16(), detail: Box::new(body.error), retry_after }),
            Err(_) => Err(CallError::Foreign { address: self.address.clone(), status: status.as_u16() }),
        }
    }

    fn lost(&self, source: reqwest::Error) -> CallError {
        CallError::lost(&self.address, source)
    }
}

/// An authority that the local server has made for itself.
fn trusted(file: &Path) -> Result<reqwest::Certificate, Failure> {
    let read = || -> anyhow::Result<_> { Ok(reqwest::Certificate::from_pem(&std::fs::read(file)?)?) };
    read().map_err(|error| {
        Failure::unreachable(
            error.context(format!("cannot read the server's development authority {}", file.display())),
        )
    })
}

/// Escapes what is not unreserved (RFC 3986 §2.3): names of deployments come from the command line.
fn percent(segment: &str) -> String {
    segment
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_named_by_id_host_or_url() {
        for (text, name) in [
            ("site-abc.localhost", "site-abc.localhost"),
            ("Site-abc.localhost:3000", "site-abc.localhost"),
            ("http://site-abc.localhost:3000/api/date?x=1#y", "site-abc.localhost"),
            ("https://site-abc.example.com", "site-abc.example.com"),
            ("dpl_aaaaaaaaaaaaaaaaaaaa", "dpl_aaaaaaaaaaaaaaaaaaaa"),
        ] {
            assert_eq!(Name::parse(text).unwrap().as_str(), name, "{text}");
        }
        for bad in ["", "http://", "a b", "-x", "http:///path", "user@host"] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_segment_cannot_become_a_path() {
        assert_eq!(percent("a/../b?c"), "a%2F..%2Fb%3Fc");
        assert_eq!(percent("::1"), "%3A%3A1");
    }
}

//! Destinations of routes on other servers.
//!
//! ```text
//! url ─┬─ a host of ours ─► asked here, as if the client had asked for it
//!      └─ place? ─► resolve once ─► judge each address ─► connect ─► TLS ─► send ─► head in time ─► body, piece by piece
//! ```
//! Deployments choose where the platform sends requests, so it goes nowhere that their functions could not go. A connection
//! carries one request: nothing one deployment leaves on it is there for another.

use crate::{
    authority::{Authority, Role},
    body::Body,
    counters::Bill,
    deployment::Deployment,
    elsewhere_body::{Connection, ElsewhereBody},
    gateway::{Inner, Peer},
    headers::{set_forwarding, strip_hop_by_hop, strip_prefixed},
    metrics,
    request::Failure,
    upload::Upload,
};
use dockless_model::{Code, DeploymentId, Host, RequestId};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

/// Requests at once, of all deployments and of one; more are answered 503.
const MOST: (usize, usize) = (1000, 200);
/// Longest time until a server is connected to, its name and its certificate included.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time until it begins to answer.
const BEGIN: Duration = Duration::from_secs(120);
/// Largest body of a request.
const MAX_BODY: u64 = 100 * 1024 * 1024;
/// Largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;
/// Times a request may pass platforms like this one on its way, each of them told by a word of `CDN-Loop` (RFC 8586).
const MOST_HOPS: usize = 4;
const LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const OUR_WORD: &str = "dockless";
/// Fields between us and our launchers.
const OWN_PREFIX: &str = "x-dockless-";

/// How servers elsewhere are reached.
#[derive(Clone)]
pub struct Reach {
    /// Whether an address may be connected to: never this machine's own or its neighbours'.
    pub allows: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Whom is trusted.
    pub tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

/// Requests under way.
#[derive(Debug, Default, Clone)]
pub(crate) struct Elsewhere(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    all: usize,
    each: HashMap<DeploymentId, usize>,
}

/// The right to have one request under way.
#[derive(Debug)]
pub(crate) struct Place {
    places: Elsewhere,
    deployment: DeploymentId,
}

impl Elsewhere {
    fn take(&self, deployment: &DeploymentId) -> Option<Place> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = places.each.get(deployment).copied().unwrap_or_default();
        if places.all >= MOST.0 || each >= MOST.1 {
            return None;
        }
        places.all += 1;
        places.each.insert(deployment.clone(), each + 1);
        Some(Place { places: self.clone(), deployment: deployment.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.all -= 1;
        match places.each.get_mut(&self.deployment) {
            Some(each @ 2..) => *each -= 1,
            _ => drop(places.each.remove(&self.deployment)),
        }
    }
}

/// What is known of the request beside itself.
pub(crate) struct Asked<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) id: &'a RequestId,
    pub(crate) peer: Peer,
    pub(crate) role: Role,
    pub(crate) authority: &'a Authority,
}

/// How often a request was sent on inside this platform.
#[derive(Debug, Clone, Copy, Default)]
struct Hops(usize);

/// A destination taken apart.
struct Target {
    https: bool,
    /// Without brackets.
    host: String,
    port: u16,
    authority: HeaderValue,
    path: Uri,
}

impl Target {
    fn parse(url: &str, query: Option<&str>) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let https = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" => {
                if https {
                    443
                } else {
                    80
                }
            }
            _ => authority.port_u16().filter(|port| *port > 0)?,
        };
        let path = query.map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let path = path.parse().ok()?;
        (!host.is_empty()).then_some(())?;
        Some(Self { https, host, port, authority: HeaderValue::from_str(authority.as_str()).ok()?, path })
    }
}

impl Inner {
    /// Answers from where a route leads.
    pub(crate) async fn elsewhere(
        &self,
        asked: Asked<'_>,
        url: &str,
        query: Option<&str>,
        mut head: Parts,
        body: Incoming,
        bill: &mut Bill,
    ) -> Result<Response<Body>, Failure> {
        let target = Target::parse(url, query)
            .ok_or_else(|| Failure::new(Code::DestinationFailed, format!("{url} is no URL of a server")))?;
        let hops = head.extensions.get().copied().unwrap_or(Hops::default()).0 + passed(&head.headers);
        if hops >= MOST_HOPS {
            return Err(Failure::new(Code::LoopDetected, url));
        }
        if self.is_ours(&target.host).await? {
            head.uri = target.path;
            head.headers.insert(header::HOST, target.authority);
            let Hops(hops) = head.extensions.get().copied().unwrap_or_default();
            head.extensions.insert(Hops(hops + 1));
            let request = Request::from_parts(head, body);
            return self.dispatch_again(request, asked.id, (asked.peer, asked.role), bill).await;
        }
        bill.answered_by(metrics::Target::Elsewhere);
        let place = self.elsewhere.take(&asked.deployment.id);
        let place = place.ok_or_else(|| Failure::new(Code::NoRoom, "too many requests to servers elsewhere"))?;
        if body.size_hint().lower() > MAX_BODY {
            return Err(Failure::new(Code::BodyTooLarge, url));
        }
        let reach = self.config.reach.as_ref().filter(|_| asked.deployment.output.egress);
        let reach = reach.ok_or_else(|| Failure::new(Code::DestinationFailed, "there is no way out"))?;
        let connected = timeout(CONNECT, connect(&target, reach)).await;
        let stream = connected
            .unwrap_or_else(|_| Err("it was not connected to in time".to_owned()))
            .map_err(|why| Failure::new(Code::DestinationFailed, format!("{url}: {why}")))?;
        let mut headers = head.headers;
        strip_hop_by_hop(&mut headers);
        strip_prefixed(&mut headers, OWN_PREFIX);
        headers.remove(header::EXPECT);
        headers.insert(header::HOST, target.authority);
        set_forwarding(&mut headers, asked.peer.0.ip().to_canonical(), asked.authority, self.config.trust_forwarded);
        headers.append(LOOP, HeaderValue::from_static(OUR_WORD));
        let (upload, overflow) = Upload::new(body, MAX_BODY, self.metrics.received().clone());
        let mut request = Request::new(upload);
        *request.method_mut() = head.method;
        *request.uri_mut() = target.path;
        *request.headers_mut() = headers;
        match timeout(BEGIN, send(stream, request)).await {
            Err(_) => Err(Failure::new(Code::DestinationTimeout, url)),
            Ok(Err(_)) if overflow.happened() => Err(Failure::new(Code::BodyTooLarge, url)),
            Ok(Err(error)) => Err(Failure::new(Code::DestinationFailed, format!("{url}: {error}"))),
            Ok(Ok((response, connection))) => Ok(back(response, connection, place)),
        }
    }

    /// Whether a host is one of this platform's deployments.
    async fn is_ours(&self, host: &str) -> Result<bool, Failure> {
        // Names alone: an address is the API, or somebody else.
        let Ok(name) = host.parse::<Host>() else { return Ok(false) };
        if host.parse::<IpAddr>().is_ok() {
            return Ok(false);
        }
        if Role::Both.is_api(&name, &self.config.domain) {
            return Err(Failure::new(Code::DestinationFailed, format!("{host} is the platform itself")));
        }
        match self.hosts.find(&name).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == Code::DeploymentNotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

/// How many platforms like this one have sent a request on.
fn passed(headers: &HeaderMap) -> usize {
    let values = headers.get_all(LOOP).iter().filter_map(|value| value.to_str().ok());
    let words = values.flat_map(|value| value.split(','));
    words.filter(|word| word.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(OUR_WORD)).count()
}

/// A connection to what the name means now; it is not asked again.
async fn connect(target: &Target, reach: &Reach) -> Result<Box<dyn Stream>, String> {
    let found =
        tokio::net::lookup_host((target.host.as_str(), target.port)).await.map_err(|error| error.to_string())?;
    let addresses: Vec<SocketAddr> = found.filter(|address| (reach.allows)(address.ip())).collect();
    let mut last = "it leads to a private address or to this machine".to_owned();
    for address in addresses {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                last = error.to_string();
                continue;
            }
        };
        // Small writes are not to wait for each other; a stream that refuses is slower, that is all.
        let _ = stream.set_nodelay(true);
        if !target.https {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(reach.tls.clone()).connect(name, stream).await;
        return tls.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|error| error.to_string());
    }
    Err(last)
}

/// Both kinds of connections.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

/// Sends the request and waits for the answer's head; the connection goes on in its body.
async fn send(
    stream: Box<dyn Stream>,
    request: Request<Upload>,
) -> Result<(Response<Incoming>, Option<Connection>), hyper::Error> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_headers(100);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut connection: Connection = Box::pin(connection);
    let answered = sender.send_request(request);
    tokio::pin!(answered);
    let response = tokio::select! {
        biased;
        response = &mut answered => response?,
        ended = &mut connection => {
            ended?;
            // What it left is in the answer's body already, or there is no answer.
            return Ok((answered.await?, None));
        }
    };
    Ok((response, Some(connection)))
}

/// The answer as the client sees it.
fn back(response: Response<Incoming>, connection: Option<Connection>, place: Place) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked it to.
        head.status = StatusCode::BAD_GATEWAY;
    }
    strip_hop_by_hop(&mut head.headers);
    strip_prefixed(&mut head.headers, OWN_PREFIX);
    head.extensions.clear();
    head.version = http::Version::HTTP_11;
    Response::from_parts(head, Body::Elsewhere(Box::new(ElsewhereBody::new(body, connection, place))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_taken_apart() {
        let of = |url: &str, query| {
            Target::parse(url, query)
                .map(|target| (target.https, target.host.clone(), target.port, target.path.to_string()))
        };
        assert_eq!(
            of("https://A.Example/x", Some("a=b")),
            Some((true, "a.example".to_owned(), 443, "/x?a=b".to_owned()))
        );
        assert_eq!(of("http://[::1]:81/", None), Some((false, "::1".to_owned(), 81, "/".to_owned())));
        for bad in ["ftp://a/", "http://u@a/", "http://a:x/", "http://a:70000/", "http://a:0/", "/x", ""] {
            assert_eq!(of(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn one_deployment_cannot_have_all_places() {
        let (places, id) = (Elsewhere::default(), || DeploymentId::random(&dockless_model::OsEntropy));
        let first = id();
        let held: Vec<_> = (0..MOST.1).map(|_| places.take(&first).expect("there is room")).collect();
        assert!(places.take(&first).is_none());
        assert!(places.take(&id()).is_some());
        drop(held);
        assert!(places.take(&first).is_some());
        let left = places.0.lock().expect("nobody panicked");
        assert_eq!((left.all, left.each.len()), (0, 0));
    }

    #[test]
    fn hops_are_counted_by_our_own_word() {
        let mut headers = HeaderMap::new();
        headers.append(LOOP, HeaderValue::from_static("other, Dockless; v=1"));
        headers.append(LOOP, HeaderValue::from_static("dockless,dockless-not"));
        assert_eq!(passed(&headers), 2);
    }
}

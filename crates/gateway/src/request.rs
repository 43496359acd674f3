//! One request: whose it is, what stands at its path, and the answer's last touches.

use crate::{
    BoxFuture, ID_HEADER,
    authority::{Authority, Role},
    body::Body,
    cookies,
    counters::Bill,
    deployment::{Deployment, Found},
    elsewhere::Asked,
    files::REVALIDATE,
    function::Call,
    gateway::{Inner, Peer},
    headers::set,
    listing,
    metrics::Target,
    page::{Format, page},
    pages,
};
use bytes::Bytes;
use dockless_model::{Code, RequestId};
use dockless_routing::{Ask, Match, Outcome, RequestPath};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use std::{borrow::Cow, time::Instant};

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// For our log only.
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// Ours to mend, with the whole chain of causes.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            detail.push_str(": ");
            detail.push_str(&error.to_string());
            cause = error.source();
        }
        Self { code: Code::Internal, detail }
    }

    pub(crate) fn bad(error: impl std::fmt::Display) -> Self {
        Self::new(Code::BadRequest, error.to_string())
    }
}

impl Inner {
    /// Answers a request, whatever it is. Dropping the future gives the request up.
    pub(crate) async fn answer(&self, request: Request<Incoming>, peer: Peer, role: Role) -> Response<Body> {
        let begin = Instant::now();
        let id = RequestId::random(&*self.config.entropy);
        let (method, format) = (request.method().clone(), Format::of(request.headers()));
        let mut bill = Bill::new(begin, &self.metrics);
        let mut response = match self.dispatch(request, &id, peer, role, &mut bill).await {
            Ok(response) => response,
            Err(Failure { code, detail }) => {
                if code == Code::Internal {
                    tracing::error!(request_id = %id, detail, "request failed");
                } else {
                    tracing::debug!(request_id = %id, code = code.as_str(), detail, "request refused");
                }
                self.metrics.refused(code);
                page(code, format, &id)
            }
        };
        let status = response.status().as_u16();
        let headers = response.headers_mut();
        headers.insert(header::SERVER, HeaderValue::from_static("dockless"));
        set(headers, ID_HEADER, id.as_str());
        tracing::debug!(request_id = %id, %method, status, took_us = begin.elapsed().as_micros(), "answered");
        bill.settle(response)
    }

    /// What [`Self::answer`] does for a request that another deployment's route leads here.
    pub(crate) fn dispatch_again<'a>(
        &'a self,
        request: Request<Incoming>,
        id: &'a RequestId,
        (peer, role): (Peer, Role),
        bill: &'a mut Bill,
    ) -> BoxFuture<'a, Result<Response<Body>, Failure>> {
        Box::pin(self.dispatch(request, id, peer, role, bill))
    }

    async fn dispatch(
        &self,
        mut request: Request<Incoming>,
        id: &RequestId,
        peer: Peer,
        role: Role,
        bill: &mut Bill,
    ) -> Result<Response<Body>, Failure> {
        let (head, body) = request.into_parts();
        let authority = Authority::of(&head).map_err(Failure::bad)?;
        if role.is_api(&authority.host, &self.config.domain) {
            request = Request::from_parts(head, body);
            request.extensions_mut().insert(id.clone());
            request.extensions_mut().insert(peer);
            bill.answered_by(Target::Api);
            return Ok((self.api)(request).await.map(Body::Api));
        }
        let deployment = self.hosts.find(&authority.host).await?;
        if role == Role::Inside && !self.hosts.is_sibling(&deployment, peer.0.ip()).await {
            return Err(Failure::new(Code::DeploymentNotFound, authority.host.as_str()));
        }
        bill.goes_to(&deployment.counters);
        let asked = Asked { deployment: &deployment, id, peer, role, authority: &authority };
        let mut response = self.visit(asked, head, body, bill).await?;
        cookies::keep_to_host(response.headers_mut(), &authority.host, &self.config.shared_domains);
        Ok(response)
    }

    /// What the deployment answers.
    async fn visit(
        &self,
        asked: Asked<'_>,
        head: Parts,
        body: Incoming,
        bill: &mut Bill,
    ) -> Result<Response<Body>, Failure> {
        let Asked { deployment, id, peer, authority, .. } = asked;
        if deployment.disabled {
            return Err(Failure::new(Code::DeploymentDisabled, deployment.id.as_str()));
        }
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return Err(Failure::new(Code::MethodNotAllowed, head.method.as_str()));
        }
        if let Some(spec) = deployment.only_service() {
            bill.uses(spec);
            let query = head.uri.query().map(str::to_owned);
            let call = Call { id, spec, authority, peer: peer.0.ip().to_canonical(), query };
            return self.call(call, head, body, bill).await;
        }
        let raw = collapse(head.uri.path());
        if let Cow::Owned(clean) = &raw
            && matches!(head.method, Method::GET | Method::HEAD)
        {
            return redirect(clean, head.uri.query());
        }
        let path = RequestPath::parse(&raw).map_err(Failure::bad)?;
        let Match { outcome, query, headers, status } = route(deployment, &path, &head, authority)?;
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = match outcome {
            Outcome::Found { found: Found::File(file), .. } => {
                bill.answered_by(Target::File);
                let mut response = match status {
                    Some(status) => self.files.answer_with(status, file, &head).await?,
                    None => self.files.answer(file, &head).await?,
                };
                add(response.headers_mut(), &headers, true);
                return Ok(response);
            }
            Outcome::Found { found: Found::Program(spec), .. } => {
                bill.uses(spec);
                let call = Call { id, spec, authority, peer: peer.0.ip().to_canonical(), query };
                let spare = pages::spare(deployment, &head);
                match (self.call(call, head, body, bill).await, spare) {
                    (Ok(mut response), _) => {
                        if let Some(status) = status.filter(|_| response.status() != StatusCode::SWITCHING_PROTOCOLS) {
                            *response.status_mut() = status;
                        }
                        response
                    }
                    (Err(failure), Some(head)) => {
                        return self.broken(deployment, &path, &head, authority, failure).await;
                    }
                    (Err(failure), None) => return Err(failure),
                }
            }
            Outcome::Redirect { location, status } => moved(&location, status)?,
            Outcome::External { url } => {
                let mut response = self.elsewhere(asked, &url, query.as_deref(), head, body, bill).await?;
                if let Some(status) = status {
                    *response.status_mut() = status;
                }
                response
            }
            Outcome::Nothing { path: at } => {
                let listed = deployment.output.listing && status.is_none() && is_read(&head.method);
                match listed.then(|| listing::page(deployment, &at, path.as_str())).flatten() {
                    Some(page) => page,
                    None => self.nothing(deployment, &path, &head, authority, status, id).await?,
                }
            }
        };
        add(response.headers_mut(), &headers, false);
        Ok(response)
    }
}

/// What the deployment's routes say. Nothing is waited for in here.
fn route<'a>(
    deployment: &'a Deployment,
    path: &RequestPath,
    head: &Parts,
    authority: &Authority,
) -> Result<Match<Found<'a>>, Failure> {
    let header = |name: &str| pages::field(&head.headers, name);
    let ask = Ask { method: head.method.as_str(), host: authority.host.as_str(), header: &header };
    let found = deployment.routes.find(path, head.uri.query(), &ask, |output| deployment.look_up(output));
    found.map_err(Failure::bad)
}

/// Adds a route's fields. A file has no say; what a program says itself stays.
fn add(headers: &mut HeaderMap, fields: &[(String, String)], replaces: bool) {
    for (name, value) in fields {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        let Ok(value) = HeaderValue::from_str(value) else { continue };
        // That one is ours where the program has none.
        let is_ours = name == header::CACHE_CONTROL && headers.get(&name) == Some(&REVALIDATE);
        if replaces || is_ours || !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Where a route leads a client.
fn moved(location: &str, status: u16) -> Result<Response<Body>, Failure> {
    let mut response = Response::new(Body::full(Bytes::from_static(b"Redirecting...\n")));
    *response.status_mut() = StatusCode::from_u16(status).map_err(Failure::bad)?;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(location).map_err(Failure::bad)?);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// `//a///b` → `/a/b`; borrowed if there is nothing to do.
fn collapse(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut clean = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !clean.ends_with('/') {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// To the clean spelling of a path. It begins with exactly one slash, so it cannot name another host.
fn redirect(path: &str, query: Option<&str>) -> Result<Response<Body>, Failure> {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&target).map_err(Failure::bad)?);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_collapse_to_one() {
        for (path, clean) in
            [("/", "/"), ("//", "/"), ("//a///b//", "/a/b/"), ("/a/b", "/a/b"), ("///evil.com", "/evil.com")]
        {
            assert_eq!(collapse(path), clean);
        }
        assert!(matches!(collapse("/a/b"), Cow::Borrowed(_)));
    }
}

//! Requests of a connection, to the gateway and back.

use crate::{
    ERROR_HEADER,
    activity::Busy,
    body::{Body, Tracked},
    connection::Link,
    extended_connect,
    page::{Format, page},
    sendfile::Direct,
    streams::Stream,
    tunnel::Passage,
};
use dockless_model::{Code, RequestId};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, service::Service};
use std::{convert::Infallible, pin::Pin, sync::Arc};

/// What a connection hands its requests to.
pub(crate) struct Answers {
    link: Arc<Link>,
    direct: Option<Direct>,
}

impl Answers {
    /// `direct`: how files may be sent by the kernel.
    pub(crate) const fn new(link: Arc<Link>, direct: Option<Direct>) -> Self {
        Self { link, direct }
    }
}

impl Service<Request<Incoming>> for Answers {
    type Response = Response<Tracked>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (link, busy) = (Arc::clone(&self.link), self.link.activity.begin());
        if let Some(direct) = &self.direct {
            request.extensions_mut().insert(direct.clone());
        }
        Box::pin(answer(link, busy, request))
    }
}

async fn answer(link: Arc<Link>, busy: Busy, mut request: Request<Incoming>) -> Result<Response<Tracked>, Infallible> {
    let multiplexed = request.version() == Version::HTTP_2;
    // Of HTTP/1 the parser counts them.
    if multiplexed && request.headers().len() > link.inner.config.max_headers {
        let mut response = Response::new(Tracked::new(Body::empty(), busy, None));
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Ok(response);
    }
    request.extensions_mut().insert(link.scheme);
    let mut response = if multiplexed {
        over_http2(&link, request).await
    } else {
        link.inner.answer(request, link.peer, link.role).await
    };
    // Behind a request that could be read in two ways nothing is read as a request.
    let closes = link.activity.is_draining() || is_ambiguous(&response);
    if !multiplexed && closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(passage) = response.extensions_mut().remove::<Passage>() {
        if multiplexed { carry_beside(&link, &passage) } else { link.carry(passage) }
    }
    Ok(response.map(|body| Tracked::new(body, busy, Stream::current())))
}

/// Carries a tunnel in its stream, beside the others of the connection. It ends with the connection, whose streams fail
/// then, and keeps it busy until then.
fn carry_beside(link: &Link, passage: &Passage) {
    if let Some(tunnel) = passage.take() {
        let mut busy = link.activity.begin();
        busy.done();
        tokio::spawn(async move {
            tunnel.run().await;
            drop(busy);
        });
    }
}

/// Whether it was refused by us as malformed: no such field comes from a deployment.
fn is_ambiguous(response: &Response<Body>) -> bool {
    response.headers().get(ERROR_HEADER).is_some_and(|code| code == Code::BadRequest.as_str())
}

/// What HTTP/2 says otherwise than HTTP/1 is said as in HTTP/1.
async fn over_http2(link: &Link, mut request: Request<Incoming>) -> Response<Body> {
    join_cookies(&mut request);
    let format = Format::of(request.headers());
    let entropy = &*link.inner.config.entropy;
    let answered = match extended_connect::lower(&mut request, entropy) {
        Ok(lowered) => {
            let response = link.inner.answer(request, link.peer, link.role).await;
            if lowered { extended_connect::raise(response) } else { Ok(response) }
        }
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(|failure| {
        link.inner.metrics.refused(failure.code);
        let id = RequestId::random(entropy);
        tracing::debug!(request_id = %id, code = failure.code.as_str(), detail = failure.detail, "request refused");
        page(failure.code, format, &id)
    })
}

/// Clients of HTTP/2 may send each cookie in a field of its own; everybody else expects one, RFC 9113 §8.2.3.
fn join_cookies(request: &mut Request<Incoming>) {
    let headers = request.headers_mut();
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

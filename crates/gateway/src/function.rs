//! A request to a function or service: lease, send, and once more where that is safe.
//!
//! ```text
//! refuse early ─► acquire ─► send ─► answer, the lease in its body
//!                    ▲         └─ no byte of the request was written: any method ─┐
//!                    │            no byte of the answer came: GET, HEAD, OPTIONS  │
//!                    └──────────────────────────── once ──────────────────────────┘
//! ```

use crate::{
    ID_HEADER,
    authority::Authority,
    body::Body,
    counters::Bill,
    files::REVALIDATE,
    gateway::Inner,
    headers::{set, set_forwarding, strip_hop_by_hop, strip_prefixed},
    metrics::Metrics,
    request::Failure,
    timing,
    tunnel::{Passage, Wish},
    upload::{Overflow, Upload},
};
use bytes::Bytes;
use dockless_model::{Code, RequestId};
use dockless_pool::{BodyError, InvocationBody, Replay, RequestBody, Spec, Timings};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header, request::Parts, uri::PathAndQuery};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use std::{net::IpAddr, sync::Arc, time::Instant};

/// Headers with this beginning are between us and our launchers; a stranger's are dropped, both ways.
const OWN_PREFIX: &str = "x-dockless-";

/// What is known of a request to a function or service beside the request.
pub(crate) struct Call<'a> {
    pub(crate) id: &'a RequestId,
    pub(crate) spec: &'a Arc<Spec>,
    pub(crate) authority: &'a Authority,
    pub(crate) peer: IpAddr,
    /// With the route's parameters.
    pub(crate) query: Option<String>,
}

impl Inner {
    /// Answers from an instance. The body stays unread until an instance takes it; dropping the future
    /// or the answer tells the pool that the client is gone.
    pub(crate) async fn call(
        &self,
        call: Call<'_>,
        mut head: Parts,
        body: Incoming,
        bill: &mut Bill,
    ) -> Result<Response<Body>, Failure> {
        refuse_early(&call, &head, &body)?;
        // Functions speak HTTP alone.
        let mut wish = Wish::of(&mut head).filter(|_| call.spec.service().is_some());
        let method = head.method.clone();
        let (mut request, again, overflow) = self.forward(&call, head, body, wish.as_ref())?;
        let mut replays_left = 1_u8;
        loop {
            let lease =
                self.pool.acquire(call.spec).await.map_err(|refusal| Failure::new(refusal.code, refusal.detail))?;
            let (timings, instance, sent) = (lease.timings(), lease.instance().clone(), Instant::now());
            bill.leased(&timings);
            let answered = lease.send(request).await;
            self.metrics.phases(&timings, sent.elapsed());
            let failure = match answered {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return switch(response, wish.take(), &self.metrics);
                }
                Ok(response) => return Ok(self.back(call.spec, response, &timings, sent)),
                Err(failure) => failure,
            };
            if overflow.happened() {
                return Err(too_large(call.spec));
            }
            request = match failure.replay {
                Replay::Untouched(request) if replays_left > 0 => *request,
                Replay::MaybeSeen if replays_left > 0 && failure.code != Code::FunctionTimeout => match &again {
                    Some(again) => again.rebuild(&method, call.id),
                    None => return Err(Failure::new(failure.code, failure.detail)),
                },
                _ => return Err(Failure::new(failure.code, failure.detail)),
            };
            replays_left -= 1;
            self.metrics.replayed();
            tracing::info!(
                request_id = %call.id, instance = %instance, code = failure.code.as_str(), detail = failure.detail,
                "request is sent again"
            );
        }
    }

    /// The request as the program sees it, and what is needed to make it again if that is allowed.
    fn forward(
        &self,
        call: &Call<'_>,
        head: Parts,
        body: Incoming,
        wish: Option<&Wish>,
    ) -> Result<(Request<RequestBody>, Option<Again>, Overflow), Failure> {
        let uri = target(head.uri.path(), call.query.as_deref())?;
        let mut headers = head.headers;
        strip_hop_by_hop(&mut headers);
        strip_prefixed(&mut headers, OWN_PREFIX);
        // Answered by us when the instance asks for the body.
        headers.remove(header::EXPECT);
        headers.insert(header::HOST, call.authority.text.clone());
        set_forwarding(&mut headers, call.peer, call.authority, self.config.trust_forwarded);
        set(&mut headers, ID_HEADER, call.id.as_str());
        if let Some(wish) = wish {
            wish.say(&mut headers);
        }

        let safe = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let again = (safe && body.is_end_stream()).then(|| Again { uri: uri.clone(), headers: headers.clone() });
        let (body, overflow) = Upload::new(body, body_limit(call.spec), self.metrics.received().clone());
        let mut request = Request::new(body.boxed());
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request.extensions_mut().insert(call.id.clone());
        Ok((request, again, overflow))
    }

    /// The answer as the client sees it.
    fn back(
        &self,
        spec: &Spec,
        response: Response<InvocationBody>,
        timings: &Timings,
        sent: Instant,
    ) -> Response<Body> {
        let mut response = response.map(Body::Invocation);
        let headers = response.headers_mut();
        strip_hop_by_hop(headers);
        strip_prefixed(headers, OWN_PREFIX);
        // A service is a whole server: what it does not say is not said.
        if spec.function().is_some() && !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, REVALIDATE);
        }
        if self.config.server_timing {
            timing::tell(headers, timings, sent.elapsed());
        }
        response
    }
}

/// A request without body, to be made a second time.
struct Again {
    uri: Uri,
    headers: HeaderMap,
}

impl Again {
    fn rebuild(&self, method: &Method, id: &RequestId) -> Request<RequestBody> {
        let mut request = Request::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed());
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(id.clone());
        request
    }
}

/// The service switches protocols: the answer opens a tunnel.
fn switch(
    mut response: Response<InvocationBody>,
    wish: Option<Wish>,
    metrics: &Metrics,
) -> Result<Response<Body>, Failure> {
    let Some(wish) = wish else {
        return Err(Failure::new(Code::FunctionFailed, "the service switched protocols unasked"));
    };
    let service = hyper::upgrade::on(&mut response);
    let (mut head, lease) = response.into_parts();
    // `Connection` and `Upgrade` are part of this answer, RFC 9110 §15.2.2.
    strip_prefixed(&mut head.headers, OWN_PREFIX);
    head.extensions.clear();
    head.extensions.insert(Passage::new(wish.granted(service, lease, metrics.tunnel())));
    Ok(Response::from_parts(head, Body::empty()))
}

/// What needs no instance to be refused.
fn refuse_early(call: &Call<'_>, head: &Parts, body: &Incoming) -> Result<(), Failure> {
    // Other protocols (h2c) are offers that a server may leave aside, RFC 9110 §7.8.
    let websocket = head.headers.get_all(header::UPGRADE).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|name| name.trim().eq_ignore_ascii_case("websocket")))
    });
    if websocket && call.spec.function().is_some() {
        return Err(Failure::new(Code::WebsocketInFunction, call.spec.name.as_str()));
    }
    // Exact where the request has a content-length, absent where it is chunked: that is counted as it passes.
    if body.size_hint().lower() > body_limit(call.spec) {
        return Err(too_large(call.spec));
    }
    Ok(())
}

fn too_large(spec: &Spec) -> Failure {
    Failure::new(Code::BodyTooLarge, BodyError::TooLarge { limit: body_limit(spec) }.to_string())
}

/// The original path, with the merged query: a route's destination is not shown to functions.
fn target(path: &str, query: Option<&str>) -> Result<Uri, Failure> {
    let text = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let target: PathAndQuery = text.parse().map_err(|error| Failure::internal(&error))?;
    Ok(Uri::from(target))
}

/// Largest body of a request; services have no limit.
fn body_limit(spec: &Spec) -> u64 {
    spec.function().map_or(u64::MAX, |function| function.limits.body_bytes)
}

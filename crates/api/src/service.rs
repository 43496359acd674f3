//! From a request on any connection to its answer.

use crate::{path, router};
use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use dockless_control::Control;
use dockless_model::RequestId;
use http::{HeaderName, HeaderValue, Request, header};
use std::convert::Infallible;
use tower_service::Service;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The API; clones share it.
#[derive(Debug, Clone)]
pub struct Api {
    control: Control,
    router: Router,
}

impl Api {
    /// Makes the API of a control plane.
    #[must_use]
    pub fn new(control: Control) -> Self {
        Self { router: router::build(control.clone()), control }
    }

    /// Answers a request; never fails. A [`RequestId`] among the request's extensions is the one that the answer names,
    /// else a new one. Dropping the future or the answer's body stops what it was doing.
    pub async fn call<B>(&self, request: Request<B>) -> Response
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut request = request.map(Body::new);
        let id = request.extensions().get::<RequestId>().cloned().unwrap_or_else(|| self.control.request_id());
        let span =
            tracing::info_span!("api", request_id = %id, method = %request.method(), path = request.uri().path());
        *request.uri_mut() = path::normal(request.uri());
        let mut router = self.router.clone();
        let answered: Result<Response, Infallible> = router.call(request).instrument(span).await;
        let Ok(mut response) = answered;
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

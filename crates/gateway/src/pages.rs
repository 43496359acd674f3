//! A deployment's own pages for what went wrong: `404.html`, `500.html`, and what its routes of the error phase name.

use crate::{
    ERROR_HEADER,
    authority::Authority,
    body::Body,
    deployment::{Deployment, Found},
    gateway::Inner,
    headers::set,
    page::{Format, bare},
    request::Failure,
};
use dockless_model::{
    Code, RequestId,
    output::{Phase, StaticFile},
};
use dockless_routing::{Ask, Outcome, RequestPath};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};

/// A field's values, joined as RFC 9110 §5.3 allows.
pub(crate) fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// What is needed of a request to answer it with a page if its program fails; `None` if there is no such page, or if the
/// client reads none.
pub(crate) fn spare(deployment: &Deployment, head: &Parts) -> Option<Parts> {
    let has_page = deployment.output.files.contains_key("500.html")
        || deployment.output.routes.iter().any(|route| route.phase == Phase::Error);
    if !has_page || Format::of(&head.headers) != Format::Html {
        return None;
    }
    let (mut spare, ()) = Request::new(()).into_parts();
    spare.method = if head.method == Method::HEAD { Method::HEAD } else { Method::GET };
    spare.uri.clone_from(&head.uri);
    spare.headers.clone_from(&head.headers);
    Some(spare)
}

impl Inner {
    /// The answer where nothing exists, or where a route says no more than a status.
    pub(crate) async fn nothing(
        &self,
        deployment: &Deployment,
        path: &RequestPath,
        head: &Parts,
        authority: &Authority,
        status: Option<StatusCode>,
        id: &RequestId,
    ) -> Result<Response<Body>, Failure> {
        let shown = status.unwrap_or(StatusCode::NOT_FOUND);
        if let Some(file) = own(deployment, path, head, authority, shown)? {
            return self.files.answer_with(shown, file, head).await;
        }
        match status {
            Some(status) if status != StatusCode::NOT_FOUND => Ok(bare(status, Format::of(&head.headers), id)),
            _ => Err(Failure::new(Code::NotFound, path.as_str())),
        }
    }

    /// The answer where a program failed.
    pub(crate) async fn broken(
        &self,
        deployment: &Deployment,
        path: &RequestPath,
        head: &Parts,
        authority: &Authority,
        failure: Failure,
    ) -> Result<Response<Body>, Failure> {
        let status = failure.code.status();
        let ours = failure.code == Code::Internal || !matches!(status, 500 | 502 | 504);
        let Ok(status) = StatusCode::from_u16(status) else { return Err(failure) };
        let file = if ours { None } else { own(deployment, path, head, authority, status)? };
        let Some(file) = file else { return Err(failure) };
        tracing::debug!(code = failure.code.as_str(), detail = failure.detail, "request failed");
        self.metrics.refused(failure.code);
        let mut response = self.files.answer_with(status, file, head).await?;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        set(response.headers_mut(), ERROR_HEADER, failure.code.as_str());
        Ok(response)
    }
}

/// The page for a status. Callers of functions are programs: a missing one has no page.
fn own<'a>(
    deployment: &'a Deployment,
    path: &RequestPath,
    head: &Parts,
    authority: &Authority,
    status: StatusCode,
) -> Result<Option<&'a StaticFile>, Failure> {
    let header = |name: &str| field(&head.headers, name);
    let ask = Ask { method: head.method.as_str(), host: authority.host.as_str(), header: &header };
    let file = |output: &str| match deployment.look_up(output) {
        Some(Found::File(file)) => Some(file),
        _ => None,
    };
    let routed = deployment.routes.failed(status.as_u16(), path, head.uri.query(), &ask, file).map_err(Failure::bad)?;
    if let Some(Outcome::Found { found, .. }) = routed.map(|routed| routed.outcome) {
        return Ok(Some(found));
    }
    Ok(match status.as_u16() {
        404 if !path.is_under("/api") => deployment.output.files.get("404.html"),
        500 | 502 | 504 => deployment.output.files.get("500.html"),
        _ => None,
    })
}

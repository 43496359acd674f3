//! Files served as files.

use crate::{
    body::Body,
    coding,
    file_body::FileBody,
    page::ALLOW_FILES,
    range::{Range, requested},
    request::Failure,
    small_files::SmallFiles,
};
use bytes::Bytes;
use dockless_blob::BlobStore;
use dockless_model::{
    Code, Digest,
    output::{Coding, Encoded, StaticFile},
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts};
use std::{fs::File, sync::Arc};
use tokio::task::spawn_blocking;

/// Contents up to this size are kept in memory; larger ones are read as they are sent.
const SMALL: u64 = 64 * 1024;

/// For answers that do not say themselves how long they last: keep, but ask each time.
pub(crate) const REVALIDATE: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");

pub(crate) struct Files {
    blobs: BlobStore,
    small: SmallFiles,
}

/// What is sent of a file: itself, or one of its codings.
struct Representation<'a> {
    file: &'a StaticFile,
    coding: Option<Coding>,
    blob: Digest,
    size: u64,
    etag: String,
}

impl<'a> Representation<'a> {
    fn new(file: &'a StaticFile, encoded: Option<&Encoded>) -> Self {
        let coding = encoded.map(|encoded| encoded.coding);
        let (blob, size) = encoded.map_or((file.blob, file.size), |encoded| (encoded.blob, encoded.size));
        Self { file, coding, blob, size, etag: file.etag(coding) }
    }
}

impl Files {
    pub(crate) fn new(blobs: BlobStore, cache_bytes: usize) -> Self {
        Self { blobs, small: SmallFiles::new(cache_bytes) }
    }

    /// GET and HEAD with a content coding, `If-Match` and `If-None-Match` (RFC 9110 §13) and one `Range` (§14). Dates are
    /// not compared: we send none. Parts are parts of the file itself, whatever codings the client takes.
    pub(crate) async fn answer(&self, file: &StaticFile, head: &Parts) -> Result<Response<Body>, Failure> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(Failure::new(Code::MethodNotAllowed, ALLOW_FILES));
        }
        let parts = head.method == Method::GET && head.headers.contains_key(header::RANGE);
        let encoded = if parts { None } else { coding::choose(&file.encodings, &head.headers) };
        let chosen = Representation::new(file, encoded);
        if head.headers.contains_key(header::IF_MATCH) && !matches(&head.headers, header::IF_MATCH, &chosen.etag) {
            return Ok(bare(StatusCode::PRECONDITION_FAILED, &chosen));
        }
        if matches(&head.headers, header::IF_NONE_MATCH, &chosen.etag) {
            return Ok(bare(StatusCode::NOT_MODIFIED, &chosen));
        }
        let range = if parts { requested(&head.headers, file.size, &chosen.etag) } else { Range::Whole };
        match range {
            Range::Whole => self.part(&chosen, head, 0, chosen.size, StatusCode::OK).await,
            Range::Part { begin, end } => {
                let mut response = self.part(&chosen, head, begin, end, StatusCode::PARTIAL_CONTENT).await?;
                content_range(&mut response, &format!("bytes {begin}-{}/{}", end - 1, file.size));
                Ok(response)
            }
            Range::Unsatisfiable => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                content_range(&mut response, &format!("bytes */{}", file.size));
                Ok(response)
            }
        }
    }

    /// The whole file under another status, as error pages are.
    pub(crate) async fn answer_with(
        &self,
        status: StatusCode,
        file: &StaticFile,
        head: &Parts,
    ) -> Result<Response<Body>, Failure> {
        let chosen = Representation::new(file, coding::choose(&file.encodings, &head.headers));
        self.part(&chosen, head, 0, chosen.size, status).await
    }

    async fn part(
        &self,
        chosen: &Representation<'_>,
        head: &Parts,
        begin: u64,
        end: u64,
        status: StatusCode,
    ) -> Result<Response<Body>, Failure> {
        let body =
            if head.method == Method::HEAD { Body::empty() } else { self.open(chosen, head, begin, end).await? };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        describe(&mut response, chosen);
        if let Ok(content_type) = HeaderValue::from_str(&chosen.file.content_type) {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(end - begin));
        Ok(response)
    }

    async fn open(&self, chosen: &Representation<'_>, head: &Parts, begin: u64, end: u64) -> Result<Body, Failure> {
        if chosen.size > SMALL {
            let file = self.large(chosen.blob).await?;
            // Where the kernel may send it, the socket does; see `file_body`.
            let body = match head.extensions.get::<crate::sendfile::Direct>() {
                Some(direct) if head.version != Version::HTTP_2 => FileBody::direct(file, begin, end, direct.clone()),
                _ => FileBody::new(file, begin, end),
            };
            return Ok(Body::File(body));
        }
        let content = match self.small.get(&chosen.blob) {
            Some(content) => content,
            None => {
                let read = self.blobs.read(&chosen.blob).await.map_err(|error| Failure::internal(&error))?;
                let content = Bytes::from(read);
                self.small.insert(chosen.blob, content.clone());
                content
            }
        };
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        if index(end) > content.len() {
            return Err(Failure::new(
                Code::Internal,
                format!("blob {} is shorter than its manifest says", chosen.blob),
            ));
        }
        Ok(Body::full(content.slice(index(begin)..index(end))))
    }

    async fn large(&self, digest: Digest) -> Result<Arc<File>, Failure> {
        let blobs = self.blobs.clone();
        let opened = spawn_blocking(move || blobs.open_file(&digest))
            .await
            .map_err(|error| Failure::internal(&error))?
            .map_err(|error| Failure::internal(&error))?;
        Ok(Arc::new(opened))
    }
}

/// What holds for every answer about a file, with content or without.
fn describe(response: &mut Response<Body>, chosen: &Representation<'_>) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, REVALIDATE);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(etag) = HeaderValue::from_str(&chosen.etag) {
        headers.insert(header::ETAG, etag);
    }
    if !chosen.file.encodings.is_empty() {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if let Some(coding) = chosen.coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    }
}

/// An answer about a file without its content.
fn bare(status: StatusCode, chosen: &Representation<'_>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    describe(&mut response, chosen);
    // It describes content, and there is none.
    response.headers_mut().remove(header::CONTENT_ENCODING);
    response
}

fn content_range(response: &mut Response<Body>, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
}

/// Whether `If-None-Match` or `If-Match` has the tag: weakly compared for the first, strongly for the second (RFC 9110
/// §8.8.3.2).
fn matches(headers: &HeaderMap, condition: header::HeaderName, etag: &str) -> bool {
    let weakly = condition == header::IF_NONE_MATCH;
    headers
        .get_all(condition)
        .iter()
        .filter_map(|value| value.to_str().ok())
        // Our tags have no comma in them.
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag == etag || (weakly && tag.strip_prefix("W/") == Some(etag)))
}

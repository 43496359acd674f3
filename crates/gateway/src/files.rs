//! Files served as files.

use crate::{
    body::Body,
    file_body::FileBody,
    page::ALLOW_FILES,
    range::{Range, requested},
    request::Failure,
    small_files::SmallFiles,
};
use bytes::Bytes;
use dockless_blob::BlobStore;
use dockless_model::{Code, output::StaticFile};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use tokio::task::spawn_blocking;

/// Contents up to this size are kept in memory; larger ones are read as they are sent.
const SMALL: u64 = 64 * 1024;

/// For answers that do not say themselves how long they last: keep, but ask each time.
pub(crate) const REVALIDATE: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");

pub(crate) struct Files {
    blobs: BlobStore,
    small: SmallFiles,
}

impl Files {
    pub(crate) fn new(blobs: BlobStore, cache_bytes: usize) -> Self {
        Self { blobs, small: SmallFiles::new(cache_bytes) }
    }

    /// GET and HEAD, with `If-None-Match` (RFC 9110 §13.1.2) and one `Range` (§14).
    pub(crate) async fn answer(&self, file: &StaticFile, head: &Parts) -> Result<Response<Body>, Failure> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(Failure::new(Code::MethodNotAllowed, ALLOW_FILES));
        }
        let etag = file.etag();
        if matches(&head.headers, &etag) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            describe(&mut response, file, &etag);
            response.headers_mut().remove(header::CONTENT_TYPE);
            return Ok(response);
        }
        let range = if head.method == Method::GET { requested(&head.headers, file.size, &etag) } else { Range::Whole };
        match range {
            Range::Whole => self.part(file, &head.method, 0, file.size, StatusCode::OK).await,
            Range::Part { begin, end } => {
                let mut response = self.part(file, &head.method, begin, end, StatusCode::PARTIAL_CONTENT).await?;
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
        method: &Method,
    ) -> Result<Response<Body>, Failure> {
        self.part(file, method, 0, file.size, status).await
    }

    async fn part(
        &self,
        file: &StaticFile,
        method: &Method,
        begin: u64,
        end: u64,
        status: StatusCode,
    ) -> Result<Response<Body>, Failure> {
        let body = if method == Method::HEAD { Body::empty() } else { self.open(file, begin, end).await? };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        describe(&mut response, file, &file.etag());
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(end - begin));
        Ok(response)
    }

    async fn open(&self, file: &StaticFile, begin: u64, end: u64) -> Result<Body, Failure> {
        if file.size > SMALL {
            let (blobs, digest) = (self.blobs.clone(), file.blob);
            let opened = spawn_blocking(move || blobs.open_file(&digest))
                .await
                .map_err(|error| Failure::internal(&error))?
                .map_err(|error| Failure::internal(&error))?;
            return Ok(Body::File(FileBody::new(opened, begin, end)));
        }
        let content = match self.small.get(&file.blob) {
            Some(content) => content,
            None => {
                let read = self.blobs.read(&file.blob).await.map_err(|error| Failure::internal(&error))?;
                let content = Bytes::from(read);
                self.small.insert(file.blob, content.clone());
                content
            }
        };
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        if index(end) > content.len() {
            return Err(Failure::new(Code::Internal, format!("blob {} is shorter than its manifest says", file.blob)));
        }
        Ok(Body::full(content.slice(index(begin)..index(end))))
    }
}

fn describe(response: &mut Response<Body>, file: &StaticFile, etag: &str) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, REVALIDATE);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    if let Ok(content_type) = HeaderValue::from_str(&file.content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
}

fn content_range(response: &mut Response<Body>, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
}

/// Whether `If-None-Match` has the tag: weakly compared, RFC 9110 §8.8.3.2.
fn matches(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        // Our tags have no comma in them.
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

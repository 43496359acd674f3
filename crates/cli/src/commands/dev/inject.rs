//! A script behind the end of a page. Browsers run it as if it stood at the end of the body, and nothing of the page has
//! to be held back to look for a place.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// What the front answers with.
pub(super) type Answer = BoxBody<Bytes, hyper::Error>;

/// Whether an answer is a page that can be added to.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let is_html = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html")));
    is_html && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Adds the script of this generation.
pub(super) fn inject(headers: &mut HeaderMap, body: Incoming, generation: u64) -> Answer {
    for name in [header::CONTENT_LENGTH, header::ETAG, header::LAST_MODIFIED] {
        headers.remove(name);
    }
    // Kept by nobody: a page of an earlier generation would load itself again for ever.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let tag = format!("\n<script src=\"/_dockless/live.js\" data-generation=\"{generation}\" async></script>\n");
    Appended { body, tail: Some(tag.into()) }.boxed()
}

struct Appended {
    body: Incoming,
    tail: Option<Bytes>,
}

impl Body for Appended {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_data() => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            // The end, or trailers, which no page has.
            _ => Poll::Ready(self.tail.take().map(|tail| Ok(Frame::data(tail)))),
        }
    }
}

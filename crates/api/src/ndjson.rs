//! Streams of records, one JSON object a line.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, header};
use serde::Serialize;
use std::{convert::Infallible, fmt::Display, time::Duration};

/// Shows that the stream lives; every client skips it.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b"{}\n");
/// A silence after which [`KEEP_ALIVE`] is sent.
const SILENCE: Duration = Duration::from_secs(10);

/// One record as a line.
pub(crate) fn line(record: &impl Serialize) -> Bytes {
    // A record is a struct of texts and numbers: it always has a JSON form.
    let mut json = serde_json::to_vec(record).unwrap_or_default();
    json.push(b'\n');
    json.into()
}

/// An answer made of lines. A failure ends it early, as a broken connection would: clients come back.
pub(crate) fn answer<E>(lines: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Response
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Display + 'static,
{
    // Not application/json: clients would wait for the end to parse it as one document.
    let kind = HeaderValue::from_static("application/stream+json");
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response()
}

/// Adds a keep-alive line after each silence.
pub(crate) fn kept_alive(
    lines: impl Stream<Item = Bytes> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    stream::unfold(lines, |mut lines| async move {
        match tokio::time::timeout(SILENCE, lines.next()).await {
            Ok(None) => None,
            Ok(Some(line)) => Some((Ok(line), lines)),
            Err(_) => Some((Ok(KEEP_ALIVE), lines)),
        }
    })
}

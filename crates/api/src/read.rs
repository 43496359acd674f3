//! Bodies, in and out.

use crate::error::ApiError;
use axum::{
    body::{Body, BodyDataStream},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderValue, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// Longest silence in the middle of a request body.
const SILENCE: Duration = Duration::from_secs(60);

/// A JSON answer, with the content type that every client wants spelled out.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/json; charset=utf-8");
        match serde_json::to_vec(&self.0) {
            Ok(json) => ([(header::CONTENT_TYPE, kind)], json).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// A request body, piece by piece.
pub(crate) struct Pieces(BodyDataStream);

impl Pieces {
    pub(crate) fn of(body: Body) -> Self {
        Self(body.into_data_stream())
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        match tokio::time::timeout(SILENCE, self.0.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(piece))) => Ok(Some(piece)),
            // The client left, broke the framing, or sleeps.
            Ok(Some(Err(_))) | Err(_) => Err(ApiError::BodyCut),
        }
    }
}

/// Largest body of [`object`].
const MAX_OBJECT: usize = 256 * 1024;

/// A small JSON body. What is wrong with it is said without repeating it: it may be a secret.
pub(crate) async fn object<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bytes = whole(body, MAX_OBJECT).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let text = error.to_string();
        let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        ApiError::BadBody { missing: missing.map(str::to_owned) }
    })
}

/// A whole body of at most `limit` bytes.
pub(crate) async fn whole(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let announced = http_body::Body::size_hint(&body).lower();
    if usize::try_from(announced).is_ok_and(|announced| announced > limit) {
        return Err(ApiError::BodyTooLarge { limit });
    }
    let mut pieces = Pieces::of(body);
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.next().await? {
        if whole.len() + piece.len() > limit {
            return Err(ApiError::BodyTooLarge { limit });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

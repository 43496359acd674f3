//! Upload of a source file: `POST /files`, raw bytes.

use crate::{
    auth::Authenticated,
    error::ApiError,
    read::{Json, Pieces},
    router::Route,
};
use axum::{body::Body, extract::State};
use dockless_control::Control;
use dockless_model::WireDigest;
use dockless_wire::{
    Uploaded,
    file::{DIGEST_HEADER, SIZE_HEADER},
};
use http::{HeaderMap, header};
use std::str::FromStr;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post("/files", upload)]
}

/// Always 200: some clients take no other status for success.
async fn upload(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Uploaded>, ApiError> {
    let digest: WireDigest = value(&headers, DIGEST_HEADER, "the SHA-1 of the body")?
        .ok_or(ApiError::BadParameter { name: DIGEST_HEADER, expected: "the SHA-1 of the body" })?;
    let announced: Option<u64> = value(&headers, SIZE_HEADER, "the body's length in bytes")?;
    let length: Option<u64> = value(&headers, header::CONTENT_LENGTH.as_str(), "the body's length in bytes")?;
    if let (Some(announced), Some(length)) = (announced, length)
        && announced != length
    {
        return Err(ApiError::BadParameter { name: SIZE_HEADER, expected: "the same as content-length" });
    }
    let mut upload = control.upload(&caller, digest, announced.or(length)).await?;
    let mut pieces = Pieces::of(body);
    while let Some(piece) = pieces.next().await? {
        upload.write(&piece).await?;
    }
    Ok(Json(upload.finish().await?))
}

fn value<T: FromStr>(headers: &HeaderMap, name: &'static str, expected: &'static str) -> Result<Option<T>, ApiError> {
    let read = |value: &http::HeaderValue| value.to_str().ok()?.parse().ok();
    let bad = ApiError::BadParameter { name, expected };
    headers.get(name).map(|value| read(value).ok_or(bad)).transpose()
}

//! Creation: `POST /deployments`.

use crate::{
    auth::Authenticated,
    error::ApiError,
    params::Params,
    read::{Json, whole},
    router::Route,
};
use axum::{body::Body, extract::State};
use dockless_control::{Control, CreateOptions};
use dockless_model::Secret;
use dockless_wire::{Deployment, IDEMPOTENCY_KEY, REGISTRY_AUTH};
use http::HeaderMap;

/// Largest body: 100,000 files with usual paths need about 15 MB, the rest is room for contents sent inline.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// Longest name of a request.
const MAX_KEY: usize = 255;
/// Longest login: tokens of cloud registries have a few kilobytes.
const MAX_LOGIN: usize = 32 * 1024;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post("/deployments", create)]
}

async fn create(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let options = CreateOptions {
        force_new: params.flag("forceNew")?,
        prebuilt: params.flag("prebuilt")?,
        key: header(&headers, IDEMPOTENCY_KEY, MAX_KEY)?.map(str::to_owned),
        login: header(&headers, REGISTRY_AUTH, MAX_LOGIN)?.map(|login| Secret::new(login.to_owned())),
    };
    let json = whole(body, MAX_BODY).await?;
    Ok(Json(control.create(&caller, &json, options).await?))
}

/// A header of printable characters, if it is there and not too long.
fn header<'a>(headers: &'a HeaderMap, name: &'static str, most: usize) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| text.len() <= most);
    let expected = "printable characters, and not so many";
    text.map(Some).ok_or(ApiError::BadParameter { name, expected })
}

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
use dockless_wire::Deployment;

/// Largest body: 15,000 files with usual paths need about 3 MB, the rest is room for contents sent inline.
const MAX_BODY: usize = 10 * 1024 * 1024;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::post("/deployments", create)]
}

async fn create(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    params: Params,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let options = CreateOptions { force_new: params.flag("forceNew")?, prebuilt: params.flag("prebuilt")? };
    let json = whole(body, MAX_BODY).await?;
    Ok(Json(control.create(&caller, &json, options).await?))
}

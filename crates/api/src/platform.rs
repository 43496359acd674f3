//! The platform itself: `GET /status`, `POST /upgrade`. For its owner alone.

use crate::{auth::Authenticated, error::ApiError, read::Json, router::Route};
use axum::extract::State;
use dockless_control::Control;
use dockless_wire::{Status, Upgraded};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/status", status), Route::post("/upgrade", upgrade)]
}

async fn status(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Status>, ApiError> {
    Ok(Json(control.status(&caller).await?))
}

async fn upgrade(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Upgraded>, ApiError> {
    Ok(Json(control.upgrade(&caller).await?))
}

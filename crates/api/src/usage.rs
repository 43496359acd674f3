//! What deployments cost: `GET /usage?project=NAME`.

use crate::{auth::Authenticated, error::ApiError, params::Params, read::Json, router::Route};
use axum::extract::State;
use dockless_control::Control;
use dockless_wire::UsageList;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/usage", usage)]
}

async fn usage(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> Result<Json<UsageList>, ApiError> {
    Ok(Json(control.usage(&caller, params.text("project")).await?))
}

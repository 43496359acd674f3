//! Removal: `DELETE /deployments/{x}`.

use crate::{auth::Authenticated, error::ApiError, params::Name, read::Json, router::Route};
use axum::extract::State;
use dockless_control::Control;
use dockless_wire::Removed;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::delete("/deployments/{x}", remove)]
}

async fn remove(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<Removed>, ApiError> {
    Ok(Json(control.remove(&caller, &name).await?))
}

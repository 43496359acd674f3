//! Instances: `GET /instances`, `POST /deployments/{x}/sleep`.

use crate::{auth::Authenticated, error::ApiError, params::Name, read::Json, router::Route};
use axum::extract::State;
use dockless_control::Control;
use dockless_wire::{InstanceList, Slept};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/instances", list), Route::post("/deployments/{x}/sleep", sleep)]
}

async fn list(State(control): State<Control>, Authenticated(caller): Authenticated) -> Json<InstanceList> {
    Json(control.instances(&caller))
}

async fn sleep(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<Slept>, ApiError> {
    Ok(Json(control.sleep(&caller, &name).await?))
}

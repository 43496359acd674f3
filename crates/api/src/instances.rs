//! Instances: `GET /instances`, `POST /deployments/{x}/sleep`; `GET`, `PATCH` and `PUT /deployments/{x}/instances`.

use crate::{
    auth::Authenticated,
    error::ApiError,
    params::Name,
    read::{Json, object},
    router::Route,
};
use axum::{body::Body, extract::State};
use dockless_control::Control;
use dockless_wire::{Deployment, InstanceList, InstancesByRegion, ScaleRules, Slept};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/instances", list),
        Route::post("/deployments/{x}/sleep", sleep),
        Route::get("/deployments/{x}/instances", of_deployment),
        Route::patch("/deployments/{x}/instances", scale),
        Route::put("/deployments/{x}/instances", scale),
    ]
}

async fn list(State(control): State<Control>, Authenticated(caller): Authenticated) -> Json<InstanceList> {
    Json(control.instances(&caller).await)
}

async fn of_deployment(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<InstancesByRegion>, ApiError> {
    Ok(Json(control.instances_of(&caller, &name).await?))
}

/// With one region, changing some bounds and replacing all is the same.
async fn scale(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
    body: Body,
) -> Result<Json<Deployment>, ApiError> {
    let rules: ScaleRules = object(body).await?;
    Ok(Json(control.scale(&caller, &name, &rules).await?))
}

async fn sleep(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<Slept>, ApiError> {
    Ok(Json(control.sleep(&caller, &name).await?))
}

//! Reading: `GET /deployments`, `GET /deployments/{x}`, `GET /deployments/{x}/builds`.

use crate::{
    auth::Authenticated,
    error::ApiError,
    params::{Name, Params},
    read::Json,
    router::Route,
};
use axum::extract::State;
use dockless_control::{Control, Filter};
use dockless_model::{DeploymentState, Timestamp};
use dockless_wire::{BuildList, Deployment, DeploymentList};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/deployments", list),
        // Old clients resolve a host to an id by this.
        Route::get("/deployments/get", resolve),
        Route::get("/deployments/{x}", show),
        Route::get("/deployments/{x}/builds", builds),
    ]
}

async fn list(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> Result<Json<DeploymentList>, ApiError> {
    // `from` is what the oldest clients call the cursor; 0 is unset.
    let time = |name| params.number(name).map(|at| at.filter(|at| *at != 0).map(Timestamp));
    let filter = Filter {
        project: params.text("app").map(str::to_owned),
        project_id: params.text("projectId").map(str::to_owned),
        until: time("until")?.or(time("from")?),
        since: time("since")?,
        states: states(&params)?,
        meta: params.with_prefix("meta-").collect(),
    };
    Ok(Json(control.deployments(&caller, &filter, params.number("limit")?).await?))
}

fn states(params: &Params) -> Result<Vec<DeploymentState>, ApiError> {
    let unknown = ApiError::BadParameter { name: "state", expected: "states such as READY, separated by commas" };
    let Some(text) = params.text("state") else { return Ok(Vec::new()) };
    text.split(',').map(|label| DeploymentState::from_label(label.trim())).collect::<Option<_>>().ok_or(unknown)
}

async fn resolve(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> Result<Json<Deployment>, ApiError> {
    let url = params.text("url").ok_or(ApiError::BadParameter { name: "url", expected: "the host of a deployment" })?;
    Ok(Json(control.deployment(&caller, url).await?))
}

async fn show(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<Deployment>, ApiError> {
    Ok(Json(control.deployment(&caller, &name).await?))
}

async fn builds(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<BuildList>, ApiError> {
    Ok(Json(control.builds(&caller, &name).await?))
}

//! Projects: `GET` and `POST /projects`, `GET` and `DELETE /projects/{x}`, `POST /projects/{x}/promote/{y}`,
//! `POST /projects/{x}/rollback[/{y}]`.

use crate::{
    auth::Authenticated,
    error::ApiError,
    params::{Name, Names, Params},
    read::{Json, object},
    router::Route,
};
use axum::{body::Body, extract::State};
use dockless_control::Control;
use dockless_wire::{CreateProject, Project, ProjectRemoved, Promoted};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/projects", list),
        Route::post("/projects", create),
        Route::get("/projects/{x}", show),
        Route::delete("/projects/{x}", remove),
        Route::post("/projects/{x}/promote/{y}", promote),
        Route::post("/projects/{x}/rollback", roll_back),
        Route::post("/projects/{x}/rollback/{y}", roll_back_to),
    ]
}

/// A bare array, as the oldest clients read it.
async fn list(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> Result<Json<Vec<Project>>, ApiError> {
    Ok(Json(control.projects(&caller, params.number("limit")?).await?))
}

async fn create(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    body: Body,
) -> Result<Json<Project>, ApiError> {
    let body: CreateProject = object(body).await?;
    Ok(Json(control.create_project(&caller, &body.name).await?))
}

async fn show(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<Project>, ApiError> {
    Ok(Json(control.project(&caller, &name).await?))
}

async fn remove(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<ProjectRemoved>, ApiError> {
    Ok(Json(control.remove_project(&caller, &name).await?))
}

async fn promote(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Names(project, deployment): Names,
) -> Result<Json<Promoted>, ApiError> {
    Ok(Json(control.promote(&caller, &project, &deployment).await?))
}

async fn roll_back(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(project): Name,
) -> Result<Json<Promoted>, ApiError> {
    Ok(Json(control.roll_back(&caller, &project, None).await?))
}

async fn roll_back_to(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Names(project, deployment): Names,
) -> Result<Json<Promoted>, ApiError> {
    Ok(Json(control.roll_back(&caller, &project, Some(&deployment)).await?))
}

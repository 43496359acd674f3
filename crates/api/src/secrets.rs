//! Secrets: `GET` and `POST /secrets`, `PATCH` and `DELETE /secrets/{x}`. Variables of a project: `GET` and
//! `POST /projects/{x}/env`, `DELETE /projects/{x}/env/{y}`. No answer has a value in it.

use crate::{
    auth::Authenticated,
    error::ApiError,
    params::{Name, Names, Params},
    read::{Json, object},
    router::Route,
};
use axum::{body::Body, extract::State};
use dockless_control::Control;
use dockless_wire::{
    CreateSecret, CreateVariable, RenameSecret, SecretInfo, SecretList, SecretRemoved, SecretRenamed, Variable,
    VariableList, VariableRemoved,
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/secrets", list),
        Route::post("/secrets", add),
        Route::patch("/secrets/{x}", rename),
        Route::delete("/secrets/{x}", remove),
        Route::get("/projects/{x}/env", variables),
        Route::post("/projects/{x}/env", set_variable),
        Route::delete("/projects/{x}/env/{y}", remove_variable),
    ]
}

async fn list(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
) -> Result<Json<SecretList>, ApiError> {
    Ok(Json(control.secrets(&caller).await?))
}

async fn add(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    body: Body,
) -> Result<Json<SecretInfo>, ApiError> {
    let body: CreateSecret = object(body).await?;
    Ok(Json(control.add_secret(&caller, &body).await?))
}

async fn rename(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
    body: Body,
) -> Result<Json<SecretRenamed>, ApiError> {
    let body: RenameSecret = object(body).await?;
    Ok(Json(control.rename_secret(&caller, &name, &body.name).await?))
}

async fn remove(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<SecretRemoved>, ApiError> {
    Ok(Json(control.remove_secret(&caller, &name).await?))
}

async fn variables(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(project): Name,
) -> Result<Json<VariableList>, ApiError> {
    Ok(Json(control.variables(&caller, &project).await?))
}

async fn set_variable(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(project): Name,
    params: Params,
    body: Body,
) -> Result<Json<Variable>, ApiError> {
    let body: CreateVariable = object(body).await?;
    Ok(Json(control.set_variable(&caller, &project, &body, params.flag("upsert")?).await?))
}

async fn remove_variable(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Names(project, name): Names,
) -> Result<Json<VariableRemoved>, ApiError> {
    Ok(Json(control.remove_variable(&caller, &project, &name).await?))
}

//! Aliases: `POST /deployments/{x}/aliases`, `GET /deployments/{x}/aliases`, `GET /aliases`, `GET` and
//! `DELETE /aliases/{x}`, `GET /domains/{x}`.

use crate::{
    auth::Authenticated,
    error::ApiError,
    params::{Name, Params},
    read::{Json, object},
    router::Route,
};
use axum::{body::Body, extract::State};
use dockless_control::{Control, Error};
use dockless_model::Timestamp;
use dockless_wire::{Alias, AliasList, AliasRemoved, AliasSet, SetAlias};
use serde_json::{Value, json};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("/deployments/{x}/aliases", set),
        Route::get("/deployments/{x}/aliases", of_deployment),
        Route::get("/aliases", list),
        Route::get("/aliases/{x}", show),
        Route::delete("/aliases/{x}", remove),
        Route::get("/domains/{x}", domain),
    ]
}

async fn set(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
    body: Body,
) -> Result<Json<AliasSet>, ApiError> {
    let body: SetAlias = object(body).await?;
    control.set_alias(&caller, &name, &body.alias).await.map(Json).map_err(|error| match error {
        // Clients have a sentence of their own for this one.
        Error::NotFound("deployment") => ApiError::NoDeployment,
        other => other.into(),
    })
}

async fn of_deployment(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<AliasList>, ApiError> {
    Ok(Json(control.aliases_of(&caller, &name).await?))
}

async fn list(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> Result<Json<AliasList>, ApiError> {
    let until = params.number("until")?.filter(|at| *at != 0).map(Timestamp);
    Ok(Json(control.aliases(&caller, until, params.number("limit")?).await?))
}

/// `null` where there is none: clients ask before they set one, and give up at 404.
async fn show(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<Option<Alias>>, ApiError> {
    Ok(Json(control.alias(&caller, &name).await?))
}

async fn remove(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<AliasRemoved>, ApiError> {
    Ok(Json(control.remove_alias(&caller, &name).await?))
}

/// Clients ask whether a domain is theirs before they set an alias below it; whether one may is decided by then.
async fn domain(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<Value>, ApiError> {
    if !control.may_be_alias(&name) {
        return Err(Error::NotFound("domain").into());
    }
    let user = caller.user();
    Ok(Json(json!({ "domain": {
        "id": name,
        "name": name,
        "verified": true,
        "serviceType": "external",
        "nameservers": [],
        "intendedNameservers": [],
        "creator": { "id": user.id, "username": user.username, "email": user.email },
    }})))
}

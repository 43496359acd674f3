//! Accounts, for the owner of the platform: `GET` and `POST /accounts`, `DELETE /accounts/{x}`,
//! `POST /accounts/{x}/tokens`; and everybody's own tokens: `GET` and `POST /user/tokens`, `DELETE /user/tokens/{x}`.

use crate::{
    auth::Authenticated,
    error::ApiError,
    params::Name,
    read::{Json, object},
    router::Route,
};
use axum::{body::Body, extract::State};
use dockless_control::Control;
use dockless_wire::{
    AccountCreated, AccountList, AccountRemoved, CreateAccount, CreateToken, TokenCreated, TokenList, TokenRemoved,
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/accounts", list),
        Route::post("/accounts", add),
        Route::delete("/accounts/{x}", remove),
        Route::post("/accounts/{x}/tokens", add_token_for),
        Route::get("/user/tokens", tokens),
        Route::post("/user/tokens", add_token),
        Route::delete("/user/tokens/{x}", remove_token),
    ]
}

async fn list(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
) -> Result<Json<AccountList>, ApiError> {
    Ok(Json(control.accounts(&caller).await?))
}

async fn add(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    body: Body,
) -> Result<Json<AccountCreated>, ApiError> {
    caller.must_own_platform()?;
    let body: CreateAccount = object(body).await?;
    Ok(Json(control.add_account(&caller, &body).await?))
}

async fn remove(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<AccountRemoved>, ApiError> {
    Ok(Json(control.remove_account(&caller, &name).await?))
}

async fn add_token_for(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
    body: Body,
) -> Result<Json<TokenCreated>, ApiError> {
    caller.must_own_platform()?;
    let body: CreateToken = object(body).await?;
    Ok(Json(control.add_token_for(&caller, &name, &body).await?))
}

async fn tokens(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
) -> Result<Json<TokenList>, ApiError> {
    Ok(Json(control.tokens(&caller).await?))
}

async fn add_token(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    body: Body,
) -> Result<Json<TokenCreated>, ApiError> {
    let body: CreateToken = object(body).await?;
    Ok(Json(control.add_token(&caller, &body).await?))
}

async fn remove_token(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
) -> Result<Json<TokenRemoved>, ApiError> {
    Ok(Json(control.remove_token(&caller, &name).await?))
}

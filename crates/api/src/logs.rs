//! Runtime logs: `GET /deployments/{x}/logs?follow=1&since=SEQ&limit=N`.

use crate::{
    auth::Authenticated,
    error::ApiError,
    ndjson,
    params::{Name, Params},
    router::Route,
};
use axum::{extract::State, response::Response};
use dockless_control::{Control, LogQuery};
use futures_util::StreamExt;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/deployments/{x}/logs", logs)]
}

async fn logs(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
    params: Params,
) -> Result<Response, ApiError> {
    let query =
        LogQuery { since: params.number("since")?, limit: params.number("limit")?, follow: params.flag("follow")? };
    let records = control.logs(&caller, &name, query).await?;
    let ended = async move { control.token_ended(&caller).await };
    let records = records.take_until(Box::pin(ended));
    Ok(ndjson::answer(ndjson::kept_alive(records.map(|record| ndjson::line(&record)))))
}

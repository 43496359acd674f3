//! The build log: `GET /deployments/{x}/events`.
//!
//! With `follow=1` lines as they come, until the build is over; with `format=lines` the lines so far; else one array.

use crate::{
    auth::Authenticated,
    error::ApiError,
    ndjson,
    params::{Name, Params},
    read::Json,
    router::Route,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use dockless_control::{Control, EventQuery, Followed};
use futures_util::{StreamExt, stream};
use std::convert::Infallible;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/deployments/{x}/events", events)]
}

async fn events(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    Name(name): Name,
    params: Params,
) -> Result<Response, ApiError> {
    // 0 is unset for times.
    let time = |name| params.number::<i64>(name).map(|at| at.filter(|at| *at != 0));
    let query = EventQuery {
        kinds: params.text("types").map(|kinds| kinds.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        text: params.text("q").map(str::to_owned),
        since: time("since")?,
        until: time("until")?,
        backward: params.text("direction") == Some("backward"),
        limit: params.number("limit")?,
    };
    if params.flag("follow")? {
        let followed = control.follow_events(&caller, &name, query).await?;
        let ended = async move { control.token_ended(&caller).await };
        return Ok(ndjson::answer(followed.take_until(Box::pin(ended)).map(|step| {
            step.map(|step| match step {
                Followed::Event(event) => ndjson::line(&event),
                Followed::KeepAlive => ndjson::KEEP_ALIVE,
            })
        })));
    }
    let events = control.events(&caller, &name, &query).await?;
    if params.text("format") == Some("lines") {
        let lines = events.into_iter().map(|event| Ok::<_, Infallible>(ndjson::line(&event)));
        return Ok(ndjson::answer(stream::iter(lines.collect::<Vec<_>>())));
    }
    Ok(Json(events).into_response())
}

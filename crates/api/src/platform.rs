//! The platform itself: `GET /status`, `GET /metrics`, `POST /upgrade`. For its owner alone.

use crate::{auth::Authenticated, error::ApiError, read::Json, router::Route};
use axum::{extract::State, response::IntoResponse};
use dockless_control::{Control, MetricsFormat};
use dockless_wire::{Status, Upgraded};
use http::{HeaderMap, header};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/status", status), Route::get("/metrics", metrics), Route::post("/upgrade", upgrade)]
}

async fn status(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Status>, ApiError> {
    Ok(Json(control.status(&caller).await?))
}

/// In the format that the scraper prefers: OpenMetrics where it is named, else what every one reads.
async fn metrics(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (format, kind) = if accepted.flat_map(|value| value.split(',')).any(is_open_metrics) {
        (MetricsFormat::OpenMetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (MetricsFormat::Prometheus, "text/plain; version=0.0.4; charset=utf-8")
    };
    Ok(([(header::CONTENT_TYPE, kind)], control.metrics(&caller, format).await?))
}

fn is_open_metrics(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("application/openmetrics-text"))
}

async fn upgrade(
    State(control): State<Control>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Upgraded>, ApiError> {
    Ok(Json(control.upgrade(&caller).await?))
}

//! The HTTP face of `control`: one file per group of endpoints, thin handlers, one mapping of errors.
//!
//! A path is matched without its version and without the prefixes that old clients write before it:
//! `/v13/deployments`, `/v5/now/deployments` and `/now/deployments/` are one resource. Every route asks for a bearer
//! token; which routes exist is one list ([`routes`]), against which a test holds its table of who may do what.
//!
//! ```no_run
//! # async fn example(control: dockless_control::Control, request: http::Request<axum::body::Body>) {
//! let api = dockless_api::Api::new(control);
//! let response: http::Response<axum::body::Body> = api.call(request).await;
//! # }
//! ```

mod accounts;
mod aliases;
mod auth;
mod create;
mod deployments;
mod error;
mod events;
mod files;
mod instances;
mod logs;
mod ndjson;
mod params;
mod path;
mod platform;
mod projects;
mod read;
mod remove;
mod router;
mod secrets;
mod service;
mod usage;
mod user;

pub use router::{RouteName, routes};
pub use service::Api;

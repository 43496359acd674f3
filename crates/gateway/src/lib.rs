//! From a socket to a deployment: accepts connections, finds the deployment of a host, matches its routes, serves its
//! files and hands requests to its functions. Bodies stream both ways; nothing here waits on SQL.
//!
//! ```text
//! connection ─► authority ─► hosts (snapshot, else one load) ─► routes ─┬─► files ──────────────► answer
//!      │            └─ API hosts ─► ApiService                         └─► function ─► pool ─► lease
//!      └─ TLS, HTTP/1 or HTTP/2, timeouts, drain, lingering close
//! ```

mod activity;
mod answers;
mod authority;
mod body;
mod coding;
mod config;
mod connection;
mod cookies;
mod counters;
mod crowd;
mod deployment;
mod elsewhere;
mod elsewhere_body;
mod extended_connect;
mod file_body;
mod files;
mod frames;
mod function;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gateway;
mod headers;
mod hosts;
mod listen;
mod listing;
mod metrics;
mod page;
mod pages;
mod range;
mod request;
mod sendfile;
mod small_files;
mod socket;
mod streams;
mod timing;
mod tls;
mod tunnel;
mod upload;

pub use authority::Role;
pub use config::{Drain, GatewayConfig, HostsConfig};
pub use counters::{Counted, Counters};
pub use deployment::{Deployment, Directory, LoadError};
pub use dockless_pool::BodyError;
pub use elsewhere::Reach;
pub use gateway::{ApiBody, ApiService, Gateway, Peer};
pub use hosts::HostTable;
pub use listen::Drained;
pub use tls::{Issued, Issuer, Tls, TlsError};

/// A boxed future, as in `futures`.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Header of every answer: the request's id, as on error pages and in logs.
pub const ID_HEADER: &str = "x-dockless-id";
/// Header of answers that are ours and not the deployment's: the name of a [`dockless_model::Code`].
pub const ERROR_HEADER: &str = "x-dockless-error";

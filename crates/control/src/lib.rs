//! What users may do: accounts and tokens, uploads, deployments and their builds, hosts and aliases, removal; and the
//! loops that make what is stored come true.
//!
//! ```text
//! api ──► Control ──► store (SQL), blob (bytes)
//!            │
//!            └──────► Platform: builds, instances, logs of this machine, behind a port
//! ```
//! Every method that acts for somebody takes a [`Caller`] and sees that account's rows alone: what belongs to another
//! account does not exist. Methods without a caller serve the platform itself (the gateway's look-ups, the loops).
//!
//! Two server processes may work on one database at once while one takes over from the other: work is claimed by
//! leases, and each process follows the changes of hosts through the database ([`Change`]).

mod account;
mod alias;
mod build_log;
mod collect;
mod config;
mod control;
mod create;
mod deployment;
mod error;
mod event;
mod feed;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod instance;
mod log;
mod logins;
mod platform;
mod project;
mod remove;
mod scale;
mod secret;
mod status;
mod token;
mod upload;
mod usage;
mod variable;
mod vault;
mod view;
mod worker;

pub use account::Caller;
pub use build_log::{BuildLog, Stream};
pub use config::{ControlConfig, ForeignHosts, PublicUrl};
pub use control::Control;
pub use create::CreateOptions;
pub use dockless_store::{Filter, UsageCounters};
pub use error::{Error, Invalid, Refusal};
pub use event::{EventQuery, Followed};
pub use feed::Change;
pub use host::Hosted;
pub use platform::{
    BuildFailure, BuildJob, LogQuery, LogStream, MetricsFormat, Placed, Platform, Running, Trouble, UpgradeFailure,
};
pub use upload::Upload;
pub use vault::{KeysError, SecretKeys};

//! SQL: rows of accounts, projects, deployments, hosts, files and builds, and the transactions that change them.
//!
//! One writer crate uses it (`control`), in one or, during a hand-over, two processes on one file. Rules:
//!
//! - every writing transaction takes the write lock first and bumps the single-row `revision`, so that another process
//!   sees by one number that something changed;
//! - states move by compare-and-set; a build's result counts only from the session that holds its lease;
//! - whole steps are one method and one transaction ([`Db::create_deployment`], [`Db::publish`], [`Db::remove_deployment`] …);
//! - SQL stays within a portable subset (`$1` placeholders, `ON CONFLICT`, `RETURNING`): PostgreSQL is to follow.

mod account;
mod alias;
mod build;
mod change;
mod create;
mod db;
mod deployment;
mod doomed;
mod error;
mod event;
mod file;
mod migrate;
mod project;
mod publish;
mod reference;
mod remove;
mod row;
mod scale;
mod sealed;
mod secret;
mod token;
mod usage;
mod variable;

pub use account::{Account, NewAccount};
pub use alias::{Alias, AliasMove, Pointed, Target};
pub use build::{BuildRow, Claimed, Requeued};
pub use change::HostChange;
pub use create::{Created, NewDeployment};
pub use db::Db;
pub use deployment::{Deployment, Failure, Fault, Filter, Served};
pub use doomed::Doomed;
pub use error::StoreError;
pub use event::{EventRow, NewEvent};
pub use file::FileRow;
pub use project::Project;
pub use publish::{Finished, Published};
pub use sealed::SealedColumn;
pub use secret::{SecretRemoval, SecretRow};
pub use token::{NewToken, Token};
pub use usage::{UsageCounters, UsageRow};
pub use variable::Variable;

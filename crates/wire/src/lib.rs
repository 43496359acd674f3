//! Bodies of the HTTP API, shared by server and CLI.
//!
//! The deployment endpoints speak the Now API v2: fields come in doubles (`id`/`uid`/`deploymentId`, `state`/`readyState`,
//! `created`/`createdAt`) because clients of different ages read different ones. What is ours alone ([`Instance`],
//! [`Status`], [`LogRecord`] …) has one name for one thing. Times are milliseconds since the Unix epoch. Readers ignore
//! fields they do not know.

mod account;
mod alias;
mod create;
mod deployment;
mod error;
mod event;
pub mod file;
mod instance;
mod log;
mod project;
mod scale;
mod secret;
mod status;
mod usage;
mod user;

pub use account::{
    Account, AccountCreated, AccountList, AccountRemoved, CreateAccount, CreateToken, Token, TokenCreated, TokenList,
    TokenRemoved,
};
pub use alias::{Alias, AliasList, AliasRemoved, AliasSet, AliasTarget, SetAlias};
pub use create::{
    BuildSettings, CreateDeployment, IDEMPOTENCY_KEY, ImageLimits, OCI_LAYOUT, REGISTRY_AUTH, SourceFile,
};
pub use deployment::{
    AliasError, Build, BuildList, BuildOutput, Creator, Deployment, DeploymentList, LambdaOutput, Pagination, Removed,
};
pub use error::{ErrorBody, ErrorDetail};
pub use event::{Event, EventPayload};
pub use file::Uploaded;
pub use instance::{Instance, InstanceList, Slept};
pub use log::LogRecord;
pub use project::{AliasRequest, CreateProject, Production, Project, ProjectRemoved, Promoted, Targets};
pub use scale::{Auto, InstancesByRegion, RegionInstances, ScaleMax, ScaleRule, ScaleRules};
pub use secret::{
    CreateSecret, CreateVariable, RenameSecret, SecretInfo, SecretList, SecretRemoved, SecretRenamed, Variable,
    VariableList, VariableRemoved,
};
pub use status::{RuntimeStatus, Status, Upgraded};
pub use usage::{Usage, UsageList};
pub use user::{Billing, TeamList, User, UserBody};

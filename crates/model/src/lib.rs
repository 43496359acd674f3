//! Nouns and rules of the platform: ids, names, digests, limits, states and their legal transitions, the table of
//! refusal codes, and the manifest that a build leaves behind. No I/O: every other crate may depend on this one.

pub mod code;
pub mod digest;
pub mod entropy;
pub mod error;
pub mod host;
pub mod id;
pub mod image;
pub mod limits;
pub mod output;
pub mod path;
pub mod plan;
mod route;
mod rules;
mod runtime;
pub mod scale;
pub mod secret;
pub mod slot;
pub mod state;
pub mod time;

pub use code::Code;
pub use digest::{Digest, WireDigest};
pub use entropy::{Entropy, OsEntropy};
pub use error::{ParseError, chain};
pub use host::{Host, ProjectName};
pub use id::{AccountId, BuildId, DeploymentId, InstanceId, ProjectId, RequestId, SecretId, TokenId, VariableId};
pub use image::Image;
pub use limits::{FunctionLimits, MemoryMib, ServiceLimits};
pub use output::Output;
pub use path::SourcePath;
pub use plan::Plan;
pub use rules::{NamedSlot, ServiceRules};
pub use runtime::RuntimeId;
pub use scale::Scale;
pub use secret::Secret;
pub use slot::Slot;
pub use state::{DeploymentState, InstanceState};
pub use time::{Clock, SystemClock, Timestamp};

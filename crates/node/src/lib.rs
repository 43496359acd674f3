//! This machine: from a function's specification to a running instance of it.
//!
//! ```text
//! Node ── Warden        messages to the privileged process, matched with their answers
//!   ├──── Import        blobs → one memfd → a read-only tree
//!   ├──── Shelf         prewarmed sandboxes, nobody's yet
//!   ├──── Instance      one sandbox: its HTTP connection, control channel, output, freezer
//!   ├──── Workshop      build sandboxes: their commands, their files, their way to registries
//!   ├──── Adoption      sandboxes that another server left behind
//!   └──── Logs          what functions print, in bounded rings on disk
//! ```
//! Who gets which instance when is not decided here but in the `pool`.

mod adoption;
mod body;
pub mod capture;
mod config;
mod connection;
mod control;
mod death;
pub mod environment;
mod error;
mod freezer;
#[cfg(fuzzing)]
pub mod fuzzing;
mod groups;
mod import;
mod instance;
mod layers;
mod link;
pub mod logs;
mod memory;
mod metrics;
pub mod names;
mod node;
mod output;
mod prepare;
mod registry;
mod service;
mod shelf;
mod spec;
mod start;
mod tag;
mod warden;
pub mod workshop;

pub use body::{BodyError, RequestBody};
pub use config::{NodeConfig, ShelfConfig};
pub use connection::NotSent;
pub use death::{Death, KillReason};
pub use error::{CallError, ImportError, InstanceError, NodeError, StartError, UnpackError};
pub use instance::{Ended, Instance, Life, Started};
pub use link::Carrier;
pub use logs::Logs;
pub use node::{Exit, GatewaySockets, Node, NodeEvent, NodeEvents};
pub use shelf::ShelfClass;
pub use spec::{Program, Spec};

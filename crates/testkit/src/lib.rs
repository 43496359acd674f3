//! A real server on a free port with a temporary data folder, and what a test needs around it.
//!
//! ```text
//! Server ─► deploy(Files) ─► Deployment ─► get, send, open ─► Response, Connection      as a stranger with a browser
//!    ├────► cli(&["ls"]) ─► Finished      api() ─► Api                                  as the owner
//!    └────► census() ─► Census ─► assert_nothing_left()                                 as the machine
//! ```
//! Everything blocks, and everything that waits has a deadline. What goes wrong panics with what was seen: a test has
//! nobody to return an error to. Root is needed; without it [`Server::start`] fails loudly instead of skipping.

mod api;
mod census;
mod cli;
mod deployment;
mod dev;
mod files;
mod http;
mod image;
mod layer;
mod load;
mod native;
mod outside;
pub mod process;
mod registry;
mod runtimes;
mod server;
mod wait;

pub use api::Api;
pub use census::Census;
pub use cli::{Finished, Running};
pub use deployment::Deployment;
pub use dev::Dev;
pub use files::{Files, Scratch, copy_tree};
pub use http::{Connection, Head, Request, Response, connect};
pub use image::{TestImage, push_manifest};
pub use layer::{Compression, LayerTar};
pub use load::{Connections, Load, Loss, LossKind, Report, RunningLoad};
pub use native::compile;
pub use outside::Outside;
pub use registry::{Fault, FaultProxy, Registry, installed, npm_answers};
pub use server::{Kept, Options, Server};
pub use wait::{PATIENCE, eventually, patient, wait_until};

//! Images: names, documents, registries, archives.
//!
//! ```text
//! "ghcr.io/me/app:1" ─ Reference ─► Registry::resolve ─► Image (layers by digest, process) ─► Registry::fetch, layer by layer
//!                                    index → manifest → configuration                        into the blob store, verified
//! ```
//! The documents are read by types of our own: Docker's and OCI's differ in media types alone, and images in the wild
//! leave out what the specification's types demand.

mod document;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layout;
mod local;
mod process;
mod reference;
mod registry;

pub use document::Platform;
pub use error::PullError;
pub use layout::{Layout, resolve_layout};
pub use local::{LocalError, stage};
pub use process::{ProcessError, process};
pub use reference::{Reference, ReferenceError};
pub use registry::{Base, Credentials, Fetched, Registry};

/// Most layers of an image, as container engines have it.
pub const MAX_LAYERS: usize = 127;
/// Largest layer as it comes, in bytes.
pub const MAX_LAYER_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Largest image as it comes, in bytes.
pub const MAX_IMAGE_BYTES: u64 = 32 * 1024 * 1024 * 1024;

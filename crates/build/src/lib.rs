//! From an uploaded tree, or an image in a registry ([`image()`]), to an output: what a folder means is decided from its
//! names and a few documents, then packages are installed and scripts run where there are any, and each entrypoint becomes
//! a bundle.
//!
//! ```text
//! files ─ Source::load ─► Source ─ detect ─► Plan ─ Builder::build ─► Output ─ Encoder::encode ─► Output
//!         (reads package.json …)   (pure)          (sandbox, cache, imports)   (compresses files)
//! ```

mod bench;
mod builder;
mod cache;
mod compile;
mod container;
mod contents;
mod detect;
mod dockerfile;
mod documents;
mod encodings;
mod engines;
mod error;
mod functions;
#[cfg(fuzzing)]
pub mod fuzzing;
mod go;
mod image;
mod install;
mod listed;
mod log;
mod packages;
mod pip;
mod plan;
mod prebuilt;
mod presets;
mod python;
mod requirements;
mod run;
mod segments;
mod settings;
mod source;
mod statics;
mod tools;
mod trace;

pub use builder::{BuildRequest, Builder, Variables};
pub use container::{BUILDAH, Container};
pub use detect::detect;
pub use dockerfile::DockerfileError;
pub use dockless_model::output::BundleFile as SourceFile;
pub use encodings::Encoder;
pub use error::BuildError;
pub use image::{ImageJob, Origin, image};
pub use log::{BuildLog, Level};
pub use packages::Project;
pub use plan::{MAX_BUNDLE_BYTES, Plan, Step};
pub use settings::BuildSettings;
pub use source::Source;

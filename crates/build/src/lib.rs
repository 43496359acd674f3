//! From an uploaded tree to an output: what the folder means is decided from its names alone (no configuration), then
//! each entrypoint is imported as its own bundle.
//!
//! ```text
//! files ─ Source::load ─► Source ─ detect ─► Plan ─ run ─► Output
//!         (reads package.json …)   (pure)          (imports bundles, side by side)
//! ```

mod detect;
mod documents;
mod error;
mod functions;
mod log;
mod plan;
mod run;
mod segments;
mod source;
mod statics;

pub use detect::detect;
pub use dockless_model::output::BundleFile as SourceFile;
pub use error::BuildError;
pub use log::{BuildLog, Level};
pub use plan::{MAX_BUNDLE_BYTES, Plan, Step};
pub use run::run;
pub use source::Source;

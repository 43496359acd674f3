//! What a build will do.

use crate::SourceFile;
use dockless_model::{
    FunctionLimits, SourcePath,
    output::{Route, StaticFile},
};
use std::{collections::BTreeMap, sync::Arc};

/// Largest bundle of a function, unpacked.
pub const MAX_BUNDLE_BYTES: u64 = 50 * 1024 * 1024;

/// The whole of a build, decided before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Output path → file served as it is.
    pub files: BTreeMap<SourcePath, StaticFile>,
    /// One for each entrypoint.
    pub steps: Vec<Step>,
    /// Files that every bundle holds beside its entrypoint.
    pub shared: Arc<BTreeMap<SourcePath, SourceFile>>,
    /// Of the functions.
    pub routes: Vec<Route>,
    /// What the owner should know although the build goes on.
    pub warnings: Vec<String>,
}

/// One entrypoint becomes one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its file in the source, e.g. `api/date.js`.
    pub entrypoint: SourcePath,
    /// That file.
    pub file: SourceFile,
    /// Where it answers, e.g. `api/date`.
    pub output: SourcePath,
    /// Language whose current runtime it gets.
    pub language: &'static str,
    /// Its limits.
    pub limits: FunctionLimits,
}

impl Plan {
    /// Files of a step's bundle.
    #[must_use]
    pub fn bundle(&self, step: &Step) -> BTreeMap<SourcePath, SourceFile> {
        let mut files = BTreeMap::clone(&self.shared);
        files.insert(step.entrypoint.clone(), step.file.clone());
        files
    }
}

//! What a build will do.

use crate::{Container, Project, SourceFile, documents, go::GO};
use dockless_model::{
    FunctionLimits, SourcePath,
    output::{Route, StaticFile},
};
use std::{collections::BTreeMap, sync::Arc};

/// Largest bundle of a function, unpacked.
pub const MAX_BUNDLE_BYTES: u64 = 50 * 1024 * 1024;

/// Files of all bundles of a deployment together, each counted as often as it is in one: its output lists them.
pub(crate) const MAX_BUNDLED_FILES: usize = 500_000;

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
    /// Servers that are built from Dockerfiles and answer whatever else does not.
    pub containers: Vec<Container>,
    /// What has to be installed and run first; none for a source whose files are all there is.
    pub project: Option<Project>,
    /// Whether folders without an index are listed.
    pub listing: bool,
    /// Whether `X.html` answers at `X`.
    pub clean_urls: bool,
    /// Whether what is built reaches the internet when it runs.
    pub egress: bool,
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
    /// Globs of files that belong to it whatever is found.
    pub include: Vec<String>,
    /// Globs of files that do not.
    pub exclude: Vec<String>,
    /// Whether request and response get helpers.
    pub helpers: bool,
    /// Its whole bundle, where a build elsewhere has made it.
    pub files: Option<BTreeMap<SourcePath, SourceFile>>,
}

impl Plan {
    /// Files of a step's bundle where nothing is traced: everything shared, and what its globs add and take.
    #[must_use]
    pub fn bundle(&self, step: &Step, source: &BTreeMap<SourcePath, SourceFile>) -> BTreeMap<SourcePath, SourceFile> {
        if let Some(files) = &step.files {
            return files.clone();
        }
        // A program has all that it needs in it.
        let is_compiled = step.language == GO;
        let mut files = if is_compiled { BTreeMap::new() } else { BTreeMap::clone(&self.shared) };
        // Pages include each other: what one is beside the others is for none of them to know.
        if step.language == "php" {
            let pages = source.iter().filter(|(path, _)| path.extension() == Some("php"));
            files.extend(pages.map(|(path, file)| (path.clone(), file.clone())));
        }
        let globs = |globs: &[String]| globs.iter().filter_map(|glob| documents::matcher(glob)).collect::<Vec<_>>();
        let (include, exclude) = (globs(&step.include), globs(&step.exclude));
        if !include.is_empty() {
            let included = |path: &&SourcePath| include.iter().any(|glob| glob.is_match(path.as_str()));
            files.extend(
                source.iter().filter(|(path, _)| included(path)).map(|(path, file)| (path.clone(), file.clone())),
            );
        }
        files.retain(|path, _| !exclude.iter().any(|glob| glob.is_match(path.as_str())));
        if !is_compiled {
            files.insert(step.entrypoint.clone(), step.file.clone());
        }
        files
    }
}

//! Which files are functions.

use crate::{
    BuildError,
    segments::{Segments, find_conflict},
};
use dockless_model::{
    SourcePath,
    output::{Phase, Route},
};
use std::collections::BTreeMap;

/// Extensions that the Node launcher loads.
const NODE: [&str; 3] = ["js", "mjs", "cjs"];
/// Extensions that make functions on this platform, though not with this version.
const LATER: [&str; 7] = ["ts", "tsx", "py", "php", "go", "rb", "rs"];

/// What a path is to the detection of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Unsupported,
    No,
}

fn kind(path: &SourcePath) -> Kind {
    let text = path.as_str();
    let hidden = text.split('/').any(|part| part.starts_with(['.', '_']) || part == "node_modules");
    let extension = path.extension().unwrap_or_default();
    if hidden || text.ends_with(".d.ts") || text.ends_with("_test.go") {
        Kind::No
    } else if extension == "php" {
        // Anywhere: a source that must never be served as a file.
        Kind::Unsupported
    } else if !text.starts_with("api/") {
        Kind::No
    } else if NODE.contains(&extension) {
        Kind::Node
    } else if LATER.contains(&extension) {
        Kind::Unsupported
    } else {
        Kind::No
    }
}

/// Entrypoints → output paths, and the routes they need.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    /// Entrypoint → output path.
    pub(crate) outputs: BTreeMap<SourcePath, SourcePath>,
    /// In order of trial.
    pub(crate) routes: Vec<Route>,
}

impl Functions {
    /// # Errors
    /// Languages without a runtime, conflicting paths, segments that are no parameters.
    pub(crate) fn among<'a>(paths: impl Iterator<Item = &'a SourcePath>) -> Result<Self, BuildError> {
        let (mut node, mut unsupported) = (Vec::new(), Vec::new());
        for path in paths {
            match kind(path) {
                Kind::Node => node.push(Segments::parse(path)),
                Kind::Unsupported => unsupported.push(path.clone()),
                Kind::No => {}
            }
        }
        if !unsupported.is_empty() {
            return Err(BuildError::UnsupportedLanguage { files: unsupported });
        }
        let mut node = node.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some((first, second)) = find_conflict(&node) {
            return Err(BuildError::ConflictingPaths { first: first.clone(), second: second.clone() });
        }
        node.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let mut routes = Vec::new();
        if !node.is_empty() {
            // `/api/date.js` is `/api/date`.
            routes.push(Route {
                src: format!("/(api/.+)\\.(?:{})", NODE.join("|")),
                dest: "/$1".to_owned(),
                phase: Phase::Filesystem,
            });
        }
        routes.extend(node.iter().filter_map(Segments::route));
        let outputs = node.iter().map(|segments| (segments.path().clone(), segments.output())).collect();
        Ok(Self { outputs, routes })
    }
}

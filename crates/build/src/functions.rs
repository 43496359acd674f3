//! Which files are functions.

use crate::{
    BuildError, Source,
    go::{self, GO},
    image, python,
    segments::{Segments, find_conflict},
};
use dockless_model::{
    SourcePath,
    output::{Phase, Route},
};
use dockless_routing::{dest_literal, src_literal};
use std::collections::BTreeMap;

/// Extensions that the Node launcher loads.
const NODE: [&str; 3] = ["js", "mjs", "cjs"];
/// Extensions of what is compiled for it.
const TYPESCRIPT: [&str; 4] = ["ts", "mts", "cts", "tsx"];
/// Extensions that make functions on this platform, though not with this version.
const LATER: [&str; 2] = ["rb", "rs"];
/// Extensions under which functions answer as well, for routes.
pub(crate) const ANSWERING: &str = "js|mjs|cjs|tsx|ts|mts|cts|py|php|go";

/// What a path is to the detection of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Python,
    Php,
    Go,
    Unsupported,
    No,
}

fn kind(path: &SourcePath) -> Kind {
    let text = path.as_str();
    let hidden = text.split('/').any(|part| part.starts_with(['.', '_']) || part == "node_modules");
    let extension = path.extension().unwrap_or_default();
    if hidden || is_declaration(path) || text.ends_with("_test.go") {
        Kind::No
    } else if extension == "php" {
        // Anywhere: a source that must never be served as a file.
        Kind::Php
    } else if !text.starts_with("api/") {
        Kind::No
    } else if NODE.contains(&extension) || TYPESCRIPT.contains(&extension) {
        Kind::Node
    } else if extension == "py" {
        Kind::Python
    } else if extension == "go" {
        Kind::Go
    } else if LATER.contains(&extension) {
        Kind::Unsupported
    } else {
        Kind::No
    }
}

/// Whether a file's content decides whether it is a function.
pub(crate) fn is_read(path: &SourcePath) -> bool {
    matches!(kind(path), Kind::Python | Kind::Go)
}

/// Whether a file is written in a language of functions: such files below `api/` are never served as text.
pub(crate) fn is_code(path: &SourcePath) -> bool {
    let extension = path.extension().unwrap_or_default();
    let known = [&["py", "php", "go"][..], &NODE, &TYPESCRIPT];
    path.as_str().starts_with("api/") && known.iter().any(|list| list.contains(&extension))
}

/// Whether a file has to be compiled before it can be loaded.
pub(crate) fn is_typescript(path: &SourcePath) -> bool {
    path.extension().is_some_and(|extension| TYPESCRIPT.contains(&extension)) && !is_declaration(path)
}

/// Types alone: `x.d.ts`, `x.d.mts`, `x.d.cts`.
fn is_declaration(path: &SourcePath) -> bool {
    [".d.ts", ".d.mts", ".d.cts"].iter().any(|end| path.as_str().ends_with(end))
}

/// The language of an entrypoint.
pub(crate) fn language(path: &SourcePath) -> &'static str {
    match path.extension() {
        Some("py") => "python",
        Some("php") => "php",
        Some("go") => GO,
        _ => "node",
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
    /// An application that answers every path itself.
    pub(crate) fn server(entrypoint: SourcePath) -> Self {
        let routes = vec![image::everything()];
        Self { outputs: BTreeMap::from([(entrypoint, image::root())]), routes }
    }

    /// # Errors
    /// Languages without a runtime, conflicting paths, segments that are no parameters.
    pub(crate) fn among(source: &Source) -> Result<Self, BuildError> {
        let (mut found, mut pages, mut unsupported) = (Vec::new(), Vec::new(), Vec::new());
        // Beside a Dockerfile they are the server's own.
        let is_server = Source::DOCKERFILES.iter().any(|name| source.files.contains_key(*name));
        for path in source.files.keys() {
            match kind(path) {
                Kind::Node => found.push(Segments::parse(path)),
                Kind::Php if path.as_str().starts_with("api/") => found.push(Segments::parse(path)),
                Kind::Php if !is_server && !is_installed(path) => pages.push(path),
                Kind::Php => {}
                // One that was too long to be read tells when it is loaded.
                Kind::Python if source.documents.get(path).is_none_or(|text| python::defines_handler(text)) => {
                    found.push(Segments::parse(path));
                }
                Kind::Python => {}
                Kind::Go if source.documents.get(path).is_none_or(|text| go::handler(text).is_some()) => {
                    found.push(Segments::parse(path));
                }
                Kind::Go => {}
                Kind::Unsupported => unsupported.push(path.clone()),
                Kind::No => {}
            }
        }
        if !unsupported.is_empty() {
            return Err(BuildError::UnsupportedLanguage { files: unsupported });
        }
        let mut found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some((first, second)) = find_conflict(&found) {
            return Err(BuildError::ConflictingPaths { first: first.clone(), second: second.clone() });
        }
        found.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let mut routes = Vec::new();
        if !found.is_empty() {
            // `/api/date.js` is `/api/date`.
            let src = format!("/(api/.+)\\.(?:{ANSWERING})");
            routes.push(Route::if_exists(src, "/$1".to_owned(), Phase::Miss));
        }
        routes.extend(found.iter().filter_map(Segments::route));
        // `public/` is the web root, of pages too.
        let pages: Vec<_> = pages
            .into_iter()
            .map(|page| (page.clone(), page.as_str().strip_prefix("public/").and_then(|path| path.parse().ok())))
            .map(|(page, inside)| (page.clone(), inside.unwrap_or(page)))
            .collect();
        routes.extend(pages.iter().filter_map(|(page, output)| index_route(page, output, source)));
        let outputs = found.iter().map(|segments| (segments.path().clone(), segments.output())).chain(pages).collect();
        Ok(Self { outputs, routes })
    }
}

/// Whether a file is part of a package that Composer installed: it is there to be included.
fn is_installed(path: &SourcePath) -> bool {
    path.as_str().split('/').any(|part| part == "vendor")
}

/// `/folder` leads to `folder/index.php`, unless a page that is a file stands there.
fn index_route(page: &SourcePath, output: &SourcePath, source: &Source) -> Option<Route> {
    let folder = output.as_str().strip_suffix("index.php")?;
    let is_own = folder.is_empty() || folder.ends_with('/');
    let file = page.as_str().replace("index.php", "index.html");
    if !is_own || source.files.contains_key(file.as_str()) {
        return None;
    }
    let src = match folder.trim_end_matches('/') {
        "" => "/".to_owned(),
        folder => format!("/{}/?", src_literal(folder)),
    };
    Some(Route::if_exists(src, format!("/{}", dest_literal(output.as_str())), Phase::Filesystem))
}

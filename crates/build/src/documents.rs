//! What package.json, now.json and vercel.json ask for. This version does little of it: whatever would change the
//! output is refused by name instead of being overlooked.

use crate::{BuildError, Source};
use dockless_model::SourcePath;
use serde_json::{Map, Value};

/// Keys of now.json and vercel.json that change what is built or served. Others name, describe or belong to clients.
const MEANINGFUL: [&str; 21] = [
    "builds",
    "buildCommand",
    "cleanUrls",
    "crons",
    "devCommand",
    "features",
    "framework",
    "functions",
    "headers",
    "ignoreCommand",
    "images",
    "installCommand",
    "outputDirectory",
    "redirects",
    "rewrites",
    "routes",
    "services",
    "static",
    "trailingSlash",
    "type",
    "limits",
];

/// Refuses what this version would have to install, run or obey.
pub(crate) fn check(source: &Source, has_functions: bool) -> Result<(), BuildError> {
    // Packages uploaded with the source need no installing.
    let has_packages = source.files.keys().any(|path| path.as_str().starts_with("node_modules/"));
    for (path, bytes) in &source.documents {
        let document: Map<String, Value> = serde_json::from_slice(without_mark(bytes))
            .map_err(|error| BuildError::Malformed { path: path.clone(), source: error })?;
        match path.as_str() {
            "now.json" | "vercel.json" => configuration(path, &document)?,
            "package.json" => {
                build_script(&document)?;
                dependencies(path, &document, has_functions && !has_packages)?;
            }
            _ => dependencies(path, &document, has_functions && !has_packages)?,
        }
    }
    Ok(())
}

fn configuration(path: &SourcePath, document: &Map<String, Value>) -> Result<(), BuildError> {
    let sets = |key: &str| document.get(key).is_some_and(is_set);
    let old = document.get("version").is_some_and(|version| version.as_u64() != Some(2));
    let key = MEANINGFUL.into_iter().find(|key| sets(key)).or_else(|| old.then_some("version"));
    key.map_or(Ok(()), |key| Err(BuildError::Configuration { path: path.clone(), key: key.to_owned() }))
}

fn build_script(document: &Map<String, Value>) -> Result<(), BuildError> {
    let scripts = document.get("scripts").and_then(Value::as_object);
    let found = ["vercel-build", "now-build", "build"]
        .into_iter()
        .find(|name| scripts.is_some_and(|scripts| scripts.get(*name).is_some_and(is_set)));
    found.map_or(Ok(()), |script| Err(BuildError::BuildScript { script }))
}

fn dependencies(path: &SourcePath, document: &Map<String, Value>, needed: bool) -> Result<(), BuildError> {
    match document.get("dependencies").and_then(Value::as_object) {
        Some(list) if needed && !list.is_empty() => {
            Err(BuildError::Dependencies { manifest: path.clone(), count: list.len() })
        }
        _ => Ok(()),
    }
}

/// Neither null, false, "", [] nor {}: those say the same as leaving the key out.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Editors of some systems begin a file with a byte order mark.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

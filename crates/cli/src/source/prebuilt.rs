//! What a build here has left in `.vercel/output`, in place of the folder it was made from.

use super::{
    SourceError,
    rules::Rules,
    walk::{self, Found},
};
use dockless_model::SourcePath;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where such a build lies.
const OUTPUT: &str = ".vercel/output";
/// The file of a function that names others of the project.
const FUNCTION: &str = ".func/.vc-config.json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    file_path_map: BTreeMap<String, String>,
}

/// All files of the build, under their paths in the project, and the project's own files that its functions name.
pub(super) fn walk(root: &Path) -> Result<BTreeMap<SourcePath, Found>, SourceError> {
    let output = root.join(OUTPUT);
    if !output.join("config.json").is_file() {
        return Err(SourceError::NotBuilt(root.to_owned()));
    }
    let output = walk::open_root(&output)?;
    let mut files = BTreeMap::new();
    for (path, found) in walk::walk(&output, &Rules::none())? {
        let path: SourcePath = named(&format!("{OUTPUT}/{path}"))?;
        files.insert(path, Found { relative: Path::new(OUTPUT).join(&found.relative), ..found });
    }
    let functions: Vec<(PathBuf, PathBuf)> = files
        .iter()
        .filter(|(path, _)| path.as_str().ends_with(FUNCTION))
        .map(|(_, found)| (found.relative.clone(), found.on_disk.clone()))
        .collect();
    for (relative, on_disk) in functions {
        let text = fs::read(on_disk).map_err(|source| SourceError::Unreadable { path: relative.clone(), source })?;
        // The server says what is wrong with a file that is no JSON.
        let Ok(config) = serde_json::from_slice::<Config>(&text) else { continue };
        for path in config.file_path_map.into_values() {
            let path = path.trim_start_matches("./");
            // Secrets stay home, whatever a build thinks it needs.
            if path.split('/').any(|part| part.starts_with(".env") || part == ".git") {
                continue;
            }
            let (name, found) = (named(path)?, mapped(root, path)?);
            files.entry(name).or_insert(found);
        }
    }
    Ok(files)
}

fn named(path: &str) -> Result<SourcePath, SourceError> {
    path.parse().map_err(|source| SourceError::Name { path: path.into(), source })
}

/// A file of the project; never one from outside of it, by whatever link.
fn mapped(root: &Path, path: &str) -> Result<Found, SourceError> {
    let relative = PathBuf::from(path);
    let unreadable = |source| SourceError::Unreadable { path: relative.clone(), source };
    let on_disk = root.join(path).canonicalize().map_err(unreadable)?;
    if !on_disk.starts_with(root) {
        return Err(SourceError::LinkOutside { path: relative, target: on_disk });
    }
    let executable = fs::metadata(&on_disk).map_err(unreadable)?.mode() & 0o100 != 0;
    Ok(Found { relative, on_disk, executable })
}

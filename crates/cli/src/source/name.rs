//! The project's name: `--name`, else the package's, else the folder's.

use dockless_model::{ParseError, ProjectName};
use std::{fs, io, path::Path};

/// Why no name could be chosen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    /// `--name` is not a name.
    #[error(transparent)]
    Flag(#[from] ParseError),
    /// package.json is there and cannot be read.
    #[error("cannot read package.json")]
    Unreadable(#[source] io::Error),
    /// package.json is not JSON.
    #[error("cannot read package.json")]
    NotJson(#[source] serde_json::Error),
}

/// What is said is taken as it is or refused; what is found is bent into a name (`@me/My App` → `my-app`).
///
/// # Errors
/// [`NameError`].
pub(crate) fn project_name(said: Option<&str>, root: &Path) -> Result<ProjectName, NameError> {
    #[derive(serde::Deserialize)]
    struct Package {
        #[serde(default)]
        name: serde_json::Value,
    }
    if let Some(said) = said {
        return Ok(said.parse()?);
    }
    match fs::read(root.join("package.json")) {
        Ok(bytes) => {
            let package: Package = serde_json::from_slice(&bytes).map_err(NameError::NotJson)?;
            if let Some(name) = package.name.as_str().filter(|name| !name.is_empty()) {
                // The scope of `@scope/name` owns the package, not the deployment.
                return Ok(ProjectName::from_any(name.rsplit('/').next().unwrap_or(name)));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(NameError::Unreadable(error)),
    }
    Ok(ProjectName::from_any(&root.file_name().unwrap_or_default().to_string_lossy()))
}

//! `.env` files: variables that stay on this machine.

use crate::exit::Failure;
use anyhow::anyhow;
use dockless_model::Secret;
use std::{collections::BTreeMap, io, path::Path};

/// Of functions; the later goes before the earlier.
const RUNTIME: [&str; 2] = [".env", ".env.local"];
/// Of builds, as in 2019.
const BUILD: [&str; 1] = [".env.build"];

/// Variables of functions and of builds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variables {
    pub(super) runtime: BTreeMap<String, Secret>,
    pub(super) build: BTreeMap<String, Secret>,
}

/// Whether a name at the root of the folder is one of these files.
pub(super) fn is_one(name: &str) -> bool {
    RUNTIME.contains(&name) || BUILD.contains(&name)
}

/// Reads those that are there.
///
/// # Errors
/// One that cannot be read, a line of it, or a link that leads out of the folder: whoever wrote the folder must not get
/// other files of root's. What a line says is not repeated: it may be a secret.
pub(super) fn read(root: &Path) -> Result<Variables, Failure> {
    Ok(Variables { runtime: all(root, &RUNTIME)?, build: all(root, &BUILD)? })
}

fn all(root: &Path, names: &[&str]) -> Result<BTreeMap<String, Secret>, Failure> {
    let mut variables = BTreeMap::new();
    for name in names {
        let wrong = |error: dotenvy::Error| {
            let why = match error {
                dotenvy::Error::Io(error) => error.to_string(),
                dotenvy::Error::LineParse(_, at) => format!("a line cannot be read from its character {at} on"),
                _ => "it cannot be understood".to_owned(),
            };
            Failure::refused(anyhow!("{name}: {why}")).hint("a line is NAME=VALUE; quote values with spaces or #")
        };
        let path = match root.join(name).canonicalize() {
            Ok(path) if path.starts_with(root) => path,
            Ok(_) => return Err(Failure::refused(anyhow!("{name} leads out of the folder")).hint("copy it here")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(wrong(dotenvy::Error::Io(error))),
        };
        let lines = dotenvy::from_path_iter(path).map_err(wrong)?;
        for line in lines {
            let (name, value) = line.map_err(wrong)?;
            variables.insert(name, Secret::new(value));
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_win_and_mistakes_are_told_without_their_values() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        write(".env", "A=1\n# a comment\nexport B=\"two words\"\n");
        write(".env.local", "A='3'\n");
        write(".env.build", "C=4\n");
        let variables = read(&root).unwrap();
        let shown = |map: &BTreeMap<String, Secret>| {
            map.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&variables.runtime), "A=3 B=two words");
        assert_eq!(shown(&variables.build), "C=4");
        write(".env", "A=hush hush\n");
        let failure = read(&root).unwrap_err();
        assert!(failure.to_string().contains(".env:") && !failure.to_string().contains("hush"), "{failure}");
    }
}

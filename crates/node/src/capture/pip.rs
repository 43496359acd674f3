//! The package installer of a Python, as a tree of its own: builds see it, functions never do.

use super::python::{Module, compiled, tag, walk};
use super::{CaptureError, Captured, Content, RUNTIME_FILE, fingerprint, run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Language of the tree's id. No function runs on it.
pub(crate) const LANGUAGE: &str = "pip";
/// The folder of the tree in which Python finds it.
pub const FOLDER: &str = "lib";
/// Where it says that it is, and of which version; nothing where there is none.
const QUESTION: &str = "import json\n\
    try: import os,pip; print(json.dumps([os.path.dirname(os.path.realpath(pip.__file__)),pip.__version__]))\n\
    except ImportError: print('null')\n";

impl Captured {
    /// Finds the pip of a captured Python; `None` if it came without one.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn pip(&self) -> Result<Option<Self>, CaptureError> {
        let Some(interpreter) = self.interpreter() else { return Ok(None) };
        // Not its folder of the user's own packages: what root's home holds is nobody else's.
        let said = run(Command::new(interpreter).args(["-s", "-c", QUESTION]), interpreter)?;
        let strange = || CaptureError::Strange { program: interpreter.display().to_string(), answer: said.clone() };
        let found: Option<(PathBuf, String)> = serde_json::from_str(&said).map_err(|_| strange())?;
        let Some((home, version)) = found else { return Ok(None) };
        let version = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect::<String>();
        let version = version.trim_end_matches('.').to_owned();
        let tag = tag(interpreter)?;
        let mut files = BTreeMap::new();
        let mut add = |path: &str, content| {
            if let Ok(path) = path.parse() {
                files.insert(path, content);
            }
        };
        // What the warden expects in every tree that it is given at its start; nothing is ever started from this one.
        add(RUNTIME_FILE, Content::Bytes(br#"{"argv":["/bin/false"]}"#.to_vec()));
        for (inside, path) in walk(&home)? {
            let target = format!("{FOLDER}/pip/{inside}");
            if let Some(compiled) = compiled(&target, &tag) {
                add(&compiled, Content::Compiled(Module::Host(path.clone())));
            }
            add(&target, Content::Host { path, executable: false });
        }
        let fingerprint = fingerprint(&version, &files)?;
        let interpreter = self.interpreter().map(Path::to_owned);
        Ok(Some(Self { language: LANGUAGE, version, fingerprint, files, interpreter }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::manifest_of;

    #[test]
    fn this_machines_pip_is_captured_whole() {
        let python = Captured::python(Path::new("python3")).unwrap();
        let pip = python.pip().unwrap().expect("python comes with pip");
        let (manifest, _) = pip.write().unwrap();
        let manifest = manifest_of(&manifest);
        manifest.check().unwrap();
        for path in ["lib/pip/__main__.py", "lib/pip/_internal/cli/main.py", "lib/pip/_vendor/requests/__init__.py"] {
            assert!(manifest.files.contains_key(&path.parse::<dockless_model::SourcePath>().unwrap()), "{path}");
        }
        assert!(manifest.files.keys().any(|path| path.as_str().ends_with(".pyc")), "not compiled");
    }
}

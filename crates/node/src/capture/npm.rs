//! The package manager that comes with the interpreter, as a tree of its own: builds see it, functions never do.

use super::{CaptureError, Captured, Content, RUNTIME_FILE, fingerprint};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Language of the tree's id. No function runs on it.
pub(crate) const LANGUAGE: &str = "npm";
/// Where the machine's certificates lie in the tree of npm, if it names any.
pub const CERTIFICATES: &str = "etc/certificates.pem";
/// Folders that no command reads.
const LEFT_OUT: [&str; 3] = ["man", "docs", ".bin"];
/// Where npm lies beside an interpreter: as Node's own archives, nvm and most packages have it, and as Debian has it.
const PLACES: [&str; 2] = ["lib/node_modules/npm", "share/nodejs/npm"];
/// Most files of an npm; there are some 2,000.
const MAX_FILES: usize = 20_000;

impl Captured {
    /// Finds the npm of an interpreter; `None` if it came without one. `certificates` is a file of more authorities to
    /// trust, in PEM.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn npm(interpreter: &Path, certificates: Option<&Path>) -> Result<Option<Self>, CaptureError> {
        let Some(home) = find(interpreter) else { return Ok(None) };
        let read = |path: &Path| std::fs::read(path).map_err(|source| CaptureError::File { path: path.into(), source });
        #[derive(serde::Deserialize)]
        struct Package {
            version: String,
        }
        let package: Package = serde_json::from_slice(&read(&home.join("package.json"))?).map_err(|error| {
            CaptureError::Strange { program: home.display().to_string(), answer: error.to_string() }
        })?;
        let version = package.version.split('-').next().unwrap_or_default().to_owned();
        let mut files = BTreeMap::new();
        let mut add = |path: &str, content| {
            if let Ok(path) = path.parse() {
                files.insert(path, content);
            }
        };
        for name in ["npm", "npx"] {
            let script = format!("#!/bin/sh\nexec node \"${{0%/bin/{name}}}/npm/bin/{name}-cli.js\" \"$@\"\n");
            add(&format!("bin/{name}"), Content::Program(script.into_bytes()));
        }
        // What the warden expects in every tree that it is given at its start; nothing is ever started from this one.
        add(RUNTIME_FILE, Content::Bytes(br#"{"argv":["/bin/false"]}"#.to_vec()));
        if let Some(certificates) = certificates {
            add(CERTIFICATES, Content::Bytes(read(certificates)?));
        }
        let mut count = 0;
        let mut folders = vec![home.clone()];
        while let Some(folder) = folders.pop() {
            let failed = |source| CaptureError::File { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let (kind, path) = (entry.file_type().map_err(failed)?, entry.path());
                if kind.is_dir() && !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                    folders.push(path);
                } else if kind.is_file() && count < MAX_FILES {
                    count += 1;
                    let inside = path.strip_prefix(&home).unwrap_or(&path).to_string_lossy().into_owned();
                    // npm runs programs of its own, node-gyp first of all.
                    let executable = entry.metadata().map_err(failed)?.permissions().mode() & 0o111 != 0;
                    add(&format!("npm/{inside}"), Content::Host { path, executable });
                }
            }
        }
        let fingerprint = fingerprint(&version, &files)?;
        Ok(Some(Self { language: LANGUAGE, version, fingerprint, files, interpreter: None }))
    }
}

fn find(interpreter: &Path) -> Option<PathBuf> {
    let prefix = interpreter.parent()?.parent()?;
    let beside = PLACES.iter().map(|place| prefix.join(place));
    // A link in the same folder leads to `npm/bin/npm-cli.js`.
    let linked = prefix.join("bin/npm").canonicalize().ok().and_then(|cli| Some(cli.parent()?.parent()?.to_owned()));
    beside.chain(linked).find(|home| home.join("bin/npm-cli.js").is_file() && home.join("package.json").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::manifest_of;

    #[test]
    fn this_machines_npm_is_captured_whole() {
        let node = Captured::node(Path::new("node")).unwrap();
        let interpreter = node.interpreter().unwrap();
        let npm = Captured::npm(interpreter, None).unwrap().expect("node comes with npm");
        let (manifest, contents) = npm.write().unwrap();
        let manifest = manifest_of(&manifest);
        manifest.check().unwrap();
        assert_eq!(contents.metadata().unwrap().len(), manifest.content_bytes());
        let of = |path: &str| manifest.files.get(&path.parse::<dockless_model::SourcePath>().unwrap());
        assert!(of("bin/npm").is_some_and(|file| file.executable));
        let gyp = "npm/node_modules/@npmcli/run-script/lib/node-gyp-bin/node-gyp";
        assert!(of(gyp).is_none_or(|file| file.executable));
        for path in ["npm/bin/npm-cli.js", "npm/package.json", "npm/node_modules/pacote/package.json"] {
            assert!(of(path).is_some(), "{path} is missing");
        }
        assert!(of(CERTIFICATES).is_none());
        assert_eq!(Captured::npm(Path::new("/nonexistent/bin/node"), None).unwrap().map(|npm| npm.version), None);
    }

    #[test]
    fn certificates_are_part_of_it() {
        let node = Captured::node(Path::new("node")).unwrap().interpreter().unwrap().to_owned();
        let file = std::env::temp_dir().join(format!("dockless-ca-{}", std::process::id()));
        std::fs::write(&file, "pem").unwrap();
        let with = Captured::npm(&node, Some(&file)).unwrap().unwrap();
        assert_ne!(with.fingerprint, Captured::npm(&node, None).unwrap().unwrap().fingerprint);
        assert!(with.files.contains_key(CERTIFICATES));
        std::fs::remove_file(&file).unwrap();
        assert!(Captured::npm(&node, Some(&file)).is_err());
    }
}

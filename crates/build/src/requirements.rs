//! Which packages a function in Python asks for: decided from names and documents alone.

use crate::{BuildError, Source};
use dockless_model::SourcePath;
use serde_json::Value;
use std::collections::BTreeSet;

/// Files that name packages, in the order in which they are looked for in one folder.
const MANIFESTS: [&str; 3] = ["Pipfile.lock", "requirements.txt", "pyproject.toml"];

/// Whether a file may name packages.
pub(crate) fn is_manifest(path: &SourcePath) -> bool {
    MANIFESTS.contains(&path.file_name()) && !path.as_str().split('/').any(|part| part == "node_modules")
}

/// What is installed for the functions in and below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirements {
    /// The file that names them.
    pub(crate) manifest: SourcePath,
    /// Its folder; empty for the root.
    pub(crate) folder: String,
    /// Lines for pip, where the file itself is not made of them.
    pub(crate) lines: Option<String>,
    /// All that the installation may see, and so all that decides about it.
    pub(crate) inputs: BTreeSet<SourcePath>,
    /// Each package has its version and its hash.
    pub(crate) locked: bool,
}

impl Requirements {
    /// The nearest file above an entrypoint that names a package.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn of(source: &Source, entrypoint: &SourcePath) -> Result<Option<Self>, BuildError> {
        // Uploaded with the source: used as they are.
        if source.files.keys().any(|path| path.as_str().starts_with("_vendor/")) {
            return Ok(None);
        }
        let mut folder = entrypoint.as_str();
        loop {
            folder = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
            for name in MANIFESTS {
                let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                if let Some((path, text)) = source.documents.get_key_value(path.as_str())
                    && let Some(found) = read(source, folder, path, text)?
                {
                    return Ok(Some(found));
                }
            }
            if folder.is_empty() {
                return Ok(None);
            }
        }
    }
}

fn read(source: &Source, folder: &str, path: &SourcePath, text: &[u8]) -> Result<Option<Requirements>, BuildError> {
    let text = String::from_utf8_lossy(text);
    let malformed = |reason: String| BuildError::Requirements { path: path.clone(), reason };
    let (lines, locked) = match path.file_name() {
        "Pipfile.lock" => (Some(of_pipfile(&text).map_err(malformed)?), true),
        "pyproject.toml" => (Some(of_project(&text).map_err(malformed)?), false),
        _ => (None, false),
    };
    let said = lines.as_deref().unwrap_or(&text);
    let said: Vec<&str> =
        said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    if said.is_empty() {
        return Ok(None);
    }
    let locked = locked || said.iter().all(|line| line.contains("--hash") || line.ends_with('\\'));
    // Other files, folders and options: any file of the source may be meant.
    let is_plain = |line: &&str| {
        line.starts_with("--hash")
            || line.starts_with(|c: char| c.is_ascii_alphanumeric())
                && !line.contains("file:")
                && !line.contains(".whl")
    };
    let inputs =
        if said.iter().all(is_plain) { BTreeSet::from([path.clone()]) } else { source.files.keys().cloned().collect() };
    Ok(Some(Requirements { manifest: path.clone(), folder: folder.to_owned(), lines, inputs, locked }))
}

/// Packages of `default`, with their versions and hashes.
fn of_pipfile(text: &str) -> Result<String, String> {
    let lock: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Some(packages) = lock.get("default").and_then(Value::as_object) else {
        return Err("it has no object \"default\"".to_owned());
    };
    let mut lines = String::new();
    for (name, package) in packages {
        let part = |key: &str| package.get(key).and_then(Value::as_str);
        let Some(version) = part("version") else {
            return Err(format!("{name} has no version: packages from repositories and folders are not supported"));
        };
        let list = |key: &str| {
            let list = package.get(key).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>()
        };
        let extras = list("extras").join(",");
        lines.push_str(name);
        if !extras.is_empty() {
            lines.push_str(&format!("[{extras}]"));
        }
        lines.push_str(version);
        if let Some(markers) = part("markers") {
            lines.push_str(&format!(" ; {markers}"));
        }
        for hash in list("hashes") {
            lines.push_str(&format!(" --hash={hash}"));
        }
        lines.push('\n');
    }
    Ok(lines)
}

/// `dependencies` of `[project]`.
fn of_project(text: &str) -> Result<String, String> {
    let document: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let list = document.get("project").and_then(|project| project.get("dependencies"));
    let Some(list) = list else { return Ok(String::new()) };
    let list = list.as_array().ok_or("\"project.dependencies\" is not a list")?;
    let lines = list.iter().map(|line| line.as_str().map(|line| format!("{line}\n")));
    lines
        .collect::<Option<String>>()
        .ok_or_else(|| "\"project.dependencies\" holds something else than text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;
    use dockless_model::Digest;

    fn of(files: &[(&str, &str)], entrypoint: &str) -> Result<Option<Requirements>, BuildError> {
        let mut source = Source::default();
        for (path, text) in files {
            let path: SourcePath = path.parse().unwrap();
            let file = SourceFile { blob: Digest::of(text.as_bytes()), size: text.len() as u64, executable: false };
            source.files.insert(path.clone(), file);
            if Source::is_document(&path) {
                source.documents.insert(path, text.as_bytes().to_vec());
            }
        }
        Requirements::of(&source, &entrypoint.parse().unwrap())
    }

    #[test]
    fn the_nearest_file_that_names_a_package_counts() {
        let files =
            [("requirements.txt", "flask"), ("api/requirements.txt", "# none\n"), ("api/a/requirements.txt", "x")];
        let found = |entrypoint| of(&files, entrypoint).unwrap().map(|found| found.manifest.to_string());
        assert_eq!(found("api/x.py").as_deref(), Some("requirements.txt"));
        assert_eq!(found("api/a/x.py").as_deref(), Some("api/a/requirements.txt"));
        assert_eq!(of(&[("api/x.py", "")], "api/x.py").unwrap(), None);
        assert_eq!(of(&[("requirements.txt", "x"), ("_vendor/x.py", "")], "api/x.py").unwrap(), None);
    }

    #[test]
    fn what_decides_about_an_installation() {
        for (text, locked, all) in [
            ("flask==3.0\nrequests>=2 ; python_version > '3'\n", false, false),
            ("flask==3.0 --hash=sha256:aa\n", true, false),
            ("flask==3.0 \\\n    --hash=sha256:aa\n", true, false),
            ("-r more.txt\n", false, true),
            ("./local\n", false, true),
            ("x @ file:///work/app/x\n", false, true),
        ] {
            let found = of(&[("requirements.txt", text), ("other.txt", "")], "api/x.py").unwrap().unwrap();
            assert_eq!((found.locked, found.inputs.len() > 1), (locked, all), "{text}");
            assert_eq!(found.lines, None);
        }
    }

    #[test]
    fn other_kinds_of_files_become_lines() {
        let lock = r#"{"default":{"flask":{"version":"==3.0","hashes":["sha256:aa","sha256:bb"],"markers":"python_version > '3'",
            "extras":["async"]}},"develop":{"pytest":{"version":"==8"}}}"#;
        let found = of(&[("Pipfile.lock", lock), ("requirements.txt", "x")], "api/x.py").unwrap().unwrap();
        let line = "flask[async]==3.0 ; python_version > '3' --hash=sha256:aa --hash=sha256:bb\n";
        assert_eq!((found.lines.as_deref(), found.locked), (Some(line), true));
        let project = "[project]\nname = 'x'\ndependencies = ['flask>=3', 'requests']\n[tool.x]\ny = 1";
        let found = of(&[("pyproject.toml", project)], "api/x.py").unwrap().unwrap();
        assert_eq!((found.lines.as_deref(), found.locked), (Some("flask>=3\nrequests\n"), false));
        assert_eq!(of(&[("pyproject.toml", "[tool.black]\nline-length = 100")], "api/x.py").unwrap(), None);
        for (name, text) in [
            ("Pipfile.lock", "{"),
            ("Pipfile.lock", "{}"),
            ("Pipfile.lock", r#"{"default":{"x":{"git":"https://example.org"}}}"#),
            ("pyproject.toml", "[project"),
            ("pyproject.toml", "[project]\ndependencies = 'x'"),
        ] {
            assert_eq!(of(&[(name, text)], "api/x.py").unwrap_err().code(), "bad_requirements", "{name}: {text}");
        }
    }
}

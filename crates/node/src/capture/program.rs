//! The root of programs that bundles bring along: what every root has, and what our own launcher needs. No interpreter.

use super::{CaptureError, Captured, Content, RUNTIME_FILE, add_common, add_library, fingerprint, libraries_of};
use dockless_sandbox::PROGRAM;
use std::collections::BTreeMap;

/// The name of this runtime, where others have that of their language.
pub const LANGUAGE: &str = "program";

impl Captured {
    /// Finds what this program itself needs of the machine.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn program() -> Result<Self, CaptureError> {
        let own =
            std::env::current_exe().map_err(|source| CaptureError::File { path: "/proc/self/exe".into(), source })?;
        let mut files = BTreeMap::new();
        let mut add = |path: &str, content| {
            if let Ok(path) = path.trim_start_matches('/').parse() {
                files.insert(path, content);
            }
        };
        add_common(&mut add)?;
        add(RUNTIME_FILE, Content::Bytes(runtime_file()));
        for (name, library) in libraries_of(&[own])? {
            add_library(&name, &library, &mut add)?;
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let fingerprint = fingerprint(&version, &files)?;
        Ok(Self { language: LANGUAGE, version, fingerprint, files, interpreter: None })
    }
}

fn runtime_file() -> Vec<u8> {
    let env = serde_json::json!({ "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": ":UTC" });
    serde_json::json!({ "argv": [PROGRAM], "env": env }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::manifest_of;

    #[test]
    fn the_root_of_programs_is_small_and_the_same_every_time() {
        let captured = Captured::program().unwrap();
        assert_eq!(captured.fingerprint, Captured::program().unwrap().fingerprint);
        let (manifest, _) = captured.write().unwrap();
        let manifest = manifest_of(&manifest);
        manifest.check().unwrap();
        assert!(manifest.files.len() < 50, "{}", manifest.files.len());
        for end in ["etc/passwd", "bin/sh", "libc.so.6", "opt/dockless/runtime.json"] {
            assert!(manifest.files.keys().any(|path| path.as_str().ends_with(end)), "{end} is missing");
        }
    }
}

//! Small native programs for functions to run: what a hostile tenant would bring along.

use crate::files::Scratch;
use std::path::PathBuf;
use std::process::Command;

/// Compiles C to a static program, so that it needs nothing of the sandbox's root.
///
/// # Panics
/// There is no compiler, or it refuses.
#[must_use]
pub fn compile(source: &str, folder: &Scratch, name: &str) -> PathBuf {
    let (code, program) = (folder.path().join(format!("{name}.c")), folder.path().join(name));
    std::fs::write(&code, source).unwrap_or_else(|error| panic!("cannot write {}: {error}", code.display()));
    let output = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-o"])
        .args([&program, &code])
        .output()
        .unwrap_or_else(|error| panic!("cc does not run (apt install gcc libc6-dev): {error}"));
    assert!(output.status.success(), "cc refuses:\n{}", String::from_utf8_lossy(&output.stderr));
    program
}

//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

use crate::unpacker;

/// A layer into an empty folder, within small bounds.
pub fn layer(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    unpacker::try_layer(data, folder.path());
}

//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

/// Records of an interpreter's answer.
pub fn records(data: &[u8]) {
    crate::fastcgi::fuzzing::records(data);
}

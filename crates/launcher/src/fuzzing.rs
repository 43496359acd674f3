//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

pub use crate::fastcgi::fuzzing::records;

//! Bounds of an image's layers: what an unpacker refuses, and how long it may take.
//!
//! An unpack hands the warden one descriptor: the layer's archive as it came, a tar that may be packed with gzip or
//! zstd. The tree that comes out is named by the SHA-256 of the unpacked archive (OCI image specification, "diff_id").

use std::time::Duration;

/// Largest archive of one layer, unpacked.
pub const MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Largest file in a layer.
pub const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Most files, folders and links of one layer, folders that only paths name included.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// Longest path, and longest target of a symbolic link (Linux: PATH_MAX with its NUL).
pub const MAX_PATH: usize = 4095;
/// Longest component of a path (Linux: NAME_MAX).
pub const MAX_NAME: usize = 255;
/// Folders in folders.
pub const MAX_DEPTH: usize = 256;
/// Largest extended header of one entry: its attributes, a long name.
pub const MAX_EXTENDED_HEADER: u64 = 1024 * 1024;
/// Bytes of the disk that no layer may take.
pub const RESERVE_BYTES: u64 = 512 * 1024 * 1024;

/// How long an archive of so many bytes may take: two minutes, and a second for each MiB as it came.
#[must_use]
pub fn time_limit(packed_bytes: u64) -> Duration {
    Duration::from_secs(120 + packed_bytes / (1024 * 1024))
}

//! Upload of source files: `POST /v2/files`, raw bytes, with `x-now-digest` (SHA-1) and `x-now-size`.

use dockless_model::WireDigest;
use serde::{Deserialize, Serialize};

/// Request header: lower-case hexadecimal SHA-1 of the body.
pub const DIGEST_HEADER: &str = "x-now-digest";
/// Request header: bytes of the body, decimal.
pub const SIZE_HEADER: &str = "x-now-size";

/// Answer to an upload; always with status 200, the only one that clients take for success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// SHA-1 as sent.
    pub digest: WireDigest,
    /// Bytes.
    pub size: u64,
}

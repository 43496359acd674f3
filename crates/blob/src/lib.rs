//! Bytes by their SHA-256, on local disk.
//!
//! ```text
//! blobs/
//! ├── ab/cdef…      one content, 0444, named by its SHA-256; never changed, only replaced by itself
//! ├── tmp/put-…     being written; locked by its writer, removed at the next opening if its writer died
//! └── lock          flock: shared while a content is put in place, exclusive while one is removed
//! ```
//! A content appears by rename after its bytes and before its folder are synced: after a crash it is whole or absent.
//! Several processes may use one folder at once.

mod batch;
mod error;
mod store;
mod writer;

pub use batch::BlobBatch;
pub use error::BlobError;
pub use store::{BlobStore, Found};
pub use writer::{BlobWriter, Stored};

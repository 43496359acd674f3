//! One file to the server, streamed from the disk.

use super::{CallError, Client};
use crate::source::SourceFile;
use dockless_model::SourcePath;
use dockless_wire::file::{DIGEST_HEADER, SIZE_HEADER};
use futures_util::TryStreamExt as _;
use reqwest::{Body, Method, header};
use std::time::Duration;
use tokio_util::io::ReaderStream;

/// The slowest line that a large file is still waited for, in bytes a second.
const SLOWEST: u64 = 32 * 1024;
/// What a small file may take all the same.
const LEAST: Duration = Duration::from_secs(60);

impl Client {
    /// Sends one file; `progress` hears of the bytes as they leave. Sending it twice is sending it once.
    ///
    /// # Errors
    /// [`CallError`]; the server's check of the digest finds a file that changed under our hands.
    pub(crate) async fn upload(
        &self,
        path: &SourcePath,
        file: &SourceFile,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), CallError> {
        let unreadable = |source| CallError::File { path: path.to_string(), source };
        let open = tokio::fs::File::open(&file.on_disk).await.map_err(unreadable)?;
        if open.metadata().await.map_err(unreadable)?.len() != file.size {
            return Err(CallError::Changed(path.to_string()));
        }
        let stream = ReaderStream::with_capacity(open, 64 * 1024)
            .inspect_ok(move |chunk| progress(u64::try_from(chunk.len()).unwrap_or(u64::MAX)));
        let request = self
            .request(Method::POST, &["v2", "files"])
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, file.size)
            .header(DIGEST_HEADER, file.digest.to_string())
            .header(SIZE_HEADER, file.size)
            .timeout(LEAST + Duration::from_secs(file.size / SLOWEST))
            .body(Body::wrap_stream(stream));
        // Any JSON will do: status 200 is what counts.
        match self.ask::<serde_json::Value>(request).await {
            Ok(_) => Ok(()),
            // The server's own check: the file is not what was read a moment ago.
            Err(CallError::Refused { detail, .. })
                if matches!(detail.code.as_str(), "digest_mismatch" | "size_mismatch") =>
            {
                Err(CallError::Changed(path.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

//! Upload of one source file.

use crate::{Caller, Control, Error, error::Invalid};
use dockless_blob::{BlobError, BlobWriter};
use dockless_model::WireDigest;
use dockless_store::FileRow;
use dockless_wire::Uploaded;

/// An upload under way. Dropped before [`Self::finish`] it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    control: Control,
    caller: Caller,
    writer: BlobWriter,
    digest: WireDigest,
    size: Option<u64>,
}

impl Control {
    /// Begins an upload with what the client says of it: SHA-1, and the size where it is known.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NoSpace`]; the disk fails.
    pub async fn upload(&self, caller: &Caller, digest: WireDigest, size: Option<u64>) -> Result<Upload, Error> {
        let limit = self.config().max_layer_bytes.max(self.config().max_file_bytes);
        if size.is_some_and(|size| size > limit) {
            return Err(Error::TooLarge { limit });
        }
        self.must_have_space().await?;
        let writer = self.blobs().writer().await?;
        Ok(Upload { control: self.clone(), caller: caller.clone(), writer, digest, size })
    }

    /// # Errors
    /// [`Error::NoSpace`] below the floor.
    pub(crate) async fn must_have_space(&self) -> Result<(), Error> {
        if self.blobs().free_bytes().await? < self.config().min_free_bytes { Err(Error::NoSpace) } else { Ok(()) }
    }
}

impl Upload {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// More bytes than announced or allowed; the disk is full or fails.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let size = self.writer.size().saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let limit = self.control.config().max_layer_bytes.max(self.control.config().max_file_bytes);
        if size > limit {
            return Err(Error::TooLarge { limit });
        }
        if self.size.is_some_and(|announced| size > announced) {
            return Err(wrong_size());
        }
        Ok(self.writer.write(bytes).await?)
    }

    /// Keeps the file, if it is what was announced.
    ///
    /// # Errors
    /// The digest or the size is another; the disk or the database fails. Nothing is kept then.
    pub async fn finish(self) -> Result<Uploaded, Error> {
        let Self { control, caller, writer, digest, size } = self;
        if size.is_some_and(|announced| writer.size() != announced) {
            return Err(wrong_size());
        }
        let stored = writer.finish_as(digest).await.map_err(|error| match error {
            BlobError::Mismatch { found } => Error::Invalid(Invalid {
                code: "digest_mismatch",
                message: format!("The SHA-1 of the body is {found}, not {digest} as announced."),
                field: Some("x-now-digest".to_owned()),
                key: None,
                size_limit: None,
            }),
            other => other.into(),
        })?;
        let now = control.now();
        let (file, pinned) = (FileRow { digest: stored.digest, size: stored.size }, now.plus(control.config().pin));
        control.db().put_file(caller.id(), &digest, file, &control.config().region, pinned, now).await?;
        Ok(Uploaded { digest, size: stored.size })
    }
}

fn wrong_size() -> Error {
    Error::Invalid(Invalid {
        code: "size_mismatch",
        message: "The body is not as long as announced.".to_owned(),
        field: Some("x-now-size".to_owned()),
        key: None,
        size_limit: None,
    })
}

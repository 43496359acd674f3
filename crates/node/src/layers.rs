//! Layers of images: from a blob to a tree that instances mount.

use crate::node::Tools;
use crate::{CallError, Node, UnpackError};
use dockless_model::Digest;
use dockless_model::image::Layer;
use dockless_sandbox::protocol::{Answer, Refusal, Verb};
use std::io;
use std::sync::Arc;

impl Node {
    /// Unpacks a layer from its blob, unless that was done before; whether nothing of the layers below it shows. If
    /// dropped, the unpacking goes on.
    ///
    /// # Errors
    /// See [`UnpackError`]; [`UnpackError::Refused`] is the layer's own fault.
    pub async fn unpack_layer(&self, layer: &Layer) -> Result<bool, UnpackError> {
        unpack(&self.tools, layer).await
    }

    /// Deletes an unpacked layer; one that is not there is deleted already.
    ///
    /// # Errors
    /// Instances use it ([`Refusal::InUse`]), or the warden failed.
    pub async fn forget_layer(&self, diff_id: &Digest) -> Result<(), CallError> {
        match self.tools.warden.order(Verb::ForgetLayer { diff_id: *diff_id }).await {
            Err(CallError::Refused(Refusal::Unknown(_))) => Ok(()),
            other => other,
        }
    }
}

/// See [`Node::unpack_layer`].
pub(crate) async fn unpack(tools: &Tools, layer: &Layer) -> Result<bool, UnpackError> {
    let (blobs, blob) = (tools.imports.blobs.clone(), layer.blob);
    let opened = tokio::task::spawn_blocking(move || blobs.open_file(&blob));
    let file = opened.await.map_err(|error| UnpackError::Open(io::Error::other(error)))??;
    match tools.warden.call(Verb::Unpack { diff_id: layer.diff_id }, &[file.into()]).await {
        Ok((Answer::Unpacked { opaque }, _)) => Ok(opaque),
        Ok(_) => Err(CallError::Confused("something else than a layer").into()),
        Err(CallError::Refused(Refusal::Bad(why))) => Err(UnpackError::Refused(why)),
        Err(CallError::Refused(Refusal::NoRoom(why))) => Err(UnpackError::NoRoom(why)),
        Err(error) => Err(error.into()),
    }
}

impl From<CallError> for UnpackError {
    fn from(error: CallError) -> Self {
        Self::Warden(Arc::new(error))
    }
}

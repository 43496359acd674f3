//! Layers into the blob store: streamed, resumed, verified.

use super::{Registry, TRIES};
use crate::PullError;
use crate::error::pause;
use dockless_blob::{BlobError, BlobStore, BlobWriter};
use dockless_model::image::Layer;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};

/// A cut connection that brought at least this much was worth it: the count of tries begins anew.
const PROGRESS: u64 = 1024 * 1024;

/// How a layer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It was here.
    Present,
    /// Over the network.
    New,
}

/// How one connection ended.
enum End {
    Whole,
    /// What was missing was not sent.
    Cut(String),
}

impl Registry {
    /// Brings a layer's archive into the store, unless it is there.
    ///
    /// # Errors
    /// See [`PullError`]; nothing is kept then.
    pub async fn fetch(&self, layer: &Layer, blobs: &BlobStore) -> Result<Fetched, PullError> {
        if blobs.refresh(&layer.blob).await? {
            return Ok(Fetched::Present);
        }
        let path = format!("/v2/{}/blobs/sha256:{}", self.reference.repository(), layer.blob);
        let mut spoiled = false;
        loop {
            let writer = self.download(&path, layer, blobs).await?;
            match writer.finish_only(layer.blob).await {
                Ok(_) => return Ok(Fetched::New),
                // A proxy in between may have mixed something up: once more from the beginning.
                Err(BlobError::WrongContent { .. }) if !spoiled => spoiled = true,
                Err(BlobError::WrongContent { found }) => {
                    let found = found.to_string();
                    return Err(PullError::WrongContent { host: self.host(), wanted: layer.blob, found });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn download(&self, path: &str, layer: &Layer, blobs: &BlobStore) -> Result<BlobWriter, PullError> {
        let mut writer = blobs.writer().await?;
        let mut failed = 0;
        loop {
            let have = writer.size();
            let response = self.get(path, (have > 0).then_some(have)).await?;
            if have > 0 && !continues(&response, have) {
                // It sends everything anew.
                writer = blobs.writer().await?;
            }
            let why = match self.receive(response, &mut writer, layer).await? {
                End::Whole => return Ok(writer),
                End::Cut(why) => why,
            };
            failed = if writer.size() >= have + PROGRESS { 1 } else { failed + 1 };
            if failed >= TRIES {
                return Err(PullError::Unreachable { host: self.host(), why });
            }
            tracing::debug!(layer = %layer.blob, have = writer.size(), "a layer's download is resumed");
            tokio::time::sleep(pause(failed, None)).await;
        }
    }

    async fn receive(&self, mut response: Response, writer: &mut BlobWriter, layer: &Layer) -> Result<End, PullError> {
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) if writer.size() == layer.size => return Ok(End::Whole),
                Ok(None) => return Ok(End::Cut(format!("it sent {} of {} bytes", writer.size(), layer.size))),
                Err(error) if error.is_timeout() => return Ok(End::Cut("it stopped sending".to_owned())),
                Err(_) => return Ok(End::Cut("the connection was cut".to_owned())),
            };
            if writer.size() + chunk.len() as u64 > layer.size {
                let found = format!("more than the {} bytes its manifest names", layer.size);
                return Err(PullError::WrongContent { host: self.host(), wanted: layer.blob, found });
            }
            writer.write(&chunk).await?;
        }
    }
}

/// Whether an answer goes on at this byte (RFC 9110 §14.4).
fn continues(response: &Response, from: u64) -> bool {
    let begins = || {
        response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
    };
    response.status() == StatusCode::PARTIAL_CONTENT && begins() == Some(from)
}

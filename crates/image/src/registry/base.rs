//! An image as others build upon it: its documents as they are, beside its layers.

use super::Registry;
use crate::document::{Manifest, for_platform};
use crate::{MAX_IMAGE_BYTES, MAX_LAYER_BYTES, MAX_LAYERS, Platform, PullError};
use dockless_model::Digest;
use dockless_model::image::Layer;
use serde_json::json;

/// The documents of an image, verified, and the layers that they name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// SHA-256 of the configuration below.
    pub id: Digest,
    /// The manifest, naming that configuration.
    pub manifest: Vec<u8>,
    /// The configuration, with a history that fits the layers.
    pub config: Vec<u8>,
    /// From the lowest to the topmost, each blob once, to be given to [`Registry::fetch`]; what they unpack to is not
    /// known here, the blob's digest stands for it.
    pub layers: Vec<Layer>,
}

impl Base {
    /// The `index.json` of an OCI layout that holds it alone, under this tag.
    #[must_use]
    pub fn index(&self, tag: &str) -> Vec<u8> {
        let manifest: serde_json::Value = serde_json::from_slice(&self.manifest).unwrap_or_default();
        let kind = manifest["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json");
        let entry = json!({
            "mediaType": kind,
            "digest": format!("sha256:{}", Digest::of(&self.manifest)),
            "size": self.manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": tag },
        });
        json!({ "schemaVersion": 2, "manifests": [entry] }).to_string().into_bytes()
    }
}

/// Makes a configuration's history fit its layers where it does not: builders count one by the other, and images that
/// were not built by steps have none. Its digest changes with it, so the manifest is told.
fn with_history(manifest: Vec<u8>, config: Vec<u8>, layers: usize) -> Result<(Vec<u8>, Vec<u8>), PullError> {
    let unreadable = |error: serde_json::Error| PullError::Document(format!("its documents cannot be read: {error}"));
    let mut read: serde_json::Value = serde_json::from_slice(&config).map_err(unreadable)?;
    let empty = |entry: &serde_json::Value| entry["empty_layer"].as_bool().unwrap_or(false);
    let told = read["history"].as_array().map_or(0, |history| history.iter().filter(|entry| !empty(entry)).count());
    if told == layers {
        return Ok((manifest, config));
    }
    let entry = json!({ "created": "1970-01-01T00:00:00Z", "created_by": "layer of the base image" });
    read["history"] = vec![entry; layers].into();
    let config = read.to_string().into_bytes();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).map_err(unreadable)?;
    manifest["config"]["digest"] = format!("sha256:{}", Digest::of(&config)).into();
    manifest["config"]["size"] = config.len().into();
    Ok((manifest.to_string().into_bytes(), config))
}

impl Registry {
    /// The image's documents as they are. Unlike [`Registry::resolve`] it need not be one that can be run.
    ///
    /// # Errors
    /// See [`PullError`].
    pub async fn base(&self, wanted: &Platform) -> Result<Base, PullError> {
        let mut manifest = self.document("manifests", &self.reference.version(), None).await?;
        if let Some(pinned) = self.reference.digest() {
            self.must_be(&manifest, pinned)?;
        }
        let mut parsed = Manifest::parse(&manifest)?;
        if let Manifest::Index(manifests) = &parsed {
            let chosen = for_platform(manifests, wanted)?;
            manifest = self.document("manifests", &chosen.digest, Some(chosen)).await?;
            parsed = Manifest::parse(&manifest)?;
        }
        let Manifest::Image { config: described, layers: carried } = parsed else {
            return Err(PullError::Document("its index leads to an index".to_owned()));
        };
        let config = self.document("blobs", &described.digest, Some(&described)).await?;
        if carried.len() > MAX_LAYERS {
            let found = carried.len() as u64;
            return Err(PullError::TooLarge { what: "layers", found, most: MAX_LAYERS as u64 });
        }
        let mut layers: Vec<Layer> = Vec::with_capacity(carried.len());
        let mut bytes = 0_u64;
        for one in &carried {
            let blob = one.sha256()?;
            bytes = bytes.saturating_add(one.size);
            for (what, found, most) in
                [("bytes in one layer", one.size, MAX_LAYER_BYTES), ("bytes", bytes, MAX_IMAGE_BYTES)]
            {
                if found > most {
                    return Err(PullError::TooLarge { what, found, most });
                }
            }
            if !layers.iter().any(|known| known.blob == blob) {
                layers.push(Layer { diff_id: blob, blob, size: one.size });
            }
        }
        let (manifest, config) = with_history(manifest, config, carried.len())?;
        Ok(Base { id: Digest::of(&config), manifest, config, layers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_made_where_none_fits() {
        let manifest = br#"{"config":{"digest":"sha256:0","size":1},"layers":[1,2]}"#.to_vec();
        let fitting = br#"{"history":[{},{"empty_layer":true},{"created_by":"x"}]}"#.to_vec();
        let same = with_history(manifest.clone(), fitting.clone(), 2).unwrap();
        assert_eq!(same, (manifest.clone(), fitting.clone()));
        for (config, layers) in [(b"{}".to_vec(), 2), (fitting, 3)] {
            let (manifest, config) = with_history(manifest.clone(), config, layers).unwrap();
            let read: serde_json::Value = serde_json::from_slice(&config).unwrap();
            assert_eq!(read["history"].as_array().unwrap().len(), layers);
            let read: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            assert_eq!(read["config"]["digest"], format!("sha256:{}", Digest::of(&config)));
            assert_eq!(read["config"]["size"], config.len());
        }
        assert!(with_history(manifest, b"x".to_vec(), 1).is_err());
    }
}

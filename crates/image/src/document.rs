//! The documents of an image, in Docker's and OCI's dialects at once.
//!
//! Sources: OCI image specification 1.1 (index, manifest, configuration); Docker image manifest version 2, schema 2.

use crate::PullError;
use dockless_model::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// What is asked for, most wanted first.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// `linux/amd64`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// Architecture in Go's words.
    #[serde(default)]
    pub architecture: String,
}

impl Platform {
    /// Of this machine.
    #[must_use]
    pub fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// Points to a blob or manifest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// In the index of a layout: the tag.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.annotations.as_ref()?.get("org.opencontainers.image.ref.name").map(String::as_str)
    }

    /// # Errors
    /// Another algorithm than SHA-256.
    pub(crate) fn sha256(&self) -> Result<Digest, PullError> {
        self.digest.strip_prefix("sha256:").and_then(|hex| hex.parse().ok()).ok_or_else(|| {
            PullError::Document(format!("the digest {:?} is not one of SHA-256", shortened(&self.digest)))
        })
    }
}

/// Either kind of document that a tag may lead to.
pub(crate) enum Manifest {
    Index(Vec<Descriptor>),
    Image { config: Descriptor, layers: Vec<Descriptor> },
}

impl Manifest {
    /// The fields tell what it is: media types are sometimes missing and sometimes wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, PullError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Either {
            schema_version: Option<u64>,
            manifests: Option<Vec<Descriptor>>,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
        }
        let found: Either = serde_json::from_slice(bytes)
            .map_err(|error| PullError::Document(format!("its manifest cannot be read: {error}")))?;
        match found {
            Either { schema_version: Some(1), .. } => Err(PullError::SchemaOne),
            Either { manifests: Some(manifests), .. } => Ok(Self::Index(manifests)),
            Either { config: Some(config), layers: Some(layers), .. } => {
                // Charts, signatures and the like travel as images too.
                let kinds =
                    ["", "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
                if !kinds.contains(&config.media_type.as_str()) {
                    return Err(PullError::NotAnImage(shortened(&config.media_type)));
                }
                Ok(Self::Image { config, layers })
            }
            _ => Err(PullError::Document("its manifest names neither layers nor manifests".to_owned())),
        }
    }
}

/// Picks this machine's manifest.
pub(crate) fn for_platform<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, PullError> {
    let found = manifests.iter().find(|entry| match &entry.platform {
        Some(platform) => platform == wanted,
        // An index of one without a platform: its configuration says what it is for.
        None => manifests.len() == 1,
    });
    found.ok_or_else(|| {
        // Attestations beside images have the platform unknown/unknown.
        let offered = manifests.iter().filter_map(|entry| entry.platform.as_ref()).filter(|one| one.os != "unknown");
        PullError::Platform { wanted: wanted.clone(), offered: offered.take(20).map(ToString::to_string).collect() }
    })
}

/// The configuration, as far as it is used.
#[derive(Debug, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(flatten)]
    pub(crate) platform: Platform,
    pub(crate) config: Option<ContainerConfig>,
    pub(crate) rootfs: RootFs,
}

/// Layers by the digests of their unpacked archives.
#[derive(Debug, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default)]
    pub(crate) diff_ids: Option<Vec<String>>,
}

/// What the process is made from. Every field may be absent or null.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ContainerConfig {
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) user: Option<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) stop_signal: Option<String>,
    pub(crate) exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

/// A stranger's word, not longer than an error may be.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    #[test]
    fn documents_are_told_by_their_fields() {
        let one = format!(r#"{{"digest":"{}","size":1}}"#, digest('a'));
        let image = format!(r#"{{"schemaVersion":2,"config":{one},"layers":[{one},{one}]}}"#);
        assert!(matches!(Manifest::parse(image.as_bytes()), Ok(Manifest::Image { layers, .. }) if layers.len() == 2));
        let index = format!(r#"{{"manifests":[{one}]}}"#);
        assert!(matches!(Manifest::parse(index.as_bytes()), Ok(Manifest::Index(list)) if list.len() == 1));
        assert!(matches!(Manifest::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#), Err(PullError::SchemaOne)));
        for bad in ["", "[]", "{}", "<html>", r#"{"config":1,"layers":[]}"#] {
            assert!(matches!(Manifest::parse(bad.as_bytes()), Err(PullError::Document(_))), "{bad}");
        }
        let chart =
            image.replacen(r#""size":1"#, r#""size":1,"mediaType":"application/vnd.cncf.helm.config.v1+json""#, 1);
        assert!(matches!(Manifest::parse(chart.as_bytes()), Err(PullError::NotAnImage(kind)) if kind.contains("helm")));
    }

    #[test]
    fn the_machines_own_platform_is_picked() {
        let entry = |os: &str, architecture: &str| Descriptor {
            media_type: String::new(),
            digest: digest('b'),
            size: 1,
            platform: Some(Platform { os: os.to_owned(), architecture: architecture.to_owned() }),
            annotations: None,
        };
        let wanted = Platform { os: "linux".into(), architecture: "amd64".into() };
        let list = [entry("unknown", "unknown"), entry("linux", "arm64"), entry("linux", "amd64")];
        assert_eq!(for_platform(&list, &wanted).unwrap().platform.as_ref(), Some(&wanted));
        match for_platform(&list[..2], &wanted) {
            Err(PullError::Platform { offered, .. }) => assert_eq!(offered, ["linux/arm64"]),
            other => panic!("{other:?}"),
        }
        let bare = Descriptor { platform: None, ..entry("", "") };
        assert!(for_platform(std::slice::from_ref(&bare), &wanted).is_ok());
        assert!(for_platform(&[bare.clone(), bare], &wanted).is_err());
    }
}

//! What a build leaves behind: one versioned, immutable manifest, addressed by the digest of its JSON.

use crate::{Digest, FunctionLimits, Image, RuntimeId, ServiceLimits, Slot, SourcePath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use crate::route::{Condition, Operator, Phase, Route, Subject, Test, Then};

/// The manifest. Whoever holds it holds the truth about a deployment for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Shape of this document; [`Output::VERSION`] is the one written.
    pub version: u32,
    /// Routes in order of trial, each in its [`Phase`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Output path (no leading slash) → file.
    pub files: BTreeMap<SourcePath, StaticFile>,
    /// Output path (no leading slash, no extension in zero-config: `api/date`) → function.
    pub functions: BTreeMap<SourcePath, Function>,
    /// Name (an output path as well, so that routes lead to it) → service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<SourcePath, Service>,
    /// Whether folders without an index are listed, as in 2019.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listing: bool,
    /// Whether functions and services reach the internet, where the platform has a way for them.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub egress: bool,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl Output {
    /// The version this program writes. 2: routes have more than a source, a destination and a phase; all that 1 could
    /// say means the same.
    pub const VERSION: u32 = 2;
}

/// A file served as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticFile {
    /// Its bytes in the blob store.
    pub blob: Digest,
    /// Bytes.
    pub size: u64,
    /// Media type with charset where it is text.
    pub content_type: String,
    /// The same content compressed, each smaller than itself; the smallest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encodings: Vec<Encoded>,
}

/// A file's content in a content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encoded {
    /// Which.
    pub coding: Coding,
    /// Its bytes in the blob store.
    pub blob: Digest,
    /// Bytes.
    pub size: u64,
}

/// A content coding, by its name in HTTP (RFC 9110 §8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// Brotli, RFC 7932.
    Br,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Coding {
    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Br => "br",
            Self::Zstd => "zstd",
        }
    }
}

impl StaticFile {
    /// A file that is not compressed.
    #[must_use]
    pub const fn new(blob: Digest, size: u64, content_type: String) -> Self {
        Self { blob, size, content_type, encodings: Vec::new() }
    }

    /// Strong validator: the content's own digest, quoted, cut to 32 hexadecimal characters. A coding of it is another
    /// representation and has its name behind (RFC 9110 §8.8.3.3).
    #[must_use]
    pub fn etag(&self, coding: Option<Coding>) -> String {
        let digest = &self.blob.to_string()[..32];
        match coding {
            None => format!("\"{digest}\""),
            Some(coding) => format!("\"{digest}-{}\"", coding.as_str()),
        }
    }

    /// Every content that has to be there: its own and its codings'.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        std::iter::once(self.blob).chain(self.encodings.iter().map(|encoded| encoded.blob))
    }
}

/// One entrypoint as its own package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// The entrypoint inside the bundle, e.g. `api/date.js`.
    pub entrypoint: SourcePath,
    /// The file of the bundle that is loaded, where it is not the entrypoint itself but what was made of it: `api/date.js`
    /// for `api/date.ts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<SourcePath>,
    /// The bundle in the tree cache: mounted read-only at /var/task.
    pub bundle: Digest,
    /// Bytes of the bundle, unpacked.
    pub bundle_bytes: u64,
    /// Files of the bundle, so that an evicted tree can be made again from blobs.
    pub files: BTreeMap<SourcePath, BundleFile>,
    /// Interpreter.
    pub runtime: RuntimeId,
    /// Limits.
    pub limits: FunctionLimits,
    /// Whether request and response get the helpers of the era.
    pub helpers: bool,
}

/// A server process from an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// What it runs.
    pub image: Image,
    /// CPU and memory of an instance.
    pub slot: Slot,
    /// Limits.
    pub limits: ServiceLimits,
}

impl Service {
    /// The name of a deployment's only service, and of the one at its root.
    pub const ROOT: &str = "app";
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleFile {
    /// Its bytes in the blob store.
    pub blob: Digest,
    /// Bytes.
    pub size: u64,
    /// Whether it is executable: the one bit of the mode that is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

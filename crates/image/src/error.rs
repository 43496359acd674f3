//! Why an image could not be pulled, in words for whoever named it.

use crate::{MAX_LAYERS, Platform, ProcessError, ReferenceError};
use dockless_blob::BlobError;
use dockless_model::Digest;
use std::time::Duration;

/// A failed pull. The text says what; [`PullError::hint`] what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// 401, with or without credentials.
    #[error("the registry {host} says 401 (not logged in){}", said(.message))]
    Unauthorized {
        /// Which registry.
        host: String,
        /// Whether a login was sent.
        logged_in: bool,
        /// Its own words.
        message: String,
    },
    /// 403.
    #[error("the registry {host} says 403 (forbidden){}", said(.message))]
    Forbidden {
        /// Which registry.
        host: String,
        /// Its own words.
        message: String,
    },
    /// 404.
    #[error("the registry {host} does not have {what}{}", said(.message))]
    NotFound {
        /// Which registry.
        host: String,
        /// `me/app:1`, or a blob.
        what: String,
        /// Its own words.
        message: String,
    },
    /// 429 until patience ran out.
    #[error("the registry {host} says 429 (too many requests) again and again{}", said(.message))]
    TooManyRequests {
        /// Which registry.
        host: String,
        /// Its own words.
        message: String,
    },
    /// Another answer than the protocol knows, also after trying again.
    #[error("{host} answers {status} to {what}{}", said(.message))]
    Status {
        /// Who.
        host: String,
        /// The status code.
        status: u16,
        /// What was asked.
        what: String,
        /// Its own words.
        message: String,
    },
    /// No connection, or one that was cut again and again.
    #[error("cannot reach {host}: {why}")]
    Unreachable {
        /// Who.
        host: String,
        /// The innermost reason.
        why: String,
    },
    /// A redirection or token server that is not to be trusted.
    #[error("the registry {host} sends us to {url}, which is not https")]
    Insecure {
        /// Which registry.
        host: String,
        /// Where to.
        url: String,
    },
    /// No manifest for this machine.
    #[error("the image is not made for {wanted}{}", offers(.offered))]
    Platform {
        /// This machine.
        wanted: Platform,
        /// What there is.
        offered: Vec<String>,
    },
    /// The manifest format of 2015.
    #[error("the image has a manifest of schema 1, which registries gave up in 2019")]
    SchemaOne,
    /// A chart, a signature, an attestation.
    #[error("that is not an image but something of the type {0:?}")]
    NotAnImage(String),
    /// A document that says nonsense.
    #[error("the image cannot be used: {0}")]
    Document(String),
    /// No name of an image.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// It cannot be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Over a bound.
    #[error("the image has {found} {what}, at most {most} are allowed")]
    TooLarge {
        /// `layers`, `bytes in one layer`, `bytes`.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many may be.
        most: u64,
    },
    /// The content is not what its name says, also after trying again.
    #[error("the registry {host} sent other bytes than {wanted} names: {found}")]
    WrongContent {
        /// Which registry.
        host: String,
        /// Asked for.
        wanted: Digest,
        /// Digest of what came.
        found: String,
    },
    /// No room, or the disk fails.
    #[error("cannot store a layer")]
    Store(#[from] BlobError),
    /// The HTTP library cannot be set up.
    #[error("cannot set up HTTP")]
    Setup(#[source] reqwest::Error),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn offers(offered: &[String]) -> String {
    if offered.is_empty() { String::new() } else { format!(", only for {}", offered.join(", ")) }
}

impl PullError {
    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unauthorized { host, logged_in: false, .. } => {
                format!("run `docker login {host}` (or `podman login`, `skopeo login`) where you deploy from")
            }
            Self::Unauthorized { host, logged_in: true, .. } => {
                format!(
                    "the login for {host} is not accepted: run `docker login {host}` again; for an image without \
                    a login, check its name"
                )
            }
            Self::Forbidden { host, .. } => format!("the account you are logged in with at {host} may not pull it"),
            Self::NotFound { .. } => "check name and tag; a private image looks like none without a login".to_owned(),
            Self::TooManyRequests { host, .. } => {
                format!("wait a while, or run `docker login {host}`: registries allow more to those they know")
            }
            Self::Platform { wanted, .. } => {
                format!("build it for this machine: docker buildx build --platform {wanted} …")
            }
            Self::SchemaOne => "push it again with a current docker, or copy it with skopeo".to_owned(),
            Self::Process(ProcessError::NoCommand) => {
                "give the image a command: CMD or ENTRYPOINT in its Dockerfile".to_owned()
            }
            Self::TooLarge { what: "layers", .. } => {
                format!("build it with fewer steps: {MAX_LAYERS} layers are what container engines allow")
            }
            Self::Insecure { .. } => "plain http is spoken with registries on this machine only".to_owned(),
            _ => return None,
        })
    }

    /// Whether the fault is on this machine's side.
    #[must_use]
    pub const fn is_internal(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Setup(_))
    }
}

/// A pause before the next try: doubled each time, with a registry's own wish above it.
pub(crate) fn pause(attempt: u32, wish: Option<Duration>) -> Duration {
    let doubled = Duration::from_millis(250) * 2_u32.pow(attempt.min(5));
    wish.unwrap_or(doubled).clamp(Duration::from_millis(100), Duration::from_secs(60))
}

//! `dockless deploy --image NAME`, `--image docker-archive:FILE`, `--image oci:FOLDER`

use super::Args;
use crate::{
    backoff::Backoff,
    client::{CallError, Client},
    context::Context,
    exit::Failure,
    registry_login, variables,
};
use dockless_image::{LocalError, Platform, Reference, ReferenceError};
use dockless_model::{OsEntropy, ProjectName, Secret, entropy::base32};
use dockless_wire::{CreateDeployment, Deployment, ImageLimits};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tempfile::TempDir;

/// Tries of the creation.
const TRIES: u32 = 5;

/// What an image is, and what its instances may use.
#[derive(Debug, Clone, clap::Args)]
pub struct ImageArgs {
    /// Deploy an image instead of a folder: of a registry, or docker-archive:FILE, or oci:FOLDER
    #[arg(long, value_name = "NAME[:TAG]", conflicts_with = "folder")]
    pub image: Option<ImageSource>,
    /// CPU and memory of an instance of the image, such as c1-m1024, or a name of the platform's own [default: c.125-m512]
    #[arg(long, requires = "image", value_name = "SLOT")]
    pub slot: Option<String>,
    /// Requests that an instance of the image answers at once, usually 1 to 256 [default: 10]
    #[arg(long, requires = "image", value_name = "NUMBER")]
    pub concurrency: Option<u32>,
    /// Life of an instance of the image, usually 1m to 30m [default: 5m]
    #[arg(long, requires = "image", value_name = "TIME", value_parser = time)]
    pub duration: Option<Duration>,
    /// Idle time until an instance of the image is stopped, usually 1m to 30m [default: 1m]
    #[arg(long, requires = "image", value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
    /// Keep instances of the image from the internet; a folder says so in vercel.json ("egress": false)
    #[arg(long, requires = "image")]
    pub no_egress: bool,
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// In a registry.
    Registry(Reference),
    /// On this machine: what `docker save` wrote, or an OCI layout, as a folder or an archive.
    Local {
        /// The folder or archive.
        path: PathBuf,
        /// Which of its images.
        tag: Option<String>,
    },
}

impl FromStr for ImageSource {
    type Err = String;

    /// `docker-archive:PATH[:TAG]` and `oci:PATH[:TAG]` as skopeo and podman write them, or a name.
    fn from_str(text: &str) -> Result<Self, String> {
        let local = ["docker-archive:", "oci-archive:", "oci:"].iter().find_map(|kind| text.strip_prefix(kind));
        let Some(path) = local else {
            return text.parse().map(Self::Registry).map_err(|error: ReferenceError| error.to_string());
        };
        if path.is_empty() {
            return Err("expected the path of a file or folder".to_owned());
        }
        // Paths may have colons too: what is there counts.
        match path.rsplit_once(':') {
            Some((file, tag)) if !Path::new(path).exists() && !file.is_empty() && !tag.contains('/') => {
                Ok(Self::Local { path: file.into(), tag: Some(tag.to_owned()) })
            }
            _ => Ok(Self::Local { path: path.into(), tag: None }),
        }
    }
}

impl ImageArgs {
    /// As the API has them; `None` if all have their defaults.
    pub(super) fn limits(&self) -> Option<ImageLimits> {
        let milliseconds =
            |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let limits = ImageLimits {
            max_concurrent_reqs: self.concurrency,
            duration: milliseconds(self.duration),
            timeout: milliseconds(self.timeout),
        };
        (limits != ImageLimits::default()).then_some(limits)
    }
}

/// Brings a local image into a temporary folder that is sent as a source.
pub(super) async fn stage(path: &Path, tag: Option<&str>) -> Result<TempDir, Failure> {
    let (path, tag) = (path.to_owned(), tag.map(str::to_owned));
    let staging = tokio::task::spawn_blocking(move || {
        let folder = tempfile::Builder::new().prefix("dockless-image-").tempdir().map_err(LocalError::Write)?;
        dockless_image::stage(&path, tag.as_deref(), &Platform::here(), folder.path())?;
        Ok(folder)
    });
    let staged: Result<TempDir, LocalError> = staging.await.map_err(Failure::bug)?;
    staged.map_err(|error| {
        let hint = match &error {
            LocalError::Compressed(path) => Some(format!("unpack it first: gunzip {}", path.display())),
            LocalError::Several(_) => Some("name one: docker-archive:FILE:TAG, oci:FOLDER:TAG".to_owned()),
            LocalError::Document(error) => error.hint(),
            _ => None,
        };
        let failure = Failure::refused(error);
        if let Some(hint) = hint { failure.hint(hint) } else { failure }
    })
}

/// `90s`, `5m`, `1500ms`; a number alone is seconds.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let milliseconds = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    milliseconds.map(Duration::from_millis).ok_or_else(|| "expected a time such as 90s or 5m".to_owned())
}

/// The project's name if none is said: that of the image, or of its file.
pub(super) fn name(args: &Args, source: &ImageSource) -> Result<ProjectName, Failure> {
    match &args.name {
        Some(name) => name.parse().map_err(Failure::usage),
        None => Ok(ProjectName::from_any(&match source {
            ImageSource::Registry(reference) => reference.name().into(),
            ImageSource::Local { path, .. } => path.file_stem().unwrap_or_default().to_string_lossy(),
        })),
    }
}

/// Creates the deployment.
pub(super) async fn create(
    args: &Args,
    reference: &Reference,
    name: &ProjectName,
    client: &Client,
    ctx: &Context,
) -> Result<Deployment, Failure> {
    let login = match registry_login::find(reference.host(), reference.repository()).await {
        Ok(login) => login.map(|login| login.header()),
        Err(error) => {
            ctx.printer.warn(&format!("going on without a login for {}: {error:#}", reference.host()));
            None
        }
    };
    let body = CreateDeployment {
        version: 2,
        name: name.to_string(),
        image: Some(reference.to_string()),
        slot: args.image.slot.clone(),
        limits: args.image.limits(),
        egress: args.image.no_egress.then_some(false),
        env: variables::read(&args.env)?,
        auto_assign_custom_domains: args.no_alias.then_some(false),
        ..CreateDeployment::default()
    };
    send(client, &body, args.force, login.as_ref()).await.map_err(Into::into)
}

/// A tag may name another image a moment later, so only tries of this one command are the same request.
async fn send(
    client: &Client,
    body: &CreateDeployment,
    force: bool,
    login: Option<&Secret>,
) -> Result<Deployment, CallError> {
    let key = base32(&OsEntropy, 26);
    let mut backoff = Backoff::new(if force { 1 } else { TRIES });
    loop {
        match client.create_from_image(body, force, &key, login).await {
            Ok(created) => return Ok(created),
            Err(error) => match backoff.after(&error) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_or_lie_somewhere() {
        let local =
            |path: &str, tag: Option<&str>| Ok(ImageSource::Local { path: path.into(), tag: tag.map(str::to_owned) });
        assert_eq!("docker-archive:a.tar".parse(), local("a.tar", None));
        assert_eq!("docker-archive:a.tar:app:1".parse(), local("a.tar:app", Some("1")));
        assert_eq!("oci:/tmp/x:latest".parse(), local("/tmp/x", Some("latest")));
        assert_eq!("oci:a:b/c".parse(), local("a:b/c", None));
        assert!("oci:".parse::<ImageSource>().is_err());
        assert!(matches!("nginx:1".parse(), Ok(ImageSource::Registry(_))));
        assert!("Bad".parse::<ImageSource>().is_err());
    }

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [
            ("90", Some(90_000)),
            ("90s", Some(90_000)),
            ("5m", Some(300_000)),
            ("1500ms", Some(1500)),
            ("", None),
            ("m", None),
            ("5h", None),
            ("-5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text).ok(), milliseconds.map(Duration::from_millis), "{text:?}");
        }
    }
}

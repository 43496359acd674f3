//! `dockless deploy --image REF`

use super::Args;
use crate::{
    backoff::Backoff,
    client::{CallError, Client},
    context::Context,
    exit::Failure,
    registry_login, variables,
};
use dockless_image::Reference;
use dockless_model::{OsEntropy, ProjectName, Secret, Slot, entropy::base32};
use dockless_wire::{CreateDeployment, Deployment, ImageLimits};
use std::time::Duration;

/// Tries of the creation.
const TRIES: u32 = 5;

/// What an image is, and what its instances may use.
#[derive(Debug, Clone, clap::Args)]
pub struct ImageArgs {
    /// Deploy an image of a registry instead of a folder
    #[arg(long, value_name = "NAME[:TAG]", conflicts_with = "folder")]
    pub image: Option<Reference>,
    /// CPU and memory of an instance of the image, such as c1-m1024 [default: c.125-m512]
    #[arg(long, requires = "image")]
    pub slot: Option<Slot>,
    /// Requests that an instance of the image answers at once, 1 to 256 [default: 10]
    #[arg(long, requires = "image", value_name = "NUMBER")]
    pub concurrency: Option<u32>,
    /// Life of an instance of the image, 1m to 30m [default: 5m]
    #[arg(long, requires = "image", value_name = "TIME", value_parser = time)]
    pub duration: Option<Duration>,
    /// Idle time until an instance of the image is stopped, 1m to 30m [default: 1m]
    #[arg(long, requires = "image", value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
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

/// The project's name if none is said: that of the image.
pub(super) fn name(args: &Args, reference: &Reference) -> Result<ProjectName, Failure> {
    match &args.name {
        Some(name) => name.parse().map_err(Failure::usage),
        None => Ok(ProjectName::from_any(reference.name())),
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
    let wanted = &args.image;
    let milliseconds = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let limits = ImageLimits {
        max_concurrent_reqs: wanted.concurrency,
        duration: milliseconds(wanted.duration),
        timeout: milliseconds(wanted.timeout),
    };
    let body = CreateDeployment {
        version: 2,
        name: name.to_string(),
        image: Some(reference.to_string()),
        slot: wanted.slot,
        limits: (limits != ImageLimits::default()).then_some(limits),
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

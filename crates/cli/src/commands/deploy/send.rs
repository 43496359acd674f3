//! The source to the server: create, upload what it misses, create again.

use super::image::ImageArgs;
use crate::{
    amounts,
    backoff::Backoff,
    client::{CallError, Client},
    exit::Failure,
    printer::Printer,
    source::{Source, SourceFile},
};
use anyhow::anyhow;
use dockless_model::{ProjectName, Secret, SourcePath, WireDigest};
use dockless_wire::{BuildSettings, CreateDeployment, Deployment, OCI_LAYOUT, SourceFile as WireFile};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Uploads at once: enough to fill a line with small files, few enough for a busy server.
const PARALLEL: usize = 8;
/// Tries of one upload or creation.
const TRIES: u32 = 5;
/// A server that still misses files after so many rounds of uploads forgets them as fast as they come.
const ROUNDS: u32 = 3;

/// What is sent, and how one sees it go.
pub(crate) struct Send<'a> {
    pub(crate) client: &'a Client,
    pub(crate) printer: &'a Printer,
    pub(crate) source: &'a Source,
    pub(crate) name: &'a ProjectName,
    pub(crate) env: BTreeMap<String, Secret>,
    pub(crate) build_env: BTreeMap<String, Secret>,
    /// The source is the OCI layout of an image.
    pub(crate) image: Option<&'a ImageArgs>,
}

impl Send<'_> {
    pub(crate) async fn send(&self, force: bool, no_alias: bool) -> Result<Deployment, Failure> {
        let body = self.body(no_alias);
        for _ in 0..ROUNDS {
            match self.create(&body, force).await {
                Ok(created) => return Ok(created),
                Err(CallError::Refused { detail, .. }) if detail.code == "missing_files" => {
                    self.upload(detail.missing.unwrap_or_default()).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::bug(anyhow!("the server still misses files it was sent")).hint("the server's own log says more"))
    }

    /// Equal creations are one within a minute, so trying again makes no second deployment; with `force` it would.
    async fn create(&self, body: &CreateDeployment, force: bool) -> Result<Deployment, CallError> {
        let mut backoff = Backoff::new(if force { 1 } else { TRIES });
        loop {
            match self.client.create(body, force).await {
                Ok(created) => return Ok(created),
                Err(error) => match backoff.after(&error) {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(error),
                },
            }
        }
    }

    fn body(&self, no_alias: bool) -> CreateDeployment {
        let files = self.source.files.iter().map(|(path, file)| WireFile {
            file: path.to_string(),
            sha: Some(file.digest),
            size: Some(file.size),
            // S_IFREG with 0755 or 0644: of the mode only the executable bit travels.
            mode: Some(if file.executable { 0o100_755 } else { 0o100_644 }),
            data: None,
            encoding: None,
        });
        CreateDeployment {
            version: 2,
            name: self.name.to_string(),
            files: files.collect(),
            image: self.image.map(|_| OCI_LAYOUT.to_owned()),
            slot: self.image.and_then(|image| image.slot.clone()),
            limits: self.image.and_then(ImageArgs::limits),
            egress: self.image.filter(|image| image.no_egress).map(|_| false),
            env: self.env.clone(),
            build: (!self.build_env.is_empty()).then(|| BuildSettings { env: self.build_env.clone() }),
            auto_assign_custom_domains: no_alias.then_some(false),
            ..CreateDeployment::default()
        }
    }

    async fn upload(&self, missing: Vec<String>) -> Result<(), Failure> {
        let known = self.source.by_digest();
        let mut files = BTreeMap::new();
        for digest in missing {
            let file = digest.parse().ok().and_then(|digest: WireDigest| Some((digest, *known.get(&digest)?)));
            let (digest, file) = file.ok_or_else(|| {
                Failure::bug(anyhow!("the server misses {digest:?}, which is no file of this folder"))
            })?;
            files.insert(digest, file);
        }
        let total = files.values().map(|(_, file)| file.size).sum();
        let text = format!("Uploading {}", amounts::count(files.len(), "file"));
        let bar = self.printer.progress().bytes(total, &text);
        stream::iter(files.into_values())
            .map(|(path, file)| self.upload_one(path, file, &bar))
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        drop(bar);
        self.printer.done(&format!("Uploaded {}", amounts::size(total)));
        Ok(())
    }

    async fn upload_one(
        &self,
        path: &SourcePath,
        file: &SourceFile,
        bar: &crate::terminal::Bar,
    ) -> Result<(), CallError> {
        let mut backoff = Backoff::new(TRIES);
        loop {
            let sent = Arc::new(AtomicU64::new(0));
            let (counter, tick) = (Arc::clone(&sent), bar.ticker());
            let progress = move |bytes| {
                counter.fetch_add(bytes, Ordering::Relaxed);
                tick(bytes);
            };
            let Err(error) = self.client.upload(path, file, progress).await else { return Ok(()) };
            let delay = backoff.after(&error).ok_or(error)?;
            bar.take_back(sent.load(Ordering::Relaxed));
            tokio::time::sleep(delay).await;
        }
    }
}

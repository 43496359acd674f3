//! One build of what the folder holds now.

use super::dotenv::{self, Variables};
use crate::{
    client::{CallError, Client, ListRange, LogRange, Name},
    commands::deploy::{self, follow::Follow, send::Send},
    context::Context,
    exit::Failure,
    printer::Printer,
    source::{Memory, Source, SourceError, SourceFile},
};
use anyhow::Context as _;
use dockless_model::{DeploymentId, DeploymentState, ProjectName, Secret, SourcePath};
use dockless_wire::{Deployment, LogRecord};
use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::watch;

/// Between two looks at a deployment whose log has ended: the platform is this machine's own.
const LOOK: Duration = Duration::from_millis(10);
/// Between the end of a log and the next try to follow it.
const AGAIN: Duration = Duration::from_millis(500);
/// How often a folder is read again whose files went while it was.
const TRIES: u32 = 3;
/// Deployments that are kept behind the newest, for requests that are on their way.
const KEPT: usize = 1;
/// Deployments that are looked at to remove what earlier sessions left.
const LISTED: u32 = 100;

/// Builds, and what it knows of the last one.
pub(super) struct Round {
    root: PathBuf,
    name: ProjectName,
    env: BTreeMap<String, Secret>,
    memory: Memory,
    built: Option<(BTreeMap<SourcePath, SourceFile>, Variables)>,
    /// Oldest first; the last is online.
    online: VecDeque<DeploymentId>,
    /// To be removed.
    over: Vec<DeploymentId>,
    newest: watch::Sender<Option<DeploymentId>>,
}

impl Round {
    pub(super) fn new(root: PathBuf, name: ProjectName, env: BTreeMap<String, Secret>) -> Self {
        let newest = watch::Sender::new(None);
        Self {
            root,
            name,
            env,
            memory: Memory::default(),
            built: None,
            online: VecDeque::new(),
            over: Vec::new(),
            newest,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where its functions' words come from.
    pub(super) fn logs(&self) -> Logs {
        Logs { newest: self.newest.subscribe() }
    }

    /// What an earlier session left is removed once this one has something to show.
    pub(super) async fn forget_earlier(&mut self, client: &Client) {
        let range = ListRange {
            project: Some(self.name.to_string()),
            states: Vec::new(),
            since: None,
            until: None,
            limit: LISTED,
        };
        if let Ok(list) = client.deployments(&range).await {
            self.over.extend(list.deployments.into_iter().map(|deployment| deployment.id));
        }
    }

    /// Builds what is there; `None` if it is what was built last.
    ///
    /// # Errors
    /// What a person has to mend.
    pub(super) async fn build(&mut self, client: &Client, printer: &Printer) -> Result<Option<Deployment>, Failure> {
        let mut variables = dotenv::read(&self.root)?;
        variables.runtime.extend(self.env.clone());
        let source = self.read().await?;
        let same = self.built.as_ref().is_some_and(|(files, known)| *files == source.files && *known == variables);
        if same {
            return Ok(None);
        }
        let is_first = self.built.is_none();
        // What fails is not tried again as it is.
        self.built = Some((source.files.clone(), variables.clone()));
        let mut env = variables.runtime;
        env.entry("NODE_ENV".to_owned()).or_insert_with(|| Secret::new("development"));
        let build_env = variables.build;
        let hushed = printer.hushed();
        let send = Send { client, printer: &hushed, source: &source, name: &self.name, env, build_env, image: None };
        let created = send.send(true, false).await?;
        let follow = Follow { client, printer, id: created.id.clone(), look: LOOK, details: is_first };
        let settled = follow.follow().await;
        match settled {
            Ok(settled) if settled.ready_state == DeploymentState::Ready => {
                self.online.push_back(settled.id.clone());
                self.newest.send_replace(Some(settled.id.clone()));
                Ok(Some(settled))
            }
            Ok(settled) => {
                self.over.push(settled.id.clone());
                Err(deploy::failed_build(&settled))
            }
            Err(failure) => {
                self.over.push(created.id);
                // It may be online all the same: whatever is saved next is built.
                self.built = None;
                Err(failure)
            }
        }
    }

    /// Reads the folder. What is there one moment and gone the next, an editor's own files, is no mistake.
    async fn read(&mut self) -> Result<Source, Failure> {
        let mut tries = TRIES;
        loop {
            let (root, mut memory) = (self.root.clone(), std::mem::take(&mut self.memory));
            let read = tokio::task::spawn_blocking(move || (Source::read_again(&root, &mut memory), memory));
            let (read, memory) = read.await.context("reading was cut short")?;
            self.memory = memory;
            match read {
                Ok(source) => return Ok(source),
                Err(SourceError::Unreadable { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && tries > 0 =>
                {
                    tries -= 1;
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(deploy::unreadable(error, &self.root)),
            }
        }
    }

    /// Removes what nobody asks for any more.
    pub(super) async fn settle(&mut self, client: &Client) {
        while self.online.len() > 1 + KEPT {
            self.over.extend(self.online.pop_front());
        }
        let mut left = Vec::new();
        for id in std::mem::take(&mut self.over) {
            match client.remove(&id).await {
                Err(error) if error.may_pass() => left.push(id),
                // Gone, or somebody's own business by now.
                _ => {}
            }
        }
        self.over = left;
    }
}

/// Follows the log of what is online.
pub(super) struct Logs {
    newest: watch::Receiver<Option<DeploymentId>>,
}

impl Logs {
    /// Prints lines as they come, for ever.
    ///
    /// # Errors
    /// They cannot be printed.
    pub(super) async fn print(
        mut self,
        client: &Client,
        ctx: &Context,
        show: impl Fn(&LogRecord) -> std::io::Result<()>,
    ) -> Failure {
        loop {
            let Some(id) = self.newest.borrow_and_update().clone() else {
                if self.newest.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            let (name, mut since) = (Name::from(&id), None);
            loop {
                tokio::select! {
                    end = follow(client, &name, &mut since, &show) => match end {
                        Ok(()) => tokio::time::sleep(AGAIN).await,
                        Err(Broken::Print(error)) => return anyhow::Error::new(error).context("cannot print").into(),
                        Err(Broken::Call(error)) if error.may_pass() => tokio::time::sleep(AGAIN).await,
                        Err(Broken::Call(error)) => {
                            ctx.printer.warn(&format!("the log of {id} cannot be followed: {error}"));
                            let _ = self.newest.changed().await;
                            break;
                        }
                    },
                    _ = self.newest.changed() => break,
                }
            }
        }
    }
}

enum Broken {
    Call(CallError),
    Print(std::io::Error),
}

impl From<CallError> for Broken {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

async fn follow(
    client: &Client,
    name: &Name,
    since: &mut Option<u64>,
    show: impl Fn(&LogRecord) -> std::io::Result<()>,
) -> Result<(), Broken> {
    let mut lines = client.logs(name, LogRange { since: *since, limit: None, follow: true }).await?;
    while let Some(line) = lines.next::<LogRecord>().await? {
        *since = Some(line.record.id);
        show(&line.record).map_err(Broken::Print)?;
    }
    Ok(())
}

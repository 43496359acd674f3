//! Creation of a deployment.

mod body;
mod fields;
mod image;
mod source;

use crate::{
    Caller, Control, Error,
    variable::{Environment, MAX_ENV_BYTES},
};
use body::{Body, Content};
use dockless_model::{
    BuildId, DeploymentId, Digest, ProjectId, ProjectName, Secret, SourcePath, Timestamp, WireDigest,
    output::BundleFile,
};
use dockless_store::{Created, FileRow, NewDeployment, SealedColumn, StoreError};
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};

/// Labels tried before a creation is given up: each has 45 random bits, so the second is never needed.
const LABELS: usize = 5;

/// What stands beside the body of a creation.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Create although the same request did so a moment ago.
    pub force_new: bool,
    /// The files are a ready output tree: not supported yet.
    pub prebuilt: bool,
    /// A name for the request: equal bodies under two names are two requests.
    pub key: Option<String>,
    /// The login for the registry of an image, as the client sent it.
    pub login: Option<Secret>,
}

#[cfg(fuzzing)]
pub(crate) fn try_body(json: &[u8], config: &crate::ControlConfig) {
    drop(body::read(json, config));
}

impl Control {
    /// Creates a deployment from the JSON of a request, QUEUED. The same request sent again within a minute gives the
    /// deployment that the first made, unless that failed or `force_new` is set.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field; [`Error::MissingFiles`] the contents to upload first, those present are kept
    /// for an hour; [`Error::NoSpace`]; disk or database fail. Nothing is made then.
    pub async fn create(
        &self,
        caller: &Caller,
        json: &[u8],
        options: CreateOptions,
    ) -> Result<dockless_wire::Deployment, Error> {
        if options.prebuilt {
            return Err(Error::field("prebuilt", "ready output trees are not supported by this version"));
        }
        let body = body::read(json, self.config())?;
        if let Some(image) = &body.image {
            self.platform()
                .check_image(&image.reference, options.login.as_ref())
                .map_err(|(field, message)| Error::field(field, message))?;
        }
        if let Some(reserved) = body.env.keys().find(|name| self.platform().is_reserved_variable(name)) {
            return Err(Error::field(format!("env.{reserved}"), "is set by the platform: choose another name"));
        }
        let name = self.project_name(caller, &body).await?;
        let (env, build_env) = self.environments(caller, &name, &body).await?;
        self.must_have_space().await?;
        let source = self.source(caller, body.files).await?;
        let listing = serde_json::to_vec(&source).map_err(|_| Error::Damaged("a source's listing"))?;
        let listing = self.blobs().put(&listing).await?.digest;
        let now = self.now();
        let force = options.force_new || body.force_new;
        let id = DeploymentId::random(self.entropy());
        let new = NewDeployment {
            env: self.seal_env(SealedColumn::Environment, id.as_str(), &env.values),
            build_env: (!build_env.values.is_empty())
                .then(|| self.seal_env(SealedColumn::BuildEnvironment, id.as_str(), &build_env.values)),
            id,
            account: caller.id().clone(),
            new_project: ProjectId::random(self.entropy()),
            build: BuildId::random(self.entropy()),
            region: self.config().region.clone(),
            host: self.config().domain.clone(),
            name,
            target: body.target,
            meta: body.meta,
            request: request(json, options.key.as_deref(), [&env, &build_env]),
            same_since: (!force).then(|| Timestamp(now.0 - millis(self.config().same_request))),
            wants_alias: body.wants_alias,
            image: body.image,
            source: listing,
            blobs: source.values().map(|file| file.blob).chain([listing]).collect::<BTreeSet<_>>(),
        };
        // Before the build can be taken.
        let made = new.id.clone();
        if let Some(login) = options.login.filter(|_| new.image.is_some()) {
            self.logins().keep(&made, login);
        }
        let id = self.insert(new, now).await.inspect_err(|_| self.logins().forget(&made))?;
        if id != made {
            self.logins().forget(&made);
        }
        self.advance().await?;
        self.queued().notify_one();
        self.deployment(caller, id.as_str()).await
    }

    /// What functions and build get: the project's variables, and above them what the request says.
    async fn environments(
        &self,
        caller: &Caller,
        project: &ProjectName,
        body: &Body,
    ) -> Result<(Environment, Environment), Error> {
        let target = body.target.as_deref().unwrap_or("preview");
        let mut env = self.project_environment(caller, project, target).await?;
        let mut build_env = env.clone();
        env.extend(self.grant(caller, &body.env, "env").await?);
        build_env.extend(self.grant(caller, &body.build_env, "build.env").await?);
        for (field, env) in [("env", &env), ("build.env", &build_env)] {
            if env.bytes() > MAX_ENV_BYTES {
                let message = format!("more than {MAX_ENV_BYTES} bytes in all, the project's variables included");
                return Err(Error::field(field, message));
            }
        }
        Ok((env, build_env))
    }

    async fn insert(&self, mut new: NewDeployment, now: Timestamp) -> Result<DeploymentId, Error> {
        for _ in 0..LABELS {
            let label = new.name.deployment_label(self.entropy());
            new.host = self.config().host(&label).ok_or_else(|| Error::field("name", "too long for this domain"))?;
            match self.db().create_deployment(&new, now).await {
                Err(StoreError::Taken(_)) => {}
                Err(error) => return Err(error.into()),
                Ok(Created::Before(id)) => return Ok(id),
                Ok(Created::New) => {
                    tracing::info!(deployment = %new.id, project = %new.name, host = %new.host, "deployment created");
                    return Ok(new.id);
                }
            }
        }
        Err(Error::Damaged("the source of randomness"))
    }

    /// The project named by `project` (id or name) or `name`.
    async fn project_name(&self, caller: &Caller, body: &Body) -> Result<ProjectName, Error> {
        if let Some(project) = &body.project {
            if let Some(found) = self.db().project(caller.id(), project).await? {
                return Ok(found.name);
            }
            // A name may be new, an id may not.
            if project.starts_with(ProjectId::PREFIX) {
                return Err(Error::field("project", "there is no project of this id"));
            }
            return project.parse().map_err(Error::parse("project"));
        }
        body.name.clone().ok_or_else(|| Error::field("name", "expected the name of the project"))
    }

    /// Finds every content of the source.
    async fn source(
        &self,
        caller: &Caller,
        files: BTreeMap<SourcePath, body::File>,
    ) -> Result<BTreeMap<SourcePath, BundleFile>, Error> {
        let wires: BTreeSet<WireDigest> = files.values().filter_map(body::File::uploaded).collect();
        let wires: Vec<_> = wires.into_iter().collect();
        let now = self.now();
        let found = self.db().pin_files(caller.id(), &wires, now.plus(self.config().pin), now).await?;
        let missing: Vec<_> = wires.into_iter().filter(|wire| !found.contains_key(wire)).collect();
        if !missing.is_empty() {
            return Err(Error::MissingFiles(missing));
        }
        let mut source = BTreeMap::new();
        for (path, file) in files {
            let stored = match &file.content {
                Content::Inline(bytes) => {
                    let stored = self.blobs().put(bytes).await?;
                    FileRow { digest: stored.digest, size: stored.size }
                }
                Content::Uploaded { wire, size } => {
                    let row = found.get(wire).copied().ok_or_else(|| Error::MissingFiles(vec![*wire]))?;
                    if size.is_some_and(|size| size != row.size) {
                        let message = format!("{path} was uploaded with {} bytes", row.size);
                        return Err(Error::field(format!("files[{}].size", file.index), message));
                    }
                    row
                }
            };
            source.insert(path, BundleFile { blob: stored.digest, size: stored.size, executable: file.executable });
        }
        Ok(source)
    }
}

/// What makes two creations the same: the request, and what gave the variables that it does not say itself. Their values
/// are not in it: from a digest, short ones could be guessed.
fn request(json: &[u8], key: Option<&str>, envs: [&Environment; 2]) -> Digest {
    let mut hash = sha2::Sha256::new_with_prefix(json);
    if let Some(key) = key {
        hash.update(b"\nkey ");
        hash.update(key);
    }
    for giver in envs.iter().flat_map(|env| &env.givers) {
        hash.update(b"\n");
        hash.update(giver);
    }
    Digest::from_bytes(hash.finalize().into())
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

//! A build from its source to its output.
//!
//! ```text
//! detect ─┬─ files are all there is ──────────────────────────► bundles of the whole source ─► import
//!         └─ packages or scripts: install (or kept) ─► script ─► trace (or kept) ─► import
//!                                 └────────── one build sandbox ──────────┘
//! ```
//! Every step is kept by what it was made from, so a build after a small change does the small part only, and one after
//! none needs no sandbox.

use crate::bench::{Bench, internal, seconds, stopped};
use crate::cache::{Cache, Shelf, key};
use crate::contents;
use crate::detect::check_size;
use crate::install::{Places, tool_of};
use crate::packages::{Install, Script};
use crate::run::{self, Made};
use crate::statics::{self, content_type};
use crate::tools::Tool;
use crate::trace::Bundle;
use crate::{BuildError, BuildLog, BuildSettings, Level, Plan, Project, Source, SourceFile, Step, detect, engines};
use dockless_blob::BlobStore;
use dockless_model::output::{Output, StaticFile};
use dockless_model::{AccountId, Digest, RuntimeId, Secret, SourcePath};
use dockless_node::Node;
use dockless_node::workshop::BuildSandboxError;
use dockless_sandbox::protocol::{Refusal, Runtime};
use dockless_sandbox::workshop::{APP, MAX_TOOLS};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Builds sources; clones share it.
#[derive(Debug, Clone)]
pub struct Builder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: Node,
    blobs: BlobStore,
    cache: Cache,
    settings: BuildSettings,
    tools: tokio::sync::Mutex<()>,
}

/// What the source's own script finds beside what every build does.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// Names and values.
    pub values: BTreeMap<String, Secret>,
    /// Names the one build that they are for: what comes of them is kept for no other.
    pub of: String,
}

/// What is built, for whom.
#[derive(Clone)]
pub struct BuildRequest {
    /// Of which account: nothing kept is shared between two.
    pub account: AccountId,
    /// Of which project: layers of images are kept for each.
    pub project: String,
    /// The source.
    pub source: Arc<Source>,
    /// Variables of the build.
    pub variables: Variables,
    /// Where the build's words go.
    pub log: Arc<dyn BuildLog>,
    /// Is told of each layer's tree before it is made.
    pub placed: Arc<dyn Fn(Digest) + Send + Sync>,
}

impl std::fmt::Debug for BuildRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildRequest").field("project", &self.project).finish_non_exhaustive()
    }
}

/// One build that needs a sandbox.
pub(crate) struct Job {
    pub(crate) account: AccountId,
    pub(crate) source: Arc<Source>,
    pub(crate) runtime: RuntimeId,
    pub(crate) npm: Runtime,
    pub(crate) variables: Variables,
    pub(crate) log: Arc<dyn BuildLog>,
}

/// Files that a script made to be served.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Site {
    folder: Option<String>,
    files: BTreeMap<SourcePath, SourceFile>,
}

impl Builder {
    /// Makes a builder that keeps results in this folder. Blocking.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(node: Node, blobs: BlobStore, folder: &Path, settings: BuildSettings) -> std::io::Result<Self> {
        let cache = Cache::open(folder, settings.cache_bytes)?;
        let tools = tokio::sync::Mutex::new(());
        Ok(Self { inner: Arc::new(Inner { node, blobs, cache, settings, tools }) })
    }

    pub(crate) fn node(&self) -> &Node {
        &self.inner.node
    }

    pub(crate) fn blobs(&self) -> &BlobStore {
        &self.inner.blobs
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    pub(crate) fn settings(&self) -> &BuildSettings {
        &self.inner.settings
    }

    pub(crate) fn tools_turn(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.tools
    }

    /// Builds a source for an account. Dropping the future stops everything it began; kept results stay.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(&self, request: BuildRequest) -> Result<Output, BuildError> {
        let begin = Instant::now();
        let BuildRequest { account, source, log, .. } = &request;
        let mut plan = detect(source)?;
        for warning in &plan.warnings {
            log.line(Level::Warn, warning);
        }
        let mut packages = self.python_packages(&request, &plan.steps).await?;
        let bundles: Vec<_> = match plan.project.take() {
            None => plan.steps.iter().map(|step| plan.bundle(step, &source.files)).collect(),
            Some(project) => {
                let runtime = self.node().current_runtime("node").ok_or(BuildError::NoRuntime { language: "node" })?;
                check_engines(&project, &runtime, &**log)?;
                let npm = self.node().npm().ok_or(BuildError::NoNpm)?.clone();
                let (account, source, variables) = (account.clone(), source.clone(), request.variables.clone());
                let job = Job { account, source, runtime, npm, variables, log: log.clone() };
                self.project(&job, &mut plan, &project).await?
            }
        };
        let mut made = Vec::new();
        for (step, mut files) in plan.steps.iter().zip(bundles) {
            if let Some(packages) = packages.remove(&step.entrypoint) {
                files.extend(packages);
                check_size(&step.entrypoint, &files)?;
            }
            made.push(Made { step, files });
        }
        let functions = run::import_all(made, self.node(), &**log).await?;
        let mut services = BTreeMap::new();
        if let Some(container) = &plan.container {
            services.insert(crate::image::root(), self.container(&request, container).await?);
        }
        log.line(
            Level::Info,
            &format!(
                "built {}{} and {} in {} ms",
                if services.is_empty() { "" } else { "1 service, " },
                run::count(functions.len(), "function"),
                run::count(plan.files.len(), "file"),
                begin.elapsed().as_millis()
            ),
        );
        if plan.clean_urls {
            statics::clean(&mut plan.files, &functions);
        }
        let Plan { routes, files, listing, egress, .. } = plan;
        Ok(Output { version: Output::VERSION, routes, files, functions, services, listing, egress })
    }

    /// Files of each step's bundle, in their order; replaces the files to serve by those that a script made.
    async fn project(
        &self,
        job: &Job,
        plan: &mut Plan,
        project: &Project,
    ) -> Result<Vec<BTreeMap<SourcePath, SourceFile>>, BuildError> {
        let keys: Vec<Digest> = project.installs.iter().map(|install| self.install_key(job, install)).collect();
        let built = project.script.as_ref().map(|script| whole_source(job, script, project));
        let site_key = built.as_ref().map(|whole| site_key(job, whole, &keys));
        let bundle_keys: Vec<Digest> =
            traced(plan).map(|step| self.bundle_key(job, step, &keys, built.as_ref())).collect();
        let (mut site, kept) = self.kept(job, site_key, bundle_keys.clone()).await?;
        let mut bundles: BTreeMap<SourcePath, Bundle> = BTreeMap::new();
        let mut missing: Vec<(&Step, Digest)> = Vec::new();
        for ((step, key), kept) in traced(plan).zip(bundle_keys).zip(kept) {
            match kept {
                Some(bundle) => {
                    bundles.insert(step.entrypoint.clone(), bundle);
                }
                None => missing.push((step, key)),
            }
        }
        if !bundles.is_empty() {
            let line = format!("trace: {} cached", run::count(bundles.len(), "function"));
            job.log.line(Level::Info, &line);
        }
        let site_missing = site_key.is_some() && site.is_none();
        if let Some(site) = &site {
            let line = format!("build: cached ({})", run::count(site.files.len(), "file"));
            job.log.line(Level::Info, &line);
        }
        if !missing.is_empty() || site_missing {
            let (mut bench, places) = self.bench(job, project, !missing.is_empty()).await?;
            self.packages(job, &mut bench, &places, (project, &keys)).await?;
            if let (Some(script), Some(key)) = (&project.script, &site_key) {
                site = Some(self.script(job, &mut bench, &places, (project, script), key).await?);
            }
            if !missing.is_empty() {
                let changed = project.script.is_some() || project.installs.iter().any(|install| install.reads_source);
                bundles.extend(self.trace(job, &mut bench, &places, &missing, changed).await?);
            }
        }
        if let Some(Site { folder: Some(folder), files }) = site {
            job.log.line(Level::Info, &format!("serving {folder}/ ({})", run::count(files.len(), "file")));
            plan.files = files
                .into_iter()
                .map(|(path, file)| {
                    let content_type = content_type(&path);
                    (path, StaticFile::new(file.blob, file.size, content_type))
                })
                .collect();
        }
        if plan.files.is_empty() && plan.steps.is_empty() {
            return Err(BuildError::NoOutput { folders: project.outputs.clone() });
        }
        let bundle = |step: &Step| match bundles.remove(&step.entrypoint) {
            Some(bundle) => bundle.files(),
            None => plan.bundle(step, &job.source.files),
        };
        Ok(plan.steps.iter().map(bundle).collect())
    }

    /// Results of earlier builds that still hold.
    async fn kept(
        &self,
        job: &Job,
        site: Option<Digest>,
        bundles: Vec<Digest>,
    ) -> Result<(Option<Site>, Vec<Option<Bundle>>), BuildError> {
        let (builder, source) = (self.clone(), job.source.clone());
        // Each stored file is looked at.
        let look = tokio::task::spawn_blocking(move || {
            let site = site.and_then(|key| builder.kept_site(&key));
            let bundles = bundles.iter().map(|key| builder.kept_bundle(key, &source.files)).collect();
            (site, bundles)
        });
        look.await.map_err(internal("look for kept results"))
    }

    /// A sandbox with the tools that this build needs. A tool whose tree is gone is installed again, once.
    async fn bench(&self, job: &Job, project: &Project, traces: bool) -> Result<(Bench, Places), BuildError> {
        let mut tools: BTreeSet<Tool> =
            project.installs.iter().filter_map(|install: &Install| tool_of(install.manager)).collect();
        tools.extend(tool_of(project.manager()));
        tools.extend(traces.then_some(Tool::Nft));
        if tools.len() + 1 > MAX_TOOLS {
            let what = "lock files of several package managers: keep one kind".to_owned();
            return Err(stopped("install")(BuildSandboxError::NotBegun(what)));
        }
        let places = Places { tools: tools.into_iter().collect() };
        for again in [false, true] {
            let mut trees = vec![job.npm.tree];
            for tool in &places.tools {
                trees.push(self.tool(*tool, &job.runtime, &job.log, again).await?);
            }
            match Bench::open(self, &job.runtime, trees, job.log.clone()).await {
                Ok(bench) => return Ok((bench, places)),
                Err(BuildSandboxError::Warden(dockless_node::CallError::Refused(Refusal::Unknown(_)))) if !again => {}
                Err(error) => return Err(stopped("prepare")(error)),
            }
        }
        Err(stopped("prepare")(BuildSandboxError::NotBegun("the tools of builds are missing".to_owned())))
    }

    /// Source and packages in place.
    async fn packages(
        &self,
        job: &Job,
        bench: &mut Bench,
        places: &Places,
        (project, keys): (&Project, &[Digest]),
    ) -> Result<(), BuildError> {
        let mut present = BTreeSet::new();
        for (install, key) in project.installs.iter().zip(keys) {
            match self.installed(install, key) {
                Some(kept) => self.restore(job, bench, (install, kept)).await?,
                None => self.install(job, bench, places, (install, *key), &mut present).await?,
            }
        }
        let (source, blobs) = (job.source.clone(), self.blobs().clone());
        let rest = move |sink: &mut dyn std::io::Write| {
            let rest = source.files.iter().filter(|(path, _)| !present.contains(*path));
            contents::write_files(sink, &blobs, APP, rest)?;
            contents::end(sink)
        };
        bench.fill("read", rest).await
    }

    async fn script(
        &self,
        job: &Job,
        bench: &mut Bench,
        places: &Places,
        (project, script): (&Project, &Script),
        key: &Digest,
    ) -> Result<Site, BuildError> {
        const STEP: &str = "build";
        let begin = Instant::now();
        let (argv, shown) = match script {
            Script::Line(line) => (vec!["sh".to_owned(), "-c".to_owned(), line.clone()], line.clone()),
            Script::Named(name) => {
                let manager = project.manager();
                let mut argv = places.manager(manager);
                argv.extend(["run".to_owned(), (*name).to_owned()]);
                (argv, format!("{} run {name}", manager.name()))
            }
        };
        // A create-react-app build takes warnings for errors when it believes to be tested.
        bench.set("CI", "false".to_owned());
        let plain = bench.lend(&job.variables.values);
        bench.run(STEP, &shown, argv, "").await?;
        bench.take_back(plain);
        let mut site = Site { folder: None, files: BTreeMap::new() };
        for folder in &project.outputs {
            let at = format!("{APP}/{folder}");
            let blobs = self.blobs().clone();
            let taken =
                bench.collect(STEP, std::slice::from_ref(&at), move |pack| contents::store(pack, &blobs)).await?;
            let below = format!("{at}/");
            let inside = |path: &SourcePath| path.as_str().strip_prefix(&below)?.parse().ok();
            let files: BTreeMap<SourcePath, SourceFile> =
                taken.files.into_iter().filter_map(|(path, file)| Some((inside(&path)?, file))).collect();
            if !files.is_empty() {
                site = Site { folder: Some(folder.clone()), files };
                break;
            }
        }
        if site.folder.is_none() && project.output_named {
            return Err(BuildError::NoOutput { folders: project.outputs.clone() });
        }
        self.cache().keep_json(Shelf::Bundles, key, &site).map_err(internal(STEP))?;
        job.log.line(Level::Info, &format!("build: {}, {}", run::count(site.files.len(), "file"), seconds(begin)));
        Ok(site)
    }

    /// Blocking.
    fn kept_site(&self, key: &Digest) -> Option<Site> {
        let site: Site = self.cache().find_json(Shelf::Bundles, key)?;
        let stored = |file: &SourceFile| self.blobs().refresh_blocking(&file.blob).unwrap_or(false);
        site.files.values().all(stored).then_some(site)
    }
}

/// Steps whose files are found by following what they require.
fn traced(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.steps.iter().filter(|step| step.language == "node")
}

/// Everything that a script can read.
fn whole_source(job: &Job, script: &Script, project: &Project) -> Digest {
    let files: Vec<_> =
        job.source.files.iter().map(|(path, file)| (path.as_str(), file.blob, file.executable)).collect();
    // Values are in no key: short ones could be guessed from it.
    let once = (!job.variables.values.is_empty()).then_some(&job.variables.of);
    key(&("built", script.to_string(), &project.outputs, files, once))
}

fn site_key(job: &Job, whole: &Digest, installs: &[Digest]) -> Digest {
    key(&("site", job.account.as_str(), job.runtime.as_str(), whole, installs))
}

fn check_engines(project: &Project, runtime: &RuntimeId, log: &dyn BuildLog) -> Result<(), BuildError> {
    let Some(range) = &project.engines else { return Ok(()) };
    match engines::satisfies(runtime.version(), range) {
        Some(true) => Ok(()),
        Some(false) => Err(BuildError::Engines { range: range.clone(), version: runtime.version().to_owned() }),
        None => {
            log.line(Level::Warn, &format!("\"engines\".\"node\" is not a range of versions: {range:?} is not obeyed"));
            Ok(())
        }
    }
}

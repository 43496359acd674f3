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
use crate::functions::is_typescript;
use crate::install::{Places, tool_of};
use crate::packages::{Install, Script, Task};
use crate::run::{self, Made};
use crate::statics::{self, content_type};
use crate::tools::Tool;
use crate::trace::Bundle;
use crate::{BuildError, BuildLog, BuildSettings, Level, Plan, Project, Source, SourceFile, Step, detect, engines};
use dockless_blob::BlobStore;
use dockless_model::output::{Output, Phase, Route, StaticFile, Then};
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
    /// Some entrypoint is in TypeScript; the others may load such files, too.
    pub(crate) compiled: bool,
}

/// Files that one script made to be served.
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
        packages.extend(self.go_functions(&request, &plan.steps).await?);
        let bundles: Vec<_> = match plan.project.take() {
            None => plan.steps.iter().map(|step| (plan.bundle(step, &source.files), None)).collect(),
            Some(project) => {
                let runtime = self.node().current_runtime("node").ok_or(BuildError::NoRuntime { language: "node" })?;
                check_engines(&project, &runtime, &**log)?;
                let npm = self.node().npm().ok_or(BuildError::NoNpm)?.clone();
                let (account, source, variables) = (account.clone(), source.clone(), request.variables.clone());
                let compiled = plan.steps.iter().any(|step| is_typescript(&step.entrypoint));
                let job = Job { account, source, runtime, npm, variables, log: log.clone(), compiled };
                self.project(&job, &mut plan, &project).await?
            }
        };
        let mut made = Vec::new();
        for (step, (mut files, main)) in plan.steps.iter().zip(bundles) {
            if let Some(packages) = packages.remove(&step.entrypoint) {
                files.extend(packages);
                check_size(&step.entrypoint, &files)?;
            }
            made.push(Made { step, files, main });
        }
        let functions = run::import_all(made, self.node(), &**log).await?;
        let mut services = BTreeMap::new();
        // One after the other: they share the project's layers.
        for container in &plan.containers {
            services.insert(container.name.clone(), self.container(&request, container).await?);
        }
        log.line(
            Level::Info,
            &format!(
                "built {}{} and {} in {} ms",
                if services.is_empty() { String::new() } else { run::count(services.len(), "service") + ", " },
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

    /// Files of each step's bundle and what is loaded of them, in their order; replaces the files to serve by those that a script made.
    async fn project(
        &self,
        job: &Job,
        plan: &mut Plan,
        project: &Project,
    ) -> Result<Vec<(BTreeMap<SourcePath, SourceFile>, Option<SourcePath>)>, BuildError> {
        let keys: Vec<Digest> = project.installs.iter().map(|install| self.install_key(job, install)).collect();
        let built = (!project.tasks.is_empty()).then(|| whole_source(job, project));
        let site_keys: Vec<Digest> =
            built.iter().flat_map(|whole| (0..project.tasks.len()).map(|at| site_key(job, whole, at, &keys))).collect();
        let bundle_keys: Vec<Digest> =
            traced(plan).map(|step| self.bundle_key(job, step, &keys, built.as_ref())).collect();
        let (kept_sites, kept) = self.kept(job, site_keys.clone(), bundle_keys.clone()).await?;
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
        let told: BTreeSet<&String> = bundles.values().flat_map(Bundle::messages).collect();
        told.iter().flat_map(|message| message.lines()).for_each(|line| job.log.line(Level::Warn, line));
        if !bundles.is_empty() {
            let line = format!("trace: {} cached", run::count(bundles.len(), "function"));
            job.log.line(Level::Info, &line);
        }
        // Scripts may build on what others left: all of them run, or none.
        let mut sites: Option<Vec<Site>> = kept_sites.into_iter().collect();
        if let Some(sites) = sites.as_ref().filter(|sites| !sites.is_empty()) {
            let files = sites.iter().map(|site| site.files.len()).sum();
            job.log.line(Level::Info, &format!("build: cached ({})", run::count(files, "file")));
        }
        if !missing.is_empty() || sites.is_none() {
            let mut tools = Vec::new();
            if !missing.is_empty() {
                tools.push(Tool::Nft);
                tools.extend(job.compiled.then_some(Tool::TypeScript));
            }
            let (mut bench, places) = self.bench(job, project, tools).await?;
            self.packages(job, &mut bench, &places, (project, &keys)).await?;
            if !project.tasks.is_empty() {
                let mut made = Vec::new();
                for (task, key) in project.tasks.iter().zip(&site_keys) {
                    made.push(self.script(job, &mut bench, &places, (project, task), key).await?);
                }
                sites = Some(made);
            }
            if !missing.is_empty() {
                let changed = built.is_some() || project.installs.iter().any(|install| install.reads_source);
                bundles.extend(self.trace(job, &mut bench, &places, &missing, changed).await?);
            }
        }
        for (task, site) in project.tasks.iter().zip(sites.into_iter().flatten()) {
            serve(job, plan, task, site);
        }
        if plan.files.is_empty() && plan.steps.is_empty() {
            return Err(BuildError::NoOutput { folders: project.looked_for() });
        }
        let bundle = |step: &Step| match bundles.remove(&step.entrypoint) {
            Some(bundle) => (bundle.files(), bundle.main().cloned()),
            None => (plan.bundle(step, &job.source.files), None),
        };
        Ok(plan.steps.iter().map(bundle).collect())
    }

    /// Results of earlier builds that still hold.
    async fn kept(
        &self,
        job: &Job,
        sites: Vec<Digest>,
        bundles: Vec<Digest>,
    ) -> Result<(Vec<Option<Site>>, Vec<Option<Bundle>>), BuildError> {
        let (builder, source) = (self.clone(), job.source.clone());
        // Each stored file is looked at.
        let look = tokio::task::spawn_blocking(move || {
            let sites = sites.iter().map(|key| builder.kept_site(key)).collect();
            let bundles = bundles.iter().map(|key| builder.kept_bundle(key, &source.files)).collect();
            (sites, bundles)
        });
        look.await.map_err(internal("look for kept results"))
    }

    /// A sandbox with the tools that this build needs. A tool whose tree is gone is installed again, once.
    async fn bench(&self, job: &Job, project: &Project, tools: Vec<Tool>) -> Result<(Bench, Places), BuildError> {
        let mut tools = BTreeSet::from_iter(tools);
        tools.extend(project.installs.iter().filter_map(|install: &Install| tool_of(install.manager)));
        tools.extend(project.tasks.iter().filter_map(|task| tool_of(project.manager(&task.folder))));
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
        (project, task): (&Project, &Task),
        key: &Digest,
    ) -> Result<Site, BuildError> {
        const STEP: &str = "build";
        /// What is installed beside a script is found by it; words of the source are arguments only.
        const SHELL: &str = "PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; ";
        let begin = Instant::now();
        let shell =
            |then: &str, word: &str| vec!["sh".to_owned(), "-c".to_owned(), format!("{SHELL}{then}"), word.to_owned()];
        let (argv, shown) = match &task.script {
            Script::Line(line) => (shell("exec sh -c \"$0\"", line), line.clone()),
            Script::File(name) => (shell("chmod +x \"./$0\" && exec \"./$0\"", name), format!("./{name}")),
            Script::Named(name) => {
                let manager = project.manager(&task.folder);
                let mut argv = places.manager(manager);
                argv.extend(["run".to_owned(), (*name).to_owned()]);
                (argv, format!("{} run {name}", manager.name()))
            }
        };
        // A create-react-app build takes warnings for errors when it believes to be tested.
        bench.set("CI", "false".to_owned());
        let plain = bench.lend(&job.variables.values);
        bench.run(STEP, &shown, argv, &task.folder).await?;
        bench.take_back(plain);
        let mut site = Site { folder: None, files: BTreeMap::new() };
        for folder in &task.outputs {
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
        if site.folder.is_none() && task.output_named {
            return Err(BuildError::NoOutput { folders: task.outputs.clone() });
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

/// Has what a script left served.
fn serve(job: &Job, plan: &mut Plan, task: &Task, site: Site) {
    let Some(folder) = site.folder else { return };
    job.log.line(Level::Info, &format!("serving {folder}/ ({})", run::count(site.files.len(), "file")));
    let below = |path: SourcePath| match task.folder.as_str() {
        folder if !task.adds || folder.is_empty() => Some(path),
        folder => format!("{folder}/{path}").parse().ok(),
    };
    let files = site.files.into_iter().filter_map(|(path, file)| {
        let path = below(path)?;
        let content_type = content_type(&path);
        Some((path, StaticFile::new(file.blob, file.size, content_type)))
    });
    if task.adds {
        plan.files.extend(files);
    } else {
        plan.files = files.collect();
    }
    if task.one_page {
        // What is no function is not the application's either.
        if !plan.steps.is_empty() {
            let (status, then, phase) = (Some(404), Then::Finish, Phase::Filesystem);
            plan.routes.push(Route { src: "/api(?:/.*)?".to_owned(), status, then, phase, ..Route::default() });
        }
        plan.routes.push(Route::if_exists("/(.*)".to_owned(), "/index.html".to_owned(), Phase::Filesystem));
    }
}

/// Everything that scripts can read.
fn whole_source(job: &Job, project: &Project) -> Digest {
    let files: Vec<_> =
        job.source.files.iter().map(|(path, file)| (path.as_str(), file.blob, file.executable)).collect();
    // Values are in no key: short ones could be guessed from it.
    let once = (!job.variables.values.is_empty()).then_some(&job.variables.of);
    let tasks: Vec<_> =
        project.tasks.iter().map(|task| (&task.folder, task.script.to_string(), &task.outputs)).collect();
    key(&("built", tasks, files, once))
}

fn site_key(job: &Job, whole: &Digest, task: usize, installs: &[Digest]) -> Digest {
    key(&("site", job.account.as_str(), job.runtime.as_str(), whole, task, installs))
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

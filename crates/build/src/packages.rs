//! What has to be installed and run before there is anything to serve: decided from names and documents alone.

use crate::{BuildError, Source, documents, functions};
use dockless_model::SourcePath;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A package manager, chosen by its lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Npm,
    Yarn,
    Pnpm,
    Bun,
}

impl Manager {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Yarn => "yarn",
            Self::Pnpm => "pnpm",
            Self::Bun => "bun",
        }
    }

    /// In the order in which they are looked for.
    const LOCKS: [(&'static str, Self); 6] = [
        ("package-lock.json", Self::Npm),
        ("npm-shrinkwrap.json", Self::Npm),
        ("pnpm-lock.yaml", Self::Pnpm),
        ("yarn.lock", Self::Yarn),
        ("bun.lock", Self::Bun),
        ("bun.lockb", Self::Bun),
    ];
}

/// Files beside a package.json that steer its installation.
const STEERING: [&str; 8] = [
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".pnpmfile.cjs",
    "pnpm-workspace.yaml",
    "bunfig.toml",
    ".node-version",
    ".nvmrc",
];
/// Scripts that run during an installation and may read anything of the source.
const LIFECYCLE: [&str; 8] =
    ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies"];
/// Kinds of dependencies.
const KINDS: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];
/// Output folders by the package that makes them, when a project's script has run, and whether its pages are one
/// application: then a path without a file leads to `index.html`.
const FRAMEWORKS: [(&str, &str, bool); 25] = [
    ("astro", "dist", false),
    ("vitepress", ".vitepress/dist", false),
    ("vuepress", "src/.vuepress/dist", false),
    ("@docusaurus/core", "build", false),
    ("docusaurus", "build", false),
    ("@11ty/eleventy", "_site", false),
    ("gatsby", "public", false),
    ("react-scripts", "build", true),
    ("@vue/cli-service", "dist", true),
    ("@angular/cli", "dist", true),
    ("preact-cli", "build", true),
    ("ember-cli", "dist", true),
    ("hexo", "public", false),
    ("gridsome", "dist", false),
    ("umi", "dist", true),
    ("saber", "public", false),
    ("sapper", "__sapper__/export", false),
    ("nuxt", ".output/public", false),
    ("@stencil/core", "www", true),
    ("brunch", "public", true),
    ("sanity", "dist", true),
    ("storybook", "storybook-static", false),
    ("parcel", "dist", false),
    ("sirv-cli", "public", true),
    ("vite", "dist", false),
];
/// Output folders of projects that say nothing.
const USUAL: [&str; 4] = ["public", "dist", "build", "out"];

/// One folder in which packages are installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Install {
    /// Empty for the root.
    pub(crate) folder: String,
    pub(crate) manager: Manager,
    /// Without one the newest fitting versions are taken.
    pub(crate) lock: Option<SourcePath>,
    /// All that the installation may see, and so all that decides about it.
    pub(crate) inputs: BTreeSet<SourcePath>,
    /// Scripts may read all of the source, and write beside it.
    pub(crate) reads_source: bool,
    /// Folders whose `node_modules` it fills.
    pub(crate) fills: Vec<String>,
    /// A line for the shell instead of the manager's own command.
    pub(crate) line: Option<String>,
}

/// What runs after the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Script {
    /// By name, through the package manager of the root.
    Named(&'static str),
    /// A line for the shell.
    Line(String),
    /// A shell script, by its name in the folder.
    File(String),
}

impl std::fmt::Display for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => write!(f, "the script {name:?}"),
            Self::Line(line) => write!(f, "{line:?}"),
            Self::File(name) => write!(f, "the file {name:?}"),
        }
    }
}

/// A script, and what becomes of the files it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Where it runs; empty for the root.
    pub(crate) folder: String,
    pub(crate) script: Script,
    /// Where its output may lie, in order: paths from the root.
    pub(crate) outputs: Vec<String>,
    /// The project names its output folder: then it must be there.
    pub(crate) output_named: bool,
    /// What it leaves is served beside everything else, below its folder; otherwise instead of the source, at the root.
    pub(crate) adds: bool,
    /// A path without a file leads to its `index.html`.
    pub(crate) one_page: bool,
}

/// A source that needs a build sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub(crate) installs: Vec<Install>,
    /// In the order in which they run.
    pub(crate) tasks: Vec<Task>,
    pub(crate) engines: Option<String>,
}

impl Project {
    /// Looks at a source; `None` if its files are all there is to it.
    ///
    /// # Errors
    /// Locks and frameworks that this version does not serve.
    pub(crate) fn of(
        source: &Source,
        settings: &documents::Settings,
        entrypoints: &[SourcePath],
    ) -> Result<Option<Self>, BuildError> {
        let root = source.package("");
        let Some(script) = script(root.as_ref(), settings) else {
            return Self::with(source, settings, entrypoints, Vec::new());
        };
        let next = root.as_ref().is_some_and(|root| names(root, "dependencies").contains("next"));
        if next && settings.output_directory.is_none() {
            return Err(BuildError::Framework { name: "next" });
        }
        let framework = root.as_ref().and_then(framework);
        let (outputs, output_named) = match &settings.output_directory {
            Some(folder) => (vec![folder.clone()], true),
            None => {
                let mut outputs: Vec<String> = framework.iter().map(|(folder, _)| (*folder).to_owned()).collect();
                for usual in USUAL {
                    if !outputs.iter().any(|known| known == usual) {
                        outputs.push(usual.to_owned());
                    }
                }
                (outputs, false)
            }
        };
        let one_page = framework.is_some_and(|(_, one_page)| one_page);
        let task = Task { folder: String::new(), script, outputs, output_named, adds: false, one_page };
        Self::with(source, settings, entrypoints, vec![task])
    }

    /// The same for these scripts.
    ///
    /// # Errors
    /// Locks that this version does not serve.
    pub(crate) fn with(
        source: &Source,
        settings: &documents::Settings,
        entrypoints: &[SourcePath],
        tasks: Vec<Task>,
    ) -> Result<Option<Self>, BuildError> {
        let root = source.package("");
        let uploaded = source.files.keys().any(|path| path.as_str().starts_with("node_modules/"));
        let needed = !tasks.is_empty() || !entrypoints.is_empty();
        let compiled = entrypoints.iter().any(functions::is_typescript);
        let mut installs = Vec::new();
        if let Some(line) = settings.install_command.as_ref().filter(|line| needed && !line.is_empty()) {
            let own = install(source, "")?;
            let inputs = source.files.keys().cloned().collect();
            installs.push(Install { inputs, reads_source: true, line: Some(line.clone()), ..own });
        } else if needed && !uploaded && settings.install_command.is_none() {
            let tools = compiled || tasks.iter().any(|task| task.folder.is_empty());
            let above = entrypoints.iter().map(SourcePath::as_str).chain(tasks.iter().map(|task| task.folder.as_str()));
            for folder in folders(source, above, tools) {
                installs.push(install(source, folder)?);
            }
        }
        if installs.is_empty() && tasks.is_empty() && !compiled {
            return Ok(None);
        }
        let engines = root
            .as_ref()
            .and_then(|root| root.get("engines")?.get("node")?.as_str().map(str::to_owned))
            .filter(|range| !range.trim().is_empty());
        Ok(Some(Self { installs, tasks, engines }))
    }

    /// The manager that runs scripts of a folder: the one of the nearest installation.
    pub(crate) fn manager(&self, folder: &str) -> Manager {
        let above = |install: &&Install| {
            install.folder.is_empty() || folder == install.folder || folder.starts_with(&format!("{}/", install.folder))
        };
        let nearest = self.installs.iter().filter(above).max_by_key(|install| install.folder.len());
        nearest.map_or(Manager::Npm, |install| install.manager)
    }

    /// Where files to serve were looked for.
    pub(crate) fn looked_for(&self) -> Vec<String> {
        self.tasks.iter().flat_map(|task| task.outputs.clone()).collect()
    }
}

/// Folder of the framework among a package's dependencies, and whether it is one page.
pub(crate) fn framework(package: &Map<String, Value>) -> Option<(&'static str, bool)> {
    let named = |name: &str| KINDS.iter().any(|kind| names(package, kind).contains(name));
    let found = FRAMEWORKS.iter().find(|(name, ..)| named(name));
    found.map(|(_, folder, one_page)| (*folder, *one_page))
}

fn script(root: Option<&Map<String, Value>>, settings: &documents::Settings) -> Option<Script> {
    if let Some(line) = &settings.build_command {
        return (!line.is_empty()).then(|| Script::Line(line.clone()));
    }
    if settings.output_directory.as_deref() == Some("") {
        return None;
    }
    build_script(root?)
}

/// The script of a package that makes files.
pub(crate) fn build_script(package: &Map<String, Value>) -> Option<Script> {
    let scripts = package.get("scripts")?.as_object()?;
    let is_set = |name: &&str| scripts.get(*name).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
    ["vercel-build", "now-build", "build"].into_iter().find(is_set).map(Script::Named)
}

/// Names of one kind of dependencies.
fn names<'a>(package: &'a Map<String, Value>, kind: &str) -> BTreeSet<&'a str> {
    let list = package.get(kind).and_then(Value::as_object);
    list.map(|list| list.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn has_packages(package: &Map<String, Value>) -> bool {
    KINDS.iter().any(|kind| !names(package, kind).is_empty()) || has_workspaces(package)
}

fn has_workspaces(package: &Map<String, Value>) -> bool {
    package.get("workspaces").is_some_and(documents::is_set)
}

/// Where to install: the root, and folders above entrypoints that have packages of their own and belong to no workspace.
/// `paths`: entrypoints, and folders of scripts. `tools`: what is installed to build with matters too.
fn folders<'a>(source: &'a Source, paths: impl Iterator<Item = &'a str>, tools: bool) -> Vec<&'a str> {
    let root = source.package("");
    let workspace = root.as_ref().is_some_and(has_workspaces)
        || source.files.keys().any(|path| path.as_str() == "pnpm-workspace.yaml");
    let mut folders = BTreeSet::new();
    let of_root = root.as_ref().is_some_and(|root| {
        // Else only what functions can require counts; installing tools alone would change nothing.
        tools && has_packages(root)
            || !names(root, "dependencies").is_empty()
            || !names(root, "optionalDependencies").is_empty()
            || workspace
    });
    if of_root {
        folders.insert("");
    }
    if !workspace {
        for path in paths {
            let mut folder = Some(path);
            while let Some(here) = folder.filter(|here| !here.is_empty()) {
                if source.package(here).is_some_and(|package| has_packages(&package)) {
                    folders.insert(here);
                }
                folder = here.rsplit_once('/').map(|(parent, _)| parent);
            }
        }
    }
    folders.into_iter().collect()
}

fn install(source: &Source, folder: &str) -> Result<Install, BuildError> {
    let inside = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let find = |name: &str| source.files.get_key_value(inside(name).as_str()).map(|(path, _)| path.clone());
    let found = Manager::LOCKS.iter().find_map(|(name, manager)| find(name).map(|path| (path, *manager)));
    let package = source.package(folder).unwrap_or_default();
    let (lock, manager) = match found {
        Some((path, manager)) => (Some(path), manager),
        None => (None, named_manager(&package).unwrap_or(Manager::Npm)),
    };
    if manager == Manager::Yarn && find(".yarnrc.yml").is_some() {
        return Err(BuildError::Berry { path: lock.or_else(|| find("package.json")).unwrap_or_else(any_path) });
    }
    let workspace = has_workspaces(&package) || find("pnpm-workspace.yaml").is_some();
    let below = |path: &SourcePath| folder.is_empty() || path.as_str().starts_with(&format!("{folder}/"));
    let manifests: Vec<&SourcePath> = source
        .files
        .keys()
        .filter(|path| path.file_name() == "package.json" && (workspace || path.as_str() == inside("package.json")))
        .filter(|path| below(path) && !is_installed(path))
        .collect();
    // Scripts and packages by path may read anything: then all of the source decides.
    let reads_source = manifests.iter().any(|path| {
        source.documents.get(*path).is_none_or(|bytes| {
            documents::parse(bytes).map_or(true, |package| has_lifecycle(&package) || has_local(&package))
        })
        // npm compiles an addon that lies there without being told to.
    }) || manifests.is_empty()
        || find("binding.gyp").is_some();
    let inputs = if reads_source {
        source.files.keys().cloned().collect()
    } else {
        let steering = STEERING.iter().filter_map(|name| find(name));
        manifests.iter().map(|path| (*path).clone()).chain(steering).chain(lock.clone()).collect()
    };
    let fills = if workspace {
        manifests
            .iter()
            .map(|path| path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder).to_owned())
            .collect()
    } else {
        vec![folder.to_owned()]
    };
    Ok(Install { folder: folder.to_owned(), manager, lock, inputs, reads_source, fills, line: None })
}

fn any_path() -> SourcePath {
    "package.json".parse().expect("a plain name is a path")
}

fn is_installed(path: &SourcePath) -> bool {
    path.as_str().split('/').any(|part| part == "node_modules")
}

/// `"packageManager": "pnpm@9.1.0"`
fn named_manager(package: &Map<String, Value>) -> Option<Manager> {
    let text = package.get("packageManager")?.as_str()?;
    let name = text.split('@').next()?;
    [Manager::Npm, Manager::Yarn, Manager::Pnpm, Manager::Bun].into_iter().find(|manager| manager.name() == name)
}

fn has_lifecycle(package: &Map<String, Value>) -> bool {
    let scripts = package.get("scripts").and_then(Value::as_object);
    scripts.is_some_and(|scripts| LIFECYCLE.iter().any(|name| scripts.contains_key(*name)))
}

/// `file:`, `link:`, `patch:` and the like, and keys that name files.
fn has_local(package: &Map<String, Value>) -> bool {
    let local = |value: &Value| {
        value.as_str().is_some_and(|text| {
            ["file:", "link:", "portal:", "patch:", "./", "../"].iter().any(|prefix| text.starts_with(prefix))
        })
    };
    let kinds = KINDS.iter().chain(&["peerDependencies", "overrides", "resolutions"]);
    kinds.filter_map(|kind| package.get(*kind)?.as_object()).any(|list| list.values().any(local))
        || ["pnpm", "patchedDependencies"].iter().any(|key| package.contains_key(*key))
}

#[cfg(test)]
mod tests;

//! A source with `builds`, as in 2019: what they name is all there is, each output at the path of its source.

use crate::documents::{Build, Native, Settings};
use crate::packages::{self, Script, Task};
use crate::statics::{content_type, output_path};
use crate::{BuildError, Container, Source, Step};
use dockless_model::output::StaticFile;
use dockless_model::{FunctionLimits, MemoryMib, SourcePath};
use std::collections::BTreeMap;

/// Longest invocation in 2019.
const DURATION_MS: u64 = 900_000;
/// Most servers of one deployment: each is a build of its own.
const MAX_SERVERS: usize = 16;
/// Memory of a function then.
const MEMORY_MIB: u32 = 1024;

/// Files and functions.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) files: BTreeMap<SourcePath, StaticFile>,
    pub(crate) steps: Vec<Step>,
    /// Scripts whose files are served as well.
    pub(crate) tasks: Vec<Task>,
    /// Servers.
    pub(crate) containers: Vec<Container>,
    pub(crate) warnings: Vec<String>,
}

/// Applies each entry to the files it names. Of two functions of one path the later counts; a function goes before a file,
/// so that no source of one is shown.
pub(crate) fn apply(source: &Source, settings: &Settings, builds: &[Build]) -> Result<Listed, BuildError> {
    let mut listed = Listed::default();
    let mut steps = BTreeMap::new();
    for build in builds {
        let mut matched = false;
        for (path, file) in &source.files {
            if !build.files.is_match(path.as_str()) || is_hidden(path, &build.src) {
                continue;
            }
            match build.native {
                Native::Static => {
                    let Some(output) = output_path(path, false, false) else { continue };
                    let content_type = content_type(&output);
                    listed.files.insert(output, StaticFile::new(file.blob, file.size, content_type));
                }
                Native::StaticBuild => listed.tasks.push(task(source, build, path)?),
                Native::Docker => {
                    listed.containers.retain(|known| known.file != *path);
                    if listed.containers.len() == MAX_SERVERS {
                        return Err(BuildError::TooManyServers { most: MAX_SERVERS });
                    }
                    listed.containers.push(container(build, path));
                }
                Native::Language(language) => {
                    let step = Step {
                        entrypoint: path.clone(),
                        file: file.clone(),
                        output: path.clone(),
                        language,
                        limits: limits(),
                        include: build.include.clone(),
                        exclude: build.exclude.clone(),
                        helpers: build.helpers,
                        files: None,
                    };
                    steps.insert(path.clone(), step);
                }
            }
            matched = true;
        }
        if !matched {
            listed.warnings.push(format!("builds: no file is {:?}", build.src));
        }
    }
    let servers = &listed.containers;
    steps.retain(|path, _| servers.iter().all(|one| one.file != *path));
    listed.files.retain(|path, _| !steps.contains_key(path) && servers.iter().all(|one| one.file != *path));
    listed.steps = steps.into_values().collect();
    let is_empty = listed.files.is_empty() && listed.steps.is_empty() && listed.tasks.is_empty();
    if is_empty && listed.containers.is_empty() && settings.wants_dockerfile.is_none() {
        return Err(BuildError::Empty);
    }
    Ok(listed)
}

/// The server that a Dockerfile stands for; it copies from its own folder unless the entry names another.
fn container(build: &Build, path: &SourcePath) -> Container {
    let own = path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
    let context = build.context.clone().unwrap_or_else(|| own.to_owned());
    Container { name: path.clone(), file: path.clone(), context, settings: build.service.clone() }
}

/// The script that an entrypoint stands for, in its folder: one of a package.json, a shell script, or the entry's own
/// command.
fn task(source: &Source, build: &Build, path: &SourcePath) -> Result<Task, BuildError> {
    let folder = path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
    let package = source.package(folder).filter(|_| path.file_name() == "package.json");
    let script = match (&build.command, &package) {
        (Some(line), _) => Some(Script::Line(line.clone())),
        (None, Some(package)) => packages::build_script(package),
        (None, None) if path.extension() == Some("sh") => Some(Script::File(path.file_name().to_owned())),
        (None, None) => None,
    };
    let script = script.ok_or_else(|| BuildError::NoScript { path: path.clone() })?;
    let inside = |output: &str| if folder.is_empty() { output.to_owned() } else { format!("{folder}/{output}") };
    let outputs = match &build.output {
        Some(output) => vec![inside(output)],
        None => {
            let framework = package.as_ref().and_then(packages::framework).map(|(output, _)| output);
            let usual = ["dist", "public"].into_iter().filter(|usual| Some(*usual) != framework);
            framework.into_iter().chain(usual).map(inside).collect()
        }
    };
    Ok(Task { folder: folder.to_owned(), script, outputs, output_named: true, adds: true, one_page: false })
}

/// A glob does not find names that begin with a dot, save by such a name; installed packages are nobody's entrypoints.
fn is_hidden(path: &SourcePath, glob: &str) -> bool {
    let dotted = path.as_str().split('/').any(|part| part.starts_with('.') && part != ".well-known");
    let installed = path.as_str().split('/').any(|part| part == "node_modules");
    path.as_str() != glob && ((dotted && !glob.split('/').any(|part| part.starts_with('.'))) || installed)
}

fn limits() -> FunctionLimits {
    let memory = MemoryMib::new(MEMORY_MIB).expect("a constant within its bounds");
    FunctionLimits { memory, duration_ms: DURATION_MS, ..FunctionLimits::default() }
}

//! Installing packages: as the lock file says, once for the same inputs.

use crate::bench::{Bench, internal, seconds};
use crate::builder::{Builder, Job};
use crate::cache::{Shelf, key};
use crate::contents;
use crate::packages::{Install, Manager};
use crate::tools::Tool;
use crate::{BuildError, Level};
use dockless_model::{Digest, SourcePath};
use dockless_sandbox::workshop::APP;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::time::{Duration, Instant};

/// Without a lock file the registry decides what is installed; a result of that is not believed for longer.
pub(crate) const UNLOCKED: Duration = Duration::from_secs(24 * 3600);

/// How the programs of a build are reached in its sandbox.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// In the order of their trees, from 1: npm is 0.
    pub(crate) tools: Vec<Tool>,
}

impl Places {
    /// The words that start a package manager.
    pub(crate) fn manager(&self, manager: Manager) -> Vec<String> {
        tool_of(manager).map_or_else(|| vec!["npm".to_owned()], |tool| self.tool(tool))
    }

    pub(crate) fn tool(&self, tool: Tool) -> Vec<String> {
        let place = self.tools.iter().position(|known| *known == tool).map_or(0, |place| place + 1);
        tool.argv(place)
    }
}

/// The tool behind a manager; npm comes with the interpreter.
pub(crate) const fn tool_of(manager: Manager) -> Option<Tool> {
    match manager {
        Manager::Npm => None,
        Manager::Yarn => Some(Tool::Yarn),
        Manager::Pnpm => Some(Tool::Pnpm),
        Manager::Bun => Some(Tool::Bun),
    }
}

/// Arguments of an installation: exactly the lock file where there is one. No links in `node_modules` but those of
/// workspaces: bundles hold files only.
fn arguments(manager: Manager, locked: bool) -> &'static [&'static str] {
    match (manager, locked) {
        (Manager::Npm, true) => &["ci"],
        (Manager::Npm, false) => &["install"],
        (Manager::Yarn, true) => {
            &["install", "--frozen-lockfile", "--ignore-engines", "--non-interactive", "--no-progress"]
        }
        (Manager::Yarn, false) => &["install", "--ignore-engines", "--non-interactive", "--no-progress"],
        (Manager::Pnpm, true) => {
            &["install", "--frozen-lockfile", "--config.node-linker=hoisted", "--reporter=append-only"]
        }
        (Manager::Pnpm, false) => {
            &["install", "--no-frozen-lockfile", "--config.node-linker=hoisted", "--reporter=append-only"]
        }
        (Manager::Bun, true) => &["install", "--frozen-lockfile", "--no-progress"],
        (Manager::Bun, false) => &["install", "--no-progress"],
    }
}

impl Builder {
    /// Everything that decides about an installation.
    pub(crate) fn install_key(&self, job: &Job, install: &Install) -> Digest {
        let inputs: Vec<_> = install
            .inputs
            .iter()
            .filter_map(|path| {
                job.source.files.get(path).map(|file| (path.as_str(), file.blob.to_string(), file.executable))
            })
            .collect();
        key(&(
            "packages",
            job.account.as_str(),
            (job.runtime.as_str(), job.npm.id.as_str(), tool_of(install.manager).map(Tool::version)),
            (&self.settings().registry, &install.line, &install.folder, install.manager.name()),
            inputs,
        ))
    }

    /// A kept result.
    pub(crate) fn installed(&self, install: &Install, key: &Digest) -> Option<File> {
        self.cache().find(Shelf::Packages, key, install.lock.is_none().then_some(UNLOCKED))
    }

    /// Installs in the sandbox and keeps the result. `present` are source files that are there already.
    pub(crate) async fn install(
        &self,
        job: &Job,
        bench: &mut Bench,
        places: &Places,
        (install, key): (&Install, Digest),
        present: &mut BTreeSet<SourcePath>,
    ) -> Result<(), BuildError> {
        let step = if install.folder.is_empty() { "install".to_owned() } else { format!("install {}", install.folder) };
        let begin = Instant::now();
        let missing: Vec<SourcePath> = install.inputs.difference(present).cloned().collect();
        present.extend(missing.iter().cloned());
        let (source, blobs) = (job.source.clone(), self.blobs().clone());
        bench
            .fill(&step, move |sink| {
                let files = missing.iter().filter_map(|path| source.files.get_key_value(path));
                contents::write_files(sink, &blobs, APP, files)?;
                contents::end(sink)
            })
            .await?;
        if install.lock.is_none() && install.line.is_none() {
            let advice =
                "no lock file: the newest fitting versions are taken; add one to get the same packages every time";
            job.log.line(Level::Warn, advice);
        }
        let (argv, shown) = match &install.line {
            Some(line) => (vec!["sh".to_owned(), "-c".to_owned(), line.clone()], line.clone()),
            None => {
                let arguments = arguments(install.manager, install.lock.is_some());
                let mut argv = places.manager(install.manager);
                argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
                (argv, format!("{} {}", install.manager.name(), arguments[0]))
            }
        };
        bench.run(&step, &shown, argv, &install.folder).await?;
        // What scripts made beside the packages belongs to the result when they could see the source.
        let paths: Vec<String> = if install.reads_source {
            vec![APP.to_owned()]
        } else {
            let folder = |folder: &String| {
                if folder.is_empty() { format!("{APP}/node_modules") } else { format!("{APP}/{folder}/node_modules") }
            };
            install.fills.iter().map(folder).collect()
        };
        let cache = self.cache().clone();
        let (files, bytes) = bench
            .collect(&step, &paths, move |pack| {
                let mut counted = (0, 0);
                cache.keep(Shelf::Packages, &key, |sink| {
                    counted = contents::copy(pack, sink)?;
                    Ok(())
                })?;
                Ok(counted)
            })
            .await?;
        self.cache().trim().map_err(internal(&step))?;
        let line =
            format!("{step}: {files} files, {} MB, {}; kept for later builds", bytes.div_ceil(1 << 20), seconds(begin));
        job.log.line(Level::Info, &line);
        Ok(())
    }

    /// Puts kept packages in place.
    pub(crate) async fn restore(
        &self,
        job: &Job,
        bench: &mut Bench,
        (install, kept): (&Install, File),
    ) -> Result<(), BuildError> {
        let begin = Instant::now();
        let step = if install.folder.is_empty() { "install".to_owned() } else { format!("install {}", install.folder) };
        bench
            .fill(&step, move |sink| {
                contents::append(sink, &mut BufReader::with_capacity(1 << 18, kept))?;
                contents::end(sink)
            })
            .await?;
        let line = format!("{step}: cached ({}), in place {}", install.manager.name(), seconds(begin));
        job.log.line(Level::Info, &line);
        Ok(())
    }
}

//! Tools of builds that come from the registry: pinned by lock files in this repository, installed once through a build
//! sandbox like anybody's packages, kept as trees by digest.

use crate::bench::{Bench, internal, stopped, tool_path};
use crate::builder::Builder;
use crate::cache::{Shelf, key};
use crate::contents;
use crate::{BuildError, BuildLog, Level};
use dockless_model::output::BundleFile;
use dockless_model::{Digest, RuntimeId, SourcePath};
use dockless_sandbox::workshop::APP;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// Finds the files that an entrypoint needs.
    Nft,
    /// Makes what Node.js loads of TypeScript.
    TypeScript,
    Yarn,
    Pnpm,
    Bun,
}

impl Tool {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::TypeScript => "typescript",
            Self::Yarn => "yarn",
            Self::Pnpm => "pnpm",
            Self::Bun => "bun",
        }
    }

    /// Files of its folder in the repository.
    const fn files(self) -> &'static [(&'static str, &'static str)] {
        macro_rules! files {
            ($tool:literal, $($name:literal),*) => {
                &[$(($name, include_str!(concat!("../tools/", $tool, "/", $name)))),*]
            };
        }
        match self {
            Self::Nft => files!("nft", "package.json", "package-lock.json", "trace.mjs"),
            Self::TypeScript => {
                files!("typescript", "package.json", "package-lock.json", "compile.mjs", "vercel-node.d.ts")
            }
            Self::Yarn => files!("yarn", "package.json", "package-lock.json"),
            Self::Pnpm => files!("pnpm", "package.json", "package-lock.json"),
            Self::Bun => files!("bun", "package.json", "package-lock.json"),
        }
    }

    /// Name of its version: changes with the lock file.
    pub(crate) fn version(self) -> Digest {
        key(&("tool", self.name(), self.files()))
    }

    /// How it is started, where its tree has this place.
    pub(crate) fn argv(self, place: usize) -> Vec<String> {
        let at = tool_path(place);
        match self {
            Self::Nft => vec!["node".to_owned(), format!("{at}/trace.mjs")],
            Self::TypeScript => vec!["node".to_owned(), format!("{at}/compile.mjs")],
            Self::Yarn => vec!["node".to_owned(), format!("{at}/node_modules/yarn/bin/yarn.js")],
            Self::Pnpm => vec!["node".to_owned(), format!("{at}/node_modules/pnpm/bin/pnpm.cjs")],
            Self::Bun => {
                let cpu = if cfg!(target_arch = "x86_64") { "x64-baseline" } else { "aarch64" };
                vec![format!("{at}/node_modules/@oven/bun-linux-{cpu}/bin/bun")]
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Installed {
    tree: Digest,
}

impl Builder {
    /// Trees that hold tools: no deployment names them. Blocking.
    ///
    /// # Errors
    /// The list of them cannot be read.
    pub fn tool_trees(&self) -> std::io::Result<BTreeSet<Digest>> {
        let installed = self.cache().list::<Installed>(Shelf::Tools)?;
        Ok(installed.into_iter().map(|(_, _, Installed { tree })| tree).collect())
    }

    /// The tree of a tool: known, or installed now. With `again` what is known is not believed.
    pub(crate) async fn tool(
        &self,
        tool: Tool,
        runtime: &RuntimeId,
        log: &Arc<dyn BuildLog>,
        again: bool,
    ) -> Result<Digest, BuildError> {
        let npm = self.node().npm().ok_or(BuildError::NoNpm)?;
        let key = key(&("installed", tool.version(), runtime.as_str(), npm.id.as_str()));
        // One installation at a time: whoever waits finds it done.
        let _turn = self.tools_turn().lock().await;
        if !again && let Some(Installed { tree }) = self.cache().find_json(Shelf::Tools, &key) {
            return Ok(tree);
        }
        let step = format!("install {}", tool.name());
        let begin = Instant::now();
        log.line(Level::Info, &format!("{}: installing this tool of builds, once for this server", tool.name()));
        let mut bench = Bench::open(self, runtime, vec![npm.tree], log.clone()).await.map_err(stopped(&step))?;
        let files = tool.files();
        bench
            .fill(&step, move |sink| {
                for (name, text) in files {
                    contents::write_bytes(sink, &format!("{APP}/{name}"), text.as_bytes())?;
                }
                contents::end(sink)
            })
            .await?;
        let argv = ["npm", "ci", "--ignore-scripts", "--omit=dev"].map(str::to_owned).to_vec();
        bench.run(&step, "npm ci --ignore-scripts", argv, "").await?;
        let blobs = self.blobs().clone();
        let taken = bench.collect(&step, &[APP.to_owned()], move |pack| contents::store(pack, &blobs)).await?;
        drop(bench);
        let files: BTreeMap<SourcePath, BundleFile> = taken
            .files
            .into_iter()
            .filter_map(|(path, file)| Some((path.as_str().strip_prefix(APP)?.strip_prefix('/')?.parse().ok()?, file)))
            .collect();
        let tree = self.node().import_bundle(&files).await.map_err(internal(&step))?;
        self.cache().keep_json(Shelf::Tools, &key, &Installed { tree }).map_err(internal(&step))?;
        log.line(Level::Info, &format!("{}: installed {}", tool.name(), crate::bench::seconds(begin)));
        Ok(tree)
    }
}

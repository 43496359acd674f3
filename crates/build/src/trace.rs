//! Which files each function needs.

use crate::bench::{Bench, internal, seconds};
use crate::builder::{Builder, Job};
use crate::cache::{Shelf, key};
use crate::compile::{self, Compiled};
use crate::contents;
use crate::detect::check_size;
use crate::install::Places;
use crate::tools::Tool;
use crate::{BuildError, Level, SourceFile, Step};
use dockless_model::{Digest, SourcePath};
use dockless_sandbox::workshop::{APP, WORK};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

/// Files of one function, and which of them are the source's own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Bundle {
    parts: BTreeMap<SourcePath, Part>,
    /// What is loaded, if it is not the entrypoint itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    main: Option<SourcePath>,
    /// Files of the source that are in it in another shape.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    compiled: BTreeMap<SourcePath, SourceFile>,
    /// What its author should hear each time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    messages: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    file: SourceFile,
    /// The file of the source that it is; none for what a build made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<SourcePath>,
}

#[derive(Debug, Deserialize)]
struct Traced {
    entries: BTreeMap<String, Needs>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Needs {
    files: Vec<String>,
    #[serde(default)]
    links: BTreeMap<String, String>,
}

impl Bundle {
    pub(crate) fn files(&self) -> BTreeMap<SourcePath, SourceFile> {
        self.parts.iter().map(|(path, part)| (path.clone(), part.file.clone())).collect()
    }

    pub(crate) fn main(&self) -> Option<&SourcePath> {
        self.main.as_ref()
    }

    /// What its author should hear each time.
    pub(crate) fn messages(&self) -> &[String] {
        &self.messages
    }

    /// Whether it still says the truth: its source files are as they were, and the others are stored. Blocking.
    fn holds(&self, builder: &Builder, source: &BTreeMap<SourcePath, SourceFile>) -> bool {
        let same = |part: &Part, path: &SourcePath| source.get(path).is_some_and(|file| *file == part.file);
        let all_same = self.parts.values().all(|part| part.of.as_ref().is_none_or(|path| same(part, path)));
        let compiled = self.compiled.iter().all(|(path, file)| source.get(path) == Some(file));
        all_same
            && compiled
            && self
                .parts
                .values()
                .filter(|part| part.of.is_none())
                .all(|part| builder.blobs().refresh_blocking(&part.file.blob).unwrap_or(false))
    }
}

impl Builder {
    /// Everything but the contents of source files that decides about a bundle. A new or missing file may change what a
    /// name means, so all paths are part of it.
    pub(crate) fn bundle_key(&self, job: &Job, step: &Step, installs: &[Digest], built: Option<&Digest>) -> Digest {
        let paths: Vec<&str> = job.source.files.keys().map(SourcePath::as_str).collect();
        let installs: Vec<String> = installs.iter().map(Digest::to_string).collect();
        let compiler = job.compiled.then(|| Tool::TypeScript.version());
        key(&(
            ("bundle", job.account.as_str(), job.runtime.as_str(), Tool::Nft.version(), compiler),
            (installs, built, Digest::of(paths.join("\0").as_bytes())),
            (step.entrypoint.as_str(), &step.include, &step.exclude),
        ))
    }

    /// A kept bundle that still holds. Blocking.
    pub(crate) fn kept_bundle(&self, key: &Digest, source: &BTreeMap<SourcePath, SourceFile>) -> Option<Bundle> {
        let bundle: Bundle = self.cache().find_json(Shelf::Bundles, key)?;
        bundle.holds(self, source).then_some(bundle)
    }

    /// Traces entrypoints in a sandbox that has the source and its packages. `built`: something ran that may have changed
    /// files of the source.
    pub(crate) async fn trace(
        &self,
        job: &Job,
        bench: &mut Bench,
        places: &Places,
        steps: &[(&Step, Digest)],
        built: bool,
    ) -> Result<BTreeMap<SourcePath, Bundle>, BuildError> {
        const STEP: &str = "trace";
        let begin = Instant::now();
        let compiled = if job.compiled { self.compile(job, bench, places, steps).await? } else { Compiled::default() };
        let traced = ask(bench, places, steps, &compiled).await?;
        for warning in traced.warnings.iter().take(50) {
            job.log.line(Level::Warn, warning);
        }
        // A file that was compiled may stand where the source has another.
        let made: BTreeSet<&SourcePath> = compiled.made().collect();
        let of_source = |path: &SourcePath| {
            if built || made.contains(path) { None } else { job.source.files.get(path) }
        };
        let all: BTreeSet<SourcePath> =
            traced.entries.values().flat_map(|needs| &needs.files).filter_map(|path| path.parse().ok()).collect();
        let wanted: Vec<String> =
            all.iter().filter(|path| of_source(path).is_none()).map(|path| format!("{APP}/{path}")).collect();
        let blobs = self.blobs().clone();
        let taken = if wanted.is_empty() {
            contents::Taken::default()
        } else {
            bench.collect(STEP, &wanted, move |pack| contents::store(pack, &blobs)).await?
        };
        let part = |path: &SourcePath| {
            if let Some(file) = of_source(path) {
                return Some(Part { file: file.clone(), of: Some(path.clone()) });
            }
            let file = taken.files.get(format!("{APP}/{path}").as_str())?.clone();
            let unchanged = job.source.files.get(path).is_some_and(|source| *source == file);
            Some(Part { file, of: unchanged.then(|| path.clone()) })
        };
        let mut bundles = BTreeMap::new();
        for (step, key) in steps {
            let main = compiled.main(&step.entrypoint);
            let needs = traced.entries.get(main.as_str()).ok_or_else(|| {
                internal::<io::Error>(STEP)(io::Error::other(format!("nothing was said about {}", step.entrypoint)))
            })?;
            let mut bundle = Bundle::default();
            for path in needs.files.iter().filter_map(|path| path.parse::<SourcePath>().ok()) {
                if let Some(part) = part(&path) {
                    bundle.parts.insert(path, part);
                }
            }
            follow_links(&mut bundle, &needs.links);
            bundle.compiled = compiled
                .reads(&step.entrypoint)
                .iter()
                .filter_map(|path| Some((path.clone(), job.source.files.get(path)?.clone())))
                .collect();
            bundle.messages = compiled.messages(&step.entrypoint).to_vec();
            bundle.main = (*main != step.entrypoint).then(|| main.clone());
            if bundle.main.is_none() && !bundle.parts.contains_key(&step.entrypoint) {
                bundle.parts.insert(
                    step.entrypoint.clone(),
                    Part { file: step.file.clone(), of: Some(step.entrypoint.clone()) },
                );
            }
            check_size(&step.entrypoint, &bundle.files())?;
            self.cache().keep_json(Shelf::Bundles, key, &bundle).map_err(internal(STEP))?;
            bundles.insert(step.entrypoint.clone(), bundle);
        }
        let line = format!("trace: {} {}", crate::run::count(steps.len(), "function"), seconds(begin));
        job.log.line(Level::Info, &line);
        Ok(bundles)
    }
}

/// Bundles hold no links: what is reached through one stands at its place, too.
fn follow_links(bundle: &mut Bundle, links: &BTreeMap<String, String>) {
    for (link, target) in links {
        let below = format!("{target}/");
        let copies: Vec<(SourcePath, Part)> = bundle
            .parts
            .iter()
            .filter_map(|(path, part)| {
                let rest = if path.as_str() == target { "" } else { path.as_str().strip_prefix(&below)? };
                let place = if rest.is_empty() { link.clone() } else { format!("{link}/{rest}") };
                Some((place.parse().ok()?, part.clone()))
            })
            .collect();
        bundle.parts.extend(copies);
    }
}

#[derive(Serialize)]
struct Request<'a> {
    base: String,
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    entry: &'a str,
    include: &'a [String],
    exclude: &'a [String],
}

async fn ask(
    bench: &mut Bench,
    places: &Places,
    steps: &[(&Step, Digest)],
    compiled: &Compiled,
) -> Result<Traced, BuildError> {
    let entries = steps
        .iter()
        .map(|(step, _)| Entry {
            entry: compiled.main(&step.entrypoint).as_str(),
            include: &step.include,
            exclude: &step.exclude,
        })
        .collect();
    let request = Request { base: format!("{WORK}/{APP}"), entries };
    compile::ask(bench, "trace", places.tool(Tool::Nft), &request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_behind_links_stand_at_both_places() {
        let file = SourceFile { blob: Digest::of(b"x"), size: 1, executable: false };
        let mut bundle = Bundle::default();
        for path in ["api/a.js", "packages/x/index.js", "packages/x/lib/b.js", "packages/xy/c.js"] {
            bundle.parts.insert(path.parse().unwrap(), Part { file: file.clone(), of: None });
        }
        let links = [("node_modules/@me/x", "packages/x"), ("alias.js", "api/a.js"), ("out", "../etc")];
        let links = links.map(|(link, target)| (link.to_owned(), target.to_owned())).into();
        follow_links(&mut bundle, &links);
        let paths: Vec<_> = bundle.parts.keys().map(SourcePath::as_str).collect();
        assert_eq!(
            paths,
            [
                "alias.js",
                "api/a.js",
                "node_modules/@me/x/index.js",
                "node_modules/@me/x/lib/b.js",
                "packages/x/index.js",
                "packages/x/lib/b.js",
                "packages/xy/c.js"
            ]
        );
    }
}

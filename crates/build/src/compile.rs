//! TypeScript: compiled in the build sandbox, each file beside its source, before files are traced.

use crate::bench::Bench;
use crate::bench::internal;
use crate::builder::{Builder, Job};
use crate::contents;
use crate::install::Places;
use crate::tools::Tool;
use crate::{BuildError, Level, Step};
use dockless_model::{Digest, SourcePath};
use dockless_sandbox::workshop::{APP, HOME, WORK};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::io::{self, Read};

const STEP: &str = "compile";
/// Longest answer of a tool.
const MAX_ANSWER: u64 = 64 << 20;

/// What the compiler says about each entrypoint.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Compiled {
    entries: BTreeMap<SourcePath, Entry>,
    made: Vec<SourcePath>,
    messages: Vec<String>,
    failed: bool,
    version: String,
}

#[derive(Debug, Deserialize)]
struct Entry {
    main: SourcePath,
    reads: Vec<SourcePath>,
    messages: Vec<String>,
}

#[derive(Serialize)]
struct Request<'a> {
    base: String,
    entries: Vec<&'a str>,
}

impl Compiled {
    /// What is loaded instead of this entrypoint.
    pub(crate) fn main<'a>(&'a self, entrypoint: &'a SourcePath) -> &'a SourcePath {
        self.entries.get(entrypoint).map_or(entrypoint, |entry| &entry.main)
    }

    /// Files that decide about what was made of it.
    pub(crate) fn reads(&self, entrypoint: &SourcePath) -> &[SourcePath] {
        self.entries.get(entrypoint).map(|entry| entry.reads.as_slice()).unwrap_or_default()
    }

    /// What was said about them.
    pub(crate) fn messages(&self, entrypoint: &SourcePath) -> &[String] {
        self.entries.get(entrypoint).map(|entry| entry.messages.as_slice()).unwrap_or_default()
    }

    /// All files that were written.
    pub(crate) fn made(&self) -> impl Iterator<Item = &SourcePath> {
        self.made.iter()
    }
}

impl Builder {
    /// Compiles what the entrypoints among these steps need, in a sandbox that has the source and its packages. Errors of
    /// types are told and end nothing, unless the project's own configuration says so (`noEmitOnError`).
    pub(crate) async fn compile(
        &self,
        job: &Job,
        bench: &mut Bench,
        places: &Places,
        steps: &[(&Step, Digest)],
    ) -> Result<Compiled, BuildError> {
        let entries = steps.iter().map(|(step, _)| step.entrypoint.as_str()).collect();
        let request = Request { base: format!("{WORK}/{APP}"), entries };
        let compiled: Compiled = ask(bench, STEP, places.tool(Tool::TypeScript), &request).await?;
        let level = if compiled.failed { Level::Error } else { Level::Warn };
        compiled.messages.iter().flat_map(|message| message.lines()).for_each(|line| job.log.line(level, line));
        if compiled.failed {
            return Err(BuildError::TypeScript { messages: compiled.messages });
        }
        job.log.line(Level::Info, &format!("compile: TypeScript {}", compiled.version));
        Ok(compiled)
    }
}

/// Asks a tool: it reads a request from one file and writes its answer into another.
pub(crate) async fn ask<T: DeserializeOwned>(
    bench: &mut Bench,
    step: &str,
    mut argv: Vec<String>,
    request: &impl Serialize,
) -> Result<T, BuildError> {
    let request = serde_json::to_vec(request).map_err(internal(step))?;
    let (asked, answered) = (format!("{HOME}/{step}-request.json"), format!("{HOME}/{step}-result.json"));
    let place = asked.clone();
    bench
        .fill(step, move |sink| {
            contents::write_bytes(sink, &place, &request)?;
            contents::end(sink)
        })
        .await?;
    argv.extend([format!("{WORK}/{asked}"), format!("{WORK}/{answered}")]);
    bench.run(step, step, argv, "").await?;
    let text = bench
        .collect(step, &[answered], |mut pack| {
            let mut text = Vec::new();
            while let Some(head) = dockless_sandbox::pack::read_head(&mut pack)? {
                if head.size > MAX_ANSWER {
                    return Err(io::Error::other("a tool of builds says too much"));
                }
                pack.take(head.size).read_to_end(&mut text)?;
            }
            Ok(text)
        })
        .await?;
    serde_json::from_slice(&text).map_err(internal(step))
}

//! Compiling functions in Go: in a build sandbox, by the compiler of this machine, each to one program without libraries.

use super::workspace::{Target, Workspace, folder_of, lay_out};
use crate::bench::{Bench, internal, seconds, stopped};
use crate::builder::Builder;
use crate::cache::{Shelf, key};
use crate::contents;
use crate::{BuildError, BuildRequest, Level, SourceFile, Step};
use dockless_model::{Digest, SourcePath};
use dockless_node::capture::PROGRAM;
use dockless_sandbox::program::{Listens, Program};
use dockless_sandbox::workshop::{APP, HOME, WORK};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The language of such steps.
pub(crate) const GO: &str = "go";
/// Where the compiler may lie: build sandboxes have the machine's /usr.
const PLACES: [&str; 3] = ["/usr/local/go/bin/go", "/usr/bin/go", "/usr/lib/go/bin/go"];
/// Longest file that is looked into.
const MAX_FILE: u64 = 1024 * 1024;
/// What the compiler keeps, and modules that it fetched: below the home folder.
const KEPT: &str = "go";
/// Where programs are made: below the home folder.
const MADE: &str = "made";

/// Files of bundles by their entrypoints.
pub(crate) type Compiled = BTreeMap<SourcePath, BTreeMap<SourcePath, SourceFile>>;

/// One program, kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Made {
    program: SourceFile,
    listens: Listens,
}

/// The compiler of this machine.
struct Toolchain {
    program: PathBuf,
    /// `1.19.8`
    version: String,
}

impl Toolchain {
    fn find() -> Option<Self> {
        PLACES.iter().find_map(|place| {
            let program = Path::new(place).canonicalize().ok()?;
            let text = std::fs::read_to_string(program.parent()?.parent()?.join("VERSION")).ok()?;
            let version = text.lines().next()?.trim().strip_prefix("go")?.to_owned();
            Some(Self { program, version })
        })
    }

    /// `1.19`
    fn language(&self) -> String {
        self.version.split('.').take(2).collect::<Vec<_>>().join(".")
    }
}

impl Builder {
    /// The bundle of each step in Go, compiled or kept.
    pub(crate) async fn go_functions(&self, request: &BuildRequest, steps: &[Step]) -> Result<Compiled, BuildError> {
        const STEP: &str = "compile";
        let steps: Vec<&Step> = steps.iter().filter(|step| step.language == GO).collect();
        if steps.is_empty() {
            return Ok(Compiled::new());
        }
        let missing = BuildError::NoToolchain { language: "Go", package: "golang-go" };
        let toolchain = Toolchain::find().ok_or(missing)?;
        let whole: Vec<_> = request.source.files.iter().map(|(path, file)| (path.as_str(), file.blob)).collect();
        let entrypoints: Vec<&str> = steps.iter().map(|step| step.entrypoint.as_str()).collect();
        let shape = Digest::of(include_bytes!("main.go"));
        let key = key(&("go", request.account.as_str(), &toolchain.version, shape, entrypoints, whole));
        let builder = self.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let made: BTreeMap<SourcePath, Made> = builder.cache().find_json(Shelf::Bundles, &key)?;
            let stored = |made: &Made| builder.blobs().refresh_blocking(&made.program.blob).unwrap_or(false);
            made.values().all(stored).then_some(made)
        });
        let made = match kept.await.map_err(internal("look for kept results"))? {
            Some(made) => {
                let line = format!("compile: {} in Go cached", crate::run::count(made.len(), "function"));
                request.log.line(Level::Info, &line);
                made
            }
            None => {
                let made = self.compile_go(request, &steps, &toolchain).await?;
                self.cache().keep_json(Shelf::Bundles, &key, &made).map_err(internal(STEP))?;
                made
            }
        };
        let mut compiled = Compiled::new();
        for (entrypoint, Made { program, listens }) in made {
            compiled.insert(entrypoint, self.program_bundle(program, listens).await?);
        }
        Ok(compiled)
    }

    /// Files that make a program a function.
    async fn program_bundle(
        &self,
        program: SourceFile,
        listens: Listens,
    ) -> Result<BTreeMap<SourcePath, SourceFile>, BuildError> {
        const STEP: &str = "bundle";
        let plan = Program { argv: vec![Program::PLACE.to_owned()], listens };
        let text = serde_json::to_vec(&plan).map_err(internal(STEP))?;
        let stored = self.blobs().put(&text).await.map_err(internal(STEP))?;
        let plan = SourceFile { blob: stored.digest, size: stored.size, executable: false };
        let program = SourceFile { executable: true, ..program };
        let at = |path: &str| path.parse::<SourcePath>().map_err(internal(STEP));
        Ok(BTreeMap::from([(at(Program::PLACE)?, program), (at(Program::FILE)?, plan)]))
    }

    async fn compile_go(
        &self,
        request: &BuildRequest,
        steps: &[&Step],
        toolchain: &Toolchain,
    ) -> Result<BTreeMap<SourcePath, Made>, BuildError> {
        const STEP: &str = "compile";
        let begin = Instant::now();
        let entrypoints: Vec<&SourcePath> = steps.iter().map(|step| &step.entrypoint).collect();
        let texts = self.go_texts(request, &entrypoints).await?;
        let space = lay_out(&request.source, &texts, &entrypoints, &toolchain.language())?;
        let runtime = self.node().current_runtime(PROGRAM).ok_or(BuildError::NoRuntime { language: PROGRAM })?;
        let mut bench = Bench::open(self, &runtime, Vec::new(), request.log.clone()).await.map_err(stopped(STEP))?;
        let home = |name: &str| format!("{WORK}/{HOME}/{name}");
        for (name, value) in [
            ("CGO_ENABLED", "0"),
            ("GOTOOLCHAIN", "local"),
            ("GOTELEMETRY", "off"),
            ("GOPROXY", "https://proxy.golang.org"),
            ("GOCACHE", &home(&format!("{KEPT}/cache"))),
            ("GOMODCACHE", &home(&format!("{KEPT}/modules"))),
            ("GOPATH", &home(&format!("{KEPT}/path"))),
        ] {
            bench.set(name, value.to_owned());
        }
        // Compiled packages of the library and of modules, for each account and set of them apart.
        let manifests: Vec<_> = request
            .source
            .files
            .iter()
            .filter(|(path, _)| matches!(path.file_name(), "go.mod" | "go.sum"))
            .map(|(path, file)| (path.as_str(), file.blob))
            .collect();
        let store = key(&("go store", request.account.as_str(), &toolchain.version, manifests));
        let kept = self.cache().find(Shelf::Packages, &store, None);
        let is_kept = kept.is_some();
        self.place(&mut bench, request, &space, kept).await?;
        for (folder, targets) in &space.modules {
            self.build_module(&mut bench, request, toolchain, folder, targets).await?;
        }
        let blobs = self.blobs().clone();
        let made_at = format!("{HOME}/{MADE}");
        let taken =
            bench.collect(STEP, std::slice::from_ref(&made_at), move |pack| contents::store(pack, &blobs)).await?;
        if !is_kept {
            let cache = self.cache().clone();
            let keep = move |pack: &mut dyn std::io::Read| {
                cache.keep(Shelf::Packages, &store, |sink| contents::copy(pack, sink).map(drop))
            };
            bench.collect(STEP, &[format!("{HOME}/{KEPT}")], keep).await?;
            self.cache().trim().map_err(internal(STEP))?;
        }
        let mut made = BTreeMap::new();
        for target in space.modules.into_values().flatten() {
            let program = taken.files.get(format!("{made_at}/{}", target.name).as_str()).cloned();
            let program = program.ok_or_else(|| BuildError::Go {
                path: target.entrypoint.clone(),
                reason: "the compiler made no program of it".to_owned(),
            })?;
            made.insert(target.entrypoint, Made { program, listens: target.listens });
        }
        let line = format!("compile: {} in Go {}", crate::run::count(made.len(), "function"), seconds(begin));
        request.log.line(Level::Info, &line);
        Ok(made)
    }

    /// Contents of the Go files in the folders of entrypoints, tests left out.
    async fn go_texts(
        &self,
        request: &BuildRequest,
        entrypoints: &[&SourcePath],
    ) -> Result<BTreeMap<SourcePath, Vec<u8>>, BuildError> {
        let folders: BTreeSet<&str> = entrypoints.iter().map(|path| folder_of(path)).collect();
        let is_read = |path: &SourcePath| {
            path.extension() == Some("go") && !path.as_str().ends_with("_test.go") && folders.contains(folder_of(path))
        };
        let mut texts = BTreeMap::new();
        for (path, file) in request.source.files.iter().filter(|(path, _)| is_read(path)) {
            if file.size > MAX_FILE {
                return Err(BuildError::DocumentTooLarge { path: path.clone(), bytes: file.size });
            }
            let read = self.blobs().read(&file.blob).await;
            let text = read.map_err(|source| BuildError::Unreadable { path: path.clone(), source })?;
            texts.insert(path.clone(), text);
        }
        Ok(texts)
    }

    /// Puts the source, what differs from it, and what was kept into the sandbox.
    async fn place(
        &self,
        bench: &mut Bench,
        request: &BuildRequest,
        space: &Workspace,
        kept: Option<std::fs::File>,
    ) -> Result<(), BuildError> {
        let (source, blobs) = (request.source.clone(), self.blobs().clone());
        let (written, left_out) = (space.written.clone(), space.left_out.clone());
        let fill = move |sink: &mut dyn std::io::Write| {
            let same = |path: &SourcePath| !left_out.contains(path) && !written.contains_key(path.as_str());
            contents::write_files(sink, &blobs, APP, source.files.iter().filter(|(path, _)| same(path)))?;
            for (path, text) in &written {
                contents::write_bytes(sink, &format!("{APP}/{path}"), text)?;
            }
            if let Some(kept) = kept {
                contents::append(sink, &mut BufReader::with_capacity(1 << 18, kept))?;
            }
            contents::end(sink)
        };
        bench.fill("read", fill).await
    }

    async fn build_module(
        &self,
        bench: &mut Bench,
        request: &BuildRequest,
        toolchain: &Toolchain,
        folder: &str,
        targets: &[Target],
    ) -> Result<(), BuildError> {
        let inside = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let is_vendored = request.source.files.contains_key(inside("vendor/modules.txt").as_str());
        let mode = if is_vendored { "-mod=vendor" } else { "-mod=mod" };
        bench.set("GOFLAGS", format!("{mode} -modcacherw"));
        for target in targets {
            let program = toolchain.program.to_string_lossy().into_owned();
            let output = format!("{WORK}/{HOME}/{MADE}/{}", target.name);
            let argv = [&program, "build", "-trimpath", "-ldflags=-s -w", "-o", &output, &target.package];
            let shown = format!("go build {}", target.entrypoint);
            bench.run("compile", &shown, argv.map(str::to_owned).to_vec(), folder).await?;
        }
        Ok(())
    }
}

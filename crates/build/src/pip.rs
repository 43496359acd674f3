//! Installing the packages of functions in Python: once for the same inputs, into a folder of their bundles.

use crate::bench::{Bench, internal, seconds, stopped};
use crate::builder::Builder;
use crate::cache::{Shelf, key};
use crate::contents;
use crate::install::UNLOCKED;
use crate::requirements::Requirements;
use crate::{BuildError, BuildRequest, Level, SourceFile, Step};
use dockless_model::{Digest, RuntimeId, SourcePath};
use dockless_node::capture::PIP_FOLDER;
use dockless_sandbox::protocol::Runtime;
use dockless_sandbox::workshop::{APP, RUNTIME_ROOT, TOOLS_ROOT, WORK};
use std::collections::BTreeMap;
use std::time::Instant;

/// The folder of a bundle in which the launcher looks for packages.
const PACKAGES: &str = "_vendor";
/// Requirements that are no file of the source.
const GENERATED: &str = ".dockless-requirements.txt";
/// Nothing is asked, and nothing kept beside what we keep. Compiling comes after.
const ARGUMENTS: [&str; 11] = [
    "-m",
    "pip",
    "install",
    "--no-input",
    "--no-compile",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--no-warn-script-location",
    "--progress-bar=off",
    "--target",
    PACKAGES,
];

/// Files of packages by the entrypoint that may import them.
pub(crate) type Packages = BTreeMap<SourcePath, BTreeMap<SourcePath, SourceFile>>;

impl Builder {
    /// Packages of each step in Python, installed or kept.
    pub(crate) async fn python_packages(&self, request: &BuildRequest, steps: &[Step]) -> Result<Packages, BuildError> {
        let mut made: BTreeMap<SourcePath, BTreeMap<SourcePath, SourceFile>> = BTreeMap::new();
        let mut packages = Packages::new();
        for step in steps.iter().filter(|step| step.language == "python") {
            let Some(requirements) = Requirements::of(&request.source, &step.entrypoint)? else { continue };
            if !made.contains_key(&requirements.manifest) {
                let files = self.installed_packages(request, &requirements).await?;
                made.insert(requirements.manifest.clone(), files);
            }
            if let Some(files) = made.get(&requirements.manifest) {
                packages.insert(step.entrypoint.clone(), files.clone());
            }
        }
        Ok(packages)
    }

    async fn installed_packages(
        &self,
        request: &BuildRequest,
        requirements: &Requirements,
    ) -> Result<BTreeMap<SourcePath, SourceFile>, BuildError> {
        let runtime = self.node().current_runtime("python").ok_or(BuildError::NoRuntime { language: "python" })?;
        let pip = self.node().pip().ok_or(BuildError::NoPip)?;
        let inputs: Vec<_> = requirements
            .inputs
            .iter()
            .filter_map(|path| request.source.files.get_key_value(path))
            .map(|(path, file)| (path.as_str(), file.blob.to_string()))
            .collect();
        let key = key(&(
            "python packages",
            request.account.as_str(),
            (runtime.as_str(), pip.id.as_str(), &self.settings().pip_index),
            (requirements.manifest.as_str(), inputs),
        ));
        let builder = self.clone();
        let fresh = (!requirements.locked).then_some(UNLOCKED);
        // Each stored file is looked at.
        let kept = tokio::task::spawn_blocking(move || {
            let files: BTreeMap<SourcePath, SourceFile> =
                builder.cache().find_fresh_json(Shelf::Bundles, &key, fresh)?;
            let stored = |file: &SourceFile| builder.blobs().refresh_blocking(&file.blob).unwrap_or(false);
            files.values().all(stored).then_some(files)
        });
        if let Some(files) = kept.await.map_err(internal("look for kept results"))? {
            request.log.line(Level::Info, &format!("{}: cached ({})", step_of(requirements), requirements.manifest));
            return Ok(files);
        }
        self.install_packages(request, requirements, (&runtime, pip), &key).await
    }

    async fn install_packages(
        &self,
        request: &BuildRequest,
        requirements: &Requirements,
        (runtime, pip): (&RuntimeId, &Runtime),
        key: &Digest,
    ) -> Result<BTreeMap<SourcePath, SourceFile>, BuildError> {
        let step = step_of(requirements);
        let begin = Instant::now();
        let log = request.log.clone();
        let mut bench = Bench::open(self, runtime, vec![pip.tree], log).await.map_err(stopped(&step))?;
        bench.set("PYTHONPATH", format!("{TOOLS_ROOT}/0/{PIP_FOLDER}"));
        bench.set("PYTHONDONTWRITEBYTECODE", "1".to_owned());
        // An interpreter from outside of /usr brings its own libraries.
        bench.set("LD_LIBRARY_PATH", format!("{RUNTIME_ROOT}/usr/lib"));
        if let Some(index) = &self.settings().pip_index {
            bench.set("PIP_INDEX_URL", index.clone());
        }
        if self.settings().system_certificates {
            bench.set("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt".to_owned());
        }
        for lock in
            ["uv.lock", "poetry.lock"].into_iter().filter(|_| requirements.manifest.file_name() == "pyproject.toml")
        {
            let path = if requirements.folder.is_empty() {
                lock.to_owned()
            } else {
                format!("{}/{lock}", requirements.folder)
            };
            if request.source.files.contains_key(path.as_str()) {
                let advice =
                    format!("{path} is not read: the newest fitting versions are taken; export it as requirements.txt");
                request.log.line(Level::Warn, &advice);
            }
        }
        let (source, blobs, inputs) = (request.source.clone(), self.blobs().clone(), requirements.inputs.clone());
        let inside = |name: &str| {
            if requirements.folder.is_empty() { name.to_owned() } else { format!("{}/{name}", requirements.folder) }
        };
        let generated = requirements.lines.clone().map(|lines| (format!("{APP}/{}", inside(GENERATED)), lines));
        let file = if generated.is_some() { GENERATED } else { requirements.manifest.file_name() };
        bench
            .fill(&step, move |sink| {
                let files = inputs.iter().filter_map(|path| source.files.get_key_value(path));
                contents::write_files(sink, &blobs, APP, files)?;
                if let Some((path, lines)) = generated {
                    contents::write_bytes(sink, &path, lines.as_bytes())?;
                }
                contents::end(sink)
            })
            .await?;
        let python = |arguments: &[&str]| -> Vec<String> {
            let program = format!("{RUNTIME_ROOT}/usr/bin/python3");
            std::iter::once(program.as_str()).chain(arguments.iter().copied()).map(str::to_owned).collect()
        };
        let arguments: Vec<&str> = ARGUMENTS.iter().copied().chain(["-r", file]).collect();
        let shown = format!("pip install -r {}", requirements.manifest.file_name());
        bench.run(&step, &shown, python(&arguments), &requirements.folder).await?;
        // What cannot be compiled (templates, files for other versions) is left to whoever imports it.
        let compile = "import compileall, py_compile, sys\n\
            compileall.compile_dir(sys.argv[1], quiet=2, stripdir=sys.argv[2], prependdir='/var/task', \
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)";
        let at = format!("{WORK}/{APP}/{}", requirements.folder);
        let arguments = ["-c", compile, PACKAGES, at.trim_end_matches('/')];
        bench.run(&step, "compile packages", python(&arguments), &requirements.folder).await?;
        let folder = format!("{APP}/{}", inside(PACKAGES));
        let blobs = self.blobs().clone();
        let taken =
            bench.collect(&step, std::slice::from_ref(&folder), move |pack| contents::store(pack, &blobs)).await?;
        let below = format!("{folder}/");
        let files: BTreeMap<SourcePath, SourceFile> = taken
            .files
            .into_iter()
            .filter_map(|(path, file)| {
                let path = format!("{PACKAGES}/{}", path.as_str().strip_prefix(&below)?).parse().ok()?;
                Some((path, file))
            })
            .collect();
        self.cache().keep_json(Shelf::Bundles, key, &files).map_err(internal(&step))?;
        let line = format!("{step}: {} files, {}; kept for later builds", files.len(), seconds(begin));
        request.log.line(Level::Info, &line);
        Ok(files)
    }
}

fn step_of(requirements: &Requirements) -> String {
    if requirements.folder.is_empty() { "install".to_owned() } else { format!("install {}", requirements.folder) }
}

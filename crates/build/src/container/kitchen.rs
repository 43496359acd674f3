//! buildah at work in a sandbox: one build of one file.

use super::{BUILDAH, Container, Ingredient};
use crate::bench::stopped;
use crate::builder::Builder;
use crate::dockerfile::Dockerfile;
use crate::{BuildError, BuildLog, Level, SourceFile, contents};
use dockless_image::Layout;
use dockless_model::{Digest, SourcePath};
use dockless_node::CallError;
use dockless_node::workshop::{BuildSandbox, BuildSandboxError, Command, CommandEnd, SandboxSpec, Tell, Voice};
use dockless_sandbox::protocol::Refusal;
use dockless_sandbox::workshop::{APP, HOME, PROXY_PORT, Profile, STORE, TEMPORARY, WORK};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Last lines of a failed step that are repeated in the error.
const TAIL: usize = 10;
/// Files and bytes of the image that come out.
const COLLECTED: (u64, u64) = (2_000, 16 << 30);
/// What the built image is called inside.
const RESULT: &str = "localhost/app:latest";
/// Times a store that another build has just given up is asked for.
const TRIES: u32 = 5;

/// What the lines of a build told so far.
#[derive(Default)]
struct Told {
    tail: VecDeque<String>,
    /// `STEP 3/5: RUN make`
    step: Option<String>,
    /// How the step's command ended, in buildah's words.
    status: Option<String>,
    /// Lines are buildah's housekeeping: not told, kept for an error.
    quiet: bool,
}

pub(super) struct Kitchen {
    sandbox: BuildSandbox,
    env: BTreeMap<String, String>,
    told: Arc<Mutex<Told>>,
    builder: Builder,
}

impl Kitchen {
    /// Sets one up, with the project's store unless another build has it.
    pub(super) async fn open(
        builder: &Builder,
        store: Digest,
        ingredients: &[Ingredient],
        log: Arc<dyn BuildLog>,
    ) -> Result<Self, BuildError> {
        const STEP: &str = "prepare";
        let told = Arc::new(Mutex::new(Told::default()));
        let tell = teller(told.clone(), ingredients, log.clone());
        let runtime = builder.node().current_runtime("node").ok_or(BuildError::NoRuntime { language: "node" })?;
        let mut spec = SandboxSpec {
            profile: Profile::Images,
            runtime,
            tools: Vec::new(),
            store: Some(store),
            egress: builder.settings().egress.clone().with_distributions(),
        };
        let mut tries = 0;
        let sandbox = loop {
            match builder.node().build_sandbox(spec.clone(), tell.clone()).await {
                Err(BuildSandboxError::Warden(CallError::Refused(Refusal::InUse(_)))) => {
                    tries += 1;
                    if tries == TRIES {
                        log.line(Level::Info, "another build of this project has its layers: this one begins without");
                        spec.store = None;
                    } else {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                made => break made.map_err(stopped(STEP))?,
            }
        };
        Ok(Self { sandbox, env: environment(), told, builder: builder.clone() })
    }

    /// Puts what may be copied and the file in place.
    pub(super) async fn place(
        &mut self,
        files: BTreeMap<SourcePath, SourceFile>,
        file: &Dockerfile,
        ingredients: &[Ingredient],
    ) -> Result<(), BuildError> {
        let names = ingredients.iter().map(|one| (one.name.clone(), one.local())).collect();
        let (text, blobs) = (file.with(&names), self.builder.blobs().clone());
        let write = move |sink: &mut dyn std::io::Write| {
            contents::write_bytes(sink, &format!("{HOME}/Dockerfile"), text.as_bytes())?;
            contents::write_files(sink, &blobs, APP, files.iter())?;
            contents::end(sink)
        };
        self.sandbox.fill(write).await.map_err(stopped("read"))
    }

    /// Whether the store has an image already.
    pub(super) async fn has(&mut self, one: &Ingredient) -> Result<bool, BuildError> {
        Ok(self.quietly(&["images", "--quiet", &one.local()]).await? == CommandEnd::Code(0))
    }

    /// Brings an image into the store from its blobs, all of which are here.
    pub(super) async fn bring(&mut self, one: &Ingredient) -> Result<(), BuildError> {
        let (base, blobs) = (one.base.clone(), self.builder.blobs().clone());
        let folder = format!("{HOME}/base-{}", base.id);
        let at = folder.clone();
        let write = move |sink: &mut dyn std::io::Write| {
            let blob = |digest: &Digest| format!("{folder}/blobs/sha256/{digest}");
            contents::write_bytes(sink, &format!("{folder}/oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            contents::write_bytes(sink, &format!("{folder}/index.json"), &base.index("base"))?;
            contents::write_bytes(sink, &blob(&Digest::of(&base.manifest)), &base.manifest)?;
            contents::write_bytes(sink, &blob(&base.id), &base.config)?;
            for layer in &base.layers {
                contents::write_blob(sink, &blobs, &blob(&layer.blob), (layer.blob, layer.size))?;
            }
            contents::end(sink)
        };
        self.sandbox.fill(write).await.map_err(stopped("pull"))?;
        let from = format!("oci:{WORK}/{at}:base");
        self.must("pull", &["pull", "--quiet", &from]).await?;
        let id = one.base.id.to_string();
        self.must("pull", &["tag", &id, &one.local()]).await
    }

    /// Builds the file.
    pub(super) async fn build(
        &mut self,
        container: &Container,
        arguments: &BTreeMap<String, String>,
    ) -> Result<(), BuildError> {
        let (file, app) = (format!("{WORK}/{HOME}/Dockerfile"), format!("{WORK}/{APP}"));
        let mut argv = vec![
            "build",
            "--format",
            "docker",
            "--isolation",
            "chroot",
            "--layers",
            "--pull=never",
            "--force-rm",
            "--file",
            &file,
            "--tag",
            RESULT,
        ];
        let arguments: Vec<String> = arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
        for argument in &arguments {
            argv.extend(["--build-arg", argument]);
        }
        argv.push(&app);
        let end = self.command(&argv, false).await?;
        if end == CommandEnd::Code(0) {
            return Ok(());
        }
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        let step = told.step.as_deref().and_then(|step| step.split_once(": "));
        let (step, command) = step.unwrap_or(("build", container.file.as_str()));
        let (step, command) = (step.to_owned(), command.to_owned());
        Err(BuildError::Command { step, command, how: told.status.unwrap_or_else(|| how(end)), tail: told.tail.into() })
    }

    /// Takes the image out.
    pub(super) async fn take(&mut self) -> Result<Layout, BuildError> {
        const STEP: &str = "export";
        let to = format!("oci:{WORK}/{HOME}/out:latest");
        let push = ["push", "--quiet", "--compression-format", "zstd", "--compression-level", "1", RESULT, to.as_str()];
        self.must(STEP, &push).await?;
        let out = format!("{HOME}/out");
        let blobs = self.builder.blobs().clone();
        let read = move |pack: &mut dyn std::io::Read| contents::store(pack, &blobs);
        let (taken, _) =
            self.sandbox.collect(std::slice::from_ref(&out), COLLECTED, read).await.map_err(stopped(STEP))?;
        let below = format!("{out}/");
        let inside = taken.files.into_iter().filter_map(|(path, file)| {
            Some((path.as_str().strip_prefix(&below)?.parse().ok()?, (file.blob, file.size)))
        });
        Ok(inside.collect())
    }

    /// Bytes in the store; `None` if that cannot be known.
    pub(super) async fn used(&mut self) -> Option<u64> {
        let argv = ["du", "--summarize", "--block-size=1", "--one-file-system", STORE].map(str::to_owned).to_vec();
        self.told.lock().unwrap_or_else(PoisonError::into_inner).quiet = true;
        let command = Command { argv, cwd: String::new(), env: self.env.clone() };
        self.sandbox.run(command).await.ok()?;
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.tail.back()?.split_whitespace().next()?.parse().ok()
    }

    async fn must(&mut self, step: &str, argv: &[&str]) -> Result<(), BuildError> {
        let end = self.quietly(argv).await?;
        if end == CommandEnd::Code(0) {
            return Ok(());
        }
        let tail = self.told.lock().unwrap_or_else(PoisonError::into_inner).tail.drain(..).collect();
        Err(BuildError::Command { step: step.to_owned(), command: format!("buildah {}", argv[0]), how: how(end), tail })
    }

    async fn quietly(&mut self, argv: &[&str]) -> Result<CommandEnd, BuildError> {
        self.command(argv, true).await
    }

    async fn command(&mut self, argv: &[&str], quiet: bool) -> Result<CommandEnd, BuildError> {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Told { quiet, ..Told::default() };
        let root = format!("{WORK}/{STORE}");
        let run = format!("{WORK}/{TEMPORARY}/run");
        let always = [BUILDAH, "--root", &root, "--runroot", &run, "--storage-driver", "overlay"];
        let argv = always.iter().chain(argv).map(|word| (*word).to_owned()).collect();
        let command = Command { argv, cwd: APP.to_owned(), env: self.env.clone() };
        self.sandbox.run(command).await.map_err(stopped("build"))
    }
}

fn how(end: CommandEnd) -> String {
    match end {
        CommandEnd::Code(code) => format!("exit code {code}"),
        CommandEnd::Signal(signal) => format!("ended by signal {signal}"),
    }
}

/// What buildah finds. It hands the proxy's variables on to RUN and keeps them out of the image.
fn environment() -> BTreeMap<String, String> {
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let (home, temporary) = (format!("{WORK}/{HOME}"), format!("{WORK}/{TEMPORARY}"));
    let nowhere = "localhost,127.0.0.1,::1";
    [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", &home),
        ("TMPDIR", &temporary),
        ("XDG_RUNTIME_DIR", &temporary),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        ("HTTP_PROXY", &proxy),
        ("HTTPS_PROXY", &proxy),
        ("http_proxy", &proxy),
        ("https_proxy", &proxy),
        ("NO_PROXY", nowhere),
        ("no_proxy", nowhere),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The end of a step in buildah's words, which say the same twice.
fn of_step(line: &str) -> Option<(&str, &str)> {
    let said = line.starts_with("subprocess exited with status ") || line.starts_with("Error: building at STEP ");
    line.rsplit_once(if line.starts_with("Error: ") { "exit status " } else { " status " }).filter(|_| said)
}

/// Names of ours and ids of layers that are on the way.
fn is_noise(line: &str) -> bool {
    let id = line.strip_prefix("--> ").unwrap_or(line);
    line.ends_with(RESULT) || (id.len() >= 11 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Follows the lines: which step it is, how it ended, images by the names that the file has for them.
fn teller(told: Arc<Mutex<Told>>, ingredients: &[Ingredient], log: Arc<dyn BuildLog>) -> Tell {
    let names: Vec<(String, String)> = ingredients.iter().map(|one| (one.local(), one.name.clone())).collect();
    Arc::new(move |voice, text: &str| {
        let mut line = text.to_owned();
        for (local, name) in &names {
            if line.contains(local) {
                line = line.replace(local, name);
            }
        }
        if voice == Voice::Network {
            log.line(Level::Info, &line);
            return;
        }
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if line.starts_with("STEP ") || line.starts_with('[') && line.contains("] STEP ") {
            told.step = Some(line.clone());
            told.tail.clear();
        } else if line.starts_with("--> Using cache") {
            line = "--> CACHED".to_owned();
        } else if told.step.is_some() && is_noise(&line) {
            return;
        } else if let Some((_, status)) = of_step(&line) {
            told.status = Some(format!("exit code {}", status.trim()));
            return;
        } else if !line.trim().is_empty() {
            if told.tail.len() == TAIL {
                told.tail.pop_front();
            }
            told.tail.push_back(line.clone());
        }
        if !told.quiet {
            drop(told);
            log.line(Level::Info, &line);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_step_is_read_and_noise_is_not() {
        let status = |line| of_step(line).map(|(_, status)| status);
        assert_eq!(status("subprocess exited with status 3"), Some("3"));
        assert_eq!(status("Error: building at STEP \"RUN x\": exit status 3"), Some("3"));
        assert_eq!(status("make: exit status 3"), None);
        assert!(is_noise("--> b0a278fdd55") && is_noise("Successfully tagged localhost/app:latest"));
        assert!(!is_noise("--> CACHED") && !is_noise("deadbeef") && !is_noise("hello"));
    }
}

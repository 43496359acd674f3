//! A build sandbox at work for one build: commands with their environment, their lines in the log, their failures in words.

use crate::builder::Builder;
use crate::{BuildError, BuildLog, Level};
use dockless_model::{Digest, RuntimeId, Secret};
use dockless_node::capture::NPM_CERTIFICATES;
use dockless_node::workshop::{BuildSandbox, BuildSandboxError, Command, CommandEnd, SandboxSpec, Tell, Voice};
use dockless_sandbox::workshop::{APP, HOME, PROXY_PORT, Profile, RUNTIME_ROOT, TOOLS_ROOT, WORK};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Last lines of a failed command that are repeated in the error.
const TAIL: usize = 10;
/// Files and bytes that come out of a sandbox at once.
const COLLECTED: (u64, u64) = (300_000, 2 << 30);

/// The sandbox and what belongs to it.
pub(crate) struct Bench {
    sandbox: BuildSandbox,
    env: BTreeMap<String, String>,
    log: Arc<dyn BuildLog>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

/// `/opt/dockless/tools/1`
pub(crate) fn tool_path(place: usize) -> String {
    format!("{TOOLS_ROOT}/{place}")
}

/// Turns a sandbox's failure into the build's.
pub(crate) fn stopped(step: &str) -> impl FnOnce(BuildSandboxError) -> BuildError + use<> {
    let step = step.to_owned();
    move |source| match source {
        BuildSandboxError::Warden(_) | BuildSandboxError::Died(_) | BuildSandboxError::Io(_) => {
            BuildError::Internal { step, source: source.into() }
        }
        source => BuildError::Stopped { step, source },
    }
}

/// Turns a failure of ours into the build's.
pub(crate) fn internal<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    step: &str,
) -> impl FnOnce(E) -> BuildError + use<E> {
    let step = step.to_owned();
    move |error| BuildError::Internal { step, source: error.into() }
}

impl Bench {
    /// Sets one up. npm is always the first tool.
    pub(crate) async fn open(
        builder: &Builder,
        runtime: &RuntimeId,
        tools: Vec<Digest>,
        log: Arc<dyn BuildLog>,
    ) -> Result<Self, BuildSandboxError> {
        let tail = Arc::new(Mutex::new(VecDeque::with_capacity(TAIL)));
        let (lines, last) = (log.clone(), tail.clone());
        let tell: Tell = Arc::new(move |voice, text: &str| {
            let level = match voice {
                Voice::Output | Voice::Network => Level::Info,
                Voice::Errors => Level::Error,
            };
            if voice != Voice::Network && !text.trim().is_empty() {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == TAIL {
                    last.pop_front();
                }
                last.push_back(text.to_owned());
            }
            lines.line(level, text);
        });
        let egress = builder.settings().egress.clone();
        let spec = SandboxSpec { profile: Profile::Packages, runtime: runtime.clone(), tools, store: None, egress };
        let sandbox = builder.node().build_sandbox(spec, tell).await?;
        Ok(Self { sandbox, env: environment(builder), log, tail })
    }

    /// Runs a command; `shown` is how a person would type it.
    pub(crate) async fn run(
        &mut self,
        step: &str,
        shown: &str,
        argv: Vec<String>,
        folder: &str,
    ) -> Result<(), BuildError> {
        let begin = Instant::now();
        self.log.line(Level::Info, &format!("$ {shown}"));
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let cwd = if folder.is_empty() { APP.to_owned() } else { format!("{APP}/{folder}") };
        let command = Command { argv, cwd, env: self.env.clone() };
        let end = self.sandbox.run(command).await.map_err(stopped(step))?;
        let how = match end {
            CommandEnd::Code(0) => {
                self.log.line(Level::Info, &format!("{shown}: {}", seconds(begin)));
                return Ok(());
            }
            CommandEnd::Code(code) => format!("exit code {code}"),
            CommandEnd::Signal(signal) => format!("ended by signal {signal}"),
        };
        if self.sandbox.ran_out_of_memory().await {
            return Err(stopped(step)(BuildSandboxError::OutOfMemory));
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        Err(BuildError::Command { step: step.to_owned(), command: shown.to_owned(), how, tail })
    }

    /// Puts files in place; see [`BuildSandbox::fill`].
    pub(crate) async fn fill(
        &mut self,
        step: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<(), BuildError> {
        self.sandbox.fill(write).await.map_err(stopped(step))
    }

    /// Reads files, those at these paths below the work folder; what cannot be taken is told.
    pub(crate) async fn collect<T: Send + 'static>(
        &mut self,
        step: &str,
        paths: &[String],
        read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BuildError> {
        let (value, left_out) = self.sandbox.collect(paths, COLLECTED, read).await.map_err(stopped(step))?;
        for line in left_out {
            self.log.line(Level::Warn, &line);
        }
        Ok(value)
    }

    /// Has commands find more variables for a while; gives what they find without them.
    pub(crate) fn lend(&mut self, values: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
        let plain = self.env.clone();
        self.env.extend(values.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
        plain
    }

    /// Ends it.
    pub(crate) fn take_back(&mut self, plain: BTreeMap<String, String>) {
        self.env = plain;
    }

    /// Has commands find another variable.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.env.insert(name.to_owned(), value);
    }
}

/// `in 1.24 s`
pub(crate) fn seconds(begin: Instant) -> String {
    format!("in {:.2} s", begin.elapsed().as_secs_f64())
}

/// What commands find: nothing of the server's own environment.
fn environment(builder: &Builder) -> BTreeMap<String, String> {
    let npm = tool_path(0);
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let (app, home) = (format!("{WORK}/{APP}"), format!("{WORK}/{HOME}"));
    let path = format!("{app}/node_modules/.bin:{RUNTIME_ROOT}/usr/bin:{npm}/bin:/usr/local/bin:/usr/bin:/bin");
    let mut env: BTreeMap<String, String> = [
        ("PATH", path.as_str()),
        ("HOME", home.as_str()),
        ("LANG", "C.UTF-8"),
        ("TZ", ":UTC"),
        ("CI", "1"),
        ("TERM", "dumb"),
        ("DOCKLESS", "1"),
        ("VERCEL", "1"),
        ("NOW_BUILDER", "1"),
        ("HTTP_PROXY", &proxy),
        ("HTTPS_PROXY", &proxy),
        ("http_proxy", &proxy),
        ("https_proxy", &proxy),
        ("NO_PROXY", "localhost,127.0.0.1,::1"),
        ("no_proxy", "localhost,127.0.0.1,::1"),
        ("npm_config_cache", &format!("{home}/.npm")),
        ("npm_config_update_notifier", "false"),
        ("npm_config_audit", "false"),
        ("npm_config_fund", "false"),
        ("npm_config_progress", "false"),
        ("YARN_CACHE_FOLDER", &format!("{home}/.yarn")),
        ("NEXT_TELEMETRY_DISABLED", "1"),
        ("ASTRO_TELEMETRY_DISABLED", "1"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    if let Some(registry) = &builder.settings().registry {
        for name in ["npm_config_registry", "YARN_REGISTRY", "YARN_NPM_REGISTRY_SERVER"] {
            env.insert(name.to_owned(), registry.clone());
        }
    }
    if let Some(headers) = &builder.settings().headers {
        env.insert("npm_config_nodedir".to_owned(), headers.clone());
    }
    if builder.settings().certificates {
        env.insert("NODE_EXTRA_CA_CERTS".to_owned(), format!("{npm}/{NPM_CERTIFICATES}"));
    }
    env
}

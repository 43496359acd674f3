//! The peer: `docker run` of the same handler, with a daemon that `scripts/docker-peer` starts and stops.

use crate::bare::{first_answer, free_port};
use crate::child::Running;
use crate::wait;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Installing, starting, making the image.
const READY: Duration = Duration::from_secs(600);
/// Longest command.
const COMMAND: Duration = Duration::from_secs(60);
/// For the script's own patience with the daemon.
const GRACE: Duration = Duration::from_secs(120);
/// How often the client is asked whether it has ended.
const LOOK: Duration = Duration::from_micros(500);
/// Pause between two requests to a published port. Each costs docker-proxy a connection to the container, so they are
/// rarer than those to a bare process; one millisecond of some hundreds on average.
const PAUSE: Duration = Duration::from_millis(2);

/// What is in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// Node and the handler.
    Node,
    /// The handler as a static program.
    Compiled,
}

impl Image {
    const fn name(self) -> &'static str {
        match self {
            Self::Node => "dockless-bench-peer",
            Self::Compiled => "dockless-bench-compiled",
        }
    }
}

/// A daemon with the peers' images.
#[derive(Debug)]
pub(crate) struct Docker {
    /// What the script said: host, client, config, image, program, registry, daemon, driver, network.
    facts: BTreeMap<String, String>,
    _script: Running,
}

impl Docker {
    /// Starts the script and waits for its line.
    ///
    /// # Errors
    /// It ended or said nothing; why stands on stderr.
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir(folder)?;
        let said = folder.join("said");
        let mut command = Command::new(crate::root().join("scripts/docker-peer"));
        // Its standard input ends with us, however we end.
        command.arg(folder).stdin(Stdio::piped()).stdout(File::create(&said)?);
        let mut script = Running::start(&mut command, GRACE)?;
        let line = wait::until("the Docker daemon", READY, Duration::from_millis(50), || {
            anyhow::ensure!(script.ended()?.is_none(), "the Docker daemon could not be started");
            let text = std::fs::read_to_string(&said)?;
            Ok(text.split_once('\n').map(|(line, _)| line.to_owned()))
        })?;
        let facts = line.split(' ').filter_map(|fact| fact.split_once('='));
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { facts, _script: script })
    }

    /// Version, storage driver and network of the daemon.
    pub(crate) fn description(&self) -> String {
        format!("{} ({}, {})", self.fact("daemon"), self.fact("driver"), self.fact("network"))
    }

    /// From typing `docker run -d -p` to the first byte.
    ///
    /// Asked only once the command has returned, as a person would: a request that reaches docker-proxy before the
    /// container's network is up waits a second for the repeated SYN.
    ///
    /// # Errors
    /// A command fails, or the answer is not the handler's.
    pub(crate) fn sample(&self, image: Image) -> anyhow::Result<Duration> {
        let port = free_port()?;
        let publish = format!("127.0.0.1:{port}:8080");
        let began = Instant::now();
        let id = self.run(&["run", "-d", "-p", &publish, image.name()])?;
        let answer = first_answer(port, PAUSE);
        self.run(&["rm", "-f", id.trim()])?;
        Ok(answer?.first_byte - began)
    }

    /// The same image's name in a registry.
    pub(crate) fn reference(&self, image: Image) -> String {
        let name = image.name().trim_start_matches("dockless-bench-");
        format!("{}/{name}:latest", self.fact("registry"))
    }

    /// The compiled program itself.
    pub(crate) fn program(&self) -> &Path {
        Path::new(self.fact("program"))
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// Runs a command of the client to its end; what it printed.
    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.fact("client"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_clear().env("DOCKER_HOST", self.fact("host")).env("DOCKER_CONFIG", self.fact("config"));
        let mut running = Running::start(&mut command, GRACE)?;
        let status = wait::until("docker", COMMAND, LOOK, || running.ended())?;
        // A few lines: they fit into the pipes.
        let child = running.child();
        let mut printed = String::new();
        child.stdout.take().context("standard output was piped")?.read_to_string(&mut printed)?;
        let mut complaint = String::new();
        child.stderr.take().context("standard error was piped")?.read_to_string(&mut complaint)?;
        anyhow::ensure!(status.success(), "docker {}: {}", arguments.join(" "), complaint.trim());
        Ok(printed)
    }
}

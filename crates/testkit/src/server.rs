//! The real binary, started as a person starts it.

use crate::api::Api;
use crate::census::Census;
use crate::cli::{Finished, Running};
use crate::deployment::Deployment;
use crate::files::{Files, Scratch};
use crate::process::{self, Process};
use crate::runtimes::Store;
use crate::wait::{PATIENCE, patient, wait_until};
use dockless_model::Digest;
use dockless_wire::{Instance, InstanceList, LogRecord, Status};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A start captures the interpreter once: some 100 MB are copied and hashed by a debug build.
const START: Duration = Duration::from_secs(180);
/// An end has the grace, and what the machine needs.
const END: Duration = Duration::from_secs(90);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program: `env!("CARGO_BIN_EXE_dockless")`.
    pub binary: PathBuf,
    /// Data folder; a temporary one if absent.
    pub data: Option<PathBuf>,
    /// `--listen`, once for each.
    pub listen: Vec<String>,
    /// `--shelf`
    pub shelf: usize,
    /// `--grace` in seconds.
    pub grace: u64,
    /// `--domain`
    pub domain: String,
    /// `--log`
    pub log: String,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
    /// Variables of `serve` beside those of the tests.
    pub environment: Vec<(String, std::ffi::OsString)>,
}

impl Options {
    /// One listener on a free port of the loopback, a shelf of one, a short grace.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            data: None,
            listen: vec!["127.0.0.1:0".to_owned()],
            shelf: 1,
            grace: 5,
            domain: "localhost".to_owned(),
            log: "info".to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A running platform. Dropping it kills the warden and removes what it leaves; [`Server::stop`] ends it cleanly.
#[derive(Debug)]
pub struct Server {
    options: Options,
    scratch: Scratch,
    data: PathBuf,
    running: Running,
    address: SocketAddr,
    token: String,
    commands: AtomicU32,
}

impl Server {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// Not root, or it does not become ready; its messages are in the panic.
    #[must_use]
    #[track_caller]
    pub fn start(options: Options) -> Self {
        let scratch = Scratch::new();
        let data = data_of(&options, &scratch);
        let (store, is_new) = (Store::of(&options.binary), !data.exists());
        store.lend(&data).expect("captured runtimes can be lent");
        let mut running = Self::launch(&options, &scratch);
        wait_until("the ready line", START, || {
            let ended = running.ended();
            assert!(ended.is_none(), "the server ended ({ended:?}) before it was ready:\n{}", running.stderr());
            running.stdout().lines().any(|line| line.starts_with("dockless is ready"))
        });
        if is_new {
            store.take_in(&data).expect("captured runtimes can be kept");
        }
        let announced = std::fs::read(run_folder(&data).join("server.json")).expect("a ready server has a server.json");
        let announced: serde_json::Value = serde_json::from_slice(&announced).expect("server.json is JSON");
        let url = announced["url"].as_str().expect("server.json has a url");
        let address =
            url.trim_start_matches("http://").trim_start_matches("https://").parse().expect("the url has an address");
        let token = std::fs::read_to_string(data.join("token")).expect("a ready server has a token file");
        Self { options, scratch, data, running, address, token: token.trim().to_owned(), commands: AtomicU32::new(0) }
    }

    /// Starts one that is expected to refuse; waits for its end.
    ///
    /// # Panics
    /// Not root, or it does not end.
    #[must_use]
    #[track_caller]
    pub fn refuse(options: &Options) -> Finished {
        let scratch = Scratch::new();
        Self::launch(options, &scratch).finish()
    }

    /// Starts one on an existing folder and waits for nothing.
    ///
    /// # Panics
    /// Not root, or it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start_only(options: &Options) -> Running {
        assert!(options.data.is_some(), "a folder that outlives this call");
        let scratch = Scratch::new();
        Self::launch(options, &scratch).keeping(scratch)
    }

    fn launch(options: &Options, scratch: &Scratch) -> Running {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make namespaces, mounts and control groups: run them as root (`make test`)"
        );
        // Should the test be killed, the server gets a Ctrl-C: util-linux's setpriv(1) becomes the server.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT", "--"]).arg(&options.binary).arg("serve");
        command.arg("--data").arg(data_of(options, scratch));
        for listen in &options.listen {
            command.args(["--listen", listen]);
        }
        command.args(["--shelf", &options.shelf.to_string(), "--grace", &options.grace.to_string()]);
        command.args(["--domain", &options.domain, "--log", &options.log]);
        command.args(&options.arguments);
        without_dockless(&mut command);
        command.envs(options.environment.iter().map(|(name, value)| (name, value)));
        // Of no terminal, and out of reach of signals to the tests' group.
        command.process_group(0);
        Running::start(command, scratch.path(), "serve")
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The administrator's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The run folder.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        run_folder(&self.data)
    }

    /// The warden's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Server processes, oldest first: the warden's children that run as the first of our users, and in the first pid
    /// namespace (spawners are root, sandboxes have namespaces).
    #[must_use]
    pub fn servers(&self) -> Vec<Process> {
        let ours = std::fs::read_link("/proc/self/ns/pid").ok();
        let mut found: Vec<Process> = process::children(self.pid())
            .into_iter()
            .filter(|child| process::user(child.pid).is_some_and(|user| user != 0))
            .filter(|child| std::fs::read_link(format!("/proc/{}/ns/pid", child.pid)).ok() == ours)
            .filter(Process::is_alive)
            .collect();
        found.sort_by_key(|child| child.started);
        found
    }

    /// Everything that was said on stderr, by warden and servers.
    #[must_use]
    pub fn messages(&self) -> String {
        self.running.stderr()
    }

    /// Everything that was said on stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.running.stdout()
    }

    /// The API, with the administrator's token.
    #[must_use]
    pub fn api(&self) -> Api {
        Api { address: self.address, token: Some(self.token.clone()) }
    }

    /// Runs a command of the real command line against this server.
    ///
    /// # Panics
    /// It does not end.
    #[must_use]
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        self.cli_start(arguments).finish()
    }

    /// Runs a command with further environment variables.
    ///
    /// # Panics
    /// It does not end.
    #[must_use]
    #[track_caller]
    pub fn cli_with(&self, env: &[(&str, &str)], arguments: &[&str]) -> Finished {
        self.cli_started(env, arguments).finish()
    }

    /// Starts one.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    #[track_caller]
    pub fn cli_start(&self, arguments: &[&str]) -> Running {
        self.cli_started(&[], arguments)
    }

    #[track_caller]
    fn cli_started(&self, env: &[(&str, &str)], arguments: &[&str]) -> Running {
        let mut command = Command::new(&self.options.binary);
        command.args(arguments).arg("--data").arg(&self.data).env("NO_COLOR", "1");
        without_dockless(&mut command);
        command.envs(env.iter().copied());
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        Running::start(command, self.scratch.path(), &format!("cli-{number}"))
    }

    /// Deploys by the real command line and waits until it is READY.
    ///
    /// # Panics
    /// It fails; its messages are in the panic.
    #[must_use]
    #[track_caller]
    pub fn deploy(&self, files: &Files) -> Deployment {
        self.deploy_folder(files.path(), "app")
    }

    /// Deploys an image (`oci:FOLDER`, `docker-archive:FILE` or a reference) under a name.
    ///
    /// # Panics
    /// As [`Self::deploy`].
    #[must_use]
    #[track_caller]
    pub fn deploy_image(&self, source: &str, name: &str, arguments: &[&str]) -> Deployment {
        let mut all = vec!["deploy", "--image", source, "--name", name, "--yes", "--json"];
        all.extend(arguments);
        let finished = self.cli(&all);
        assert_eq!(finished.code, Some(0), "{finished:?}\nthe server said:\n{}", self.messages());
        let deployed: dockless_wire::Deployment =
            serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        self.reached(&deployed)
    }

    /// The same of a folder and under a name.
    ///
    /// # Panics
    /// As [`Self::deploy`].
    #[must_use]
    #[track_caller]
    pub fn deploy_folder(&self, folder: &Path, name: &str) -> Deployment {
        let folder = folder.to_str().expect("a path is text");
        let finished = self.cli(&["deploy", folder, "--name", name, "--yes", "--json"]);
        assert_eq!(finished.code, Some(0), "{finished:?}\nthe server said:\n{}", self.messages());
        let deployed: dockless_wire::Deployment =
            serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        self.reached(&deployed)
    }

    /// Deploys a folder as `app` with further arguments; the deployment, and what was said on the way.
    ///
    /// # Panics
    /// As [`Self::deploy`].
    #[must_use]
    #[track_caller]
    pub fn deploy_told(&self, folder: &Path, arguments: &[&str]) -> (Deployment, String) {
        let folder = folder.to_str().expect("a path is text");
        let mut all = vec!["deploy", folder, "--name", "app", "--yes", "--json", "--force"];
        all.extend(arguments);
        let finished = self.cli(&all);
        assert_eq!(finished.code, Some(0), "{finished:?}\nthe server said:\n{}", self.messages());
        let deployed = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        (self.reached(&deployed), finished.stderr)
    }

    /// A deployment of which the API told.
    #[must_use]
    pub fn reached(&self, deployed: &dockless_wire::Deployment) -> Deployment {
        Deployment {
            id: deployed.id.clone(),
            host: deployed.url.clone(),
            url: format!("http://{}:{}/", deployed.url, self.address.port()),
            address: self.address,
        }
    }

    /// What exists: `GET /v1/instances`.
    ///
    /// # Panics
    /// The API does not say.
    #[must_use]
    #[track_caller]
    pub fn instances(&self) -> Vec<Instance> {
        let answer = self.api().get("/v1/instances").expect(200);
        let list: InstanceList =
            serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        list.instances
    }

    /// Those of one function of a deployment.
    ///
    /// # Panics
    /// As [`Self::instances`].
    #[must_use]
    #[track_caller]
    pub fn instances_of(&self, deployment: &Deployment, function: &str) -> Vec<Instance> {
        let mut found = self.instances();
        found.retain(|instance| instance.deployment == deployment.id && instance.function == function);
        found
    }

    /// Waits until a function has exactly one instance and the kernel says that it is frozen; returns it.
    ///
    /// # Panics
    /// It does not happen in time.
    #[must_use]
    #[track_caller]
    pub fn frozen(&self, deployment: &Deployment, function: &str) -> Instance {
        let started = std::time::Instant::now();
        loop {
            let found = self.instances_of(deployment, function);
            if let [one] = found.as_slice()
                && one.pid.is_some_and(process::is_frozen)
            {
                return one.clone();
            }
            assert!(
                started.elapsed() < patient(PATIENCE / 2),
                "expected one frozen instance of {function}: {found:#?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What a deployment's functions wrote, and what the platform says of them.
    ///
    /// # Panics
    /// The API does not say.
    #[must_use]
    #[track_caller]
    pub fn logs(&self, deployment: &Deployment) -> Vec<LogRecord> {
        let answer = self.api().get(&format!("/v1/deployments/{}/logs", deployment.id)).expect(200);
        let text = answer.text();
        let record = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        text.lines().filter(|line| !matches!(*line, "" | "{}")).map(record).collect()
    }

    /// Waits until a line of the log contains `words`; returns it.
    ///
    /// # Panics
    /// It does not come; the whole log is in the panic.
    #[must_use]
    #[track_caller]
    pub fn logged(&self, deployment: &Deployment, words: &str) -> LogRecord {
        let started = std::time::Instant::now();
        loop {
            let mut log = self.logs(deployment);
            if let Some(found) = log.iter().position(|record| record.text.contains(words)) {
                return log.swap_remove(found);
            }
            assert!(started.elapsed() < patient(PATIENCE / 3), "the log does not say {words:?}: {log:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `GET /v1/status`
    ///
    /// # Panics
    /// The API does not say.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Status {
        let answer = self.api().get("/v1/status").expect(200);
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// Counts what it has of the machine.
    #[must_use]
    pub fn census(&self) -> Census {
        Census::take(self.pid(), &self.run(), &self.data)
    }

    /// Sends a signal to the warden.
    ///
    /// # Panics
    /// It is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Waits for its end after a signal.
    ///
    /// # Panics
    /// It runs on.
    #[must_use]
    #[track_caller]
    pub fn ended(&mut self) -> Finished {
        let running = &mut self.running;
        wait_until("the end of the server", END, || running.ended().is_some());
        running.finished()
    }

    /// Ctrl-C, and everything given back.
    ///
    /// # Panics
    /// It does not end, ends with a failure, or leaves something behind.
    #[track_caller]
    pub fn stop(self) {
        drop(self.stop_keeping_data());
    }

    /// The same; the temporary folder lives on for another server on the same data.
    ///
    /// # Panics
    /// As [`Self::stop`].
    #[must_use]
    #[track_caller]
    pub fn stop_keeping_data(mut self) -> Kept {
        let census = self.census();
        self.signal(Signal::INT);
        let finished = self.ended();
        assert_eq!(finished.code, Some(0), "the server's end was not clean:\n{}", finished.stderr);
        census.assert_nothing_left();
        let data = self.data.clone();
        Kept { data, _scratch: std::mem::take(&mut self.scratch) }
    }

    /// Kills the warden with a signal that it cannot see; the data folder lives on.
    ///
    /// # Panics
    /// It does not die.
    #[must_use]
    #[track_caller]
    pub fn kill(mut self) -> Kept {
        self.signal(Signal::KILL);
        let _ = self.ended();
        let data = self.data.clone();
        let scratch = std::mem::take(&mut self.scratch);
        // Nothing is swept: that is what the next start is asked to do.
        self.data = PathBuf::new();
        Kept { data, _scratch: scratch }
    }
}

/// A data folder that outlives its server.
#[derive(Debug)]
pub struct Kept {
    /// The folder.
    pub data: PathBuf,
    _scratch: Scratch,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines: Vec<String> = self.messages().lines().map(str::to_owned).collect();
            let last = lines.len().saturating_sub(60);
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("── the server's last messages\n{}\n──\n", lines[last..].join("\n")).as_bytes(),
            );
        }
        if self.running.ended().is_none() {
            let _ = self.running.child.kill();
            let _ = self.running.child.wait();
        }
        if self.data.as_os_str().is_empty() {
            return;
        }
        let run = self.run();
        if run.exists() {
            sweep(&run);
        }
    }
}

/// Removes what a killed warden leaves: nobody starts on this folder again.
fn sweep(run: &Path) {
    let name = format!("dockless-{}", run.file_name().unwrap_or_default().to_string_lossy());
    let groups = || {
        let roots = process::groups_named(&name);
        let below = |group: &PathBuf| std::fs::read_dir(group).into_iter().flatten().flatten().map(|leaf| leaf.path());
        let leaves: Vec<PathBuf> = roots.iter().flat_map(below).filter(|leaf| leaf.is_dir()).collect();
        leaves.into_iter().chain(roots)
    };
    // Whoever is in a group of this name is ours. Not waited for without end: this runs while a test fails.
    for _ in 0..100 {
        for group in groups() {
            let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            let _ = std::fs::remove_dir(&group);
        }
        if groups().next().is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = std::fs::remove_dir_all(run);
    let _ = std::fs::remove_dir("/run/dockless");
}

/// As the warden computes it; written anew here because it is a promise to clients.
pub(crate) fn run_folder(data: &Path) -> PathBuf {
    let real = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let digest = Digest::of(real.as_os_str().as_encoded_bytes()).to_string();
    Path::new("/run/dockless").join(&digest[..16])
}

fn data_of(options: &Options, scratch: &Scratch) -> PathBuf {
    options.data.clone().unwrap_or_else(|| scratch.path().join("data"))
}

/// The environment of whoever runs the tests must not show.
pub(crate) fn without_dockless(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("DOCKLESS_") || text.starts_with("SUDO_") {
            command.env_remove(&name);
        }
    }
}

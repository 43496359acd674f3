//! The platform under measurement: `dockless serve` with a data folder and a port of its own, and its API.

use crate::bare::expect_date;
use crate::child::Running;
use crate::http::{self, Answer, Request};
use crate::start::Told;
use crate::wait;
use anyhow::Context as _;
use dockless_model::InstanceState;
use dockless_wire::{Instance, InstanceList, Status};
use serde::de::DeserializeOwned;
use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Capturing the runtime and opening the listeners.
const READY: Duration = Duration::from_secs(60);
/// Uploading and building a few files.
const DEPLOY: Duration = Duration::from_secs(120);
/// Retiring, freezing, refilling.
const SETTLE: Duration = Duration::from_secs(60);
/// Longer than the platform's own grace.
const GRACE: Duration = Duration::from_secs(40);
/// Pause between two looks at the API.
const LOOK: Duration = Duration::from_millis(5);

/// A running platform.
#[derive(Debug)]
pub(crate) struct Platform {
    address: SocketAddr,
    token: String,
    binary: PathBuf,
    folder: PathBuf,
    /// Prewarmed sandboxes it is to keep.
    shelf: usize,
    _running: Running,
}

/// A deployment's host, with the port.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    authority: String,
    host: String,
}

impl Site {
    /// What belongs into a `Host` field.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

impl Platform {
    /// Starts it and waits for its ready line.
    ///
    /// # Errors
    /// It ended, or was not ready in time: with the end of its log.
    pub(crate) fn start(binary: &Path, folder: &Path, shelf: usize) -> anyhow::Result<Self> {
        Self::start_by(Command::new("setpriv"), binary, folder, shelf)
    }

    /// The same on these processors alone: it makes as many threads as it may use processors.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_on(processors: &str, binary: &Path, folder: &Path, shelf: usize) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", processors, "setpriv"]);
        Self::start_by(command, binary, folder, shelf)
    }

    fn start_by(mut command: Command, binary: &Path, folder: &Path, shelf: usize) -> anyhow::Result<Self> {
        std::fs::create_dir(folder)?;
        let (said, log) = (folder.join("said"), folder.join("log"));
        let data = folder.join("data");
        // Ends with us, however we end. setpriv(1) becomes the program.
        command.args(["--pdeathsig", "TERM", "--"]).arg(binary).arg("serve").arg("--data").arg(&data);
        command.args(["--listen", "127.0.0.1:0", "--log", "warn", "--shelf", &shelf.to_string()]);
        command.stdin(Stdio::null()).stdout(File::create(&said)?).stderr(File::create(&log)?);
        let mut running = Running::start(&mut command, GRACE)?;
        let address = wait::until("the platform", READY, LOOK, || {
            if let Some(status) = running.ended()? {
                anyhow::bail!("the platform ended ({status}): {}", std::fs::read_to_string(&log)?.trim());
            }
            let text = std::fs::read_to_string(&said)?;
            let Some((line, _)) = text.split_once('\n') else { return Ok(None) };
            let (_, rest) = line.split_once("http://").with_context(|| format!("no address in {line:?}"))?;
            let address = rest.split_whitespace().next().unwrap_or_default();
            Ok(Some(address.parse().with_context(|| format!("no address in {line:?}"))?))
        })?;
        let token = std::fs::read_to_string(data.join("token"))?.trim().to_owned();
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        Ok(Self { address, token, binary, folder, shelf, _running: running })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Deploys files under a name.
    ///
    /// # Errors
    /// The command line fails, with what it says.
    pub(crate) fn deploy(&self, name: &str, files: &[(String, Vec<u8>)]) -> anyhow::Result<Site> {
        let source = self.write(name, files)?;
        self.deployed(name, |command| {
            command.arg(&source);
        })
    }

    /// Writes these files into a source, deploys all of it as something new, and says how long the command line took.
    ///
    /// # Errors
    /// As [`Self::deploy`].
    pub(crate) fn deploy_again(&self, name: &str, files: &[(String, Vec<u8>)]) -> anyhow::Result<Duration> {
        let source = self.write(name, files)?;
        let began = Instant::now();
        self.deployed(name, |command| {
            command.arg(&source).arg("--force");
        })?;
        Ok(began.elapsed())
    }

    fn write(&self, name: &str, files: &[(String, Vec<u8>)]) -> anyhow::Result<PathBuf> {
        let source = self.folder.join(name);
        for (path, bytes) in files {
            let path = source.join(path);
            std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
            std::fs::write(&path, bytes)?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        }
        Ok(source)
    }

    /// Deploys an image of a registry, with a core of its own, under a name, and with what else the command line is told.
    ///
    /// # Errors
    /// The command line fails, with what it says.
    pub(crate) fn deploy_image(&self, name: &str, reference: &str, more: &[&str]) -> anyhow::Result<Site> {
        self.deployed(name, |command| {
            command.args(["--image", reference, "--slot", "c1-m512"]).args(more);
        })
    }

    fn deployed(&self, name: &str, what: impl FnOnce(&mut Command)) -> anyhow::Result<Site> {
        let (said, log) = (self.folder.join("url"), self.folder.join("deploy.log"));
        let mut command = Command::new(&self.binary);
        command.arg("deploy");
        what(&mut command);
        command.args(["--name", name, "--yes", "--no-progress"]);
        command.args(["--server", &format!("http://{}", self.address)]).env("DOCKLESS_TOKEN", &self.token);
        command.stdin(Stdio::null()).stdout(File::create(&said)?).stderr(File::create(&log)?);
        let mut running = Running::start(&mut command, GRACE)?;
        let status = wait::until("the deployment", DEPLOY, LOOK, || running.ended())?;
        anyhow::ensure!(status.success(), "cannot deploy {name}: {}", std::fs::read_to_string(&log)?.trim());
        let url = std::fs::read_to_string(&said)?;
        let authority = url.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        let host = authority.split(':').next().unwrap_or_default().to_owned();
        Ok(Site { authority, host })
    }

    /// One request to a function: how long the first byte took, and what the answer says of the start.
    ///
    /// # Errors
    /// No answer, not 200, not the handler's, or no word on the start.
    pub(crate) fn request(&self, site: &Site, path: &str) -> anyhow::Result<(Duration, Told)> {
        let request = Request::get(&site.authority, path);
        let began = Instant::now();
        let answer = http::exchange(self.address, request)?.ok()?;
        let timing = answer.header("server-timing").context("no Server-Timing")?;
        let told = Told::read(timing).with_context(|| format!("Server-Timing says nothing of the start: {timing}"))?;
        expect_date(&answer.body)?;
        Ok((answer.first_byte - began, told))
    }

    /// Retires what the deployment has, until `ps` shows nothing of it and its processes are gone.
    ///
    /// # Errors
    /// It does not happen.
    pub(crate) fn put_to_sleep(&self, site: &Site) -> anyhow::Result<()> {
        let pids: Vec<_> = self.instances(site)?.iter().filter_map(|instance| instance.pid).collect();
        let path = format!("/v1/deployments/{}/sleep", site.host);
        self.call::<serde_json::Value>("POST", &path)?;
        wait::until("retiring", SETTLE, LOOK, || {
            let gone = self.instances(site)?.is_empty()
                && pids.iter().all(|pid| !Path::new("/proc").join(pid.to_string()).exists());
            Ok(gone.then_some(()))
        })
    }

    /// Waits until the shelf holds what it is to hold.
    ///
    /// # Errors
    /// It does not happen.
    pub(crate) fn shelf_is_full(&self) -> anyhow::Result<()> {
        wait::until("refilling the shelf", SETTLE, LOOK, || {
            let status: Status = self.call("GET", "/v1/status")?;
            let waiting = status.runtimes.iter().map(|runtime| runtime.shelf).min();
            Ok((waiting >= Some(self.shelf) && status.service_shelf >= self.shelf).then_some(()))
        })
    }

    /// Waits until exactly so many instances of the deployment exist and all are frozen; they.
    ///
    /// # Errors
    /// It does not happen.
    pub(crate) fn all_frozen(&self, site: &Site, count: usize) -> anyhow::Result<Vec<Instance>> {
        wait::until("freezing", SETTLE, LOOK, || {
            let instances = self.instances(site)?;
            let frozen = instances.len() == count && instances.iter().all(|i| i.state == InstanceState::Frozen);
            Ok(frozen.then_some(instances))
        })
    }

    /// # Errors
    /// There is an instance of the deployment.
    pub(crate) fn expect_none(&self, site: &Site) -> anyhow::Result<()> {
        let instances = self.instances(site)?;
        anyhow::ensure!(instances.is_empty(), "ps shows {} instances before a cold start", instances.len());
        Ok(())
    }

    fn instances(&self, site: &Site) -> anyhow::Result<Vec<Instance>> {
        let InstanceList { instances } = self.call("GET", "/v1/instances")?;
        Ok(instances.into_iter().filter(|instance| instance.url.as_str() == site.host).collect())
    }

    fn call<T: DeserializeOwned>(&self, method: &str, path: &str) -> anyhow::Result<T> {
        let host = self.address.to_string();
        let request = Request { method, host: &host, path, token: Some(&self.token) };
        let answer = http::exchange(self.address, request).and_then(Answer::ok);
        let answer = answer.with_context(|| format!("{method} {path}"))?;
        serde_json::from_slice(&answer.body).with_context(|| format!("{method} {path}"))
    }
}

//! One build sandbox.

use super::proxy::Proxy;
use super::{Egress, Tell, Voice, lines};
use crate::CallError;
use crate::node::{Node, Tools};
use dockless_model::{Digest, InstanceId, RuntimeId};
use dockless_sandbox::protocol::{Answer, ExitStatus, MAX_MESSAGE, Usage, Verb};
use dockless_sandbox::workshop::{FromForeman, Profile, ToForeman};
use dockless_sys::seqpacket;
use rustix::fs::MemfdFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{Interest, unix::AsyncFd};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

/// How long the story of a sandbox that ended is waited for.
const STORY: Duration = Duration::from_secs(5);
/// What a porter may say.
const MAX_REPORT: u64 = 64 * 1024;

/// What a build sandbox is made of.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// Its kind.
    pub profile: Profile,
    /// Whose interpreter it has.
    pub runtime: RuntimeId,
    /// Trees of tools, in their places.
    pub tools: Vec<Digest>,
    /// A store of layers that outlives it.
    pub store: Option<Digest>,
    /// Where it may connect to.
    pub egress: Egress,
}

/// A command of a build.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Relative to the work folder.
    pub cwd: String,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEnd {
    /// By itself.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Something did not work.
#[derive(Debug, thiserror::Error)]
pub enum BuildSandboxError {
    /// The warden did not make it.
    #[error("the warden made no build sandbox")]
    Warden(#[from] CallError),
    /// The quota of the work folder is exceeded.
    #[error("{0}")]
    Over(String),
    /// Memory ran out.
    #[error("the build needed more than 3008 MB of memory")]
    OutOfMemory,
    /// It ended, and nobody asked it to.
    #[error("the build sandbox ended: {0}")]
    Died(String),
    /// The program could not be started.
    #[error("{0}")]
    NotBegun(String),
    /// Files did not go in or come out; in words for the owner of the source.
    #[error("{0}")]
    Files(String),
    /// A descriptor failed.
    #[error("cannot talk to the build sandbox")]
    Io(#[from] io::Error),
}

/// A sandbox of a build. Its methods are not cancel-safe: after a cancelled one, drop it.
pub struct BuildSandbox {
    tools: Arc<Tools>,
    instance: InstanceId,
    control: AsyncFd<OwnedFd>,
    ended: oneshot::Receiver<(ExitStatus, Usage)>,
    proxy: Arc<Proxy>,
    tell: Tell,
    serving: AbortHandle,
}

impl std::fmt::Debug for BuildSandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildSandbox").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Drop for BuildSandbox {
    fn drop(&mut self) {
        self.serving.abort();
        self.tools.builds.forget(&self.instance);
        if let Some(line) = self.proxy.summary() {
            (self.tell)(Voice::Network, &line);
        }
        let (tools, instance) = (self.tools.clone(), self.instance.clone());
        tokio::spawn(async move {
            match tools.warden.order(Verb::EndBuild { instance: instance.clone() }).await {
                Ok(()) | Err(CallError::Gone) => {}
                Err(error) => tracing::error!(%instance, %error, "a build sandbox was not ended"),
            }
        });
    }
}

impl Node {
    /// Removes all stores of image builds but these and those in use.
    ///
    /// # Errors
    /// The warden failed.
    pub async fn keep_stores(&self, stores: Vec<Digest>) -> Result<(), CallError> {
        self.tools().warden.order(Verb::KeepStores { stores }).await
    }

    /// Makes a build sandbox.
    ///
    /// # Errors
    /// See [`BuildSandboxError`].
    pub async fn build_sandbox(&self, spec: SandboxSpec, tell: Tell) -> Result<BuildSandbox, BuildSandboxError> {
        let tools = self.tools().clone();
        let instance = InstanceId::random(tools.entropy.as_ref());
        let ended = tools.builds.expect(&instance);
        let verb = Verb::Build {
            instance: instance.clone(),
            profile: spec.profile,
            runtime: spec.runtime.clone(),
            tools: spec.tools.clone(),
            store: spec.store,
        };
        let called = tools.warden.call(verb, &[]).await;
        let made = called.and_then(|(answer, fds)| match answer {
            Answer::Building { .. } => {
                <[OwnedFd; 3]>::try_from(fds).map_err(|_| CallError::Confused("without descriptors"))
            }
            _ => Err(CallError::Confused("something else than a build sandbox")),
        });
        let [control, messages, listener] = match made {
            Ok(fds) => fds,
            Err(error) => {
                tools.builds.forget(&instance);
                return Err(error.into());
            }
        };
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let proxy = Proxy::new(spec.egress, tell.clone(), tools.metrics.clone());
        let serving = tokio::spawn(proxy.clone().serve(TcpListener::from_std(listener)?)).abort_handle();
        let id = instance.clone();
        tokio::spawn(async move {
            // Only when something is wrong with the foreman itself.
            let said = lines::read(messages, |line| tracing::warn!(instance = %id, line, "a foreman speaks")).await;
            if let Err(error) = said {
                tracing::debug!(%error, "the messages of a foreman are lost");
            }
        });
        let control = crate::warden::watched(control)?;
        Ok(BuildSandbox { tools, instance, control, ended, proxy, tell, serving })
    }
}

impl BuildSandbox {
    /// Runs a command to its end; each line it prints is told as it comes.
    ///
    /// # Errors
    /// See [`BuildSandboxError`]; a command that fails is no error here.
    pub async fn run(&mut self, command: Command) -> Result<CommandEnd, BuildSandboxError> {
        let (output, output_inside) = io::pipe()?;
        let (errors, errors_inside) = io::pipe()?;
        let null = File::open("/dev/null")?;
        let order = ToForeman::Run { argv: command.argv, cwd: command.cwd, env: command.env };
        let (one, two) = (self.tell.clone(), self.tell.clone());
        self.send(&order, vec![null.into(), output_inside.into(), errors_inside.into()]).await?;
        let (said, complained, word) = tokio::join!(
            lines::read(output.into(), move |line| one(Voice::Output, line)),
            lines::read(errors.into(), move |line| two(Voice::Errors, line)),
            self.word(),
        );
        let end = word?;
        said?;
        complained?;
        Ok(end)
    }

    /// Writes files into the work folder: `write` makes a pack ([`dockless_sandbox::pack`]), on a blocking thread.
    ///
    /// # Errors
    /// See [`BuildSandboxError`].
    pub async fn fill(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<(), BuildSandboxError> {
        let (inside, pack) = io::pipe()?;
        let (report, report_inside) = io::pipe()?;
        let null = File::options().write(true).open("/dev/null")?;
        self.send(&ToForeman::Fill, vec![inside.into(), null.into(), report_inside.into()]).await?;
        let writing = tokio::task::spawn_blocking(move || {
            let mut sink = BufWriter::with_capacity(1 << 18, pack);
            write(&mut sink)?;
            sink.flush()
        });
        let (end, report) = self.porter(report.into()).await?;
        let written = joined(writing).await;
        match (end, written) {
            (CommandEnd::Code(0), Ok(())) => Ok(()),
            // Its reader gave up: that has the reason.
            (CommandEnd::Code(0), Err(error)) | (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error.into())
            }
            _ => Err(BuildSandboxError::Files(format!("files cannot be put in place: {}", first_line(&report)))),
        }
    }

    /// Reads files of the work folder: those at `paths`, folders with all that is in them. `read` gets the pack, on a
    /// blocking thread; links are in it as they are. Names of what was left out (pipes, sockets) come back too.
    ///
    /// # Errors
    /// See [`BuildSandboxError`].
    pub async fn collect<T: Send + 'static>(
        &mut self,
        paths: &[String],
        (max_files, max_bytes): (u64, u64),
        read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<(T, Vec<String>), BuildSandboxError> {
        let mut list = File::from(rustix::fs::memfd_create("paths", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
        for path in paths {
            list.write_all(path.as_bytes())?;
            list.write_all(&[0])?;
        }
        list.rewind()?;
        let (pack, inside) = io::pipe()?;
        let (report, report_inside) = io::pipe()?;
        let order = ToForeman::Collect { max_files, max_bytes };
        self.send(&order, vec![list.into(), inside.into(), report_inside.into()]).await?;
        let reading = tokio::task::spawn_blocking(move || read(&mut BufReader::with_capacity(1 << 18, pack)));
        let (end, report) = self.porter(report.into()).await?;
        let read = joined(reading).await;
        if end != CommandEnd::Code(0) {
            return Err(BuildSandboxError::Files(format!("files cannot be read: {}", first_line(&report))));
        }
        let left_out = report.lines().map(str::to_owned).collect();
        Ok((read?, left_out))
    }

    /// The end of a porter, and what it says.
    async fn porter(&mut self, report: OwnedFd) -> Result<(CommandEnd, String), BuildSandboxError> {
        let reading = tokio::task::spawn_blocking(move || {
            let (mut text, mut report) = (String::new(), File::from(report));
            (&mut report).take(MAX_REPORT).read_to_string(&mut text)?;
            io::copy(&mut report, &mut io::sink())?;
            io::Result::Ok(text)
        });
        let end = self.word().await?;
        Ok((end, joined(reading).await.unwrap_or_default()))
    }

    async fn send(&self, order: &ToForeman, fds: Vec<OwnedFd>) -> Result<(), BuildSandboxError> {
        let bytes = serde_json::to_vec(order).map_err(io::Error::from)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(BuildSandboxError::NotBegun("the command and its environment are too long".to_owned()));
        }
        let borrowed = || fds.iter().map(OwnedFd::as_fd).collect::<Vec<_>>();
        let sent = self
            .control
            .async_io(Interest::WRITABLE, |socket| seqpacket::send(socket.as_fd(), &bytes, &borrowed()))
            .await;
        // A foreman that is gone is met by the next word.
        match sent {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The foreman's next word, or the story of its end.
    async fn word(&mut self) -> Result<CommandEnd, BuildSandboxError> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let receive = |socket: &OwnedFd| seqpacket::receive(socket.as_fd(), &mut buffer);
        let length = match self.control.async_io(Interest::READABLE, receive).await {
            Ok((0, _)) => return Err(self.story().await),
            Ok((length, _)) => length,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(self.story().await),
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_slice(&buffer[..length]).map_err(io::Error::from)? {
            FromForeman::Ended { code: Some(code), .. } => Ok(CommandEnd::Code(code)),
            FromForeman::Ended { signal, .. } => Ok(CommandEnd::Signal(signal.unwrap_or(0))),
            FromForeman::NotBegun { reason } => Err(BuildSandboxError::NotBegun(reason)),
            FromForeman::Over { what } => Err(BuildSandboxError::Over(what)),
        }
    }

    /// Ends the sandbox and says whether memory ran out in it: the reason of a command that failed, perhaps of one inside
    /// it that was killed.
    pub async fn ran_out_of_memory(&mut self) -> bool {
        let instance = self.instance.clone();
        // Gone or not, the next line waits a bounded time.
        let _: Result<(), CallError> = self.tools.warden.order(Verb::EndBuild { instance }).await;
        matches!(tokio::time::timeout(STORY, &mut self.ended).await, Ok(Ok((_, usage))) if usage.oom_kills > 0)
    }

    async fn story(&mut self) -> BuildSandboxError {
        match tokio::time::timeout(STORY, &mut self.ended).await {
            Ok(Ok((_, usage))) if usage.oom_kills > 0 => BuildSandboxError::OutOfMemory,
            Ok(Ok((status, _))) => BuildSandboxError::Died(format!("{status:?}")),
            _ => BuildSandboxError::Died("without a reason".to_owned()),
        }
    }
}

async fn joined<T>(task: JoinHandle<io::Result<T>>) -> io::Result<T> {
    task.await.map_err(io::Error::other)?
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("no reason was given")
}

//! The platform under `dockless dev`: `dockless serve` as a child that does not outlive us.

use crate::{args::Global, client::Client, context::Context, exit::Failure, printer::Printer, server::Server};
use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal};
use std::{
    collections::VecDeque,
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr},
};

/// The name under which the platform's process is started: nobody types it.
pub const PLATFORM: &str = "dockless-dev-platform";
/// Where its data lies, in the folder itself: never deployed, and kept for the next time, packages and all.
const DATA: &str = ".dockless";
/// Mode of that folder.
const MODE: u32 = 0o711;
/// How long a platform that is asked to end may take before it is killed.
const STOPPING: Duration = Duration::from_secs(15);
/// Last lines of a platform that did not start.
const TAIL: usize = 20;
/// Variables that speak of another platform, or of how this one is reached.
const OTHERS: [&str; 17] = [
    "DOCKLESS_ALIAS_DOMAIN",
    "DOCKLESS_CONFIG",
    "DOCKLESS_DATA",
    "DOCKLESS_DOMAIN",
    "DOCKLESS_GRACE",
    "DOCKLESS_LISTEN",
    "DOCKLESS_LOG",
    "DOCKLESS_LOG_FORMAT",
    "DOCKLESS_SERVER",
    "DOCKLESS_SHELF",
    "DOCKLESS_TLS_CERT",
    "DOCKLESS_TLS_DEV",
    "DOCKLESS_TLS_KEY",
    "DOCKLESS_TOKEN",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
];

/// For the process of that name: ends when whoever started it does, however that ends. Blocks nothing, fails never where
/// the kernel is one of ours.
///
/// # Errors
/// The one who started it is gone already.
pub fn under_command() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    if rustix::process::getppid().is_none_or(|parent| parent == Pid::INIT) {
        return Err(io::Error::other("the command that started this is gone"));
    }
    Ok(())
}

/// A running platform.
#[derive(Debug)]
pub(super) struct Platform {
    child: Child,
    pid: Pid,
    address: SocketAddr,
    client: Client,
}

/// What it says.
#[derive(Debug)]
pub(super) struct Messages(Lines<BufReader<ChildStderr>>);

impl Platform {
    /// Starts one for this folder. Dropping the future ends what it began.
    pub(super) async fn start(root: &Path, ctx: &Context) -> Result<(Self, Messages), Failure> {
        let spinner = ctx.printer.progress().spinner("Starting the platform");
        let data = data_folder(root)?;
        let config = data.join("serve.toml");
        write_new(&config, "")?;
        let mut command = std::process::Command::new(std::env::current_exe().context("cannot find this program")?);
        command.arg0(PLATFORM).arg("--data").arg(&data).args(["serve", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(&config).args(["--log", "warn", "--grace", "0", "--shelf", "2"]);
        for name in OTHERS {
            command.env_remove(name);
        }
        // A group of its own: Ctrl-C is for us, and we end it in order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            tokio::process::Command::from(command).kill_on_drop(true).spawn().context("cannot start the platform")?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.context("the platform has no process")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = (stdout.context("no pipe")?, stderr.context("no pipe")?);
        let (mut lines, mut messages) = (BufReader::new(stdout).lines(), BufReader::new(stderr).lines());
        let mut last = VecDeque::new();
        loop {
            tokio::select! {
                line = lines.next_line() => match line.context("cannot hear the platform")? {
                    Some(line) if line.starts_with("dockless is ready") => break,
                    Some(_) => {}
                    // Its messages say why; they end with it.
                    None => {
                        while let Ok(Some(line)) = messages.next_line().await {
                            keep(&mut last, line);
                        }
                        let _ = child.wait().await;
                        return Err(refused(&last, &data));
                    }
                },
                line = messages.next_line() => if let Ok(Some(line)) = line {
                    if line.contains(" WARN ") {
                        ctx.printer.detail(&line);
                    }
                    keep(&mut last, line);
                },
            }
        }
        drop(spinner);
        let global =
            Global { server: None, token: None, data: Some(data), json: false, quiet: false, no_progress: true };
        let server = Server::find(&global)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address.port));
        let client = Client::new(server)?;
        Ok((Self { child, pid, address, client }, Messages(messages)))
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Shows what it says, until it ends although nobody asked it to.
    pub(super) async fn ended(mut messages: Messages, printer: &Printer) -> Failure {
        let mut last = VecDeque::new();
        while let Ok(Some(line)) = messages.0.next_line().await {
            printer.detail(&format!("platform │ {line}"));
            keep(&mut last, line);
        }
        Failure::bug(anyhow!("the platform ended by itself: {}", last.into_iter().collect::<Vec<_>>().join("\n")))
            .hint("start `dockless dev` again; what it has built is kept")
    }

    /// Asks it to end, and waits.
    pub(super) async fn stop(&mut self) {
        let _ = rustix::process::kill_process(self.pid, Signal::TERM);
        if tokio::time::timeout(STOPPING, self.child.wait()).await.is_err() {
            self.kill();
            let _ = self.child.wait().await;
        }
    }

    /// Ends it at once; what it started ends with it.
    pub(super) fn kill(&mut self) {
        let _ = self.child.start_kill();
    }
}

fn keep(last: &mut VecDeque<String>, line: String) {
    if last.len() == TAIL {
        last.pop_front();
    }
    last.push_back(line);
}

/// `error: …` and `hint: …` of the child, in our own words' place.
fn refused(last: &VecDeque<String>, data: &Path) -> Failure {
    let after = |mark: &str| last.iter().rev().find_map(|line| line.strip_prefix(mark));
    let what = match after("error: ") {
        Some(error) => anyhow!("the platform did not start: {error}"),
        None => anyhow!("the platform did not start: {}", last.iter().cloned().collect::<Vec<_>>().join("\n")),
    };
    let failure = Failure::refused(what);
    match after("hint: ") {
        Some(hint) => failure.hint(hint),
        None => failure.hint(format!(
            "another `dockless dev` may run on {}; `dockless doctor` checks the machine",
            data.display()
        )),
    }
}

/// The folder for its data. What a repository brings along under this name would be a database, a token and links of
/// somebody else's making, in the hands of root.
fn data_folder(root: &Path) -> Result<PathBuf, Failure> {
    let data = root.join(DATA);
    let cannot = || format!("cannot make {}", data.display());
    match fs::DirBuilder::new().mode(MODE).create(&data) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Failure::refused(anyhow!(error).context(cannot()))),
    }
    let meta = data.symlink_metadata().with_context(cannot)?;
    // Others' checkouts have folders that can be read.
    let is_ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o777 == MODE;
    if !is_ours {
        let what = anyhow!("{} was not made by `dockless dev`", data.display());
        return Err(Failure::refused(what).hint(format!("sudo rm -r {}", data.display())));
    }
    write_new(&data.join(".gitignore"), "*\n")?;
    Ok(data)
}

/// Writes a file, never through a link.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes())),
    };
    Ok(written.with_context(|| format!("cannot write {}", path.display()))?)
}

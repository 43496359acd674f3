//! The peer without any isolation: the same handler over HTTP as a plain process with an empty environment.

use crate::child::Running;
use crate::http::{self, Answer, Request};
use crate::wait;
use anyhow::Context as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Pause between two attempts to connect to a server that boots. Costs the peer a quarter of it on average.
const PAUSE: Duration = Duration::from_micros(500);
/// Longest boot.
const BOOT: Duration = Duration::from_secs(30);
/// For its end.
const GRACE: Duration = Duration::from_secs(5);

/// How to start it.
#[derive(Debug)]
pub(crate) struct Bare {
    /// The interpreter itself (version managers put scripts in its place), or a compiled program.
    program: PathBuf,
    /// What it runs.
    script: Option<PathBuf>,
}

impl Bare {
    /// Finds the interpreter.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let kept = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let output = Command::new("node").args(["-p", "process.execPath"]).env_clear().envs(kept).output();
        let output = output.context("cannot run node")?;
        anyhow::ensure!(output.status.success(), "node does not answer");
        let program = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        Ok(Self { program, script: Some(crate::root().join("bench/peer/server.js")) })
    }

    /// A compiled program.
    pub(crate) fn of(program: &Path) -> Self {
        Self { program: program.to_owned(), script: None }
    }

    /// From the wish for a process to the first byte.
    ///
    /// # Errors
    /// It does not answer as it should.
    pub(crate) fn sample(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let (_running, answer) = self.start()?;
        Ok(answer.first_byte - began)
    }

    /// One that stays.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub(crate) fn stay(&self) -> anyhow::Result<Resident> {
        let (running, answer) = self.start()?;
        Ok(Resident { server: answer.server, _running: running })
    }

    /// One that stays, on these processors alone.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub(crate) fn stay_on(&self, processors: &str) -> anyhow::Result<Resident> {
        let mut command = Command::new("taskset");
        command.args(["-c", processors]).arg(&self.program);
        let (running, answer) = self.start_by(command)?;
        Ok(Resident { server: answer.server, _running: running })
    }

    fn start(&self) -> anyhow::Result<(Running, Answer)> {
        self.start_by(Command::new(&self.program))
    }

    fn start_by(&self, mut command: Command) -> anyhow::Result<(Running, Answer)> {
        let port = free_port()?;
        command.args(&self.script).env_clear().env("PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running::start(&mut command, GRACE)?;
        let answer = first_answer(port, PAUSE)?;
        Ok((running, answer))
    }
}

/// A bare process that answers until this is dropped.
#[derive(Debug)]
pub(crate) struct Resident {
    server: SocketAddr,
    _running: Running,
}

impl Resident {
    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.server
    }

    /// How long the first byte of one answer takes.
    ///
    /// # Errors
    /// No answer, or not the handler's.
    pub(crate) fn request(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let answer = http::exchange(self.server, Request::get("peer", "/"))?.ok()?;
        expect_date(&answer.body)?;
        Ok(answer.first_byte - began)
    }
}

/// Asks a booting server on the loopback until it answers the date.
///
/// # Errors
/// It does not within half a minute, or answers something else.
pub(crate) fn first_answer(port: u16, pause: Duration) -> anyhow::Result<Answer> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let answer =
        wait::until("the first answer", BOOT, pause, || Ok(http::exchange(server, Request::get("peer", "/")).ok()))?;
    let answer = answer.ok()?;
    expect_date(&answer.body)?;
    Ok(answer)
}

/// # Errors
/// The body is not what the handler answers.
pub(crate) fn expect_date(body: &[u8]) -> anyhow::Result<()> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    anyhow::ensure!(text.starts_with("\"20") && text.ends_with("Z\""), "not the handler's answer: {text:?}");
    Ok(())
}

/// A port nobody listens on now.
///
/// # Errors
/// Out of ports.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

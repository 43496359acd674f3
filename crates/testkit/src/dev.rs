//! `dockless dev` on a folder, as somebody at a terminal has it.

use crate::census::Census;
use crate::cli::{Finished, Running};
use crate::files::Scratch;
use crate::http::{Connection, Request, Response, connect};
use crate::process;
use crate::server::{run_folder, without_dockless};
use crate::wait::{PATIENCE, eventually};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A session that runs with `--json`. Dropping it kills it, and what it started ends with it.
#[derive(Debug)]
pub struct Dev {
    running: Running,
    data: PathBuf,
    /// Events that were handed out.
    taken: usize,
    _scratch: Scratch,
}

impl Dev {
    /// Starts one and waits for nothing.
    ///
    /// # Panics
    /// Not root, or it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(binary: &str, folder: &Path, arguments: &[&str]) -> Self {
        let scratch = Scratch::new();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT", "--", binary, "dev", "--json", "--yes"]).arg(folder).args(arguments);
        without_dockless(&mut command);
        command.process_group(0);
        let running = Running::start(command, scratch.path(), "dev");
        let data = folder.canonicalize().expect("a folder that exists").join(".dockless");
        Self { running, data, taken: 0, _scratch: scratch }
    }

    /// The next event of this kind behind those that were handed out.
    ///
    /// # Panics
    /// It does not come.
    #[track_caller]
    pub fn next(&mut self, kind: &str) -> Value {
        eventually(&format!("the event {kind}"), PATIENCE * 2, || {
            let ended = self.running.ended();
            assert!(ended.is_none(), "it ended ({ended:?}): {}", self.running.stderr());
            let text = self.running.stdout();
            // A line that is being written has no end yet.
            let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            while let Some(line) = lines.get(self.taken) {
                self.taken += 1;
                let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if event["event"] == kind {
                    return Some(event);
                }
            }
            None
        })
    }

    /// Where browsers go.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let text = self.running.stdout();
        let first = text.lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok());
        let url = first.as_ref().and_then(|event| event["url"].as_str()).expect("the first event has the URL");
        let port = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
        ([127, 0, 0, 1], port.expect("the URL has a port")).into()
    }

    /// A connection to it.
    ///
    /// # Panics
    /// It does not listen.
    #[must_use]
    #[track_caller]
    pub fn open(&self) -> Connection {
        let address = self.address();
        connect(address, &format!("localhost:{}", address.port())).expect("it listens")
    }

    /// Its answer to one request.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.open().send(request).expect("it answers")
    }

    /// As a browser asks for a page.
    ///
    /// # Panics
    /// There is no answer.
    #[must_use]
    #[track_caller]
    pub fn page(&self, path: &str) -> Response {
        self.send(&Request::get(path).header("accept", "text/html,application/xhtml+xml,*/*;q=0.8"))
    }

    /// What it says beside its events.
    #[must_use]
    pub fn messages(&self) -> String {
        self.running.stderr()
    }

    /// Counts what it and its platform have of the machine.
    #[must_use]
    pub fn census(&self) -> Census {
        Census::take(self.running.pid(), &run_folder(&self.data), &self.data)
    }

    /// Sends a signal to the command alone.
    ///
    /// # Panics
    /// It is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        process::signal(self.running.pid(), signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It runs on.
    #[must_use]
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.running.finish()
    }
}

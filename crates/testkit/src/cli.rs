//! The command line, as a person runs it.

use crate::files::Scratch;
use crate::wait::{PATIENCE, wait_until};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it answered.
    pub stdout: String,
    /// What it said beside.
    pub stderr: String,
}

impl Finished {
    /// The same, once it has succeeded.
    ///
    /// # Panics
    /// Another exit code.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// The same, once the exit code is as expected.
    ///
    /// # Panics
    /// Another exit code.
    #[must_use]
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Lines of the answer.
    #[must_use]
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// The answer as one JSON value.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("expected JSON ({error}): {}", self.stdout))
    }
}

/// A command that still runs, its streams captured to files. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    pub(crate) child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Where the streams are, if nobody else keeps it.
    folder: Option<Scratch>,
}

impl Running {
    /// Starts it with nothing on stdin.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    #[track_caller]
    pub(crate) fn start(mut command: Command, folder: &Path, name: &str) -> Self {
        let (stdout, stderr) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let to =
            |path: &Path| File::create(path).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        command.stdin(Stdio::null()).stdout(to(&stdout)).stderr(to(&stderr));
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, stdout, stderr, folder: None }
    }

    /// Keeps the folder of its streams for as long as it is there itself.
    pub(crate) fn keeping(mut self, folder: Scratch) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// Written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It runs on.
    #[must_use]
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        wait_until("the end of a command", PATIENCE * 4, || self.ended().is_some());
        self.finished()
    }

    pub(crate) fn finished(&mut self) -> Finished {
        Finished { code: self.ended().and_then(|status| status.code()), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn text(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

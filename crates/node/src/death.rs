//! How an instance ended.

use dockless_sandbox::protocol::{ExitStatus, Usage};
use std::{fmt, time::Duration};

/// The end of an instance, told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// How its first process ended; absent if the warden did not say (it forgot the sandbox, or is gone).
    pub status: Option<ExitStatus>,
    /// It ran out of its memory.
    pub oom: bool,
    /// Why this server ended it, if it did.
    pub killed: Option<KillReason>,
    /// Final counters.
    pub usage: Usage,
    /// Its last lines of output, oldest first.
    pub tail: Vec<String>,
}

/// Why this server ends an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// Not needed any more.
    Retired,
    /// The invocation took longer than this.
    Deadline(Duration),
    /// Did not become ready within this.
    Boot(Duration),
    /// Broke the rules of the control channel.
    Protocol(&'static str),
    /// It does not accept requests any more.
    Broken,
    /// Nobody knows what it does: left behind by a server that is gone.
    Lost,
}

impl Death {
    /// V8 ends itself before the kernel does, by abort(3) and with these words.
    const HEAP_WORDS: &'static str = "heap out of memory";

    pub(crate) fn new(status: ExitStatus, usage: Usage, killed: Option<KillReason>, tail: Vec<String>) -> Self {
        let by_kernel = usage.oom_kills > 0 && matches!(status, ExitStatus::Signal(9) | ExitStatus::Code(137));
        // The first process of a pid namespace does not get the SIGABRT that it raises: abort(3) goes on to an instruction
        // that no program may execute, which is SIGSEGV.
        let by_runtime = matches!(status, ExitStatus::Signal(6 | 11) | ExitStatus::Code(134))
            && tail.iter().any(|line| line.contains(Self::HEAP_WORDS));
        Self { status: Some(status), oom: killed.is_none() && (by_kernel || by_runtime), killed, usage, tail }
    }

    /// The warden does not know it any more.
    pub(crate) fn unknown(killed: Option<KillReason>, tail: Vec<String>) -> Self {
        Self { status: None, oom: false, killed, usage: Usage::default(), tail }
    }
}

/// For the log: `exited with code 1`.
impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.killed, self.oom, self.status) {
            (Some(KillReason::Retired), ..) => f.write_str("retired"),
            (Some(KillReason::Deadline(limit)), ..) => write!(f, "function timed out after {}", seconds(limit)),
            (Some(KillReason::Boot(limit)), ..) => write!(f, "not ready after {}", seconds(limit)),
            (Some(KillReason::Protocol(what)), ..) => write!(f, "ended: {what} on the control channel"),
            (Some(KillReason::Broken), ..) => f.write_str("ended: it did not accept requests any more"),
            (Some(KillReason::Lost), ..) => f.write_str("ended: its state was lost with the server before"),
            (None, true, _) => f.write_str("ran out of memory"),
            (None, false, Some(ExitStatus::Code(code))) => write!(f, "exited with code {code}"),
            (None, false, Some(ExitStatus::Signal(signal))) => write!(f, "killed by signal {signal}"),
            (None, false, None) => f.write_str("disappeared"),
        }
    }
}

/// `300 s`, `1.5 s`
fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_is_told_from_other_deaths() {
        let usage = |oom_kills| Usage { oom_kills, ..Usage::default() };
        let heap = vec!["FATAL ERROR: Reached heap limit - JavaScript heap out of memory".to_owned()];
        for (name, status, oom_kills, killed, tail, expected) in [
            ("kernel", ExitStatus::Signal(9), 1, None, vec![], true),
            ("kernel, through init", ExitStatus::Code(137), 1, None, vec![], true),
            ("v8", ExitStatus::Signal(6), 0, None, heap.clone(), true),
            ("v8, first of its namespace", ExitStatus::Signal(11), 0, None, heap.clone(), true),
            ("a crash", ExitStatus::Signal(11), 0, None, vec![], false),
            ("abort of another kind", ExitStatus::Signal(6), 0, None, vec![], false),
            ("plain kill", ExitStatus::Signal(9), 0, None, vec![], false),
            ("a child was killed earlier", ExitStatus::Code(1), 1, None, vec![], false),
            ("retired later", ExitStatus::Signal(9), 1, Some(KillReason::Retired), vec![], false),
        ] {
            assert_eq!(Death::new(status, usage(oom_kills), killed, tail).oom, expected, "{name}");
        }
    }

    #[test]
    fn a_death_reads_as_a_sentence_for_the_log() {
        let by = |killed| Death::unknown(Some(killed), vec![]).to_string();
        assert_eq!(by(KillReason::Deadline(Duration::from_secs(300))), "function timed out after 300 s");
        assert_eq!(by(KillReason::Boot(Duration::from_millis(1500))), "not ready after 1.5 s");
        let code = Death::new(ExitStatus::Code(3), Usage::default(), None, vec![]);
        assert_eq!(code.to_string(), "exited with code 3");
    }
}

//! Processors that do not sleep: a process on each that spins whenever nobody else wants to run.
//!
//! A processor without work halts, and waking it costs (in a virtual machine a way through the host). Rows measured beside
//! these spinners show what remains without that.

use crate::child::Running;
use std::process::{Command, Stdio};
use std::time::Duration;

/// For the end of a shell.
const GRACE: Duration = Duration::from_secs(5);
/// Until they certainly spin.
const SETTLE: Duration = Duration::from_millis(20);

/// Ends with this.
#[derive(Debug)]
pub(crate) struct Awake(#[expect(dead_code, reason = "held for their end")] Vec<Running>);

impl Awake {
    /// Starts one on each processor, in the class that never takes time from another (sched(7), `SCHED_IDLE`).
    ///
    /// # Errors
    /// chrt(1) or taskset(1) of util-linux cannot be started.
    pub(crate) fn keep() -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        let spin = |core: usize| {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--", "chrt", "--idle", "0", "taskset", "--cpu-list"]);
            command.arg(core.to_string()).args(["sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
            Running::start(&mut command, GRACE)
        };
        let spinning = (0..cores).map(spin).collect::<anyhow::Result<_>>()?;
        std::thread::sleep(SETTLE);
        Ok(Self(spinning))
    }
}

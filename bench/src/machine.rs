//! The machine: what it is, and how busy it is with other things.

use serde::Serialize;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

/// Idle for so long before a sample.
const LOOK: Duration = Duration::from_millis(30);
/// Longest wait for a quiet moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// What stands above the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) memory_mib: u64,
    /// Of the Docker daemon; absent if there is none.
    pub(crate) docker: Option<String>,
    /// Of the platform.
    pub(crate) binary: String,
    /// Samples that were taken although the machine was busy with something else.
    pub(crate) noisy: usize,
    /// Seconds since the Unix epoch.
    pub(crate) began: u64,
    pub(crate) took_seconds: u64,
}

impl Machine {
    pub(crate) fn look(binary: &std::path::Path, docker: Option<String>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: kib / 1024,
            docker,
            binary: binary.display().to_string(),
            noisy: 0,
            began: now(),
            took_seconds: 0,
        }
    }

    /// The measurement is over.
    pub(crate) fn finish(&mut self) {
        self.took_seconds = now().saturating_sub(self.began);
    }

    /// Waits until the processors have had nothing to do for a moment, at most a second: what the sample before left to
    /// be cleaned up is not this one's.
    ///
    /// # Errors
    /// Ctrl-C.
    pub(crate) fn quiet(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            crate::stop::check()?;
            let before = ticks();
            std::thread::sleep(LOOK);
            let after = ticks();
            // A tick is 10 ms: of three on each processor, one may be somebody's.
            if after.1.saturating_sub(before.1) <= 1 && after.0 > before.0 {
                return Ok(());
            }
        }
        self.noisy += 1;
        Ok(())
    }
}

/// Idle and busy ticks of all processors so far (proc_stat(5)).
fn ticks() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let values: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let idle = values.iter().skip(3).take(2).sum();
    let all: u64 = values.iter().take(8).sum();
    (idle, all.saturating_sub(idle))
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

//! `make bench`: measures what SPECIFICATION.md promises, against Docker and bare Node, in one run on one machine.
//!
//! ```text
//! round 1:  docker  bare  cold-shelf  cold-miss  frozen+warm
//! round 2:  docker  bare  …                                     each waits for a quiet machine first
//! …
//! density:  200 functions, one request each, all frozen, their memory
//! deploys:  the command line, from its start to its end
//! files:    requests a second, in windows that alternate with nginx
//! ```
//! Rounds instead of blocks, because the machine changes while it is measured and only ratios of neighbours mean
//! something. The exit code is 0 only if every promise was measured and kept.

mod awake;
mod bare;
mod child;
mod density;
mod deploys;
mod docker;
mod files;
mod http;
mod machine;
mod nginx;
mod platform;
mod promise;
mod proxy;
mod report;
mod rounds;
mod sample;
mod start;
mod stop;
mod wait;
mod wrk;

use anyhow::Context as _;
use clap::Parser;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures the promises of SPECIFICATION.md on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds, each with one sample of every row
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=1000))]
    samples: u16,
    /// Only the promises of this bench
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// The platform's binary; the one beside this program if not given
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// For development: no Docker; what is promised against it counts as missed
    #[arg(long)]
    no_docker: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
fn run(args: &Args) -> anyhow::Result<bool> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "sandboxes and Docker need root: run bench/run");
    stop::listen()?;
    let promises = promise::all(args.only.as_deref())?;
    let wanted = promise::rows(&promises);
    let binary = match &args.binary {
        Some(path) => path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?,
        None => std::env::current_exe()?.with_file_name("dockless"),
    };
    anyhow::ensure!(binary.is_file(), "there is no platform at {}: build it, or name it by --binary", binary.display());
    let folder = tempfile::Builder::new().prefix("dockless-bench-").tempdir()?;

    let mut measured = rounds::measure(&rounds::Plan {
        rounds: args.samples,
        wanted: &wanted,
        binary: &binary,
        folder: folder.path(),
        docker: !args.no_docker,
    })?;
    folder.close().context("something is left in the temporary folder")?;

    let verdicts = promise::judge(&promises, &measured.rows);
    measured.machine.finish();
    report::print(&mut std::io::stdout().lock(), &measured, &verdicts)?;
    let file = root().join("bench/out/last.json");
    report::write(&file, &measured, &verdicts)?;
    say(&format!("written to {}", file.display()));
    Ok(verdicts.iter().all(|verdict| verdict.kept))
}

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Progress goes to stderr: stdout is the table.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

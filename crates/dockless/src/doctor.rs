//! `dockless doctor`: everything the platform needs of a machine, tried and told.

mod machine;

use crate::serve::DEFAULT_DATA;
use dockless_node::capture::Captured;
use dockless_warden::{Finding, probe, probe_egress, probe_groups, run_folder};
use serde::Serialize;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `dockless doctor --help` begins with.
pub(crate) const ABOUT: &str = "Say whether this machine can run the platform. Tries what sandboxes are made of (namespaces, \
    id-mapped mounts, overlays, system call filters, control groups) and looks at disk, memory, limits, names and Node.js. \
    One line each; exit code 1 if something is missing. Changes nothing and may run beside a platform.";
/// What it ends with.
pub(crate) const EXAMPLES: &str = "Examples:
  sudo dockless doctor
  sudo dockless doctor --data /srv/dockless --json";

/// Flags of `dockless doctor`; the data folder is the global `--data`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Node.js interpreter that functions would get
    #[arg(long, value_name = "PATH", env = "DOCKLESS_NODE", default_value = "node")]
    node: PathBuf,
    /// Python interpreter that functions would get
    #[arg(long, value_name = "PATH", env = "DOCKLESS_PYTHON", default_value = "python3")]
    python: PathBuf,
    /// PHP interpreter (php-cgi) that functions would get
    #[arg(long, value_name = "PATH", env = "DOCKLESS_PHP", default_value = "php-cgi")]
    php: PathBuf,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line.
#[derive(Debug, Clone, Serialize)]
struct Line {
    state: State,
    name: &'static str,
    found: String,
    /// What to do; absent where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Line {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { state: State::Ok, name, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Warn, name, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warn(name, found, advice) }
    }
}

impl From<Finding> for Line {
    fn from(finding: Finding) -> Self {
        let state = if finding.advice.is_some() { State::Fail } else { State::Ok };
        Self { state, name: finding.name, found: finding.found, advice: finding.advice }
    }
}

/// The whole answer with `--json`.
#[derive(Debug, Serialize)]
struct Answer {
    ok: bool,
    findings: Vec<Line>,
}

pub(crate) fn main(global: &dockless_cli::Global, args: &Args) -> ExitCode {
    let data = global.data.clone().unwrap_or_else(|| DEFAULT_DATA.into());
    let findings = examine(&data, args);
    let ok = findings.iter().all(|line| line.state != State::Fail);
    let mut out = std::io::stdout().lock();
    let printed = if global.json {
        serde_json::to_writer(&mut out, &Answer { ok, findings }).map_err(Into::into).and_then(|()| writeln!(out))
    } else {
        findings.iter().try_for_each(|Line { state, name, found, advice }| {
            let advice = advice.as_deref().map(|text| format!("; to do: {text}")).unwrap_or_default();
            writeln!(out, "{:<4}  {name:<17} {found}{advice}", state.label())
        })
    };
    // A reader that left knows enough; the exit code still tells.
    drop(printed);
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn examine(data: &Path, args: &Args) -> Vec<Line> {
    let folder = existing(data);
    let mut lines = Vec::new();
    // First, while this process certainly has one thread.
    if rustix::process::geteuid().is_root() {
        match probe(&folder) {
            Ok(findings) => lines.extend(findings.into_iter().map(Line::from)),
            Err(error) => lines.push(Line::fail(
                "sandboxes",
                format!("{:#}", anyhow::Error::from(error)),
                "make the data folder writable for root, or choose another with --data",
            )),
        }
        lines.push(probe_groups().into());
        lines.push(match probe_egress() {
            // The platform runs without.
            Finding { name, found, advice: Some(advice) } => Line::warn(name, found, advice),
            works => works.into(),
        });
    } else {
        lines.push(Line::fail("root", "sandboxes need root and cannot be tried without", "sudo dockless doctor"));
    }
    lines.push(match Captured::node(&args.node) {
        Ok(node) => Line::ok("node", format!("{} {}", args.node.display(), node.version)),
        Err(error) => Line::fail(
            "node",
            format!("{:#}", anyhow::Error::from(error)),
            "apt install nodejs, or name another with --node PATH (DOCKLESS_NODE)",
        ),
    });
    lines.push(match Captured::python(&args.python) {
        Ok(python) => Line::ok("python", format!("{} {}", args.python.display(), python.version)),
        Err(error) => Line::warn(
            "python",
            format!("{:#}", anyhow::Error::from(error)),
            "for functions in Python: apt install python3, or name another with --python PATH (DOCKLESS_PYTHON)",
        ),
    });
    lines.push(match Captured::php(&args.php) {
        Ok(php) => Line::ok("php", format!("{} {}", args.php.display(), php.version)),
        Err(error) => Line::warn(
            "php",
            format!("{:#}", anyhow::Error::from(error)),
            "for functions in PHP: apt install php-cgi, or name another with --php PATH (DOCKLESS_PHP)",
        ),
    });
    lines.push(machine::buildah());
    lines.push(machine::disk(data, &folder));
    lines.push(machine::memory());
    lines.push(machine::open_files());
    lines.push(machine::out_of_memory_score());
    lines.push(machine::names());
    lines.push(platform(data));
    lines
}

/// Whether one serves this folder already.
fn platform(data: &Path) -> Line {
    let announced = data
        .canonicalize()
        .ok()
        .and_then(|data| std::fs::read(run_folder(&data).join("server.json")).ok())
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let url = announced.as_ref().and_then(|announced| announced["url"].as_str());
    match url {
        Some(url) => Line::ok("platform", format!("one serves {} at {url}", data.display())),
        None => Line::ok("platform", format!("none serves {}", data.display())),
    }
}

/// The folder, or the nearest above it that exists.
fn existing(data: &Path) -> PathBuf {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    absolute.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

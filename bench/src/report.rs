//! The table, and the same as JSON.

use crate::machine::Machine;
use crate::promise::Verdict;
use crate::rounds::Measured;
use crate::sample::Row;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// Rows in the order of the table, and what they are.
const ROWS: [(&str, &str); 40] = [
    ("deploy-unchanged", "deploy of 1,000 files that are there"),
    ("deploy-thousand", "deploy of 1,000 new files"),
    ("deploy-one-of-thousand", "deploy of 1,000 files, one new"),
    ("build-one-of-twenty", "deploy of 20 functions with packages, one changed"),
    ("docker", "docker run -d -p, first byte"),
    ("docker-compiled", "docker run -d -p of the compiled image, first byte"),
    ("bare-compiled", "compiled program with an empty environment, first byte"),
    ("cold-compiled", "cold service, compiled image, first byte"),
    ("cold-compiled-boot", "  of which the start, by the server"),
    ("cold-compiled-refill", "  until the shelf is full again"),
    ("cold-node-image", "cold service, image of a Node server, first byte"),
    ("cold-node-image-boot", "  of which the start, by the server"),
    ("bare", "bare node, first byte"),
    ("cold-shelf", "cold function, shelf hit, first byte"),
    ("cold-shelf-boot", "  of which the start, by the server"),
    ("refill", "  until the shelf is full again"),
    ("cold-miss", "cold function, shelf miss, first byte"),
    ("cold-miss-boot", "  of which the start, by the server"),
    ("frozen", "frozen instance, first byte"),
    ("frozen-thaw", "  of which the thaw, by the server"),
    ("warm", "warm instance, first byte"),
    ("warm-idle", "  the same after 30 ms without requests"),
    ("frozen-awake", "frozen, processors kept awake"),
    ("frozen-awake-thaw", "  of which the thaw, by the server"),
    ("warm-awake", "warm, processors kept awake"),
    ("warm-idle-awake", "  the same after 30 ms without requests"),
    ("bare-warm", "bare node that runs, first byte"),
    ("bare-idle", "  the same after 30 ms without requests"),
    ("bare-warm-awake", "bare node that runs, processors awake"),
    ("bare-idle-awake", "  the same after 30 ms without requests"),
    ("density", "frozen, 200 from the shelf, PSS each"),
    ("density-new", "frozen, 200 from nothing, PSS each"),
    ("proxy", "warm service, 32 connections"),
    ("nginx-proxy", "  the bare program behind nginx"),
    ("proxy-p99", "  slowest of a hundred"),
    ("nginx-proxy-p99", "  the same by nginx"),
    ("static-small", "file of 1 KiB"),
    ("nginx-small", "  the same by nginx"),
    ("static-large", "file of 1 MiB"),
    ("nginx-large", "  the same by nginx"),
];

/// `bench/out/last.json`
#[derive(Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    rows: BTreeMap<&'static str, Figures<'a>>,
    promises: &'a [Verdict],
}

#[derive(Serialize)]
struct Figures<'a> {
    min: Option<f64>,
    median: Option<f64>,
    mean: Option<f64>,
    p95: Option<f64>,
    n: usize,
    lost: usize,
    #[serde(flatten)]
    row: &'a Row,
}

impl<'a> Figures<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            min: row.percentile(0),
            median: row.median(),
            mean: row.mean(),
            p95: row.percentile(95),
            n: row.samples.len(),
            lost: row.lost(),
            row,
        }
    }
}

/// Prints both tables.
///
/// # Errors
/// Nobody reads.
pub(crate) fn print(out: &mut impl Write, measured: &Measured, verdicts: &[Verdict]) -> io::Result<()> {
    let Machine { processor, cores, kernel, memory_mib, docker, binary, noisy, took_seconds, .. } = &measured.machine;
    writeln!(out, "\n{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}")?;
    writeln!(out, "Docker {}", docker.as_deref().unwrap_or("was not started"))?;
    writeln!(out, "{binary}; {took_seconds} s, {noisy} samples on a busy machine\n")?;
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let head = ["min", "median", "mean", "p95"].map(|name| format!("{name:>9}")).join(" ");
    writeln!(out, "{:<39} {head}      {:>4} {:>6}", "", "n", "errors")?;
    for (name, what) in ROWS {
        let Some(row) = measured.rows.get(name) else { continue };
        let Figures { min, median, mean, p95, n, lost, .. } = Figures::of(row);
        let values = [min, median, mean, p95].map(|value| format!("{:>9}", number(value))).join(" ");
        writeln!(out, "{what:<39} {values} {:<4} {n:>4} {lost:>6}", row.unit)?;
        for (error, count) in &row.errors {
            writeln!(out, "    {count} × {error}")?;
        }
    }
    writeln!(out)?;
    for Verdict { bench, promise, line, value, kept, reason } in verdicts {
        let word = if *kept { "kept  " } else { "MISSED" };
        let reason = reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        writeln!(out, "{word} {:>9}  {promise}: {line} [{bench}]{reason}", number(*value))?;
    }
    writeln!(out)
}

/// Writes the report, the folder included.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(file: &Path, measured: &Measured, verdicts: &[Verdict]) -> anyhow::Result<()> {
    let rows = measured.rows.iter().map(|(name, row)| (*name, Figures::of(row))).collect();
    let report = Report { machine: &measured.machine, rows, promises: verdicts };
    let folder = file.parent().context("a report is in a folder")?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(file, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", file.display()))
}

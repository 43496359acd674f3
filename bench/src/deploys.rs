//! Deployments by the command line, from its start to its end: of what is there already, of much, of one change.

use crate::platform::Platform;
use crate::sample::{Row, Rows};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Samples of each row, after one that fills caches.
const ROUNDS: usize = 30;
/// Files of the large source.
const FILES: usize = 1000;
/// Functions of the project with packages.
const FUNCTIONS: usize = 20;
/// The rows.
const ROWS: [&str; 4] = ["deploy-unchanged", "deploy-thousand", "deploy-one-of-thousand", "build-one-of-twenty"];

/// Whether a row is one of these.
pub(crate) fn is_row(row: &str) -> bool {
    ROWS.contains(&row)
}

type Files = Vec<(String, Vec<u8>)>;

/// A thousand small files that nobody has.
fn thousand(round: usize) -> Files {
    (0..FILES)
        .map(|file| {
            let text = format!("<h1>page {file} of round {round}</h1>\n").repeat(20);
            (format!("pages/{:02}/{file}.html", file % 50), text.into_bytes())
        })
        .collect()
}

/// Functions with packages, as the example has them.
fn twenty() -> anyhow::Result<Files> {
    let example = crate::root().join("examples/npm");
    let mut files: Files = (0..FUNCTIONS).map(|number| (format!("api/f{number}.js"), function(number, 0))).collect();
    for name in ["package.json", "package-lock.json"] {
        files.push((name.to_owned(), std::fs::read(example.join(name))?));
    }
    Ok(files)
}

fn function(number: usize, round: usize) -> Vec<u8> {
    format!("const ms = require('ms');\nmodule.exports = (req, res) => res.send(`${{ms('{number}h')}} {round}`);\n")
        .into()
}

/// Measures those that are wanted.
///
/// # Errors
/// The platform does not start, or a deployment fails.
pub(crate) fn measure(binary: &Path, folder: &Path, wanted: &BTreeSet<String>, rows: &mut Rows) -> anyhow::Result<()> {
    let platform = Platform::start(binary, &folder.join("deploys"), 0)?;
    let mut keep = |name: &'static str, round: usize, took: Duration| {
        if round > 0 {
            let row = rows.entry(name).or_insert_with(|| Row { unit: "ms", ..Row::default() });
            row.samples.push(took.as_secs_f64() * 1000.0);
        }
    };
    let of_large = ["deploy-unchanged", "deploy-thousand", "deploy-one-of-thousand"];
    if of_large.iter().any(|row| wanted.contains(*row)) {
        for round in 0..=ROUNDS {
            crate::stop::check()?;
            if round % 10 == 0 {
                crate::say(&format!("deployments of {FILES} files, round {round} of {ROUNDS}"));
            }
            let mut files = thousand(round);
            keep("deploy-thousand", round, platform.deploy_again("bench-thousand", &files)?);
            keep("deploy-unchanged", round, platform.deploy_again("bench-thousand", &[])?);
            files.truncate(1);
            files[0].1.extend_from_slice(b"<p>changed</p>");
            keep("deploy-one-of-thousand", round, platform.deploy_again("bench-thousand", &files)?);
        }
    }
    if wanted.contains("build-one-of-twenty") {
        crate::say("builds of 20 functions with packages");
        platform.deploy_again("bench-twenty", &twenty()?)?;
        for round in 0..=ROUNDS {
            crate::stop::check()?;
            let change = [("api/f7.js".to_owned(), function(7, round + 1))];
            keep("build-one-of-twenty", round, platform.deploy_again("bench-twenty", &change)?);
        }
    }
    Ok(())
}

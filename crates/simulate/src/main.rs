//! `simulate`: as many steps as asked for, from a seed.

use clap::Parser;
use dockless_simulate::{Bug, Options, run, tell};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the pool's decisions in virtual time, with faults, and checks what must hold.
#[derive(Debug, Parser)]
struct Args {
    /// Events, those after the traffic of a story has stopped not counted.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Seed of the first story; each of 20,000 steps has its own, counted on from here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plants a mistake that must be found.
    #[arg(long, value_enum)]
    bug: Option<Bug>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    let mut said = began;
    let progress = |report: &dockless_simulate::Report| {
        if said.elapsed().as_secs() >= 10 {
            said = Instant::now();
            say(&format!("{} stories, {} events", report.stories, report.events));
        }
    };
    match run(Options { seed: args.seed, steps: args.steps, bug: args.bug }, progress) {
        Ok(report) => {
            say(&format!("{report:#?}\nall promises held, {:.1} s", began.elapsed().as_secs_f64()));
            ExitCode::SUCCESS
        }
        Err(story) => {
            say(&tell(&story, args.bug));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // Whoever reads it may have gone.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

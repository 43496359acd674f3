//! One binary, three lives, told apart before anything else starts:
//!
//! - `dockless serve` becomes the **warden** (and forks its spawners): one thread, no runtime;
//! - the warden starts the **server** from the same file, under the name [`server::NAME`], and in build sandboxes the
//!   **foreman**; in sandboxes of PHP functions it is the launcher;
//! - `dockless doctor` tries what the warden needs, and ends;
//! - `dockless config` shows the settings, and ends;
//! - everything else is the **command line**, a client of the HTTP API.

mod builds;
mod config;
mod dev_ca;
mod doctor;
mod keeping;
mod ledger;
mod listen;
mod log;
mod metrics;
mod platform;
mod reach;
mod serve;
mod server;
mod tls;

use clap::Parser;
use config::Layered;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Serverless Docker without the dock: give it a folder, get a URL, and it runs only while somebody asks for it.
#[derive(Debug, Parser)]
#[command(name = "dockless", version, propagate_version = true, disable_help_subcommand = true)]
struct Program {
    #[command(flatten)]
    global: dockless_cli::Global,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(about = "Run the platform on this machine", long_about = serve::ABOUT, after_help = serve::EXAMPLES)]
    Serve(serve::Args),
    #[command(about = "Show the settings of the platform", long_about = config::ABOUT, after_help = config::EXAMPLES)]
    Config(config::Args),
    #[command(about = "Say whether this machine can run the platform", long_about = doctor::ABOUT, after_help = doctor::EXAMPLES)]
    Doctor(doctor::Args),
    #[command(flatten)]
    Client(dockless_cli::Command),
}

fn main() -> ExitCode {
    // Not a command: nobody types it, and it must not depend on how a command line is parsed.
    if std::env::args_os().next().is_some_and(|name| name == server::NAME) {
        return server::main();
    }
    // The first process of a build sandbox, and its helpers.
    if let Some(code) = dockless_warden::inside_builds() {
        return code;
    }
    // The first process of a function's sandbox, where its interpreter speaks FastCGI.
    if let Some(code) = dockless_launcher::inside_function() {
        return code;
    }
    // The platform of `dockless dev`: like any other, but it ends with the command.
    if std::env::args_os().next().is_some_and(|name| name == dockless_cli::PLATFORM)
        && let Err(error) = dockless_cli::under_command()
    {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        return ExitCode::FAILURE;
    }
    let line: Vec<OsString> = std::env::args_os().collect();
    if let Some(path) = config::concerns::<Program>(&line) {
        return with_settings(line, path);
    }
    match dockless_cli::parse::<Program>(line) {
        // Read above, with the file under it.
        Ok(Program { command: Verb::Serve(_) | Verb::Config(_), .. }) => ExitCode::FAILURE,
        Ok(Program { global, command: Verb::Doctor(args) }) => doctor::main(&global, &args),
        Ok(Program { global, command: Verb::Client(command) }) => {
            dockless_cli::run(&global, command, <Program as clap::CommandFactory>::command())
        }
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

/// A line whose flags may also be in a file.
fn with_settings(line: Vec<OsString>, path: &[&str]) -> ExitCode {
    match config::layer::<Program>(line, path, Path::new(config::DEFAULT_FILE)) {
        Ok(Layered { program: Program { global, command: Verb::Serve(args) }, .. }) => serve::main(&global, args),
        Ok(Layered { program, settings }) => config::show(&settings, program.global.json),
        Err(error) => config::refuse(&error),
    }
}

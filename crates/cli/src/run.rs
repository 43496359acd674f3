//! From a parsed command to an exit code.

use crate::{
    args::{self, Command, Global},
    commands::{
        account, alias, completions, deploy, dev, env, inspect, logs, ls, man, probe, promote, ps, rm, rollback, scale,
        secrets, sleep, status, token, upgrade, usage,
    },
    context::Context,
    exit::{Exit, Failure, Outcome},
    printer::Printer,
};
use anyhow::{Context as _, anyhow};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

/// Runs one command to its end and prints what there is to print. Blocks; makes its own small runtime.
///
/// `program` is the whole command line of the binary, for completions and manual pages.
#[must_use]
pub fn run(global: &Global, command: Command, program: clap::Command) -> ExitCode {
    let ctx = Context::new(global.clone(), args::dress(program));
    // A panic is our mistake, and says so with its own exit code; its text is already on stderr.
    let outcome = catch_unwind(AssertUnwindSafe(|| in_runtime(&command, &ctx)))
        .unwrap_or_else(|_| Err(Failure::bug(anyhow!("dockless made a mistake: this is a bug"))));
    conclude(outcome, &ctx.printer).into()
}

fn conclude(outcome: Outcome, printer: &Printer) -> Exit {
    match outcome {
        Ok(exit) => exit,
        // `dockless ls | head`: who reads has read enough.
        Err(failure) if reader_left(&failure.error) => Exit::Done,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit
        }
    }
}

fn reader_left(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
        && error.to_string() == "cannot print"
}

fn in_runtime(command: &Command, ctx: &Context) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let outcome = runtime.block_on(async {
        // It has more to do when the person leaves than to say so.
        if matches!(command, Command::Dev(_)) {
            return dispatch(command, ctx).await;
        }
        tokio::select! {
            outcome = dispatch(command, ctx) => outcome,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.context("cannot wait for Ctrl-C")?;
                Ok(ctx.left())
            }
        }
    });
    // A thread may still wait for an answer on stdin: it goes with the process.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: &Command, ctx: &Context) -> Outcome {
    match command {
        Command::Deploy(args) => deploy::run(args, ctx).await,
        Command::Dev(args) => dev::run(args, ctx).await,
        Command::Ls(args) => ls::run(args, ctx).await,
        Command::Ps(args) => ps::run(args, ctx).await,
        Command::Logs(args) => logs::run(args, ctx).await,
        Command::Rm(args) => rm::run(args, ctx).await,
        Command::Alias(args) => alias::run(args, ctx).await,
        Command::Probe(args) => probe::run(args, ctx).await,
        Command::Promote(args) => promote::run(args, ctx).await,
        Command::Rollback(args) => rollback::run(args, ctx).await,
        Command::Env(args) => env::run(args, ctx).await,
        Command::Secrets(args) => secrets::run(args, ctx).await,
        Command::Inspect(args) => inspect::run(args, ctx).await,
        Command::Scale(args) => scale::run(args, ctx).await,
        Command::Usage(args) => usage::run(args, ctx).await,
        Command::Token(args) => token::run(args, ctx).await,
        Command::Account(args) => account::run(args, ctx).await,
        Command::Sleep(args) => sleep::run(args, ctx).await,
        Command::Upgrade(args) => upgrade::run(args, ctx).await,
        Command::Status(args) => status::run(args, ctx).await,
        Command::Completions(args) => completions::run(args, ctx),
        Command::Man(args) => man::run(args, ctx),
    }
}

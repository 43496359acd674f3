//! `dockless completions SHELL`

use crate::{context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use clap_complete::Shell;

/// Which shell.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless completions bash > /etc/bash_completion.d/dockless
  dockless completions zsh > ~/.zfunc/_dockless")]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Outcome {
    let mut program = ctx.program.clone();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "dockless", &mut script);
    ctx.printer.answer_bytes(&script).context("cannot print")?;
    Ok(Exit::Done)
}

//! `dockless man [--output DIR]`

use crate::{context::Context, exit::Exit, exit::Outcome};
use anyhow::Context as _;
use std::path::PathBuf;

/// One page or all.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless man | man -l -
  dockless man --output ~/.local/share/man/man1")]
pub struct Args {
    /// Write `dockless.1`, `dockless-deploy.1` … into this folder
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Outcome {
    let program = ctx.program.clone();
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(program, folder))
            .with_context(|| format!("cannot write to {}", folder.display()))?;
    } else {
        let mut page = Vec::new();
        clap_mangen::Man::new(program).render(&mut page).context("cannot write a manual page")?;
        ctx.printer.answer_bytes(&page).context("cannot print")?;
    }
    Ok(Exit::Done)
}

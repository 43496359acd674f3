//! What a command is given.

use crate::{
    args::Global,
    client::Client,
    exit::{Exit, Failure},
    printer::Printer,
    server::Server,
};
use anyhow::{Context as _, anyhow};
use std::cell::RefCell;

/// The printer, the way to the server, and what to say if the person leaves.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    /// The whole command line, `serve` included, for completions and manual pages.
    pub(crate) program: clap::Command,
    global: Global,
    afterlife: RefCell<Option<String>>,
}

impl Context {
    pub(crate) fn new(global: Global, program: clap::Command) -> Self {
        let printer = Printer::new(global.json, global.quiet, global.no_progress);
        Self { printer, program, global, afterlife: RefCell::new(None) }
    }

    /// Finds the server; connects to nothing yet.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let server = Server::find(&self.global)?;
        if !server.address.is_loopback() {
            self.printer.warn(&format!("the token travels unencrypted to {}", server.address));
        }
        Client::new(server)
    }

    /// From now on Ctrl-C says this: what continues on the server although the command ends.
    pub(crate) fn on_leaving(&self, text: impl Into<String>) {
        *self.afterlife.borrow_mut() = Some(text.into());
    }

    /// The person left.
    pub(crate) fn left(&self) -> Exit {
        if let Some(text) = self.afterlife.borrow().as_deref() {
            self.printer.note(text);
        }
        Exit::Interrupted
    }

    /// `--yes`, or a yes from a person; without a terminal a refusal rather than a question nobody answers.
    ///
    /// # Errors
    /// Nobody can be asked, or they said no.
    pub(crate) async fn confirm(&self, yes: bool, what: &str, question: &str) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.printer.can_ask() {
            return Err(Failure::refused(anyhow!("{what} needs --yes where nobody can be asked")).hint("add --yes"));
        }
        let (printer, question) = (self.printer.clone(), question.to_owned());
        // Ctrl-C must work while the question stands: reading blocks a thread of its own.
        let answer = tokio::task::spawn_blocking(move || printer.ask(&question));
        if answer.await.context("cannot ask")?.context("cannot read the answer")? {
            Ok(())
        } else {
            Err(Failure::refused(anyhow!("nothing was done")))
        }
    }
}

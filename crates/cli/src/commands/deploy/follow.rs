//! The build as it happens: its log on stderr, until the deployment is settled.

use crate::{
    client::{CallError, Client, Name},
    exit::Failure,
    printer::Printer,
};
use dockless_model::{DeploymentId, DeploymentState, Timestamp};
use dockless_wire::{Deployment, Event};
use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// [`Follow::look`] where the server is somewhere.
pub(crate) const LOOK: Duration = Duration::from_millis(250);
/// A server that is away for longer is given up; the build goes on without us.
const AWAY: Duration = Duration::from_secs(60);
/// After READY the alias follows at once; a server that never says so is not waited for.
const ALIAS: Duration = Duration::from_secs(15);
/// Lines shown again where `--quiet` kept them back and the build failed.
const LAST_LINES: usize = 20;

/// Whom to follow.
pub(crate) struct Follow<'a> {
    pub(crate) client: &'a Client,
    pub(crate) printer: &'a Printer,
    pub(crate) id: DeploymentId,
    /// Between two looks at a deployment whose log has ended.
    pub(crate) look: Duration,
    /// Whether every line is shown, or those that say something is wrong.
    pub(crate) details: bool,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    /// Date of the newest record, where the next connection begins.
    since: Option<Timestamp>,
    last: VecDeque<String>,
    /// Error lines kept back: the deployment's own error repeats what it died of.
    held: Vec<String>,
}

impl Follow<'_> {
    /// Waits for READY with its alias, ERROR or CANCELED.
    pub(crate) async fn follow(&self) -> Result<Deployment, Failure> {
        let spinner = self.printer.progress().spinner("Building");
        let name = Name::from(&self.id);
        let mut seen = Seen::default();
        let mut last_answer = Instant::now();
        let mut ready_since: Option<Instant> = None;
        loop {
            let looked = match self.stream(&mut seen).await {
                Ok(()) => self.client.deployment(&name).await,
                // A refusal of the log is no refusal of the deployment, which says itself how it is.
                Err(CallError::Refused { .. }) => self.client.deployment(&name).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(deployment) => {
                    last_answer = Instant::now();
                    let ready = deployment.ready_state == DeploymentState::Ready;
                    let aliased = deployment.alias_assigned.is_some() || deployment.alias_error.is_some();
                    let waited = ready && ready_since.get_or_insert_with(Instant::now).elapsed() > ALIAS;
                    if deployment.ready_state.is_final() && (!ready || aliased || waited) {
                        drop(spinner);
                        let said = deployment.error_message.as_deref().unwrap_or_default();
                        seen.held.retain(|line| !said.contains(line.trim()));
                        self.release(&mut seen);
                        if !ready && self.printer.is_quiet() {
                            self.printer.said(seen.last.iter().map(String::as_str));
                        }
                        return Ok(deployment);
                    }
                }
                Err(error) if error.may_pass() && last_answer.elapsed() < AWAY => {
                    spinner.say("Building (the server does not answer, trying again)");
                }
                Err(error) => {
                    let text = format!("if the server is well, it goes on building {}: see `dockless ls`", self.id);
                    return Err(Failure::from(error).hint(text));
                }
            }
            tokio::time::sleep(self.look).await;
        }
    }

    async fn stream(&self, seen: &mut Seen) -> Result<(), CallError> {
        let mut lines = self.client.events(&self.id, seen.since).await?;
        while let Some(line) = lines.next::<Event>().await? {
            self.record(line.record, seen);
        }
        Ok(())
    }

    fn record(&self, event: Event, seen: &mut Seen) {
        seen.since = seen.since.max(Some(event.date));
        let speaks = matches!(event.kind.as_str(), "command" | "stdout" | "stderr");
        if !seen.ids.insert(event.id) || !speaks {
            return;
        }
        if event.level.as_deref() == Some("error") {
            seen.held.push(event.text);
            return;
        }
        self.release(seen);
        let text = if event.kind == "command" { format!("$ {}", event.text) } else { event.text };
        if event.level.is_some() {
            self.printer.note(&format!("  {text}"));
        } else if self.details {
            self.printer.detail(&format!("  {text}"));
        }
        seen.keep(text);
    }

    /// Prints what was kept back.
    fn release(&self, seen: &mut Seen) {
        for text in std::mem::take(&mut seen.held) {
            self.printer.note(&format!("  {text}"));
            seen.keep(text);
        }
    }
}

impl Seen {
    fn keep(&mut self, text: String) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(text);
    }
}

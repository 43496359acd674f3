//! Sandboxes and their links: none is handed out before its link is there, so no code ever runs ahead of it.
//!
//! ```text
//! spawner ── launched ──► warden ─┐
//!    └─ attach ─► router ─ news ──┴─► both are here: prepared
//! ```

use super::{Pending, Warden};
use crate::WardenError;
use crate::network::{EgressPlan, Network, News, Wish};
use crate::orders::{self, Report};
use crate::verbs::Outcome;
use dockless_model::InstanceId;
use dockless_sandbox::protocol::{Answer, Refusal};
use rustix::process::Pid;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What is half there.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    router: Option<Pid>,
    /// The link is there, or will not come; the sandbox is still being made.
    links: HashMap<InstanceId, Option<Ipv4Addr>>,
    /// The sandbox is there, its link is not.
    sandboxes: HashMap<InstanceId, (Report, Vec<OwnedFd>)>,
    /// Links that are to go down, and who waits for it: session and request.
    cuts: HashMap<InstanceId, (u64, u64)>,
}

impl Attachments {
    /// The address of a sandbox that is whole now.
    pub(super) fn take(&mut self, instance: &InstanceId) -> Option<Ipv4Addr> {
        self.links.remove(instance).flatten()
    }

    pub(super) fn router(&self) -> Option<Pid> {
        self.router
    }

    pub(super) fn is_router(&self, pid: Pid) -> bool {
        self.router == Some(pid)
    }
}

fn not_cut(why: &str) -> Refusal {
    Refusal::Kernel(format!("cannot take a link down: {why}"))
}

/// The sandbox in question, if it is one that gets a link.
fn being_made(pending: &Pending) -> Option<&InstanceId> {
    match pending {
        Pending::Prepare { instance, .. } | Pending::PrepareService { instance, .. } => Some(instance),
        // One that gets its root has its link already.
        Pending::Serve { .. }
        | Pending::Build(_)
        | Pending::Import { .. }
        | Pending::Unpack { .. }
        | Pending::Capture { .. } => None,
    }
}

/// Makes the network of sandboxes, or says why there is none.
pub(super) fn make(plan: Option<&EgressPlan>, run: &Path, home: &File) -> Result<Option<Network>, WardenError> {
    let Some(plan) = plan else { return Ok(None) };
    match Network::make(plan, run, home) {
        Ok(network) => {
            crate::network::warn_of_firewalls();
            Ok(Some(network))
        }
        Err(error) if plan.required => Err(error),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, cause, "functions and services have no way to the internet: `dockless doctor` says what is missing, --egress off says that this is meant");
            Ok(None)
        }
    }
}

impl Warden {
    pub(super) fn start_router(&mut self) -> io::Result<()> {
        if let Some(network) = &self.network {
            self.attachments.router = Some(network.fork_router(self.one_thread)?);
        }
        Ok(())
    }

    /// The report again if its sandbox has all it needs; else it is kept until the link is there.
    pub(super) fn wait_for_link(&mut self, report: Report, fds: Vec<OwnedFd>) -> Option<(Report, Vec<OwnedFd>)> {
        if self.network.is_none() {
            return Some((report, fds));
        }
        let Some(instance) = self.pending.get(&report.ticket()).and_then(being_made).cloned() else {
            return Some((report, fds));
        };
        match report {
            Report::Launched { .. } if !self.attachments.links.contains_key(&instance) => {
                self.attachments.sandboxes.insert(instance, (report, fds));
                return None;
            }
            Report::Failed { .. } => drop(self.attachments.links.remove(&instance)),
            _ => {}
        }
        Some((report, fds))
    }

    pub(super) fn hear_router(&mut self) {
        while let Some(network) = &self.network {
            let Ok(Some((news, _))) = orders::receive::<News>(&network.router) else { break };
            match news {
                News::Attached(instance, attached) => {
                    let address = attached.inspect_err(|error| {
                        tracing::error!(%instance, error, "a sandbox has no way out");
                    });
                    self.on_link(&instance, address.ok());
                }
                News::Cut(instance, cut) => {
                    let Some((session, request)) = self.attachments.cuts.remove(&instance) else { continue };
                    let result = cut.map(|()| Answer::Done).map_err(|error| not_cut(&error));
                    self.reply(session, request, result, Vec::new());
                }
            }
        }
    }

    /// `cut`: answered when the link is down.
    pub(crate) fn cut(&mut self, session: u64, request: u64, instance: &InstanceId) -> Outcome {
        let asked = (|| {
            let sandbox = self.owned(session, instance)?;
            let (Some(network), Some(_)) = (&self.network, sandbox.address) else { return Ok(false) };
            let asked = File::open(format!("/proc/{}/ns/net", sandbox.pid.as_raw_nonzero())).and_then(|namespace| {
                orders::try_send(&network.router, &Wish::Cut(instance.clone()), &[namespace.as_fd()])
            });
            asked.map(|()| true).map_err(|error| not_cut(&error.to_string()))
        })();
        match asked {
            Ok(true) => {
                self.attachments.cuts.insert(instance.clone(), (session, request));
                Outcome::later()
            }
            Ok(false) => Ok(Answer::Done).into(),
            Err(refusal) => Err(refusal).into(),
        }
    }

    fn on_link(&mut self, instance: &InstanceId, address: Option<Ipv4Addr>) {
        // One that could not be made needs none.
        if self.pending.values().filter_map(being_made).any(|other| other == instance) {
            self.attachments.links.insert(instance.clone(), address);
        }
        if let Some((report, fds)) = self.attachments.sandboxes.remove(instance) {
            self.on_report(report, fds);
        }
    }

    /// Another router goes on. What the old one had been asked for and did not do, nobody knows: those sandboxes have none.
    pub(super) fn on_router_exit(&mut self) -> io::Result<()> {
        tracing::error!("the router ended; sandboxes that were being made have no way out");
        self.hear_router();
        self.start_router()?;
        for (_, (session, request)) in std::mem::take(&mut self.attachments.cuts) {
            self.reply(session, request, Err(not_cut("the router ended")), Vec::new());
        }
        let being_made = self.pending.values().filter_map(being_made);
        let linkless: Vec<InstanceId> =
            being_made.filter(|instance| !self.attachments.links.contains_key(instance)).cloned().collect();
        for instance in linkless {
            self.on_link(&instance, None);
        }
        Ok(())
    }
}

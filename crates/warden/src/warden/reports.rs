//! What spawners report: each report ends the order that it belongs to.

use super::{DIALLED_AT_ONCE, Pending, Warden};
use crate::orders::{self, Report};
use crate::sandboxes::{Gate, Kind, Purpose, Sandbox};
use dockless_model::InstanceId;
use dockless_sandbox::protocol::{Answer, Prepared, Refusal};
use dockless_sys::cgroup::Freezer;
use rustix::process::Pid;
use std::os::fd::OwnedFd;

impl Warden {
    pub(super) fn hear_spawners(&mut self, indices: &[usize]) {
        for &index in indices {
            while let Some(spawner) = self.spawners.get_mut(index) {
                let Ok(Some((report, fds))) = orders::receive::<Report>(&spawner.channel) else { break };
                spawner.busy.remove(&report.ticket());
                self.on_report(report, fds);
            }
        }
    }

    pub(super) fn on_report(&mut self, report: Report, fds: Vec<OwnedFd>) {
        let Some((report, fds)) = self.wait_for_link(report, fds) else { return };
        let Some(pending) = self.pending.remove(&report.ticket()) else { return };
        match (pending, report) {
            (Pending::Prepare { session, request, instance, runtime, memory, ids }, Report::Launched { pid, .. }) => {
                let kind = Kind::Function { runtime, memory, ids };
                let result = self.on_launched(session, instance, kind, pid, fds);
                self.reply_prepared(session, request, result);
            }
            (Pending::PrepareService { session, request, instance, ids }, Report::Launched { pid, .. }) => {
                let mut fds = fds;
                let gate = fds.pop().zip(fds.pop()).map(|(users, message)| Gate { message, users });
                let kind = Kind::Service { layers: Vec::new(), gate, ids };
                let result = self.on_launched(session, instance, kind, pid, fds).and_then(|(prepared, mut fds)| {
                    fds.extend(self.dial(pid, false, DIALLED_AT_ONCE)?);
                    Ok((prepared, fds))
                });
                self.reply_prepared(session, request, result);
            }
            (Pending::Serve { session, request, instance }, report) => {
                let failed = if let Report::Served { .. } = report { None } else { Some(refusal_of(report)) };
                self.on_served(session, request, &instance, failed);
            }
            (Pending::Build(pending), Report::Built { pid, .. }) => self.on_build_launched(pending, pid, fds),
            (Pending::Build(pending), report) => self.on_build_failed(pending, refusal_of(report)),
            (Pending::Import { session, request, ids }, Report::Imported { tree, .. }) => {
                self.ids.give_back(ids);
                self.reply(session, request, Ok(Answer::Imported { tree }), Vec::new());
            }
            (Pending::Prepare { session, request, ids, instance, .. }, report) => {
                // The failed child may not be reaped yet; its group tells when its ids are free. It never ran foreign
                // code, so giving the block back early exposes nothing.
                self.leftovers.insert(instance.to_string());
                self.ids.give_back(ids);
                self.reply(session, request, Err(refusal_of(report)), Vec::new());
            }
            (Pending::PrepareService { session, request, ids, instance, .. }, report) => {
                // As above.
                self.leftovers.insert(instance.to_string());
                self.ids.give_back_wide(ids);
                self.reply(session, request, Err(refusal_of(report)), Vec::new());
            }
            (Pending::Import { session, request, ids }, report) => {
                self.ids.give_back(ids);
                self.reply(session, request, Err(refusal_of(report)), Vec::new());
            }
            (Pending::Unpack { session, request, ids, .. }, report) => {
                self.ids.give_back_wide(ids);
                let result = match report {
                    Report::Unpacked { opaque, .. } => Ok(Answer::Unpacked { opaque }),
                    report => Err(refusal_of(report)),
                };
                self.reply(session, request, result, Vec::new());
            }
            (Pending::Capture { ids }, _) => self.ids.give_back(ids),
        }
    }

    fn reply_prepared(&mut self, session: u64, request: u64, result: Result<(Prepared, Vec<OwnedFd>), Refusal>) {
        match result {
            Ok((prepared, fds)) => self.reply(session, request, Ok(Answer::Prepared(prepared)), fds),
            Err(refusal) => self.reply(session, request, Err(refusal), Vec::new()),
        }
    }

    fn on_launched(
        &mut self,
        session: u64,
        instance: InstanceId,
        kind: Kind,
        pid: u32,
        fds: Vec<OwnedFd>,
    ) -> Result<(Prepared, Vec<OwnedFd>), Refusal> {
        let broken = |what: &str| Refusal::Kernel(format!("a spawner reported {what}"));
        let [pidfd, control, stdout, stderr, freezer_control, freezer_events] =
            <[OwnedFd; 6]>::try_from(fds).map_err(|_| broken("without descriptors"))?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| broken("no process"))?;
        let group = self.groups_root.open(instance.as_str()).map_err(|error| broken(&error.to_string()))?;
        let freezer = Freezer::from_fds(self.freezer_kind(), freezer_control, freezer_events);
        let alive = self.session_mut(session).is_some();
        let sandbox = Sandbox {
            instance: instance.clone(),
            kind,
            pid,
            pidfd,
            control,
            stdout,
            stderr,
            freezer,
            group,
            session: alive.then_some(session),
            purpose: Purpose::Waiting,
            address: self.attachments.take(&instance),
        };
        let fds = sandbox.descriptors().map_err(|error| Refusal::NoRoom(error.to_string()));
        let prepared = self.prepared(&sandbox);
        if !alive || fds.is_err() {
            let _ = sandbox.group.kill();
        }
        self.sandboxes.insert(sandbox);
        Ok((prepared, fds?))
    }
}

fn refusal_of(report: Report) -> Refusal {
    match report {
        Report::Failed { refusal, .. } => refusal,
        Report::Launched { .. }
        | Report::Served { .. }
        | Report::Built { .. }
        | Report::Imported { .. }
        | Report::Unpacked { .. } => Refusal::Kernel("a spawner mixed up two orders".into()),
    }
}

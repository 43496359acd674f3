//! Ends: of sandboxes, servers and spawners, and of the whole.

use super::{MAX_FAILED_STARTS, MAX_PAUSE, SETTLED, Warden};
use crate::WardenError;
use crate::network::Network;
use crate::orders::Report;
use crate::sandboxes::{Kind, Purpose, Sandbox, exit_status};
use crate::session::{Session, SessionState};
use dockless_model::InstanceId;
use dockless_sandbox::protocol::{Happening, Refusal};
use rustix::process::WaitOptions;
use std::io;
use std::time::{Duration, Instant};

impl Warden {
    /// Collects every child that ended: servers, spawners, sandboxes.
    pub(super) fn reap(&mut self) -> Result<(), WardenError> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if let Some(sandbox) = self.sandboxes.remove_pid(pid) {
                        self.on_sandbox_exit(sandbox, status);
                    } else if self.on_build_exit(pid, status) {
                        // Put away.
                    } else if let Some(index) = self.sessions.iter().position(|session| session.pid == pid) {
                        self.on_server_exit(index, status)?;
                    } else if let Some(index) = self.spawners.iter().position(|spawner| spawner.pid == pid) {
                        self.on_spawner_exit(index).map_err(WardenError::at("fork a spawner"))?;
                    } else if self.attachments.is_router(pid) {
                        self.on_router_exit().map_err(WardenError::at("fork the router"))?;
                    }
                }
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(WardenError::at("wait for children")(error.into())),
            }
        }
    }

    fn on_sandbox_exit(&mut self, sandbox: Sandbox, status: rustix::process::WaitStatus) {
        let usage = sandbox.usage();
        let _ = std::fs::remove_file(self.world.socket(&sandbox.instance));
        if sandbox.group.remove().is_err() {
            self.leftovers.insert(sandbox.instance.to_string());
        }
        // The first process of a pid namespace is reaped after all others: nothing has these ids any more.
        match sandbox.kind {
            Kind::Function { ids, .. } => self.ids.give_back(ids),
            Kind::Service { ids, .. } => self.ids.give_back_wide(ids),
        }
        if let Purpose::Serving { groups, .. } = &sandbox.purpose {
            self.groups.leave(groups);
        }
        let what = Happening::Exited {
            instance: sandbox.instance.clone(),
            tag: sandbox.tag().to_owned(),
            status: exit_status(status),
            usage,
        };
        self.tell(sandbox.session, what);
    }

    fn on_server_exit(&mut self, index: usize, status: rustix::process::WaitStatus) -> Result<(), WardenError> {
        let session = self.sessions.remove(index);
        let expected = self.is_stopping() || session.state == SessionState::Draining;
        if expected {
            tracing::debug!(session = session.number, "server ended");
        } else {
            tracing::warn!(session = session.number, status = ?exit_status(status), "the server ended unexpectedly");
        }
        if let Some((asker, request, wanted)) = self.upgrade
            && (wanted == session.number || asker == session.number)
        {
            self.upgrade = None;
            let refusal = Refusal::Kernel("the new server ended before it answered; this one goes on".into());
            self.reply(asker, request, Err(refusal), Vec::new());
        }
        self.builds.end_session(session.number);
        let orphans: Vec<InstanceId> = self
            .sandboxes
            .iter_mut()
            .filter(|sandbox| sandbox.session == Some(session.number))
            .map(|sandbox| {
                sandbox.session = None;
                sandbox.instance.clone()
            })
            .collect();
        let heir =
            self.sessions.iter().filter(|other| other.state >= SessionState::Greeted).map(|other| other.number).max();
        if let Some(heir) = heir {
            self.tell_again(heir);
            if let Some(heir) = self.session_mut(heir) {
                for instance in orphans {
                    heir.event(0, Happening::Released { instance });
                }
            }
        }
        let someone_serves = self.sessions.iter().any(|other| other.state == SessionState::Serving);
        let someone_starts = self.sessions.iter().any(|other| other.state < SessionState::Serving);
        if self.is_stopping() || someone_serves || someone_starts {
            return Ok(());
        }
        let settled = session.state >= SessionState::Serving && session.since.elapsed() >= SETTLED;
        self.failed_starts = if settled { 0 } else { self.failed_starts + 1 };
        if !self.ever_served && self.failed_starts >= MAX_FAILED_STARTS {
            return Err(WardenError::ServerFails(self.failed_starts));
        }
        // At once the first time: connections wait in the listeners' queues meanwhile.
        let pause = match self.failed_starts {
            0 | 1 => Duration::ZERO,
            more => (Duration::from_millis(100) * 2_u32.saturating_pow(more.min(10))).min(MAX_PAUSE),
        };
        self.start_again = Some(Instant::now() + pause);
        Ok(())
    }

    fn on_spawner_exit(&mut self, index: usize) -> io::Result<()> {
        let fresh = self.fork_spawner()?;
        let gone = std::mem::replace(&mut self.spawners[index], fresh);
        tracing::error!("a spawner ended; what it was making fails");
        for ticket in gone.busy {
            let refusal = Refusal::Kernel("the spawner ended".into());
            self.on_report(Report::Failed { ticket, refusal }, Vec::new());
        }
        Ok(())
    }

    pub(super) fn sweep_leftovers(&mut self) {
        if self.leftovers.is_empty() {
            return;
        }
        let root = &self.groups_root;
        self.leftovers.retain(|name| match root.open(name) {
            Ok(group) => {
                let _ = group.kill();
                group.remove().is_err()
            }
            Err(_) => false,
        });
    }

    /// Ends everything that is left, in an order in which nothing can come back.
    pub(super) fn end(self, result: Result<(), WardenError>) -> Result<(), WardenError> {
        self.sessions.iter().for_each(Session::kill);
        let server_json = self.world.run.join("server.json");
        let _ = std::fs::remove_file(server_json);
        for sandbox in self.sandboxes.iter() {
            let _ = sandbox.group.kill();
        }
        if let Some(router) = self.attachments.router() {
            let _ = rustix::process::kill_process(router, rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(Some(router), WaitOptions::empty());
        }
        for spawner in &self.spawners {
            let _ = rustix::process::kill_process(spawner.pid, rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(Some(spawner.pid), WaitOptions::empty());
        }
        // What a spawner was making when it was killed is in no table, but in its group.
        for leaf in self.groups_root.leaves().unwrap_or_default() {
            if let Ok(group) = self.groups_root.open(&leaf) {
                let _ = group.kill();
            }
        }
        // Every child was told to die; each wait returns as soon as one has.
        while !matches!(rustix::process::wait(WaitOptions::empty()), Err(rustix::io::Errno::CHILD)) {}
        let Self { groups_root, world, network, .. } = self;
        let builds = crate::builds::sweep::empty(&world.builds_path());
        let builds = builds.map_err(WardenError::at("remove work folders of builds"));
        let swept = groups_root.sweep().map(drop).map_err(WardenError::at("remove control groups"));
        let unmade = world.unmake().map_err(WardenError::at("remove the run folder"));
        let network = network.map_or(Ok(()), Network::unmake);
        let network = network.map_err(WardenError::at("take away the way out of sandboxes"));
        result.and(swept).and(builds).and(unmade).and(network)
    }
}

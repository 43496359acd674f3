//! All sandboxes of this warden.

use crate::ids::{IdBlock, WideBlock};
use dockless_model::{Digest, InstanceId, MemoryMib, RuntimeId};
use dockless_sandbox::protocol::{ExitStatus, GroupCap, Listed, Origin, Usage};
use dockless_sys::cgroup::{Freezer, Group};
use rustix::process::Pid;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

/// A sandbox from its launch until its processes are reaped.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) instance: InstanceId,
    pub(crate) kind: Kind,
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) freezer: Freezer,
    pub(crate) group: Group,
    /// Which server owns it.
    pub(crate) session: Option<u64>,
    pub(crate) purpose: Purpose,
    /// In the network of sandboxes, if it has a link there.
    pub(crate) address: Option<Ipv4Addr>,
}

/// What it was made from, and its ids.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The sandbox of a function.
    Function { runtime: RuntimeId, memory: MemoryMib, ids: IdBlock },
    /// The sandbox of a service. Its layers come with its `go`, and the gate goes with it.
    Service { layers: Vec<Digest>, gate: Option<Gate>, ids: WideBlock },
}

/// What a blank sandbox is given its root through.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Hears one message.
    pub(crate) message: OwnedFd,
    /// The user namespace that owners are shifted to.
    pub(crate) users: OwnedFd,
}

/// Prepared → Gone to its code, once.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// Nobody's yet.
    Waiting,
    /// Runs code for somebody.
    Serving { code: Option<Digest>, groups: Vec<GroupCap>, tag: String, baseline: Usage },
}

impl Sandbox {
    pub(crate) fn tag(&self) -> &str {
        match &self.purpose {
            Purpose::Waiting => "",
            Purpose::Serving { tag, .. } => tag,
        }
    }

    /// Counters since `go` (or birth); peaks and levels as they are.
    pub(crate) fn usage(&self) -> Usage {
        let now = self.group.usage().map(counters).unwrap_or_default();
        let base = match &self.purpose {
            Purpose::Waiting => Usage::default(),
            Purpose::Serving { baseline, .. } => *baseline,
        };
        Usage {
            cpu_us: now.cpu_us.saturating_sub(base.cpu_us),
            oom_kills: now.oom_kills.saturating_sub(base.oom_kills),
            pids_refused: now.pids_refused.saturating_sub(base.pids_refused),
            ..now
        }
    }

    pub(crate) fn listed(&self) -> Listed {
        Listed {
            instance: self.instance.clone(),
            origin: match &self.kind {
                Kind::Function { runtime, memory, .. } => Origin::Runtime { runtime: runtime.clone(), memory: *memory },
                Kind::Service { .. } => Origin::Image,
            },
            pid: self.pid.as_raw_nonzero().get().cast_unsigned(),
            gone: matches!(self.purpose, Purpose::Serving { .. }),
            tag: self.tag().to_owned(),
            session: self.session,
            frozen: self.freezer.is_frozen().unwrap_or(false),
        }
    }

    /// Duplicates for a server: control, stdout, stderr, freezer control, freezer events.
    pub(crate) fn descriptors(&self) -> std::io::Result<Vec<OwnedFd>> {
        let (_, freeze, events) = self.freezer.try_clone()?.into_fds();
        Ok(vec![self.control.try_clone()?, self.stdout.try_clone()?, self.stderr.try_clone()?, freeze, events])
    }
}

/// The protocol's counters from the kernel's.
pub(crate) fn counters(usage: dockless_sys::cgroup::Usage) -> Usage {
    Usage {
        cpu_us: usage.cpu_us,
        memory_bytes: usage.memory_bytes,
        memory_peak_bytes: usage.memory_peak_bytes,
        oom_kills: usage.oom_kills,
        pids_refused: usage.pids_refused,
    }
}

/// How a process ended, in the protocol's words.
pub(crate) fn exit_status(status: rustix::process::WaitStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => ExitStatus::Code(-1),
    }
}

/// Found by instance and by process.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    by_instance: HashMap<InstanceId, Sandbox>,
    by_pid: HashMap<Pid, InstanceId>,
    by_address: HashMap<Ipv4Addr, InstanceId>,
}

impl Sandboxes {
    pub(crate) fn insert(&mut self, sandbox: Sandbox) {
        self.by_pid.insert(sandbox.pid, sandbox.instance.clone());
        if let Some(address) = sandbox.address {
            self.by_address.insert(address, sandbox.instance.clone());
        }
        self.by_instance.insert(sandbox.instance.clone(), sandbox);
    }

    pub(crate) fn get(&self, instance: &InstanceId) -> Option<&Sandbox> {
        self.by_instance.get(instance)
    }

    pub(crate) fn get_mut(&mut self, instance: &InstanceId) -> Option<&mut Sandbox> {
        self.by_instance.get_mut(instance)
    }

    pub(crate) fn remove_pid(&mut self, pid: Pid) -> Option<Sandbox> {
        let instance = self.by_pid.remove(&pid)?;
        let sandbox = self.by_instance.remove(&instance)?;
        if let Some(address) = sandbox.address {
            self.by_address.remove(&address);
        }
        Some(sandbox)
    }

    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<&Sandbox> {
        self.by_instance.get(self.by_address.get(&address)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sandbox> {
        self.by_instance.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sandbox> {
        self.by_instance.values_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_instance.len()
    }

    /// Whether any sandbox runs this code or this root.
    pub(crate) fn uses_code(&self, tree: &Digest) -> bool {
        self.iter().any(|sandbox| matches!(&sandbox.purpose, Purpose::Serving { code: Some(code), .. } if code == tree))
    }

    /// Whether any sandbox has this layer in its root.
    pub(crate) fn uses_layer(&self, layer: &Digest) -> bool {
        self.iter().any(|sandbox| matches!(&sandbox.kind, Kind::Service { layers, .. } if layers.contains(layer)))
    }
}

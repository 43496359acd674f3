//! What is asked of the sandboxes of services: to be made, to get an image, sockets into them, their share.

use crate::orders::{Blank, Order, Serve};
use crate::sandboxes::Kind;
use crate::verbs::{Whose, check_env, set_limits};
use crate::warden::{Pending, Warden};
use dockless_model::image::Process;
use dockless_model::{InstanceId, Slot};
use dockless_sandbox::protocol::{Answer, ImageWork, MAX_ARGS, MAX_FDS, MAX_LAYERS, Refusal};
use dockless_sys::cgroup::{CpuQuota, GroupLimits};
use dockless_sys::namespaces::visit_network;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// Less is not even enough for a sandbox's first process.
const MIN_MEMORY: u64 = 8 * 1024 * 1024;
/// The kernel's own for a new group.
const DEFAULT_WEIGHT: u16 = 100;

impl Warden {
    /// Has a sandbox made; answered when it waits for an image.
    pub(crate) fn prepare_service(&mut self, session: u64, request: u64, instance: InstanceId) -> Result<(), Refusal> {
        self.check_new(&instance)?;
        let ids = self.ids.take_wide().ok_or_else(|| Refusal::NoRoom("no id block is free".into()))?;
        let ticket = self.new_ticket();
        let order = Order::Blank(Blank { ticket, instance: instance.clone(), ids });
        if let Err(refusal) = self.ask_launcher(ticket, &order, &[]) {
            self.ids.give_back_wide(ids);
            return Err(refusal);
        }
        self.pending.insert(ticket, Pending::PrepareService { session, request, instance, ids });
        Ok(())
    }

    /// Has an image started in a sandbox; answered when its program starts.
    pub(crate) fn go_image(
        &mut self,
        (session, request): (u64, u64),
        instance: &InstanceId,
        work: ImageWork,
        whose: Whose,
    ) -> Result<(), Refusal> {
        let ImageWork { layers, process, memory_bytes } = work;
        check_process(&process)?;
        if !(1..=MAX_LAYERS).contains(&layers.len()) {
            return Err(Refusal::Bad(format!("an image has 1 to {MAX_LAYERS} layers")));
        }
        if memory_bytes < MIN_MEMORY {
            return Err(Refusal::Bad(format!("a service has at least {MIN_MEMORY} bytes of memory")));
        }
        for layer in &layers {
            if !self.world.layers_path().join(layer.to_string()).is_dir() {
                return Err(Refusal::Unknown(format!("layer {layer}")));
            }
        }
        let sandbox = self.waiting(session, instance, &whose)?;
        let Kind::Service { ids, .. } = &sandbox.kind else {
            return Err(Refusal::Bad("a function has no image".into()));
        };
        let ids = *ids;
        let weight = Some(whose.cpu_weight()).filter(|weight| *weight != DEFAULT_WEIGHT);
        let limits = GroupLimits { memory_bytes: Some(memory_bytes), cpu_weight: weight, ..GroupLimits::default() };
        set_limits(sandbox, &limits)?;
        self.groups.join(whose.groups()).map_err(Refusal::CapReached)?;
        let ticket = self.new_ticket();
        let order = Order::Serve(Serve { ticket, layers: layers.clone(), process, memory_bytes, ids });
        let joined = whose.groups().to_vec();
        if let Err(refusal) = self.hand_to_spawner(instance, &order, ticket) {
            self.groups.leave(&joined);
            return Err(refusal);
        }
        if let Some(sandbox) = self.sandboxes.get_mut(instance) {
            if let Kind::Service { layers: used, .. } = &mut sandbox.kind {
                *used = layers;
            }
            sandbox.purpose = whose.serving(None);
            self.just_gone = Some(instance.clone());
        }
        self.pending.insert(ticket, Pending::Serve { session, request, instance: instance.clone() });
        Ok(())
    }

    /// The gate goes with the order: whatever becomes of it, nobody else opens it.
    fn hand_to_spawner(&mut self, instance: &InstanceId, order: &Order, ticket: u64) -> Result<(), Refusal> {
        let gate = match self.sandboxes.get_mut(instance).map(|sandbox| &mut sandbox.kind) {
            Some(Kind::Service { gate, .. }) => gate.take(),
            _ => None,
        };
        let gate = gate.ok_or_else(|| Refusal::Kernel("the sandbox has no gate".into()))?;
        self.ask_launcher(ticket, order, &[gate.message.as_fd(), gate.users.as_fd()])
    }

    /// An image was started in a sandbox, or not: then that is of no more use.
    pub(crate) fn on_served(&mut self, session: u64, request: u64, instance: &InstanceId, failed: Option<Refusal>) {
        let result = match failed {
            None => Ok(Answer::Done),
            Some(refusal) => {
                if let Some(sandbox) = self.sandboxes.get(instance) {
                    let _ = sandbox.group.kill();
                }
                Err(refusal)
            }
        };
        self.reply(session, request, result, Vec::new());
    }

    /// Sockets of the network of a process that is our child and not reaped.
    pub(crate) fn dial(&self, pid: u32, v6: bool, count: u8) -> Result<Vec<OwnedFd>, Refusal> {
        if !(1..=MAX_FDS).contains(&usize::from(count)) {
            return Err(Refusal::Bad(format!("1 to {MAX_FDS} sockets at once")));
        }
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = || Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?);
        File::open(format!("/proc/{pid}/ns/net"))
            .and_then(|there| {
                visit_network(&self.network_home, there.as_fd(), || (0..count).map(|_| socket()).collect())
            })
            .map_err(|error| Refusal::Kernel(format!("cannot dial: {error}")))
    }

    pub(crate) fn throttle(&self, session: u64, instance: &InstanceId, millicores: u32) -> Result<Answer, Refusal> {
        let sandbox = self.owned(session, instance)?;
        if millicores < Slot::MIN_MILLICORES {
            return Err(Refusal::Bad(format!("at least {} millicores", Slot::MIN_MILLICORES)));
        }
        // In a period of 100 ms a millicore is 100 µs.
        let quota = CpuQuota { quota_us: u64::from(millicores) * 100, period_us: 100_000 };
        set_limits(sandbox, &GroupLimits { cpu_quota: Some(quota), ..GroupLimits::default() }).map(|()| Answer::Done)
    }
}

fn check_process(process: &Process) -> Result<(), Refusal> {
    check_env(&process.env)?;
    let args: usize = process.argv.iter().map(String::len).sum();
    if process.argv.is_empty() || args > MAX_ARGS || process.argv.iter().any(|arg| arg.contains('\0')) {
        return Err(Refusal::Bad(format!("a command line has 1 word or more, at most {MAX_ARGS} bytes and no NUL")));
    }
    let folder = &process.working_dir;
    if !(folder.is_empty() || folder.starts_with('/')) || folder.len() > 4096 || folder.contains('\0') {
        return Err(Refusal::Bad("a working folder is an absolute path".into()));
    }
    Ok(())
}

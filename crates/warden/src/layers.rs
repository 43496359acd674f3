//! The root-owned store of unpacked layers: `DATA/layers/DIFF_ID`, each a tree in the words of overlayfs.

use crate::orders::{self, Order};
use crate::verbs::{Outcome, cannot_ask};
use crate::warden::{Pending, Warden};
use crate::world::World;
use dockless_model::Digest;
use dockless_sandbox::protocol::{Answer, Refusal};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The attribute of a folder that hides what lower layers have there.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

impl Warden {
    /// Has a layer unpacked; answered when it is done.
    pub(crate) fn unpack(&mut self, session: u64, request: u64, diff_id: Digest, fds: Vec<OwnedFd>) -> Outcome {
        let Some(ids) = self.ids.take_wide() else {
            return Err(Refusal::NoRoom("no block of 65,536 ids is free".into())).into();
        };
        let ticket = self.new_ticket();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let order = Order::Unpack { ticket, diff_id, ids };
        let sent = match self.unpacker() {
            Some(unpacker) => orders::try_send(&unpacker.channel, &order, &borrowed).inspect(|()| {
                unpacker.busy.insert(ticket);
            }),
            None => Err(io::Error::other("there is no unpacker")),
        };
        if let Err(error) = sent {
            self.ids.give_back_wide(ids);
            return Err(cannot_ask("unpacker", &error)).into();
        }
        self.pending.insert(ticket, Pending::Unpack { session, request, diff_id, ids });
        Outcome::later()
    }

    /// Deletes an unpacked layer.
    pub(crate) fn forget_layer(&mut self, diff_id: &Digest) -> Result<Answer, Refusal> {
        let wanted = self.pending.values().any(|pending| pending.needs_layer(diff_id));
        if wanted || self.sandboxes.uses_layer(diff_id) {
            return Err(Refusal::InUse(format!("layer {diff_id}")));
        }
        delete(&self.world, diff_id).map(|()| Answer::Done)
    }
}

/// Removes what an unpacker or a deletion left behind when the power went.
pub(crate) fn sweep(world: &World) {
    for entry in std::fs::read_dir(world.layers_path()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tmp-") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether nothing below this layer shows. Overlayfs asks every folder but roots, so it is asked here.
pub(crate) fn is_opaque(layer: &Path) -> io::Result<bool> {
    let mut value = [0; 1];
    match rustix::fs::lgetxattr(layer, OPAQUE, &mut value) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a layer: out of its name first, so that a cut leaves only a temporary folder.
fn delete(world: &World, diff_id: &Digest) -> Result<(), Refusal> {
    let path = world.layers_path().join(diff_id.to_string());
    if !path.is_dir() {
        return Err(Refusal::Unknown(format!("layer {diff_id}")));
    }
    let away = world.layers_path().join(format!("tmp-gone-{diff_id}"));
    std::fs::rename(&path, &away)
        .and_then(|()| std::fs::remove_dir_all(&away))
        .map_err(|error| Refusal::Kernel(format!("cannot delete layer {diff_id}: {error}")))
}

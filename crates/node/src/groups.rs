//! What the warden counts, over all servers of this machine.

use crate::Spec;
use dockless_model::{Digest, Plan};
use dockless_sandbox::protocol::GroupCap;

/// The groups an instance joins: its account's and its own.
pub(crate) fn of(spec: &Spec) -> Vec<GroupCap> {
    let account = GroupCap { name: format!("account:{}", spec.account), max: Plan::Owner.function_instances() };
    // A group's name is at most 512 bytes, a path may be longer.
    let path = Digest::of(spec.name.as_str().as_bytes());
    let own = GroupCap { name: format!("function:{}/{path}", spec.deployment), max: spec.max_instances() };
    vec![account, own]
}

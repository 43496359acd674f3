//! The privileged process: small, synchronous, one thread, no network parsing and no database.
//!
//! ```text
//!  warden ──fork──► spawner × min(cores, 4), importer, unpacker (root, one thread each: a fork of them copies almost nothing)
//!     │                 └─clone3(CLONE_PARENT)─► sandboxes (own namespaces and ids; children of the warden)
//!     └────fork+exec──► server                             (unprivileged; asks through one seqpacket socket)
//! ```
//! [`run`] is the whole life: make the world, capture runtimes, start the server, serve its wishes, end everything.

mod builds;
mod child;
mod config;
#[cfg(fuzzing)]
pub mod fuzzing;
mod groups;
mod ids;
mod importer;
mod init;
mod layers;
mod network;
mod notify;
mod orders;
mod probe;
mod sandboxes;
mod server;
mod services;
mod session;
mod spawner;
mod trees;
mod unpacker;
mod verbs;
mod warden;
mod world;

pub use builds::inside_builds;
pub use config::{RuntimeSource, WardenConfig, WardenError, run_folder};
pub use groups::Groups;
pub use network::{AddressRange, EgressPlan, RangeError, probe_egress};
pub use probe::{Finding, probe, probe_groups};
pub use trees::RuntimeFile;
pub use warden::run;

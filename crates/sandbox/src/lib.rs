//! What may be asked of a sandbox, and in which words. Pure: no I/O here, so that the privileged side and the
//! unprivileged side read one definition.
//!
//! - [`protocol`]: server ↔ warden, one JSON message a packet, descriptors beside it;
//! - [`bundle`]: the manifest of a tree that the warden is asked to import;
//! - [`layer`]: bounds of the layers it is asked to unpack;
//! - [`frames`]: host ↔ launcher on descriptor 4 of every function sandbox;
//! - [`program`]: what the bundle of a compiled function says of its program;
//! - [`workshop`]: server ↔ foreman of a build sandbox, and [`pack`], the stream its files travel in.

pub mod bundle;
pub mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod layer;
pub mod pack;
pub mod program;
pub mod protocol;
pub mod workshop;

/// Where a function's code appears inside its sandbox.
pub const CODE_ROOT: &str = "/var/task";
/// Where the launchers lie inside a runtime's root tree.
pub const LAUNCHER_ROOT: &str = "/opt/dockless";
/// The program of a runtime whose launcher is the platform's own binary, which is started under this name: for an
/// interpreter that speaks FastCGI.
pub const FASTCGI: &str = "dockless-fastcgi";
/// The same, for programs that bundles bring along.
pub const PROGRAM: &str = "dockless-program";
/// The descriptor on which a launcher accepts HTTP/1.1.
pub const LISTENER_FD: i32 = 3;
/// The descriptor of the control channel.
pub const CONTROL_FD: i32 = 4;
/// Where names and apps are answered inside every sandbox that has a way out. Link-local: nothing that may be reached can
/// have it.
pub const GATEWAY: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 1, 1);

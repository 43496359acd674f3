//! Server ↔ warden: one JSON message in each packet of a seqpacket socketpair, descriptors beside it (SCM_RIGHTS).
//!
//! The warden trusts nothing in here: digests and ids only, never a path, uid or security option. It resolves them
//! under its own root-owned tree. Starting is two-phased so that a prewarmed sandbox, a cold start and (later) a
//! container's create/start are one path:
//!
//! ```text
//! server                                        warden
//!   │ hello{versions} ────────────────────────────► │
//!   │ ◄──── welcome{version, session, runtimes, …}  │
//!   │ import ─ fds[manifest, content] ────────────► │ sandboxed importer ─► trees/DIGEST
//!   │ prepare{instance, runtime, memory} ─────────► │ sandbox with the runtime's root, nobody's yet
//!   │ ◄─ prepared ─ fds[control, stdout, stderr,    │
//!   │               freezer control, freezer events]│
//!   │ go{instance, work, groups, tag} ────────────► │ code mounted or program started, owner set; once
//!   │ ◄──────────────────────────────────── done    │
//!   │ ◄──── event exited{instance, status, usage} ──│ kept until acknowledged
//! ```
//! Unknown fields are ignored; an unknown verb is answered with [`Refusal::Unsupported`].

use dockless_model::image::Process;
use dockless_model::{Digest, InstanceId, MemoryMib, RuntimeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The version of this protocol that this program speaks.
pub const VERSION: u32 = 1;
/// Longest message in bytes; larger payloads travel in a memfd.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// Most descriptors beside one message.
pub const MAX_FDS: usize = 8;
/// Longest tag.
pub const MAX_TAG: usize = 8 * 1024;
/// Largest exec-time environment, names and values summed.
pub const MAX_ENV: usize = 64 * 1024;
/// Longest command line of a service, summed.
pub const MAX_ARGS: usize = 16 * 1024;
/// Most layers of an image: their options must fit into the page that mount(2) takes.
pub const MAX_LAYERS: usize = 127;

/// Stores of builds that are kept at most: their names fit into one message.
pub const MAX_STORES: usize = 256;
/// Most names of trees in one answer.
pub const MAX_STORED: usize = 1000;

/// From the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the server, returned in the [`Reply`].
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub verb: Verb,
}

/// What a server may ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Verb {
    /// First message of a session. → [`Answer::Welcome`]
    Hello {
        /// Versions the server speaks.
        versions: Vec<u32>,
    },
    /// This server answers requests now: an older session may be told to drain. → [`Answer::Done`]
    Serving,
    /// Make a tree of regular files. Descriptors: manifest (JSON [`crate::bundle::TreeManifest`]), contents; both
    /// memfds or regular files read from offset 0. → [`Answer::Imported`]; a tree that exists already is not made again.
    Import,
    /// Delete a tree that no sandbox uses. → [`Answer::Done`]
    Forget {
        /// The tree.
        tree: Digest,
    },
    /// Unpack a layer of an image. Descriptor: its archive as it came, a regular file or memfd read from offset 0, a tar
    /// that may be packed with gzip or zstd, within the bounds of [`crate::layer`]. → [`Answer::Unpacked`]; a layer that
    /// is unpacked already is not unpacked again.
    Unpack {
        /// SHA-256 of the unpacked archive, which names the layer and is verified.
        diff_id: Digest,
    },
    /// Delete an unpacked layer that no sandbox uses. → [`Answer::Done`]
    ForgetLayer {
        /// The layer.
        diff_id: Digest,
    },
    /// Make a sandbox and start the runtime's launcher in it. → [`Answer::Prepared`] with five descriptors.
    Prepare {
        /// Chosen by the server.
        instance: InstanceId,
        /// Which root and launcher.
        runtime: RuntimeId,
        /// Memory class: the limit set from the start.
        memory: MemoryMib,
        /// Environment at process start, beyond the fixed one.
        #[serde(default)]
        env: BTreeMap<String, String>,
    },
    /// Make a sandbox in which an image can be started: everything but the root and the limits, which its `go` brings.
    /// → [`Answer::Prepared`] with the five descriptors and two sockets as [`Verb::Dial`] makes them.
    PrepareService {
        /// Chosen by the server.
        instance: InstanceId,
    },
    /// Make TCP sockets inside the sandbox's network, not connected yet: connections from them come from within, so
    /// that a server on its loopback is reached. → [`Answer::Dialled`] with so many descriptors.
    Dial {
        /// Which sandbox.
        instance: InstanceId,
        /// For IPv6 instead of IPv4.
        #[serde(default)]
        v6: bool,
        /// How many: 1 to [`MAX_FDS`].
        count: u8,
    },
    /// Limit a sandbox's processor from now on, in thousandths of a core: what is unlimited while it boots.
    /// → [`Answer::Done`]
    Throttle {
        /// Which.
        instance: InstanceId,
        /// At least 10.
        millicores: u32,
    },
    /// Give a prepared sandbox its code, where it is one of a function, and its owner; the program of a service is
    /// started. Once. → [`Answer::Done`]
    Go {
        /// Which sandbox.
        instance: InstanceId,
        /// What it is to do.
        work: Work,
        /// Counted groups it joins; over the cap → [`Refusal::CapReached`].
        groups: Vec<GroupCap>,
        /// Relative share of the processor, 1 to 10,000.
        cpu_weight: u16,
        /// Opaque to the warden; given back by `list` so that another server knows what this is. At most [`MAX_TAG`].
        tag: String,
    },
    /// Take the way out away from a sandbox, for good: its link goes down and stays. → [`Answer::Done`] once it is, also if
    /// there was none
    Cut {
        /// Which sandbox.
        instance: InstanceId,
    },
    /// Make a build sandbox: a work folder of its own, no network but the listener that is handed out. It ends with the
    /// session that asked for it. → [`Answer::Building`] with three descriptors.
    Build {
        /// Chosen by the server.
        instance: InstanceId,
        /// Which kind.
        profile: crate::workshop::Profile,
        /// Whose interpreter it finds at [`crate::workshop::RUNTIME_ROOT`].
        runtime: RuntimeId,
        /// Trees it finds under [`crate::workshop::TOOLS_ROOT`]. At most [`crate::workshop::MAX_TOOLS`].
        #[serde(default)]
        tools: Vec<Digest>,
        /// A folder of layers that outlives it, by a name of the server's, made if it is missing: for
        /// [`crate::workshop::Profile::Images`]. One build at a time has it, others → [`Refusal::InUse`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<Digest>,
    },
    /// Trees and layers that were put in place, or asked for again, so long ago; runtimes apart. In their order, at most
    /// [`MAX_STORED`]. → [`Answer::Stored`]
    Stored {
        /// Milliseconds since then, at least.
        older_ms: u64,
        /// Those behind this one.
        #[serde(default)]
        after: Option<Digest>,
    },
    /// Remove all stores of builds but these and those in use. → [`Answer::Done`]
    KeepStores {
        /// At most [`MAX_STORES`].
        stores: Vec<Digest>,
    },
    /// End a build sandbox now. Its `built` event follows. → [`Answer::Done`], also if it is gone already.
    EndBuild {
        /// Which.
        instance: InstanceId,
    },
    /// End a sandbox now, whatever it does. Its `exited` event follows. → [`Answer::Done`], also if it is gone already.
    Kill {
        /// Which.
        instance: InstanceId,
    },
    /// Counters so far. → [`Answer::Usage`]
    Stats {
        /// Which.
        instance: InstanceId,
    },
    /// All sandboxes. → [`Answer::Instances`]
    List,
    /// Own a sandbox whose session is gone or that was released. → [`Answer::Prepared`] with five descriptors.
    Adopt {
        /// Which.
        instance: InstanceId,
    },
    /// Let go of a sandbox, so that another session may adopt it. → [`Answer::Done`]
    Release {
        /// Which.
        instance: InstanceId,
    },
    /// The sockets at [`crate::GATEWAY`], which every server may serve. → [`Answer::Done`] with three descriptors: questions
    /// for names by datagram and by stream (listening), and apps at the public port (listening); none where sandboxes have
    /// no way out.
    Gateway,
    /// Which sandbox has this address. → [`Answer::Instances`] with it, or with none
    At {
        /// In the network of sandboxes.
        address: Ipv4Addr,
    },
    /// Events up to this number are dealt with. → [`Answer::Done`]
    Acknowledge {
        /// Highest [`Event::seq`] dealt with.
        seq: u64,
    },
    /// Open anew the files that the warden was told of at its start: certificates, which only root may read. → [`Answer::Done`]
    /// with one descriptor for each, in their order.
    OpenFiles,
    /// Start a new server from the configured binary and hand over to it. → [`Answer::Done`] once it serves.
    Upgrade,
}

/// What a sandbox is to do from its `go` on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The bundle of a function, mounted read-only at [`crate::CODE_ROOT`].
    Bundle(Digest),
    /// The program of an image.
    Image(Box<ImageWork>),
}

/// An image to start, with a writable layer of the instance's own on top.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageWork {
    /// Names of unpacked layers, from the lowest to the topmost: 1 to [`MAX_LAYERS`].
    pub layers: Vec<Digest>,
    /// What is started, with its whole environment: within [`MAX_ARGS`] and [`MAX_ENV`].
    pub process: Process,
    /// The limit of memory, files that the instance writes included.
    pub memory_bytes: u64,
}

/// A counted group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCap {
    /// Its name, e.g. `account:acc_…` or `function:dpl_…/api/date`. At most 512 bytes.
    pub name: String,
    /// Most sandboxes in it.
    pub max: u32,
}

/// To the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FromWarden {
    /// To a request.
    Reply(Reply),
    /// Unasked.
    Event(Event),
}

/// The answer to one request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    /// Of the request.
    pub id: u64,
    /// What became of it.
    pub result: Result<Answer, Refusal>,
}

/// Good ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To `hello`.
    Welcome(Box<Welcome>),
    /// It is done.
    Done,
    /// To `import`.
    Imported {
        /// The tree's name.
        tree: Digest,
    },
    /// To `unpack`.
    Unpacked {
        /// Its root hides everything below: what lies under this layer must not be mounted.
        opaque: bool,
    },
    /// To `prepare`, `prepare_service` and `adopt`; the descriptors are control, stdout, stderr, freezer control, freezer
    /// events.
    Prepared(Prepared),
    /// To `dial`: sockets beside it.
    Dialled,
    /// To `build`; the descriptors are the foreman's socket, its messages, and the listener at
    /// [`crate::workshop::PROXY_PORT`] inside.
    Building {
        /// Its first process, as the host counts.
        pid: u32,
    },
    /// To `stored`.
    Stored {
        /// Their names.
        trees: Vec<Digest>,
    },
    /// To `stats`.
    Usage(Usage),
    /// To `list`.
    Instances {
        /// Every sandbox; empty if a descriptor comes beside it, a memory file with this list as JSON: many sandboxes
        /// do not fit into one message.
        instances: Vec<Listed>,
    },
}

/// What a session needs to know first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// The version both speak from now on.
    pub version: u32,
    /// Number of this session, counted from 1 since the warden began.
    pub session: u64,
    /// Another session is still alive: this one takes over from it.
    pub succeeds: bool,
    /// What can be run.
    pub runtimes: Vec<Runtime>,
    /// `v1`, `hybrid` or `v2`.
    pub cgroup_layout: String,
    /// Freezer descriptors are of this kind: `v1` or `v2`.
    pub freezer: FreezerKind,
}

/// Which interface a freezer descriptor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FreezerKind {
    /// `freezer.state`
    V1,
    /// `cgroup.freeze` and `cgroup.events`
    V2,
}

/// A captured runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Its id.
    pub id: RuntimeId,
    /// Its root tree.
    pub tree: Digest,
    /// Whether it is the newest of its language on this node, which new builds take.
    pub current: bool,
}

/// A sandbox that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prepared {
    /// Its first process, as the host counts.
    pub pid: u32,
    /// The unix socket on which a launcher accepts, in the run folder that only the server may enter; empty for a service.
    pub socket: String,
    /// Its address in the network of sandboxes; `None` if it has no way out.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
}

/// One line of `list`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listed {
    /// Which.
    pub instance: InstanceId,
    /// What it was made from.
    pub origin: Origin,
    /// First process, as the host counts.
    pub pid: u32,
    /// Has had its `go`.
    pub gone: bool,
    /// As given by `go`; empty before.
    pub tag: String,
    /// The session that owns it, if any.
    pub session: Option<u64>,
    /// Frozen just now.
    pub frozen: bool,
}

/// What a sandbox was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A runtime: the sandbox of a function.
    Runtime {
        /// Which.
        runtime: RuntimeId,
        /// Its memory class.
        memory: MemoryMib,
    },
    /// An image: the sandbox of a service.
    Image,
}

/// Cumulative since birth, or since `go` for a sandbox that waited on the shelf.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time in microseconds.
    pub cpu_us: u64,
    /// Memory now in bytes.
    pub memory_bytes: u64,
    /// Largest memory in bytes.
    pub memory_peak_bytes: u64,
    /// Processes the kernel killed for memory.
    pub oom_kills: u64,
    /// Forks refused by the limit of processes.
    pub pids_refused: u64,
}

/// Something happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// Counts up; what is not acknowledged is sent again to the next session.
    pub seq: u64,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What a warden tells unasked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// A sandbox is gone: processes reaped, group removed.
    Exited {
        /// Which.
        instance: InstanceId,
        /// Its tag.
        tag: String,
        /// How its first process ended.
        status: ExitStatus,
        /// Final counters.
        usage: Usage,
    },
    /// A build sandbox is gone; its work folder is being removed.
    Built {
        /// Which.
        instance: InstanceId,
        /// How its first process ended.
        status: ExitStatus,
        /// Final counters.
        usage: Usage,
    },
    /// Another session let go of this sandbox; it may be adopted.
    Released {
        /// Which.
        instance: InstanceId,
    },
    /// A newer session serves: finish what you have, release what is idle, then exit.
    Drain,
    /// The warden ends: finish what you have within this many milliseconds, then exit.
    Stop {
        /// Time allowed.
        grace_ms: u64,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// By itself.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Bad ends. The server maps them to codes of the platform; the text is for its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", content = "detail", rename_all = "snake_case")]
pub enum Refusal {
    /// No common version in `hello`, or a verb this warden does not know.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// Malformed, over a bound, or out of turn.
    #[error("bad request: {0}")]
    Bad(String),
    /// No such instance, tree or runtime.
    #[error("{0} does not exist")]
    Unknown(String),
    /// A tree that sandboxes use, an instance that another session owns.
    #[error("{0} is in use")]
    InUse(String),
    /// A counted group is full.
    #[error("group {0} is full")]
    CapReached(String),
    /// No id block, group, descriptor or disk left.
    #[error("no room: {0}")]
    NoRoom(String),
    /// The kernel said no.
    #[error("{0}")]
    Kernel(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_and_ignore_what_they_do_not_know() {
        let request = Request { id: 3, verb: Verb::Kill { instance: InstanceId::random(&dockless_model::OsEntropy) } };
        let mut json = serde_json::to_value(&request).unwrap();
        json["later"] = true.into();
        let back: Request = serde_json::from_value(json).unwrap();
        assert!(matches!(back.verb, Verb::Kill { .. }) && back.id == 3);
        let reply = FromWarden::Reply(Reply { id: 3, result: Err(Refusal::CapReached("account:x".into())) });
        let text = serde_json::to_string(&reply).unwrap();
        assert!(matches!(serde_json::from_str(&text).unwrap(), FromWarden::Reply(Reply { id: 3, result: Err(_) })));
        assert!(serde_json::from_str::<Request>(r#"{"id":1,"verb":"exec"}"#).is_err());
    }
}

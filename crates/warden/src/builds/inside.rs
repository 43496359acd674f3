//! The child's side: a root of its own, put together from the machine's programs, the runtime and the work folder.
//!
//! ```text
//! /            an in-memory folder, read-only once it is furnished
//! ├── usr      the machine's, read-only; what is configuration in it is hidden
//! ├── bin lib …  links into usr, as on the machine
//! ├── opt/dockless/runtime   the captured runtime     opt/dockless/tools/N   trees of tools
//! ├── etc      written here; alternatives are the machine's (links only)
//! ├── work     the work folder, the only place on disk that can be written
//! └── dev proc tmp sys   as in every sandbox
//! ```

use crate::builds::BuildLaunch;
use crate::child::{self, Failed, Word, furnish, report, step};
use crate::orders;
use crate::world::World;
use dockless_sandbox::workshop::{FOREMAN, PROXY_PORT, Profile, RUNTIME_ROOT, STORE, TOOLS_ROOT, WORK};
use dockless_sys::mounts::{self, Detached, Flags};
use dockless_sys::{exec, namespaces, privileges, seccomp, signals};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::CapabilitySet;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Where distributions keep the links that choose among several programs for one name.
pub(crate) const ALTERNATIVES: &str = "/etc/alternatives";
/// Open files of a build's processes.
const OPEN_FILES: u64 = 1024 * 16;
/// The root itself holds names and links only.
const ROOT_BYTES: u64 = 1024 * 1024;
/// Connections that wait for the server's proxy.
const BACKLOG: i32 = 128;
/// Links from the root into /usr on machines of today.
const MERGED: [&str; 5] = ["bin", "sbin", "lib", "lib32", "lib64"];
/// Configuration below /usr: registry credentials may lie there.
const HIDDEN: [&str; 3] = ["usr/etc", "usr/local/etc", "usr/src"];
/// What a build finds in /etc.
const ETC: [(&str, &str); 6] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/:/bin/sh\nbuild:x:1000:1000::/work/home:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\nbuild:x:1000:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost build\n::1 localhost ip6-localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/resolv.conf", ""),
    ("etc/hostname", "build\n"),
];
/// What buildah finds there beside it: images come from files alone, and no registry is searched for a name.
const CONTAINERS: [(&str, &str); 3] = [
    (
        "etc/containers/policy.json",
        "{\"default\":[{\"type\":\"reject\"}],\"transports\":{\"oci\":{\"\":[{\"type\":\"insecureAcceptAnything\"}]},\"containers-storage\":{\"\":[{\"type\":\"insecureAcceptAnything\"}]}}}\n",
    ),
    ("etc/containers/registries.conf", "unqualified-search-registries = []\nshort-name-mode = \"disabled\"\n"),
    (
        "etc/containers/storage.conf",
        "[storage]\ndriver = \"overlay\"\nrunroot = \"/work/tmp/run\"\ngraphroot = \"/work/store\"\n",
    ),
];
/// Links to what the runtime brings.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// The child's descriptors.
pub(crate) struct InsideFds {
    pub(crate) sync: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) messages: OwnedFd,
    pub(crate) program: OwnedFd,
}

/// Never returns in success; the code otherwise.
pub(crate) fn become_foreman(world: &World, filter: &seccomp::Filter, launch: &BuildLaunch, fds: InsideFds) -> i32 {
    report(fds.sync, |sync| {
        let received = received_mounts(sync)?;
        root(world, launch, received)?;
        step("name the host", rustix::system::sethostname(b"build").map_err(Into::into))?;
        step("bring up the loopback", namespaces::loopback_up())?;
        let listener = step("listen for the proxy", listen())?;
        step("report", orders::send(sync, &Word::Listening, &[listener.as_fd()]))?;
        drop(listener);
        step("begin a session", rustix::process::setsid().map(drop).map_err(Into::into))?;
        step("reset signals", signals::reset())?;
        step("limit resources", privileges::limit_resources(OPEN_FILES))?;
        let null =
            step("open /dev/null", rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()).map_err(Into::into))?;
        let messages = step("copy a descriptor", fds.messages.try_clone())?;
        let program = step("keep the program", rustix::io::fcntl_dupfd_cloexec(&fds.program, 200).map_err(Into::into))?;
        // Descriptor 3 of `dockless_sandbox::workshop`: the server's orders.
        step("arrange descriptors", exec::arrange_fds(vec![null, messages, fds.messages, fds.control]))?;
        // What a foreman needs: to start commands as the build user, to end them, to count files whatever their modes.
        let own = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL | CapabilitySet::DAC_READ_SEARCH;
        let kept = match launch.profile {
            Profile::Packages => own,
            Profile::Images => own | privileges::IMAGE_BUILD_CAPABILITIES,
        };
        step("bound capabilities", privileges::bound_capabilities(kept))?;
        step("keep some capabilities", privileges::keep_capabilities(kept))?;
        step("die with the warden", privileges::die_with_parent())?;
        step("refuse new privileges", seccomp::set_no_new_privs())?;
        step("install the filter", filter.install())?;
        let profile = launch.profile;
        let numbers = [profile.work_bytes(), profile.work_files(), profile.user().into()];
        let args: Vec<String> = std::iter::once(FOREMAN.to_owned()).chain(numbers.iter().map(u64::to_string)).collect();
        step("start the foreman", Err(exec::exec_fd(&program, &args, &[])))
    })
}

/// As many as the spawner sends, in its order.
fn received_mounts(sync: &OwnedFd) -> Result<VecDeque<Detached>, Failed> {
    let mounts = step("wait for the id maps", child::wait_for_mounts(sync))?;
    child::enter_namespaces()?;
    Ok(mounts.into_iter().map(Detached::received).collect())
}

fn root(world: &World, launch: &BuildLaunch, mut received: VecDeque<Detached>) -> Result<(), Failed> {
    let at = world.mount_point();
    let mut next = |what: &str| step(what, received.pop_front().ok_or_else(|| io::Error::other("a mount is missing")));
    let runtime = next("take the runtime")?;
    let tools = (0..launch.tools.len()).map(|_| next("take the tools")).collect::<Result<Vec<_>, _>>()?;
    let (work, system, devices) = (next("take the work folder")?, next("take /usr")?, next("take the devices")?);
    let store = launch.store.is_some().then(|| next("take the store")).transpose()?;
    let alternatives = received.pop_front();

    let loose = Flags { no_suid: true, no_dev: true, ..Flags::default() };
    let base = step("make a root", Detached::tmpfs(ROOT_BYTES, "0755", loose))?;
    step("mount the root", base.attach(&at))?;
    step("fill the root", fill(&at, launch.tools.len(), launch.profile))?;
    step("mount /usr", system.attach(&at.join("usr")))?;
    step("mount the runtime", runtime.attach(&at.join(&RUNTIME_ROOT[1..])))?;
    for (index, tree) in tools.iter().enumerate() {
        step("mount tools", tree.attach(&at.join(&TOOLS_ROOT[1..]).join(index.to_string())))?;
    }
    if let Some(alternatives) = alternatives {
        step("mount the alternatives", alternatives.attach(&at.join(&ALTERNATIVES[1..])))?;
    }
    // A data folder below /usr is unusual, but it must not show.
    let data = world.data_path().strip_prefix("/").unwrap_or(Path::new("")).to_owned();
    let hidden = HIDDEN.iter().map(Path::new).chain(data.starts_with("usr").then_some(data.as_path()));
    for folder in hidden {
        let target = at.join(folder);
        if target.is_dir() {
            let nothing = Flags { read_only: true, no_suid: true, no_dev: true, no_exec: true };
            step("hide a folder", Detached::tmpfs(4096, "0555", nothing).and_then(|empty| empty.attach(&target)))?;
        }
    }
    furnish(world, &at, &devices)?;
    step("mount the work folder", work.attach(&at.join(&WORK[1..])))?;
    if let Some(store) = store {
        step("mount the store", store.attach(&at.join(&WORK[1..]).join(STORE)))?;
    }
    step("close the root", base.set(Flags { read_only: true, ..loose }, None))?;
    step("enter the root", mounts::pivot_into(&at))
}

fn fill(at: &Path, tools: usize, profile: Profile) -> io::Result<()> {
    for folder in ["usr", "dev", "proc", "sys", "tmp", "work", "etc/alternatives", "etc/ssl/certs", "var", "run"] {
        std::fs::create_dir_all(at.join(folder))?;
    }
    std::fs::create_dir_all(at.join(&RUNTIME_ROOT[1..]))?;
    for index in 0..tools {
        std::fs::create_dir_all(at.join(&TOOLS_ROOT[1..]).join(index.to_string()))?;
    }
    for name in MERGED {
        // A machine without this link has nothing there that /usr would not have.
        if let Ok(target) = std::fs::read_link(Path::new("/").join(name)) {
            std::os::unix::fs::symlink(target, at.join(name))?;
        }
    }
    for (name, text) in ETC {
        std::fs::write(at.join(name), text)?;
    }
    if profile == Profile::Images {
        std::fs::create_dir(at.join("etc/containers"))?;
        for (name, text) in CONTAINERS {
            std::fs::write(at.join(name), text)?;
        }
    }
    std::os::unix::fs::symlink("/tmp", at.join("var/tmp"))?;
    std::os::unix::fs::symlink(format!("{RUNTIME_ROOT}/{CERTIFICATES}"), at.join(CERTIFICATES))
}

/// Made here, so that it belongs to this network namespace for ever, whoever accepts on it.
fn listen() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, PROXY_PORT))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

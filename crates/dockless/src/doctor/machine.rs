//! Disk, memory, limits and names of this machine.

use super::Line;
use rustix::process::Resource;
use std::fs;
use std::net::ToSocketAddrs as _;
use std::path::Path;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A captured interpreter, a database and some bundles.
const LEAST_DISK: u64 = GIB / 2;
/// Images and builds want more.
const GOOD_DISK: u64 = 5 * GIB;
/// The platform itself and a few instances.
const LEAST_MEMORY: u64 = 256 * MIB;
const GOOD_MEMORY: u64 = GIB;
/// The warden keeps six descriptors of each instance, the server about as many and two for each connection.
const LEAST_FILES: u64 = 1024;
const GOOD_FILES: u64 = 16 * 1024;

pub(super) fn disk(data: &Path, folder: &Path) -> Line {
    const NAME: &str = "disk";
    const ADVICE: &str = "make room, or choose a folder on another disk with --data";
    let room = match rustix::fs::statvfs(folder) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return Line::fail(NAME, format!("cannot look at {}: {error}", folder.display()), ADVICE),
    };
    judge(NAME, room, LEAST_DISK, GOOD_DISK, &format!("{} free for {}", amount(room), data.display()), ADVICE)
}

/// Builds Dockerfiles.
pub(super) fn buildah() -> Line {
    const NAME: &str = "buildah";
    if Path::new(dockless_build::BUILDAH).exists() {
        Line::ok(NAME, dockless_build::BUILDAH)
    } else {
        Line::warn(NAME, "not installed: Dockerfiles cannot be built", "apt install buildah")
    }
}

pub(super) fn memory() -> Line {
    const NAME: &str = "memory";
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    let (Some(total), Some(available)) = (field("MemTotal:"), field("MemAvailable:")) else {
        return Line::warn(NAME, "cannot read /proc/meminfo", "mount /proc");
    };
    let found = format!("{} of {} available", amount(available), amount(total));
    judge(NAME, available, LEAST_MEMORY, GOOD_MEMORY, &found, "end what uses it, or add memory")
}

pub(super) fn open_files() -> Line {
    let limit = rustix::process::getrlimit(Resource::Nofile).maximum;
    let found = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("at most {limit}"));
    let advice = "raise the hard limit: LimitNOFILE= in the systemd unit, /etc/security/limits.conf elsewhere";
    judge("open files", limit.unwrap_or(u64::MAX), LEAST_FILES, GOOD_FILES, &found, advice)
}

/// Server and warden ask to be spared when memory runs out.
pub(super) fn out_of_memory_score() -> Line {
    const NAME: &str = "oom score";
    match dockless_sys::privileges::set_oom_score(-900) {
        Ok(()) => Line::ok(NAME, "the platform is spared when memory runs out"),
        Err(error) => Line::warn(
            NAME,
            format!("cannot be lowered ({error}): the kernel may end the platform when memory runs out"),
            "give CAP_SYS_RESOURCE, or OOMScoreAdjust=-900 in the systemd unit",
        ),
    }
}

/// What this machine's programs make of the names that deployments get.
pub(super) fn names() -> Line {
    const NAME: &str = "*.localhost";
    let name = "doctor.localhost";
    let found: Vec<_> = (name, 80).to_socket_addrs().into_iter().flatten().map(|address| address.ip()).collect();
    match found.first() {
        Some(address) if found.iter().all(std::net::IpAddr::is_loopback) => {
            Line::ok(NAME, format!("{name} is {address}"))
        }
        Some(address) => Line::warn(
            NAME,
            format!("{name} is {address}, which is not this machine"),
            "serve another name: --domain; browsers and curl know *.localhost without asking",
        ),
        None => Line::warn(
            NAME,
            format!("{name} does not resolve (browsers and curl know it without asking)"),
            "apt install libnss-myhostname, or send the name as a Host header",
        ),
    }
}

fn judge(name: &'static str, value: u64, least: u64, good: u64, found: &str, advice: &str) -> Line {
    if value < least {
        Line::fail(name, found, advice)
    } else if value < good {
        Line::warn(name, found, advice)
    } else {
        Line::ok(name, found)
    }
}

fn amount(bytes: u64) -> String {
    if bytes >= 10 * GIB { format!("{} GiB", bytes / GIB) } else { format!("{} MiB", bytes / MIB) }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn each_bound_counts() {
        let state = |value| judge("x", value, 10, 20, "found", "do").state;
        assert_eq!([9, 10, 19, 20].map(state), [State::Fail, State::Warn, State::Warn, State::Ok]);
        assert_eq!((amount(3 * GIB), amount(33 * GIB)), ("3072 MiB".to_owned(), "33 GiB".to_owned()));
    }

    #[test]
    fn this_machine_has_disk_and_memory() {
        let folder = std::env::temp_dir();
        assert_ne!(disk(&folder, &folder).state, State::Fail);
        assert_ne!(memory().state, State::Fail);
        assert_eq!(disk(Path::new("/none"), Path::new("/none")).state, State::Fail);
    }
}

//! What /proc/self/mountinfo and /proc/self/cgroup say, parsed. Pure.

use std::path::PathBuf;

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The group that the mount point shows, `/` unless a container sees a part only.
    pub(super) root: String,
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// The words of a v1 hierarchy (`memory`, `cpu`, `name=systemd` …), none for cgroup2.
    pub(super) v1: Option<Vec<String>>,
}

/// Which group this process is in, by hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OwnGroups {
    /// The group in the cgroup2 tree.
    pub(super) unified: Option<String>,
    /// The controllers of each v1 hierarchy with the group in it.
    pub(super) v1: Vec<(Vec<String>, String)>,
}

impl OwnGroups {
    /// The own group in the v1 hierarchy of this controller.
    pub(super) fn of(&self, controller: &str) -> Option<&str> {
        self.v1.iter().find(|(words, _)| words.iter().any(|w| w == controller)).map(|(_, path)| path.as_str())
    }
}

/// The cgroup mounts of a mountinfo text, in mount order, without those hidden by a later cgroup mount on the same point.
///
/// Source: proc_pid_mountinfo(5).
pub(super) fn parse_mountinfo(text: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in text.lines().filter_map(parse_mount) {
        mounts.retain(|earlier| earlier.point != mount.point);
        mounts.push(mount);
    }
    mounts
}

fn parse_mount(line: &str) -> Option<Mount> {
    // 36 31 0:33 / /sys/fs/cgroup/devices rw,relatime shared:7 - cgroup cgroup rw,devices
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, point) = (unescape(front.next()?), unescape(front.next()?));
    let mut back = back.split(' ');
    let v1 = match back.next()? {
        "cgroup2" => None,
        "cgroup" => Some(back.nth(1)?.split(',').filter(|w| !matches!(*w, "rw" | "ro")).map(str::to_owned).collect()),
        _ => return None,
    };
    Some(Mount { root, point: PathBuf::from(point), v1 })
}

/// The kernel writes space, tab, newline and backslash as `\040`, `\011`, `\012`, `\134`.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 4).and_then(|d| u8::from_str_radix(d, 8).ok());
        match digits {
            Some(byte) if byte.is_ascii() => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The text of /proc/self/cgroup. Lines that are not understood are left out.
///
/// Source: cgroups(7), "/proc files".
pub(super) fn parse_own(text: &str) -> OwnGroups {
    let mut own = OwnGroups::default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(words), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if id == "0" && words.is_empty() {
            own.unified = Some(path.to_owned());
        } else {
            own.v1.push((words.split(',').map(str::to_owned).collect(), path.to_owned()));
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read() {
        let mounts = parse_mountinfo("1 2 0:3 /a\\040b /mnt/c\\011d\\134e rw shared:1 master:2 - cgroup2 none rw\n");
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].root, "/a b");
        assert_eq!(mounts[0].point, PathBuf::from("/mnt/c\td\\e"));
    }

    #[test]
    fn odd_escapes_and_short_lines_do_no_harm() {
        assert_eq!(unescape("a\\"), "a\\");
        assert_eq!(unescape("a\\9zz\\0"), "a\\9zz\\0");
        assert_eq!(unescape("\\777x"), "\\777x");
        assert_eq!(parse_mountinfo("\n - \n1 2 3 - cgroup\n1 2 0:3 / /x rw - cgroup c\n"), Vec::new());
        assert_eq!(parse_own("nonsense\n3:cpu\n"), OwnGroups::default());
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one_on_the_same_point() {
        let mounts = parse_mountinfo("1 2 0:3 /old /c rw - cgroup2 none rw\n4 2 0:3 / /c rw - cgroup2 none rw\n");
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].root, "/");
    }

    #[test]
    fn own_group_paths_may_hold_colons() {
        let own = parse_own("0::/user.slice/a:b\n4:cpu,cpuacct:/x:y\n1:name=systemd:/\n");
        assert_eq!(own.unified.as_deref(), Some("/user.slice/a:b"));
        assert_eq!(own.of("cpuacct"), Some("/x:y"));
        assert_eq!(own.of("memory"), None);
    }
}

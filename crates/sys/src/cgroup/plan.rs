//! Which hierarchies to use and where in them, decided from the parsed texts alone. Pure; [`super::detect`] tries it.

use std::path::{Path, PathBuf};

use super::mounts::{Mount, OwnGroups};
use super::root::{Layout, Version};
use super::{CgroupError, Controller, GroupRoot};

/// One hierarchy as it is meant to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedPlace {
    pub(super) version: Version,
    /// The existing group that our subtree goes below.
    pub(super) base: PathBuf,
    pub(super) controllers: Vec<Controller>,
}

/// A layout with all its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) places: Vec<PlannedPlace>,
}

/// What we cannot do without: sandboxes are never started without limits.
const LIMITS: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

/// The plans worth trying, best first; at least one.
///
/// A controller that has a v1 hierarchy cannot be on v2 at the same time, so the mounts decide the layout. On pure v2
/// the mount point itself comes second: a login session's group holds other processes and often lacks controllers,
/// and root may then work below the top, as runc does by default.
pub(super) fn plans(mounts: &[Mount], own: &OwnGroups) -> Result<Vec<Plan>, CgroupError> {
    if mounts.is_empty() {
        return Err(CgroupError::NotMounted);
    }
    let unified = unified_base(mounts, own);
    let on_v1: Vec<Controller> = LIMITS.into_iter().filter(|c| v1_mounts(mounts, *c).next().is_some()).collect();
    let v2 = |base: &Path, controllers: Vec<Controller>| PlannedPlace {
        version: Version::V2,
        base: base.to_owned(),
        controllers,
    };

    let mut plans = Vec::new();
    let mut refused = None;
    match unified {
        Some(Ok((point, base))) if on_v1.is_empty() => {
            plans.push(Plan { layout: Layout::V2, places: vec![v2(&base, Controller::ALL.to_vec())] });
            if base != point {
                plans.push(Plan { layout: Layout::V2, places: vec![v2(&point, Controller::ALL.to_vec())] });
            }
            return Ok(plans);
        }
        Some(Ok((_, base))) => {
            let covered = Controller::ALL.into_iter().filter(|c| !on_v1.contains(c)).collect();
            match v1_places(mounts, own, &on_v1) {
                Ok(rest) => {
                    let places = std::iter::once(v2(&base, covered)).chain(rest).collect();
                    plans.push(Plan { layout: Layout::Hybrid, places });
                }
                Err(e) => refused = Some(e),
            }
        }
        Some(Err(e)) => refused = Some(e),
        None => {}
    }
    match v1_places(mounts, own, &Controller::ALL) {
        Ok(places) => plans.push(Plan { layout: Layout::V1, places }),
        Err(e) if plans.is_empty() => return Err(refused.unwrap_or(e)),
        Err(_) => {} // a hybrid host need not mount the v1 freezer
    }
    Ok(plans)
}

/// The first cgroup2 mount that shows our own group: (mount point, group to work below).
pub(super) fn unified_base(mounts: &[Mount], own: &OwnGroups) -> Option<Result<(PathBuf, PathBuf), CgroupError>> {
    let group = own.unified.as_deref()?;
    // A supervisor leaf is ours: the subtree goes beside it.
    let base = match group.rsplit_once('/') {
        Some(("", last)) if last == GroupRoot::SUPERVISOR => "/",
        Some((parent, last)) if last == GroupRoot::SUPERVISOR => parent,
        _ => group,
    };
    first_visible(mounts.iter().filter(|m| m.v1.is_none()), base)
}

fn v1_mounts(mounts: &[Mount], controller: Controller) -> impl Iterator<Item = &Mount> {
    mounts.iter().filter(move |m| m.v1.as_ref().is_some_and(|words| words.iter().any(|w| w == controller.label())))
}

fn v1_places(mounts: &[Mount], own: &OwnGroups, controllers: &[Controller]) -> Result<Vec<PlannedPlace>, CgroupError> {
    let mut places: Vec<PlannedPlace> = Vec::new();
    for &controller in controllers {
        let missing = || CgroupError::ControllerMissing { controller, path: PathBuf::from("/sys/fs/cgroup") };
        let group = own.of(controller.label()).ok_or_else(missing)?;
        let (_, base) = first_visible(v1_mounts(mounts, controller), group).ok_or_else(missing)??;
        // `cpu,cpuacct` is one hierarchy on most hosts.
        match places.iter_mut().find(|p| p.base == base) {
            Some(place) => place.controllers.push(controller),
            None => places.push(PlannedPlace { version: Version::V1, base, controllers: vec![controller] }),
        }
    }
    Ok(places)
}

/// The directory of `group` in the first mount that shows it; none without mounts.
fn first_visible<'a>(
    mounts: impl Iterator<Item = &'a Mount>,
    group: &str,
) -> Option<Result<(PathBuf, PathBuf), CgroupError>> {
    let mut hidden = None;
    for mount in mounts {
        match below(&mount.root, group) {
            Some(rest) => {
                let base = if rest.is_empty() { mount.point.clone() } else { mount.point.join(rest) };
                return Some(Ok((mount.point.clone(), base)));
            }
            None => {
                hidden
                    .get_or_insert(CgroupError::OwnGroupHidden { group: group.to_owned(), mount: mount.point.clone() });
            }
        }
    }
    hidden.map(Err)
}

/// `group` relative to the group a mount shows; none if it lies outside.
fn below<'a>(root: &str, group: &'a str) -> Option<&'a str> {
    // A process outside of its cgroup namespace sees "/../…".
    if group == "/.." || group.starts_with("/../") {
        return None;
    }
    let rest = group.strip_prefix(root.trim_end_matches('/'))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::super::mounts::{parse_mountinfo, parse_own};
    use super::*;

    const TMPFS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n";
    const V1: &str = "\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n\
        37 31 0:34 / /sys/fs/cgroup/freezer rw shared:12 - cgroup cgroup rw,freezer\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw shared:13 - cgroup cgroup rw,pids\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw shared:14 - cgroup cgroup rw,xattr,name=systemd\n";
    const UNIFIED: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
    const V2: &str =
        "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    const V1_OWN: &str = "5:cpu,cpuacct:/a\n4:memory:/a\n3:freezer:/\n2:pids:/a/b\n1:name=systemd:/a\n";

    /// `layout version:base=controllers …` for each plan, in order.
    fn shown(mountinfo: &str, own: &str) -> Vec<String> {
        match plans(&parse_mountinfo(mountinfo), &parse_own(own)) {
            Err(e) => vec![e.to_string()],
            Ok(plans) => plans
                .iter()
                .map(|plan| {
                    let places = plan.places.iter().map(|p| {
                        let words: Vec<_> = p.controllers.iter().map(|c| c.label()).collect();
                        format!(" {}={}", p.base.display(), words.join("+"))
                    });
                    plan.layout.label().to_owned() + &places.collect::<String>()
                })
                .collect(),
        }
    }

    #[test]
    fn every_known_host_gets_its_plans() {
        let docker_v1 = V1.replace(" 0:29 / ", " 0:29 /docker/ab ").replace(" 0:32 / ", " 0:32 /docker/ab ");
        let docker_own = V1_OWN.replace("cpuacct:/a", "cpuacct:/docker/ab").replace("memory:/a", "memory:/docker/ab/c");
        let v1_plan = "v1 /sys/fs/cgroup/memory/a=memory /sys/fs/cgroup/pids/a/b=pids \
             /sys/fs/cgroup/cpu,cpuacct/a=cpu+cpuacct /sys/fs/cgroup/freezer=freezer";
        let all = "memory+pids+cpu+cpuacct+freezer";
        let rows: &[(&str, String, String, Vec<String>)] = &[
            ("pure v1", format!("{TMPFS}{V1}"), V1_OWN.to_owned(), vec![v1_plan.to_owned()]),
            (
                "v1, cgroup2 in the kernel but not mounted",
                V1.to_owned(),
                format!("{V1_OWN}0::/a\n"),
                vec![v1_plan.to_owned()],
            ),
            (
                "systemd hybrid",
                format!("{TMPFS}{V1}{UNIFIED}"),
                format!("{V1_OWN}0::/user.slice/user-0.slice/session-1.scope\n"),
                vec![
                    "hybrid /sys/fs/cgroup/unified/user.slice/user-0.slice/session-1.scope=cpuacct+freezer \
                     /sys/fs/cgroup/memory/a=memory /sys/fs/cgroup/pids/a/b=pids /sys/fs/cgroup/cpu,cpuacct/a=cpu"
                        .to_owned(),
                    v1_plan.to_owned(),
                ],
            ),
            (
                "docker on v1, host cgroup namespace: the mount shows a part",
                docker_v1,
                docker_own,
                vec![
                    "v1 /sys/fs/cgroup/memory/c=memory /sys/fs/cgroup/pids/a/b=pids \
                     /sys/fs/cgroup/cpu,cpuacct=cpu+cpuacct /sys/fs/cgroup/freezer=freezer"
                        .to_owned(),
                ],
            ),
            ("v2 at the top", V2.to_owned(), "0::/\n".to_owned(), vec![format!("v2 /sys/fs/cgroup={all}")]),
            (
                "systemd v2 service",
                V2.to_owned(),
                "0::/system.slice/dockless.service\n".to_owned(),
                vec![
                    format!("v2 /sys/fs/cgroup/system.slice/dockless.service={all}"),
                    format!("v2 /sys/fs/cgroup={all}"),
                ],
            ),
            (
                "systemd v2 service, moved into its supervisor leaf",
                V2.to_owned(),
                "0::/system.slice/dockless.service/supervisor\n".to_owned(),
                vec![
                    format!("v2 /sys/fs/cgroup/system.slice/dockless.service={all}"),
                    format!("v2 /sys/fs/cgroup={all}"),
                ],
            ),
            (
                "docker v2, supervisor leaf at the top of its namespace",
                V2.to_owned(),
                "0::/supervisor\n".to_owned(),
                vec![format!("v2 /sys/fs/cgroup={all}")],
            ),
            (
                "docker v2, host cgroup namespace",
                V2.replace(" / ", " /docker/ab "),
                "0::/docker/ab\n".to_owned(),
                vec![format!("v2 /sys/fs/cgroup={all}")],
            ),
            (
                "memory on v1, the rest on v2",
                format!("35 31 0:32 / /mem rw - cgroup cgroup rw,memory\n{V2}"),
                "4:memory:/\n0::/s\n".to_owned(),
                vec!["hybrid /sys/fs/cgroup/s=pids+cpu+cpuacct+freezer /mem=memory".to_owned()],
            ),
            (
                "v2 mount of another namespace",
                V2.to_owned(),
                "0::/../../x\n".to_owned(),
                vec!["own control group /../../x cannot be seen below /sys/fs/cgroup".to_owned()],
            ),
            (
                "v1 without a memory controller",
                V1.lines().filter(|l| !l.contains("memory")).map(|l| format!("{l}\n")).collect(),
                V1_OWN.to_owned(),
                vec!["control group controller \"memory\" is not available in /sys/fs/cgroup".to_owned()],
            ),
            (
                "nothing mounted",
                TMPFS.to_owned(),
                "0::/\n".to_owned(),
                vec!["no control groups are mounted".to_owned()],
            ),
        ];
        for (case, mountinfo, own, expected) in rows {
            assert_eq!(&shown(mountinfo, own), expected, "{case}");
        }
    }

    #[test]
    fn a_group_is_found_below_what_the_mount_shows_only() {
        let rows = [
            ("/", "/", Some("")),
            ("/", "/a/b", Some("a/b")),
            ("/a", "/a", Some("")),
            ("/a", "/a/b", Some("b")),
            ("/a", "/ab", None),
            ("/a/b", "/a", None),
            ("/", "/../x", None),
            ("/", "/..", None),
            ("/", "/..x", Some("..x")),
        ];
        for (root, group, expected) in rows {
            assert_eq!(below(root, group), expected, "{group} in {root}");
        }
    }
}

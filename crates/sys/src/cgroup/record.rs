//! Remembering where the groups are, for a start in another session.
//!
//! A subtree lies below the group of the process that made it. After a crash the next start may come from another
//! login session or another systemd scope, whose own group is a different one, and would not find what was left. So
//! the owner keeps a record in its run folder and sweeps what the last one names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::detect::open_place;
use super::root::{GroupRoot, Subtree, Version, check_name};
use super::{CgroupError, Controller, Layout, SweepReport};

const HEAD: &str = "dockless-cgroups 1";

/// CGROUP_SUPER_MAGIC and CGROUP2_SUPER_MAGIC of linux/magic.h.
const CGROUP_FILESYSTEMS: [u64; 2] = [0x0027_e0eb, 0x6367_7270];

impl GroupRoot {
    /// Where the subtree is, as text for [`GroupRoot::sweep_recorded`]:
    ///
    /// ```text
    /// dockless-cgroups 1
    /// name dockless-1a2b3c
    /// layout hybrid
    /// place v2 cpuacct,freezer /sys/fs/cgroup/unified/user.slice/user-0.slice/session-1.scope
    /// place v1 memory /sys/fs/cgroup/memory/user.slice
    /// ```
    #[must_use]
    pub fn record(&self) -> String {
        let mut text = format!("{HEAD}\nname {}\nlayout {}\n", self.0.name, self.0.layout.label());
        for place in &self.0.places {
            let version = match place.version {
                Version::V1 => "v1",
                Version::V2 => "v2",
            };
            let words: Vec<_> = place.controllers.iter().map(|c| c.label()).collect();
            text += &format!("place {version} {} {}\n", words.join(","), place.path.display());
        }
        text
    }

    /// Does what [`GroupRoot::sweep`] does, in the places a record names. Places that are gone count as swept.
    ///
    /// The record decides which directories are emptied: keep it where only the owner can write.
    ///
    /// # Errors
    /// [`CgroupError::Record`] for a text of another kind, and what a sweep can meet.
    pub fn sweep_recorded(record: &str) -> Result<SweepReport, CgroupError> {
        let (name, layout, recorded) = parse(record)?;
        let mut places = Vec::new();
        for (version, controllers, base) in recorded {
            if !base.exists() {
                continue;
            }
            let place = open_place(version, &base, controllers)?;
            let kind =
                rustix::fs::fstatfs(&place.base).map_err(|e| CgroupError::from_io("look at", &base, e.into()))?;
            if !u64::try_from(kind.f_type).is_ok_and(|magic| CGROUP_FILESYSTEMS.contains(&magic)) {
                return Err(CgroupError::Record(format!("{} is no control group", base.display())));
            }
            places.push(place);
        }
        let subtree = Subtree { name, layout, places, memsw: false };
        let shown = subtree.places.first().map(|p| p.path.join(&subtree.name)).unwrap_or_default();
        Self(Arc::new(subtree)).sweep().map_err(|e| CgroupError::from_io("sweep", &shown, e))
    }
}

type Recorded = (String, Layout, Vec<(Version, Vec<Controller>, PathBuf)>);

fn parse(record: &str) -> Result<Recorded, CgroupError> {
    let bad = |what: &str| CgroupError::Record(what.to_owned());
    let mut lines = record.lines();
    if lines.next() != Some(HEAD) {
        return Err(bad("unknown first line"));
    }
    let name = lines.next().and_then(|l| l.strip_prefix("name ")).ok_or_else(|| bad("no name"))?;
    check_name(name)?;
    let layout = match lines.next() {
        Some("layout v1") => Layout::V1,
        Some("layout hybrid") => Layout::Hybrid,
        Some("layout v2") => Layout::V2,
        _ => return Err(bad("no layout")),
    };
    let places = lines.map(|line| {
        let mut parts = line.strip_prefix("place ")?.splitn(3, ' ');
        let version = match parts.next()? {
            "v1" => Version::V1,
            "v2" => Version::V2,
            _ => return None,
        };
        let controllers = parts.next()?.split(',').map(Controller::from_label).collect::<Option<Vec<_>>>()?;
        let base = Path::new(parts.next()?);
        base.is_absolute().then(|| (version, controllers, base.to_owned()))
    });
    let places = places.collect::<Option<Vec<_>>>().ok_or_else(|| bad("a place that is none"))?;
    Ok((name.to_owned(), layout, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_written_or_not_at_all() {
        let good = "dockless-cgroups 1\nname d-1\nlayout hybrid\nplace v2 cpuacct,freezer /a b/c\nplace v1 memory /m\n";
        let (name, layout, places) = parse(good).unwrap();
        assert_eq!((name.as_str(), layout), ("d-1", Layout::Hybrid));
        let expected = [
            (Version::V2, vec![Controller::Cpuacct, Controller::Freezer], PathBuf::from("/a b/c")),
            (Version::V1, vec![Controller::Memory], PathBuf::from("/m")),
        ];
        assert_eq!(places, expected);
        for bad in [
            "",
            "dockless-cgroups 2\nname a\nlayout v2\n",
            "dockless-cgroups 1\nname ../x\nlayout v2\n",
            "dockless-cgroups 1\nname a\nlayout v3\n",
            "dockless-cgroups 1\nname a\nlayout v2\nplace v2 memory relative\n",
            "dockless-cgroups 1\nname a\nlayout v2\nplace v2 magic /x\n",
            "dockless-cgroups 1\nname a\nlayout v2\nplace v9 memory /x\n",
            "dockless-cgroups 1\nname a\nlayout v2\nplace\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}

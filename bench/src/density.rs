//! What many frozen instances weigh, and what the kernel says of one.

use crate::platform::{Platform, Site};
use crate::sample::Row;
use crate::start::Start;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Instances at once.
const COUNT: usize = 200;

/// Deploys so many functions, asks each once, lets all freeze, and weighs the processes of each: a sample is the sum of
/// the proportional set sizes (a page shared by n processes counts 1/n in each) of one instance, in MiB.
///
/// Each request waits for the platform's shelf, where it keeps one: instances from there have run more code than those
/// from nothing and weigh more, and where requests come one by one they are the rule. An instance that came about in
/// another way than `expected` is an error.
///
/// # Errors
/// A function does not answer, or an instance does not freeze.
pub(crate) fn measure(platform: &Platform, handler: &[u8], expected: Start) -> anyhow::Result<Row> {
    let name = |number: usize| format!("f{number:03}");
    let files: Vec<_> = (0..COUNT).map(|number| (format!("api/{}.js", name(number)), handler.to_vec())).collect();
    let site: Site = platform.deploy("bench-density", &files)?;
    let mut row = Row { unit: "MiB", ..Row::default() };
    let mut other = BTreeSet::new();
    for number in 0..COUNT {
        crate::stop::check()?;
        platform.shelf_is_full()?;
        let (_, told) = platform.request(&site, &format!("/api/{}", name(number)))?;
        if told.start != expected {
            row.error(format!("the instance came from {:?}, not {expected:?}", told.start));
            other.insert(format!("api/{}", name(number)));
        }
    }
    for instance in platform.all_frozen(&site, COUNT)? {
        if other.contains(&instance.function) {
            continue;
        }
        let group = instance.pid.context("ps shows no process").and_then(Group::of);
        match group.and_then(|group| group.expect_frozen().and_then(|()| group.pss_mib())) {
            Ok(mib) => row.samples.push(mib),
            Err(error) => row.error(format!("{error:#}")),
        }
    }
    platform.put_to_sleep(&site)?;
    Ok(row)
}

/// The control group that freezes an instance.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    unified: bool,
}

impl Group {
    /// Of a process: the v2 group unless that is the root, else the one of the v1 freezer.
    ///
    /// # Errors
    /// The process is gone, or is in none of its own.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).context("the process is gone")?;
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mount = |found: &dyn Fn(&str, &str) -> bool| {
            mounts.lines().find_map(|line| {
                let parts: Vec<_> = line.split(' ').collect();
                let [_, point, kind, options, ..] = parts.as_slice() else { return None };
                found(kind, options).then(|| PathBuf::from(point))
            })
        };
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let unified = controllers.is_empty();
            let point = if unified {
                mount(&|kind, _| kind == "cgroup2")
            } else if controllers == "freezer" {
                mount(&|kind, options| kind == "cgroup" && options.split(',').any(|option| option == "freezer"))
            } else {
                None
            };
            if let Some(point) = point.filter(|_| path.contains("dockless")) {
                return Ok(Self { path: point.join(path.trim_start_matches('/')), unified });
            }
        }
        anyhow::bail!("no control group of the platform holds the process")
    }

    /// # Errors
    /// The kernel says it is not frozen.
    pub(crate) fn expect_frozen(&self) -> anyhow::Result<()> {
        let (file, word) = if self.unified { ("cgroup.events", "frozen 1") } else { ("freezer.state", "FROZEN") };
        let text = fs::read_to_string(self.path.join(file)).context("no state of the freezer")?;
        anyhow::ensure!(text.lines().any(|line| line == word), "{file} does not say {word:?}");
        Ok(())
    }

    /// Proportional set size of all its processes.
    fn pss_mib(&self) -> anyhow::Result<f64> {
        let mut kib = 0_u32;
        for pid in processes(&self.path)? {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("no smaps_rollup")?;
            let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let pss = pss.and_then(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
            kib = kib.saturating_add(pss.context("no Pss in smaps_rollup")?);
        }
        anyhow::ensure!(kib > 0, "no process in the group");
        Ok(f64::from(kib) / 1024.0)
    }
}

/// Of the group and all below it.
fn processes(group: &Path) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut left = vec![group.to_owned()];
    while let Some(folder) = left.pop() {
        let text = fs::read_to_string(folder.join("cgroup.procs")).context("no cgroup.procs")?;
        found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(found)
}

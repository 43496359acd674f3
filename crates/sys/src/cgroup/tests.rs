//! The real kernel, as root. On a hybrid host every test runs twice: as it is, and as if cgroup2 were not mounted.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::mounts::{parse_mountinfo, parse_own};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// A subtree of its own that is swept when the test ends, however it ends.
struct TestRoot(GroupRoot);

impl std::ops::Deref for TestRoot {
    type Target = GroupRoot;

    fn deref(&self) -> &GroupRoot {
        &self.0
    }
}

impl Drop for TestRoot {
    fn drop(&mut self) {
        let report = self.0.sweep();
        if !std::thread::panicking() {
            assert_eq!(report.expect("sweep").left, Vec::<String>::new());
        }
    }
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes control groups and needs root: run the suite with sudo"
    );
    format!("dockless-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// One subtree for every layout this host can show.
fn roots() -> Vec<TestRoot> {
    let real = TestRoot(GroupRoot::detect(&unique()).expect("detect"));
    let mut roots = Vec::new();
    if real.layout() == Layout::Hybrid {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let mut mounts = parse_mountinfo(&mounts);
        mounts.retain(|m| m.v1.is_some());
        let v1 = GroupRoot::detect_in(&unique(), &mounts, &parse_own(&own)).expect("detect without cgroup2");
        assert_eq!(v1.layout(), Layout::V1);
        roots.push(TestRoot(v1));
    }
    roots.push(real);
    roots
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A shell that has joined the group before its script starts; killed with the test.
struct Shell(Child);

impl Shell {
    fn start(group: &Group, script: &str) -> Self {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a shell");
        group.attach_everywhere(child.id()).expect("attach");
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        Self(child)
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the shell to end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Says whether output comes within the time.
    fn speaks_within(&mut self, time: Duration) -> bool {
        let out = self.0.stdout.as_mut().unwrap();
        let time = Timespec::try_from(time).unwrap();
        let ready = poll(&mut [PollFd::new(&*out, PollFlags::IN)], Some(&time)).unwrap() > 0;
        ready && out.read(&mut [0; 65_536]).unwrap() > 0
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn kill_and_remove(group: &Group) {
    group.kill().expect("kill");
    wait_until("the group to be empty", || !group.is_populated().unwrap());
    wait_until("the group to be removable", || match group.remove() {
        Err(e) if e.is_busy() => false,
        other => {
            other.expect("remove");
            true
        }
    });
}

fn file_of(group: &Group, name: &str) -> Option<String> {
    let found = group.directories().into_iter().map(|d| d.join(name)).find(|p| p.exists())?;
    Some(std::fs::read_to_string(found).unwrap().trim_end().to_owned())
}

#[test]
fn detecting_leaves_an_empty_subtree_in_every_hierarchy() {
    for root in roots() {
        assert_eq!(root.leaves().unwrap(), Vec::<String>::new(), "{:?}", root.layout());
        assert!(root.directories().iter().all(|d| d.is_dir()));
        let expected = match root.layout() {
            Layout::V2 => 1,
            Layout::Hybrid => 4,
            Layout::V1 => 5,
        };
        assert!(root.directories().len() <= expected, "{:?}", root.directories());
        // A second start of the same installation takes it over.
        root.create("kept").unwrap();
        if root.layout() != Layout::V1 {
            let again = GroupRoot::detect(root.name()).unwrap();
            assert_eq!(again.leaves().unwrap(), ["kept"]);
            assert_eq!(again.record(), root.record());
        }
    }
}

#[test]
fn limits_can_be_set_lowered_raised_and_lifted() {
    for root in roots() {
        let group = root.create("limited").unwrap();
        for (bytes, memory) in [(64 << 20, "67108864"), (32 << 20, "33554432"), (96 << 20, "100663296")] {
            let quota = CpuQuota { quota_us: 12_500, period_us: 50_000 };
            let limits = GroupLimits {
                memory_bytes: Some(bytes),
                pids: Some(17),
                cpu_weight: Some(200),
                cpu_quota: Some(quota),
            };
            group.set_limits(&limits).unwrap();
            let value = |v1: &str, v2: &str| file_of(&group, v1).or_else(|| file_of(&group, v2)).unwrap();
            assert_eq!(value("memory.limit_in_bytes", "memory.max"), memory);
            if let Some(both) = file_of(&group, "memory.memsw.limit_in_bytes") {
                assert_eq!(both, memory);
            }
            assert_eq!(file_of(&group, "pids.max").unwrap(), "17");
            assert!(["2048", "200"].contains(&value("cpu.shares", "cpu.weight").as_str()));
            assert!(["12500", "12500 50000"].contains(&value("cpu.cfs_quota_us", "cpu.max").as_str()));
        }
        let lifted = GroupLimits {
            memory_bytes: Some(u64::MAX),
            pids: Some(u32::MAX),
            cpu_weight: None,
            cpu_quota: Some(CpuQuota::UNLIMITED),
        };
        group.set_limits(&lifted).unwrap();
        assert_eq!(file_of(&group, "pids.max").unwrap(), "max");
        let quota = file_of(&group, "cpu.cfs_quota_us").or_else(|| file_of(&group, "cpu.max")).unwrap();
        assert!(["-1", "max 100000"].contains(&quota.as_str()), "{quota}");
        let refused = group.set_limits(&GroupLimits {
            cpu_quota: Some(CpuQuota { quota_us: 1, period_us: 100_000 }),
            ..GroupLimits::default()
        });
        assert!(matches!(refused, Err(CgroupError::Io { action: "write", .. })), "{refused:?}");
    }
}

#[test]
fn a_frozen_group_stops_the_children_of_its_processes_too() {
    for root in roots() {
        let group = root.create("frozen").unwrap();
        let mut shell = Shell::start(&group, "(while :; do echo x; sleep 0.002; done) & wait");
        assert!(shell.speaks_within(DEADLINE));
        let freezer = group.freezer().unwrap();
        assert!(!freezer.is_frozen().unwrap());
        for _ in 0..5 {
            freezer.freeze().unwrap();
            assert!(freezer.wait_frozen(DEADLINE).unwrap(), "{:?}", root.layout());
            assert!(freezer.is_frozen().unwrap());
            while shell.speaks_within(Duration::ZERO) {}
            assert!(!shell.speaks_within(Duration::from_millis(30)), "{:?}", root.layout());
            freezer.thaw().unwrap();
            assert!(shell.speaks_within(DEADLINE));
            assert!(!freezer.is_frozen().unwrap());
        }
        kill_and_remove(&group);
        assert!(freezer.freeze().is_err(), "the group is gone");
    }
}

#[test]
fn waiting_for_a_freeze_that_was_not_asked_for_ends_with_the_timeout() {
    for root in roots() {
        let group = root.create("running").unwrap();
        let _shell = Shell::start(&group, "sleep 60");
        let start = Instant::now();
        assert!(!group.freezer().unwrap().wait_frozen(Duration::from_millis(30)).unwrap());
        assert!((Duration::from_millis(30)..Duration::from_secs(5)).contains(&start.elapsed()));
    }
}

#[test]
fn an_unprivileged_process_freezes_through_the_descriptors_it_was_given() {
    for root in roots() {
        let group = root.create("handed-over").unwrap();
        let _shell = Shell::start(&group, "sleep 60");
        let (kind, control, events) = group.freezer().unwrap().into_fds();
        let (freeze, thaw) = match kind {
            FreezerKind::V1 => ("FROZEN", "THAWED"),
            FreezerKind::V2 => ("1", "0"),
        };
        let own = Freezer::from_fds(kind, control.try_clone().unwrap(), events).try_clone().unwrap();
        assert_eq!(own.kind(), kind);
        assert_eq!(own.fds().len(), 2);
        let say = |word: &str| {
            let status = Command::new("/usr/bin/printf")
                .arg(word)
                .stdout(Stdio::from(control.try_clone().unwrap()))
                .uid(65_534)
                .gid(65_534)
                .status()
                .unwrap();
            assert!(status.success());
        };
        say(freeze);
        assert!(own.wait_frozen(DEADLINE).unwrap());
        say(thaw);
        wait_until("the thaw", || !own.is_frozen().unwrap());
    }
}

#[test]
fn a_frozen_group_dies_when_it_is_killed() {
    for root in roots() {
        let group = root.create("killed").unwrap();
        let mut shell = Shell::start(&group, "sleep 60 & sleep 60 & sleep 60 & wait");
        wait_until("three children", || group.pids().unwrap().len() == 4);
        assert!(group.pids().unwrap().contains(&shell.0.id()));
        let freezer = group.freezer().unwrap();
        freezer.freeze().unwrap();
        assert!(freezer.wait_frozen(DEADLINE).unwrap());
        assert!(group.remove().unwrap_err().is_busy());
        group.kill().unwrap();
        assert_eq!(shell.wait().signal(), Some(9), "{:?}", root.layout());
        kill_and_remove(&group);
        assert_eq!(root.leaves().unwrap(), Vec::<String>::new());
        group.remove().expect("removing twice is fine");
    }
}

#[test]
fn a_fork_bomb_cannot_outrun_the_kill() {
    for root in roots() {
        let group = root.create("bomb").unwrap();
        group.set_limits(&GroupLimits { pids: Some(64), ..GroupLimits::default() }).unwrap();
        let _shell = Shell::start(&group, "f() { f & f & wait; }; while :; do f 2>/dev/null; done");
        wait_until("refusals", || group.usage().unwrap().pids_refused > 0);
        kill_and_remove(&group);
    }
}

#[test]
fn cpu_time_and_memory_are_counted() {
    for root in roots() {
        let group = root.create("busy").unwrap();
        assert_eq!(group.usage().unwrap().cpu_us, 0);
        let _shell = Shell::start(&group, "x=$(head -c 8M /dev/zero | tr '\\0' y); while :; do :; done");
        wait_until("50 ms of CPU time", || group.usage().unwrap().cpu_us > 50_000);
        let usage = group.usage().unwrap();
        assert!(usage.memory_bytes > 0, "{usage:?}");
        assert!(usage.memory_peak_bytes >= usage.memory_bytes / 2, "{usage:?}");
        assert_eq!((usage.oom_kills, usage.pids_refused), (0, 0));
        kill_and_remove(&group);
        assert_eq!(group.usage().unwrap(), Usage::default(), "after the removal");
    }
}

#[test]
fn refused_forks_are_counted() {
    for root in roots() {
        let group = root.create("crowded").unwrap();
        group.set_limits(&GroupLimits { pids: Some(3), ..GroupLimits::default() }).unwrap();
        let mut shell = Shell::start(&group, "sleep 60 & sleep 60 & sleep 60 & sleep 60 & wait");
        assert!(!shell.wait().success(), "the shell must fail to fork");
        assert!(group.usage().unwrap().pids_refused >= 1);
    }
}

#[test]
fn kills_for_want_of_memory_are_counted() {
    for root in roots() {
        let group = root.create("hungry").unwrap();
        group.set_limits(&GroupLimits { memory_bytes: Some(24 << 20), ..GroupLimits::default() }).unwrap();
        let mut shell = Shell::start(&group, "x=$(head -c 200M /dev/zero | tr '\\0' y)");
        assert_eq!(shell.wait().signal(), Some(9), "{:?}", root.layout());
        let usage = group.usage().unwrap();
        assert!(usage.oom_kills >= 1, "{usage:?}");
        assert!(usage.memory_peak_bytes > 20 << 20 && usage.memory_peak_bytes <= 24 << 20, "{usage:?}");
    }
}

#[test]
fn a_process_can_be_born_into_the_group() {
    for root in roots() {
        let group = root.create("born").unwrap();
        let Some(target) = group.clone_target().unwrap() else {
            assert_eq!(root.layout(), Layout::V1);
            continue;
        };
        let pid = clone_into(&target);
        assert_eq!(group.pids().unwrap(), [pid]);
        group.attach(pid).unwrap();
        for directory in group.directories() {
            let procs = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap();
            assert_eq!(procs.trim(), pid.to_string(), "{}", directory.display());
        }
        group.kill().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
        rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
        kill_and_remove(&group);
    }
}

/// Starts a process that only waits, by clone3(2) with CLONE_INTO_CGROUP.
fn clone_into(target: &std::os::fd::OwnedFd) -> u32 {
    use std::os::fd::AsRawFd;
    // SAFETY: all fields of the plain integer struct may be zero.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = 0x2_0000_0000; // CLONE_INTO_CGROUP
    args.exit_signal = u64::try_from(libc::SIGCHLD).unwrap();
    args.cgroup = u64::try_from(target.as_raw_fd()).unwrap();
    // SAFETY: args outlives the call; the child shares no memory and makes only the two plain calls below.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    if pid == 0 {
        loop {
            // SAFETY: takes no arguments; async-signal-safe.
            unsafe { libc::pause() };
        }
    }
    assert!(pid > 0, "clone3: {}", std::io::Error::last_os_error());
    u32::try_from(pid).unwrap()
}

#[test]
fn a_name_is_given_once() {
    for root in roots() {
        root.create("one").unwrap();
        assert!(matches!(root.create("one"), Err(CgroupError::Exists { .. })));
        assert_eq!(root.open("one").unwrap().name(), "one");
        assert!(matches!(root.open("two"), Err(CgroupError::Missing { .. })));
        assert!(matches!(root.create("../one"), Err(CgroupError::Name(_))));
        // Left in the last hierarchy only: nothing may be made in the others.
        let last = root.directories().pop().unwrap().join("half");
        std::fs::create_dir(&last).unwrap();
        assert!(matches!(root.create("half"), Err(CgroupError::Exists { .. })));
        if root.directories().len() > 1 {
            assert!(matches!(root.open("half"), Err(CgroupError::Missing { .. })));
        }
        assert_eq!(root.leaves().unwrap(), ["half", "one"]);
    }
}

#[test]
fn a_sweep_removes_whatever_a_crash_left() {
    for root in roots() {
        let frozen = root.create("frozen").unwrap();
        let mut frozen_shell = Shell::start(&frozen, "sleep 60 & wait");
        let freezer = frozen.freezer().unwrap();
        freezer.freeze().unwrap();
        assert!(freezer.wait_frozen(DEADLINE).unwrap());
        let running = root.create("running").unwrap();
        let mut running_shell = Shell::start(&running, "sleep 60");
        root.create("empty").unwrap();
        // Made from inside, and left in one hierarchy only.
        std::fs::create_dir(running.directories()[0].join("inner")).unwrap();
        std::fs::create_dir(root.directories().pop().unwrap().join("half")).unwrap();

        let report = root.sweep().unwrap();
        assert_eq!(report.left, Vec::<String>::new());
        let mut removed = report.removed;
        removed.sort();
        assert_eq!(removed, ["empty", "frozen", "half", "running"]);
        assert!(root.directories().iter().all(|d| !d.exists()));
        assert_eq!(frozen_shell.wait().signal(), Some(9));
        assert_eq!(running_shell.wait().signal(), Some(9));
        assert_eq!(root.sweep().unwrap(), SweepReport::default());

        // The subtree comes back when it is needed, limits included.
        let group = root.create("after").unwrap();
        group.set_limits(&GroupLimits { memory_bytes: Some(32 << 20), ..GroupLimits::default() }).unwrap();
    }
}

#[test]
fn the_next_start_sweeps_what_the_record_names() {
    for root in roots() {
        let group = root.create("left-over").unwrap();
        let mut shell = Shell::start(&group, "sleep 60");
        let record = root.record() + "place v1 memory /sys/fs/cgroup/of-another-day\n";
        let report = GroupRoot::sweep_recorded(&record).unwrap();
        assert_eq!(report.removed, ["left-over"]);
        assert_eq!(shell.wait().signal(), Some(9));
        let elsewhere = "dockless-cgroups 1\nname x\nlayout v2\nplace v2 memory /tmp\n";
        assert!(matches!(GroupRoot::sweep_recorded(elsewhere), Err(CgroupError::Record(_))));
    }
}

#[test]
fn detection_works_from_a_supervisor_leaf_and_from_the_top() {
    let name = unique();
    let moved = GroupRoot::enter_supervisor().expect("enter the supervisor leaf");
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let root = TestRoot(GroupRoot::detect(&name).expect("detect"));
    if moved {
        assert_eq!(root.layout(), Layout::V2);
        assert!(own.trim_end().ends_with("/supervisor"), "{own}");
    }
    assert!(!GroupRoot::enter_supervisor().unwrap(), "entering twice does nothing");
}

#[test]
#[ignore = "a measurement: cargo nextest run -p dockless-sys --run-ignored only --no-capture"]
fn what_a_group_costs() {
    for root in roots() {
        let mut rows: Vec<(&str, Vec<Duration>)> = Vec::new();
        let mut take = |what: &'static str, start: Instant| {
            let time = start.elapsed();
            match rows.iter_mut().find(|(name, _)| *name == what) {
                Some((_, times)) => times.push(time),
                None => rows.push((what, vec![time])),
            }
        };
        for round in 0..200 {
            let start = Instant::now();
            let group = root.create(&format!("cost-{round}")).unwrap();
            take("create", start);
            let start = Instant::now();
            let limits =
                GroupLimits { memory_bytes: Some(64 << 20), pids: Some(64), cpu_weight: Some(100), cpu_quota: None };
            group.set_limits(&limits).unwrap();
            take("memory, pids, weight", start);
            let start = Instant::now();
            let _target = group.clone_target().unwrap();
            take("clone target", start);
            let start = Instant::now();
            let freezer = group.freezer().unwrap();
            take("open freezer", start);
            let mut shell = Shell(Command::new("/bin/sleep").arg("60").spawn().unwrap());
            let start = Instant::now();
            group.attach_everywhere(shell.0.id()).unwrap();
            take("attach everywhere", start);
            let start = Instant::now();
            freezer.freeze().unwrap();
            assert!(freezer.wait_frozen(DEADLINE).unwrap());
            take("freeze, confirmed", start);
            let start = Instant::now();
            freezer.thaw().unwrap();
            take("thaw", start);
            let start = Instant::now();
            group.usage().unwrap();
            take("usage", start);
            let start = Instant::now();
            group.kill().unwrap();
            take("kill", start);
            shell.wait();
            let start = Instant::now();
            while group.remove().is_err() {}
            take("remove", start);
        }
        for (what, mut times) in rows {
            times.sort();
            let at = |percent: usize| times[(times.len() - 1) * percent / 100];
            println!(
                "{:7} {what:22} min {:>10.1?} med {:>10.1?} p95 {:>10.1?}",
                root.layout().label(),
                at(0),
                at(50),
                at(95)
            );
        }
    }
}

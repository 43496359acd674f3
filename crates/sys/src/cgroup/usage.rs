//! What a group has used so far, and the key-value files it is read from.

/// Counters of a group since it was made. A file or controller that the kernel lacks counts as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in microseconds, user and system together.
    pub cpu_us: u64,
    /// Memory charged now, in bytes, page cache and tmpfs included.
    pub memory_bytes: u64,
    /// The most memory ever charged, in bytes.
    pub memory_peak_bytes: u64,
    /// Processes killed because the group had no memory left.
    pub oom_kills: u64,
    /// Forks refused because of the limit on processes and threads.
    pub pids_refused: u64,
}

/// The number after `key` in a text of `key value` lines (`cpu.stat`, `memory.events`, `cgroup.events` …).
pub(super) fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim_end().parse().ok())
}

/// A file that holds one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_whole_keys() {
        let rows: &[(&str, &str, &str, Option<u64>)] = &[
            (
                "v2 cpu.stat",
                "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\nnice_usec 0\n",
                "usage_usec",
                Some(1234),
            ),
            ("v2 memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", "oom_kill", Some(2)),
            ("whole key", "oom_kill 7\noom 3\n", "oom", Some(3)),
            ("v1 memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", "oom_kill", Some(5)),
            ("pids.events", "max 9\n", "max", Some(9)),
            ("cgroup.events", "populated 1\nfrozen 0\n", "populated", Some(1)),
            ("missing", "populated 1\n", "frozen", None),
            ("not a number", "max x\n", "max", None),
            ("empty", "", "max", None),
        ];
        for (case, text, key, expected) in rows {
            assert_eq!(number_after(text, key), *expected, "{case}");
        }
        assert_eq!(number("4096\n"), Some(4096));
        assert_eq!(number("max\n"), None);
    }
}

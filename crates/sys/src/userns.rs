//! User namespaces: which ids this process may hand out, and the maps of a child.

use rustix::process::Pid;
use std::fs;
use std::io;

/// One extent of an id map: `count` ids from `inside` are the ids from `outside`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First id in the child.
    pub inside: u32,
    /// First id here.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Writes the uid and gid map of a child in a new user namespace (user_namespaces(7): once, at most 340 lines).
///
/// # Errors
/// The ids are not ours to give, or the child is gone.
pub fn write_maps(child: Pid, extents: &[Extent]) -> io::Result<()> {
    let mut text = String::new();
    for Extent { inside, outside, count } in extents {
        use std::fmt::Write as _;
        let _ = writeln!(text, "{inside} {outside} {count}");
    }
    let pid = child.as_raw_nonzero();
    fs::write(format!("/proc/{pid}/uid_map"), &text)?;
    fs::write(format!("/proc/{pid}/gid_map"), &text)
}

/// The ids of this process's own user namespace, from `/proc/self/uid_map`: `(first, count)` pairs.
///
/// # Errors
/// `/proc` cannot be read.
pub fn own_ids() -> io::Result<Vec<(u32, u32)>> {
    Ok(parse_map(&fs::read_to_string("/proc/self/uid_map")?))
}

fn parse_map(text: &str) -> Vec<(u32, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u32>);
            match (fields.next(), fields.next(), fields.next()) {
                (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) => Some((inside, count)),
                _ => None,
            }
        })
        .collect()
}

/// Chooses where blocks of `wanted` consecutive ids begin: at `preferred` where the map has them, else at the end of
/// the largest range that is long enough and leaves the ids below 65,536 alone.
#[must_use]
pub fn choose_base(ranges: &[(u32, u32)], preferred: u32, wanted: u32) -> Option<u32> {
    let has = |first: u32, count: u32, base: u32| {
        base >= first && u64::from(base) + u64::from(wanted) <= u64::from(first) + u64::from(count)
    };
    if ranges.iter().any(|&(first, count)| has(first, count, preferred)) {
        return Some(preferred);
    }
    ranges
        .iter()
        .filter_map(|&(first, count)| {
            let base = u64::from(first).checked_add(u64::from(count))?.checked_sub(u64::from(wanted))?;
            let base = u32::try_from(base).ok()?;
            (base >= first && base >= 65_536).then_some((count, base))
        })
        .max()
        .map(|(_, base)| base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_inside_the_map() {
        let whole = parse_map("         0          0 4294967295\n");
        assert_eq!(choose_base(&whole, 0x7000_0000, 1 << 24), Some(0x7000_0000));
        let container = parse_map("0 100000 65536\n65536 200000 1000000\n");
        assert_eq!(choose_base(&container, 0x7000_0000, 65_536), Some(65_536 + 1_000_000 - 65_536));
        assert_eq!(choose_base(&parse_map("0 1000 1\n"), 0x7000_0000, 65_536), None);
        assert_eq!(choose_base(&parse_map("0 100000 65536\n"), 0x7000_0000, 65_536), None);
    }
}

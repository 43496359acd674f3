//! Who the program runs as: looked up in the image's own `/etc/passwd` and `/etc/group`, passwd(5), group(5).

use crate::child::Failed;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Read as _;

/// A longer file is read so far.
const MAX_BYTES: u64 = 1024 * 1024;
/// Ids above do not exist in the sandbox.
const MAX_ID: u32 = 65_535;

/// The program's user.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Looks up what an image's configuration names.
pub(super) fn look_up(spec: &str) -> Result<User, Failed> {
    find(spec, &read("/etc/passwd"), &read("/etc/group"))
        .map_err(|error| Failed { step: format!("find the user {spec:?} of the image"), error })
}

/// A missing or strange file is an empty one. Never waits: it may be a named pipe.
fn read(path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else { return String::new() };
    let mut bytes = Vec::new();
    let _ = File::from(fd).take(MAX_BYTES).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn find(spec: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, wanted_group) = spec.split_once(':').map_or((spec, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    // NAME:PASSWORD:UID:GID:REAL:HOME:SHELL
    let entries = || passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() >= 6);
    let number = user.parse::<u32>().ok();
    let entry = entries()
        .find(|fields| fields[0] == user)
        .or_else(|| entries().find(|fields| number.is_some_and(|number| fields[2].parse() == Ok(number))));
    let uid = match (&entry, number) {
        (Some(fields), _) => fields[2].parse().map_err(|_| format!("its id {:?} is no number", fields[2]))?,
        (None, Some(number)) => number,
        (None, None) => return Err("no such user in /etc/passwd".into()),
    };
    // NAME:PASSWORD:GID:MEMBERS
    let lines = || group.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() >= 4);
    let id = |fields: &[&str]| fields[2].parse::<u32>().ok();
    let gid = match wanted_group {
        Some(wanted) => {
            match (lines().find(|fields| fields[0] == wanted).and_then(|fields| id(&fields)), wanted.parse()) {
                (Some(gid), _) | (None, Ok(gid)) => gid,
                (None, Err(_)) => return Err(format!("no group {wanted:?} in /etc/group")),
            }
        }
        None => entry.as_ref().and_then(|fields| fields[3].parse().ok()).unwrap_or(0),
    };
    // Memberships go by name, and not where a group was asked for.
    let name = entry.as_ref().map(|fields| fields[0]);
    let mut groups: Vec<u32> = match (name, wanted_group) {
        (Some(name), None) => lines()
            .filter(|fields| fields[3].split(',').any(|member| member == name))
            .filter_map(|fields| id(&fields))
            .filter(|id| *id <= MAX_ID)
            .collect(),
        _ => Vec::new(),
    };
    groups.truncate(64);
    if uid > MAX_ID || gid > MAX_ID {
        return Err(format!("ids above {MAX_ID} do not exist in a sandbox"));
    }
    let home = entry.map_or("/", |fields| fields[5]).to_owned();
    Ok(User { uid, gid, groups, home: if home.is_empty() { "/".into() } else { home } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/var/www:/bin/false\nbig:x:70000:1:::\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:\nlogs:x:55:web,other\nhuge:x:70000:web\n";

    #[test]
    fn users_are_found_as_container_engines_find_them() {
        let user =
            |uid, gid, groups: &[u32], home: &str| Ok(User { uid, gid, groups: groups.into(), home: home.into() });
        for (spec, expected) in [
            ("", user(0, 0, &[], "/root")),
            ("root", user(0, 0, &[], "/root")),
            ("web", user(33, 44, &[55], "/var/www")),
            ("33", user(33, 44, &[55], "/var/www")),
            ("web:logs", user(33, 55, &[], "/var/www")),
            ("web:1", user(33, 1, &[], "/var/www")),
            ("1001", user(1001, 0, &[], "/")),
            ("1001:1002", user(1001, 1002, &[], "/")),
        ] {
            assert_eq!(find(spec, PASSWD, GROUP), expected, "{spec:?}");
        }
    }

    #[test]
    fn users_that_are_not_there_are_named() {
        for (spec, word) in
            [("nobody", "no such user"), ("web:nogroup", "no group"), ("70000", "above"), ("big", "above")]
        {
            let error = find(spec, PASSWD, GROUP).unwrap_err();
            assert!(error.contains(word), "{spec}: {error}");
        }
        assert_eq!(find("0", "", "").unwrap().home, "/");
    }
}

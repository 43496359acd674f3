//! From an image's configuration to the process that is started.

use crate::document::ContainerConfig;
use dockless_model::image::Process;
use std::collections::{BTreeMap, BTreeSet};

/// What programs find without a word of the image, as container engines have it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Command line and environment must fit into one message beside the platform's own.
const MAX_ARGS: usize = 16 * 1024;
const MAX_ENV: usize = 48 * 1024;
/// Highest signal of Linux (SIGRTMAX).
const MAX_SIGNAL: i32 = 64;

/// Why an image cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// Neither Entrypoint nor Cmd.
    #[error("the image names no command (neither Entrypoint nor Cmd)")]
    NoCommand,
    /// Command line or environment beyond what is carried.
    #[error("the image's {what} has {bytes} bytes, at most {most} are allowed")]
    TooLong {
        /// `command` or `environment`.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// A NUL, which no process can be given.
    #[error("the image's {0} contains a NUL character")]
    Nul(&'static str),
    /// No signal of Linux.
    #[error("the image's StopSignal {0:?} is no signal")]
    Signal(String),
}

/// Reads the `config` object of an image's configuration.
///
/// # Errors
/// See [`ProcessError`]; a document of another shape counts as one without a command.
pub fn process(config: &serde_json::Value) -> Result<Process, ProcessError> {
    from_config(serde_json::from_value(config.clone()).map_err(|_| ProcessError::NoCommand)?)
}

pub(crate) fn from_config(config: ContainerConfig) -> Result<Process, ProcessError> {
    let mut argv = config.entrypoint.unwrap_or_default();
    // `ENTRYPOINT [""]` is how an image takes back the entrypoint of its base.
    if argv.len() == 1 && argv[0].is_empty() {
        argv.clear();
    }
    argv.extend(config.cmd.unwrap_or_default());
    if argv.first().is_none_or(String::is_empty) {
        return Err(ProcessError::NoCommand);
    }
    let mut env = BTreeMap::new();
    for variable in config.env.unwrap_or_default() {
        // A name alone takes a variable away, and there is none yet.
        if let Some((name, value)) = variable.split_once('=')
            && !name.is_empty()
        {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    env.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    let (user, folder) = (config.user.unwrap_or_default(), config.working_dir.unwrap_or_default());
    let args: usize = argv.iter().map(|argument| argument.len() + 1).sum();
    let variables: usize = env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    for (what, bytes, most) in [
        ("command", args, MAX_ARGS),
        ("environment", variables, MAX_ENV),
        ("User", user.len(), 256),
        ("WorkingDir", folder.len(), 4095),
    ] {
        if bytes > most {
            return Err(ProcessError::TooLong { what, bytes, most });
        }
    }
    for (what, has) in [
        ("command", argv.iter().any(|argument| argument.contains('\0'))),
        ("environment", env.iter().any(|(name, value)| name.contains('\0') || value.contains('\0'))),
        ("User", user.contains('\0')),
        ("WorkingDir", folder.contains('\0')),
    ] {
        if has {
            return Err(ProcessError::Nul(what));
        }
    }
    Ok(Process {
        argv,
        env,
        user,
        working_dir: match folder.as_str() {
            "" | "/" => String::new(),
            absolute if absolute.starts_with('/') => folder,
            relative => format!("/{relative}"),
        },
        stop_signal: match config.stop_signal.as_deref() {
            None | Some("") => Process::default_stop_signal(),
            Some(text) => signal(text).ok_or_else(|| ProcessError::Signal(text.chars().take(40).collect()))?,
        },
        ports: ports(config.exposed_ports.unwrap_or_default().keys()),
    })
}

/// `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, by signal(7).
fn signal(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let valid = |number: &i32| (1..=MAX_SIGNAL).contains(number);
    if let Ok(number) = text.parse::<i32>() {
        return Some(number).filter(valid);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).ok();
    }
    // The C library keeps two for itself: the first that programs see is 34.
    let (base, offset) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(offset), _) => (34, offset),
        (_, Some(offset)) => (MAX_SIGNAL, offset),
        _ => return None,
    };
    let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
    base.checked_add(offset).filter(|number| (34..=MAX_SIGNAL).contains(number))
}

/// Ports of TCP, in order: `8080/tcp`, `8080`, `8000-8003/tcp`.
fn ports<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<u16> {
    let mut ports = BTreeSet::new();
    for key in keys {
        let (range, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        if !protocol.eq_ignore_ascii_case("tcp") {
            continue;
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>())
            && first > 0
        {
            // Declared, not opened: a large range says nothing that a few of it do not.
            ports.extend((first..=last).take(64));
        }
    }
    ports.into_iter().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn command_lines_are_entrypoint_and_cmd() {
        for (name, config, argv) in [
            ("both", json!({"Entrypoint": ["/a", "b"], "Cmd": ["c"]}), Ok(vec!["/a", "b", "c"])),
            ("cmd", json!({"Cmd": ["c", "d"]}), Ok(vec!["c", "d"])),
            ("entrypoint", json!({"Entrypoint": ["a"], "Cmd": null}), Ok(vec!["a"])),
            ("taken back", json!({"Entrypoint": [""], "Cmd": ["c"]}), Ok(vec!["c"])),
            ("none", json!({}), Err(ProcessError::NoCommand)),
            ("empty", json!({"Entrypoint": [], "Cmd": []}), Err(ProcessError::NoCommand)),
            ("empty word", json!({"Cmd": ["", "x"]}), Err(ProcessError::NoCommand)),
            ("odd", json!({"Cmd": "sh -c x"}), Err(ProcessError::NoCommand)),
            ("nul", json!({"Cmd": ["a\u{0}b"]}), Err(ProcessError::Nul("command"))),
        ] {
            let found = process(&config).map(|process| process.argv);
            assert_eq!(found, argv.map(|argv| argv.into_iter().map(str::to_owned).collect()), "{name}");
        }
        let long = process(&json!({"Cmd": ["x".repeat(20_000)]}));
        assert!(matches!(long, Err(ProcessError::TooLong { what: "command", .. })));
    }

    #[test]
    fn everything_else_has_a_default() {
        let bare = process(&json!({"Cmd": ["x"]})).unwrap();
        assert_eq!((bare.user.as_str(), bare.working_dir.as_str(), bare.stop_signal), ("", "", 15));
        assert_eq!(bare.env.into_iter().collect::<Vec<_>>(), [("PATH".to_owned(), PATH.to_owned())]);
        let full = process(&json!({
            "Cmd": ["x"], "Env": ["PATH=/bin", "A=b=c", "EMPTY=", "GONE", "=x"], "User": "1000:app",
            "WorkingDir": "srv/app", "StopSignal": "SIGQUIT",
            "ExposedPorts": {"443/tcp": {}, "53/udp": {}, "80": {}, "9000-9002/tcp": {}, "x/tcp": {}, "0/tcp": {}},
        }))
        .unwrap();
        let env: Vec<_> = full.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(env, [("A", "b=c"), ("EMPTY", ""), ("PATH", "/bin")]);
        assert_eq!((full.user.as_str(), full.working_dir.as_str()), ("1000:app", "/srv/app"));
        assert_eq!((full.stop_signal, full.ports), (3, vec![80, 443, 9000, 9001, 9002]));
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGWINCH", Some(28)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMAX+1", None),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
        ] {
            assert_eq!(signal(text), number, "{text}");
        }
        assert!(matches!(process(&json!({"Cmd": ["x"], "StopSignal": "NOPE"})), Err(ProcessError::Signal(_))));
    }
}

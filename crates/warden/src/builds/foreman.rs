//! The first process of a build sandbox: starts what the server orders, ends what it leaves behind, watches the quota.
//!
//! It is root of its namespace with four capabilities and runs as another user than what it starts: a command can neither
//! signal nor trace it. Commands that build images are root too; as the first process it is still not theirs to signal, and
//! its memory is hidden. It reads nothing but the server's orders and sizes of files.

use crate::builds::measure::Meter;
use crate::orders;
use dockless_sandbox::workshop::{BUILD_USER, FOREMAN_FD, FromForeman, PORTER, ToForeman, WORK};
use dockless_sys::{exec, privileges};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// How often orphans are reaped and the work folder is looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// Rounds of ending what a command left: more than one only where a fork was in flight.
const ENDING_ROUNDS: u32 = 500;

/// The life of a foreman; its exit code. Arguments: most bytes and most files in the work folder, the user of commands.
#[must_use]
pub(crate) fn main(args: &[String]) -> i32 {
    let number = |index: usize| args.get(index).and_then(|text| text.parse::<u64>().ok());
    let user = number(3).and_then(|user| u32::try_from(user).ok());
    let (Some(bytes), Some(files), Some(user)) = (number(1), number(2), user) else { return 2 };
    let Ok(control) = exec::inherited(FOREMAN_FD) else { return 2 };
    // Commands may have the same user.
    if privileges::hide_memory().is_err() {
        return 2;
    }
    if let Err(error) = live(&control, user, Meter::new(Path::new(WORK), bytes, files)) {
        let _ = io::Write::write_all(&mut io::stderr(), format!("foreman: {error}\n").as_bytes());
        return 1;
    }
    0
}

fn live(control: &OwnedFd, user: u32, mut meter: Meter) -> io::Result<()> {
    loop {
        orders::wait(control, PollFlags::IN)?;
        let (order, fds) = match orders::receive::<ToForeman>(control) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let word = match begin(order, user, fds) {
            Ok(pid) => match follow(control, pid, &mut meter)? {
                Some(word) => word,
                None => return Ok(()),
            },
            Err(error) => FromForeman::NotBegun { reason: error.to_string() },
        };
        end_everything();
        let over = matches!(word, FromForeman::Over { .. });
        orders::send(control, &word, &[])?;
        if over {
            return Ok(());
        }
    }
}

/// Starts what is ordered.
fn begin(order: ToForeman, user: u32, fds: Vec<OwnedFd>) -> io::Result<Pid> {
    let [input, output, errors] =
        <[OwnedFd; 3]>::try_from(fds).map_err(|_| io::Error::other("an order needs three descriptors"))?;
    let mut command = match order {
        ToForeman::Run { argv, cwd, env } => {
            let program = argv.first().ok_or_else(|| io::Error::other("no program"))?;
            let mut command = Command::new(program);
            command.args(&argv[1..]).env_clear().envs(env).current_dir(Path::new(WORK).join(cwd));
            command.uid(user).gid(user);
            command
        }
        ToForeman::Fill => porter(&["fill".to_owned()]),
        ToForeman::Collect { max_files, max_bytes } => {
            porter(&["collect".to_owned(), max_files.to_string(), max_bytes.to_string()])
        }
    };
    command.process_group(0);
    command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(error.kind(), format!("{} was not found", command.get_program().display()))
        }
        _ => error,
    })?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process"))
}

/// Our own program once more, without privileges: it parses streams and walks what strangers made.
fn porter(args: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(PORTER).args(args).env_clear().current_dir(WORK);
    command.uid(BUILD_USER).gid(BUILD_USER);
    command
}

/// Until the process ends or the quota is exceeded; `None` when the server is gone.
fn follow(control: &OwnedFd, pid: Pid, meter: &mut Meter) -> io::Result<Option<FromForeman>> {
    // Ours and not reaped: the number cannot have become another's.
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        // The server says nothing while something runs: readable means that it is gone.
        let mut polled = [PollFd::new(&handle, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = !polled[1].revents().is_empty();
        while let Ok(Some((ended, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if ended == pid {
                return Ok(Some(ending(status)));
            }
        }
        if gone {
            return Ok(None);
        }
        if let Some(what) = meter.excess() {
            return Ok(Some(FromForeman::Over { what }));
        }
    }
}

fn ending(status: WaitStatus) -> FromForeman {
    FromForeman::Ended { code: status.exit_status(), signal: status.terminating_signal() }
}

/// Kills every other process of this pid namespace and reaps it: nothing outlives its command, and no file changes while
/// a porter reads.
fn end_everything() {
    for _ in 0..ENDING_ROUNDS {
        // As the first process of the namespace, -1 means all others (kill(2)); group 1 is spelled that way.
        let _ = rustix::process::kill_process_group(Pid::INIT, Signal::KILL);
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        let _ = rustix::event::poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_without_its_descriptors_is_refused() {
        assert!(begin(ToForeman::Fill, 0, Vec::new()).is_err());
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let order = ToForeman::Run { argv: Vec::new(), cwd: "app".into(), env: std::collections::BTreeMap::new() };
        assert!(begin(order, 0, vec![null(), null(), null()]).is_err());
    }
}

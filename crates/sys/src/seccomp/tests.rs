//! The program against the table by an interpreter, and both against the real kernel and real languages.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::compile::{
    ALLOW, ARCH, EAFNOSUPPORT, ENOSYS, EPERM, FAMILIES, KILL, NAMESPACES, PERSONALITIES, PLAIN_NODES, TYPING,
};
use super::table::{LAST, Verdict, verdict};
use super::*;

/// `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
struct Call {
    arch: u32,
    number: u32,
    args: [u64; 6],
}

impl Call {
    fn new(number: u32, args: [u64; 6]) -> Self {
        Self { arch: ARCH, number, args }
    }

    fn word(self, offset: u32) -> u32 {
        let mut bytes = Vec::new();
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.arch.to_le_bytes());
        bytes.extend(0x1234_5678_9abc_def0_u64.to_le_bytes());
        self.args.iter().for_each(|arg| bytes.extend(arg.to_le_bytes()));
        let at = usize::try_from(offset).unwrap();
        assert!(offset.is_multiple_of(4), "the kernel refuses unaligned loads");
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }
}

/// Runs a program as the kernel would; says what it returns and after how many steps.
fn interpret(filter: &Filter, call: Call) -> (u32, usize) {
    let (mut at, mut word) = (0, 0_u32);
    for steps in 1.. {
        let i = filter.program[at];
        at += 1;
        let jump = |yes| usize::from(if yes { i.jt } else { i.jf });
        match u32::from(i.code) {
            0x20 => word = call.word(i.k),
            0x05 => at += usize::try_from(i.k).unwrap(),
            0x15 => at += jump(word == i.k),
            0x35 => at += jump(word >= i.k),
            0x45 => at += jump(word & i.k != 0),
            0x54 => word &= i.k,
            0x06 => return (i.k, steps),
            code => panic!("instruction {code:#x} at {at}"),
        }
    }
    unreachable!()
}

/// What the verdict means, said plainly.
fn expected(policy: Policy, call: Call) -> u32 {
    if call.arch != ARCH {
        return KILL;
    }
    let low = |index: usize| u32::try_from(call.args[index] & 0xffff_ffff).unwrap();
    let allow_if = |fine: bool, other: u32| if fine { ALLOW } else { other };
    match verdict(policy, call.number) {
        Verdict::Allow => ALLOW,
        Verdict::Deny => EPERM,
        Verdict::Absent => ENOSYS,
        Verdict::Clone => allow_if(low(0) & NAMESPACES == 0, EPERM),
        Verdict::NoUserNamespace => allow_if(low(0) & 0x1000_0000 == 0, EPERM),
        Verdict::Personality => allow_if(PERSONALITIES.contains(&low(0)), EPERM),
        Verdict::Ioctl => allow_if(!TYPING.contains(&low(1)), EPERM),
        Verdict::Socket => allow_if(FAMILIES.contains(&low(0)) || (low(0) == 16 && low(2) == 0), EAFNOSUPPORT),
        Verdict::SocketPair => allow_if(low(0) == 1, EAFNOSUPPORT),
        Verdict::MakeNode(mode) => allow_if(PLAIN_NODES.contains(&(low(usize::from(mode)) & 0o170_000)), EPERM),
    }
}

const POLICIES: [Policy; 3] = [Policy::Function, Policy::Importer, Policy::ImageBuild];

#[test]
fn a_builder_of_images_mounts_and_does_nothing_worse() {
    let filter = Filter::compile(Policy::ImageBuild);
    let of = |number: libc::c_long, first: u64| {
        interpret(&filter, Call::new(u32::try_from(number).unwrap(), [first, 0, 0, 0, 0, 0])).0
    };
    for number in [libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_setns] {
        assert_eq!(of(number, 0), ALLOW, "{number}");
    }
    for (number, flags, answer) in [
        (libc::SYS_unshare, libc::CLONE_NEWNS, ALLOW),
        (libc::SYS_unshare, libc::CLONE_NEWNS | libc::CLONE_NEWUSER, EPERM),
        (libc::SYS_clone, libc::CLONE_NEWNS | libc::CLONE_NEWUTS, ALLOW),
        (libc::SYS_clone, libc::CLONE_NEWUSER, EPERM),
    ] {
        assert_eq!(of(number, u64::from(flags.cast_unsigned())), answer, "{number} {flags:x}");
    }
    for number in [
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_io_uring_setup,
        libc::SYS_perf_event_open,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_userfaultfd,
        libc::SYS_open_by_handle_at,
        libc::SYS_ptrace,
        libc::SYS_process_vm_writev,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_quotactl,
        libc::SYS_swapon,
        libc::SYS_reboot,
    ] {
        assert_eq!(of(number, 0), EPERM, "{number}");
    }
}

#[test]
fn every_number_gets_the_verdict_of_the_table() {
    #[rustfmt::skip]
    let words: [u32; 25] = [
        0, 1, 2, 3, 10, 16, 17, 0x11, 0x5412, 0x541c, 0x8000, 0o010_644, 0o020_644, 0o060_000, 0o100_644, 0o140_000,
        0x0004_0000, 0x0002_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000, 0x7e02_0000, 0x003d_0f00, 0x8000_0000,
        0xffff_ffff,
    ];
    for policy in POLICIES {
        let filter = Filter::compile(policy);
        let numbers = (0..=1024).chain([0x4000_0000, 0x4000_0001, 0x4000_0000 + 520, 0x7fff_ffff, 0xffff_ffff]);
        for number in numbers {
            for word in words {
                for (index, high) in [(0, 0), (1, 0), (2, 0), (0, u64::from(u32::MAX) << 32)] {
                    for family in [0, 1, 16] {
                        let mut args = [family, 0, 0, 0, 0, 0];
                        args[index] = u64::from(word) | high;
                        let call = Call::new(number, args);
                        assert_eq!(interpret(&filter, call).0, expected(policy, call), "{policy:?} {call:x?}");
                    }
                }
            }
        }
        // The kernel runs the program for every number when it is loaded, so the way through must be short.
        let longest = (0..=1024).map(|n| interpret(&filter, Call::new(n, [0; 6])).1).max().unwrap();
        assert!(longest <= 20, "{longest} steps");
        assert!(filter.len() < 200, "{} instructions", filter.len());
    }
}

#[test]
fn another_architecture_is_killed() {
    for arch in [0, 0x4000_0003, 0xc000_0016, !ARCH] {
        for policy in POLICIES {
            let call = Call { arch, number: 0, args: [0; 6] };
            assert_eq!(interpret(&Filter::compile(policy), call).0, KILL);
        }
    }
}

#[test]
fn the_dangerous_calls_stand_in_no_allowlist() {
    use libc::*;
    #[rustfmt::skip]
    let denied = [
        SYS_mount, SYS_umount2, SYS_pivot_root, SYS_move_mount, SYS_open_tree, SYS_fsopen, SYS_fsconfig, SYS_fsmount,
        SYS_fspick, SYS_mount_setattr, 467, SYS_chroot, SYS_setns, SYS_unshare, SYS_ptrace, SYS_process_vm_readv,
        SYS_process_vm_writev, SYS_process_madvise, SYS_kcmp, SYS_pidfd_getfd, SYS_bpf, SYS_keyctl, SYS_add_key,
        SYS_request_key, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_perf_event_open,
        SYS_kexec_load, SYS_kexec_file_load, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_userfaultfd,
        SYS_name_to_handle_at, SYS_open_by_handle_at, SYS_swapon, SYS_swapoff, SYS_reboot, SYS_syslog, SYS_acct,
        SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_quotactl, SYS_quotactl_fd,
        SYS_lookup_dcookie, SYS_fanotify_init, SYS_fanotify_mark, SYS_sethostname, SYS_setdomainname, SYS_vhangup,
        SYS_mbind, SYS_migrate_pages, SYS_move_pages, SYS_set_mempolicy, SYS_vmsplice, SYS_nfsservctl,
    ];
    #[cfg(target_arch = "x86_64")]
    #[rustfmt::skip]
    let legacy = [SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS__sysctl, SYS_uselib, SYS_ustat, SYS_sysfs, 174];
    #[cfg(not(target_arch = "x86_64"))]
    let legacy: [i64; 0] = [];
    // What mounting takes is told by a test of its own.
    let mounting = [
        SYS_mount,
        SYS_umount2,
        SYS_pivot_root,
        SYS_chroot,
        SYS_setns,
        SYS_unshare,
        SYS_sethostname,
        SYS_setdomainname,
    ];
    for policy in POLICIES {
        for number in denied.iter().chain(&legacy) {
            if policy == Policy::ImageBuild && mounting.contains(number) {
                continue;
            }
            assert_eq!(verdict(policy, u32::try_from(*number).unwrap()), Verdict::Deny, "{policy:?} {number}");
        }
        assert_eq!(verdict(policy, u32::try_from(SYS_clone3).unwrap()), Verdict::Absent);
        assert_eq!(verdict(policy, LAST + 1), Verdict::Absent);
    }
    for number in [SYS_execve, SYS_socket, SYS_clone, SYS_kill, SYS_connect, SYS_prctl, SYS_ioctl] {
        assert_eq!(verdict(Policy::Importer, u32::try_from(number).unwrap()), Verdict::Deny, "{number}");
    }
}

/// Runs `body` in a thread of its own behind the filter. Filters are per thread.
fn behind<T: Send>(policy: Policy, body: impl FnOnce() -> T + Send) -> T {
    let filter = Filter::compile(policy);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_no_new_privs().expect("no_new_privs");
            filter.install().expect("install the filter");
            body()
        });
        thread.join().expect("the thread behind the filter")
    })
}

/// The error number of a raw call, 0 if it succeeds.
fn raw(number: i64, args: [i64; 4]) -> i32 {
    // SAFETY: the arguments given in this file are integers, null pointers or pointers to static strings.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) };
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

#[test]
fn the_kernel_refuses_what_the_table_refuses() {
    use libc::*;
    let type_a_letter = i64::try_from(TIOCSTI).unwrap();
    // A host may have IPv6 switched off; the filter must not make a difference.
    let ipv6 = raw(SYS_socket, [i64::from(AF_INET6), i64::from(SOCK_STREAM), 0, 0]);
    let rows: &[(&str, i64, [i64; 4], i32)] = &[
        ("mount", SYS_mount, [0; 4], EPERM),
        ("umount2", SYS_umount2, [0; 4], EPERM),
        ("fsopen", SYS_fsopen, [0; 4], EPERM),
        ("unshare nothing", SYS_unshare, [0; 4], EPERM),
        ("unshare user", SYS_unshare, [i64::from(CLONE_NEWUSER), 0, 0, 0], EPERM),
        ("setns", SYS_setns, [-1, 0, 0, 0], EPERM),
        ("chroot", SYS_chroot, [0; 4], EPERM),
        ("ptrace", SYS_ptrace, [i64::from(PTRACE_TRACEME), 0, 0, 0], EPERM),
        ("process_vm_readv", SYS_process_vm_readv, [0; 4], EPERM),
        ("bpf", SYS_bpf, [0; 4], EPERM),
        ("keyctl", SYS_keyctl, [0; 4], EPERM),
        ("add_key", SYS_add_key, [0; 4], EPERM),
        ("io_uring_setup", SYS_io_uring_setup, [1, 0, 0, 0], EPERM),
        ("userfaultfd", SYS_userfaultfd, [1, 0, 0, 0], EPERM),
        ("perf_event_open", SYS_perf_event_open, [0; 4], EPERM),
        ("pidfd_getfd", SYS_pidfd_getfd, [-1, 0, 0, 0], EPERM),
        ("clock_settime", SYS_clock_settime, [-1, 0, 0, 0], EPERM),
        ("clone3", SYS_clone3, [0; 4], ENOSYS),
        ("io_setup", SYS_io_setup, [0; 4], ENOSYS),
        ("a call of tomorrow", 900, [0; 4], ENOSYS),
        ("x32 getpid", 0x4000_0000 + SYS_getpid, [0; 4], ENOSYS),
        ("clone with a user namespace", SYS_clone, [i64::from(CLONE_NEWUSER | SIGCHLD), 0, 0, 0], EPERM),
        ("clone, high bits set", SYS_clone, [i64::from(CLONE_NEWNS) | -1 << 32, 0, 0, 0], EPERM),
        ("packet socket", SYS_socket, [i64::from(AF_PACKET), i64::from(SOCK_RAW), 0, 0], EAFNOSUPPORT),
        ("kernel crypto socket", SYS_socket, [i64::from(AF_ALG), i64::from(SOCK_SEQPACKET), 0, 0], EAFNOSUPPORT),
        ("vsock", SYS_socket, [i64::from(AF_VSOCK), i64::from(SOCK_STREAM), 0, 0], EAFNOSUPPORT),
        ("netfilter netlink", SYS_socket, [i64::from(AF_NETLINK), i64::from(SOCK_RAW), 12, 0], EAFNOSUPPORT),
        ("route netlink", SYS_socket, [i64::from(AF_NETLINK), i64::from(SOCK_RAW), 0, 0], 0),
        ("unix socket", SYS_socket, [i64::from(AF_UNIX), i64::from(SOCK_STREAM | SOCK_CLOEXEC), 0, 0], 0),
        ("IPv4 socket", SYS_socket, [i64::from(AF_INET), i64::from(SOCK_DGRAM), 0, 0], 0),
        ("IPv6 socket", SYS_socket, [i64::from(AF_INET6), i64::from(SOCK_STREAM), 0, 0], ipv6),
        ("TIPC pair", SYS_socketpair, [30, i64::from(SOCK_STREAM), 0, 0], EAFNOSUPPORT),
        ("typing", SYS_ioctl, [-1, type_a_letter, 0, 0], EPERM),
        ("another ioctl reaches the kernel", SYS_ioctl, [-1, 0x5413, 0, 0], EBADF),
        ("asking for the personality", SYS_personality, [0xffff_ffff, 0, 0, 0], 0),
        ("executable heap", SYS_personality, [0x0040_0000, 0, 0, 0], EPERM),
        ("block device", SYS_mknodat, [-1, 0, i64::from(S_IFBLK), 0], EPERM),
        ("pipe in the file system reaches the kernel", SYS_mknodat, [-1, 0, i64::from(S_IFIFO), 0], EFAULT),
        ("getpid", SYS_getpid, [0; 4], 0),
        ("gettid", SYS_gettid, [0; 4], 0),
    ];
    let (errors, mode) = behind(Policy::Function, || {
        let errors: Vec<i32> = rows.iter().map(|(_, number, args, _)| raw(*number, *args)).collect();
        (errors, std::fs::read_to_string("/proc/thread-self/status").unwrap())
    });
    for ((what, .., wanted), got) in rows.iter().zip(errors) {
        assert_eq!(got, *wanted, "{what}");
    }
    assert!(mode.contains("Seccomp:\t2\n") && mode.contains("NoNewPrivs:\t1\n"), "{mode}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_32_bit_system_call_kills() {
    let filter = Filter::compile(Policy::Function);
    let mut command = Command::new("/bin/true");
    // SAFETY: only system calls and one instruction between fork and exec.
    unsafe {
        command.pre_exec(move || {
            set_no_new_privs()?;
            filter.install()?;
            // getpid of the 32-bit table; clobbers what the kernel's entry for it clobbers.
            std::arch::asm!("int 0x80", inlateout("eax") 20 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
            Ok(())
        });
    }
    let status = command.status().expect("the child ends before exec, which counts as started");
    // SIGSEGV where the kernel has no 32-bit entry in the first place.
    assert!(matches!(status.signal(), Some(libc::SIGSYS | libc::SIGSEGV)), "{status:?}");
}

#[test]
fn without_no_new_privs_and_privileges_nothing_is_installed() {
    let filter = Filter::compile(Policy::Importer);
    let mut command = Command::new("/bin/true");
    command.uid(65_534).gid(65_534);
    // SAFETY: one system call between fork and exec.
    unsafe { command.pre_exec(move || filter.install()) };
    assert_eq!(command.status().unwrap_err().raw_os_error(), Some(libc::EACCES));
}

/// Runs a program behind the function filter, as it runs in a sandbox: without most of the caller's environment.
fn run(program: &str, args: &[&str], input: &str) -> Output {
    let filter = Filter::compile(Policy::Function);
    let mut command = Command::new(program);
    command.args(args).env_remove("NODE_EXTRA_CA_CERTS").env_remove("NODE_OPTIONS");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: two system calls between fork and exec, documented as async-signal-safe; the filter was compiled before.
    unsafe {
        command.pre_exec(move || {
            set_no_new_privs()?;
            filter.install()
        });
    }
    let mut child = command.spawn().unwrap_or_else(|e| panic!("this test needs {program} on the PATH: {e}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn assert_prints(output: &Output, wanted: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
    assert_eq!(out.trim_end(), wanted, "{err}");
}

#[test]
fn node_serves_spawns_and_works_in_threads() {
    let script = r"
        const http = require('http'), { Worker } = require('worker_threads'), { execFile } = require('child_process');
        const fs = require('fs'), os = require('os'), path = require('path'), dns = require('dns'), zlib = require('zlib');
        const thread = new Promise((yes, no) => {
            const w = new Worker('require(`worker_threads`).parentPort.postMessage(6 * 7)', { eval: true });
            w.on('message', yes); w.on('error', no);
        });
        const child = new Promise((yes, no) => execFile('sh', ['-c', 'echo child'], (e, out) => e ? no(e) : yes(out.trim())));
        const name = new Promise((yes, no) => dns.lookup('localhost', (e, a) => e ? no(e) : yes(a.length > 2)));
        const served = new Promise((yes, no) => {
            const server = http.createServer((q, a) => a.end(zlib.gzipSync('served')));
            server.listen(0, '127.0.0.1', () => http.get({ port: server.address().port }, r => {
                const parts = []; r.on('data', d => parts.push(d));
                r.on('end', () => { server.close(); yes(zlib.gunzipSync(Buffer.concat(parts)).toString()); });
            }).on('error', no));
        });
        (async () => {
            const dir = await fs.promises.mkdtemp(path.join(os.tmpdir(), 'seccomp-'));
            await fs.promises.writeFile(path.join(dir, 'a'), 'x'); fs.watch(dir).close();
            await fs.promises.rm(dir, { recursive: true });
            const hash = require('crypto').createHash('sha256').update('x').digest('hex').length;
            const far = await new Promise(y => require('net').connect(1, '127.0.0.1').on('error', e => y(e.code)));
            console.log(await served, await child, await thread, await name, hash, os.cpus().length > 0, far);
        })();";
    assert_prints(&run("node", &["-e", script], ""), "served child 42 true 64 true ECONNREFUSED");
}

#[test]
fn python_serves_spawns_and_works_in_threads() {
    let script = r"
import asyncio, http.server, mmap, multiprocessing, os, socket, sqlite3, subprocess, tempfile, threading, urllib.request
def square(x): return x * x
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'served')
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
threading.Thread(target=server.serve_forever, daemon=True).start()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open('http://127.0.0.1:%d/' % server.server_port).read().decode())
server.shutdown()
print(subprocess.run(['sh', '-c', 'echo child'], capture_output=True, text=True).stdout.strip())
with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(square, [6, 7]))
async def sub():
    p = await asyncio.create_subprocess_exec('true'); return await p.wait()
print(asyncio.run(sub()))
with tempfile.TemporaryDirectory() as d:
    db = sqlite3.connect(d + '/x.db'); db.execute('create table t(a)'); db.commit(); db.close()
    with open(d + '/m', 'w+b') as f:
        f.truncate(8192); m = mmap.mmap(f.fileno(), 0); m[0:2] = b'hi'; m.flush(); m.close()
    os.mkfifo(d + '/fifo')
print(len(socket.getaddrinfo('localhost', 80)) > 0, os.sched_getaffinity(0) != set())
";
    assert_prints(&run("python3", &["-"], script), "served\nchild\n[36, 49]\n0\nTrue True");
}

#[test]
fn shells_and_pipes_work_and_namespaces_do_not() {
    let script = "printf 'b\\na\\n' | sort | tr '\\n' ' '; (sleep 0.01 & wait); mktemp -u >/dev/null && ls / >/dev/null \
        && unshare -U true 2>/dev/null || echo refused; mount -t tmpfs x /tmp 2>/dev/null || echo refused; \
        date -s 2000-01-01 >/dev/null 2>&1 || echo refused; cat /proc/self/status | grep -c NoNewPrivs:.*1";
    assert_prints(&run("sh", &["-c", script], ""), "a b refused\nrefused\nrefused\n1");
}

#[test]
fn the_importer_can_copy_a_tree_and_nothing_else() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let home = std::env::temp_dir().join(format!("dockless-seccomp-{}", std::process::id()));
    std::fs::create_dir(&home).unwrap();
    let at = home.clone();
    let refused = behind(Policy::Importer, move || -> std::io::Result<Vec<i32>> {
        let (a, b) = (at.join("a"), at.join("b"));
        std::fs::create_dir_all(a.join("deep/er"))?;
        std::fs::write(a.join("file"), vec![7; 3 << 20])?;
        std::fs::copy(a.join("file"), a.join("copy"))?;
        std::fs::rename(a.join("copy"), a.join("deep/copy"))?;
        std::fs::hard_link(a.join("file"), a.join("link"))?;
        symlink("file", a.join("symlink"))?;
        std::fs::read_link(a.join("symlink"))?;
        std::fs::set_permissions(a.join("file"), std::fs::Permissions::from_mode(0o644))?;
        let file = std::fs::OpenOptions::new().read(true).write(true).open(a.join("file"))?;
        file.set_len(10)?;
        file.set_modified(std::time::UNIX_EPOCH)?;
        file.sync_all()?;
        file.try_clone()?.metadata()?;
        let names: std::io::Result<Vec<_>> = std::fs::read_dir(&a)?.collect();
        assert_eq!(names?.len(), 4);
        assert_eq!(std::fs::read(a.join("deep/copy"))?.len(), 3 << 20);
        std::fs::canonicalize(&a)?;
        std::fs::rename(&a, &b)?;
        std::fs::remove_dir_all(&b)?;
        assert!(!b.try_exists()?);
        Ok(vec![
            raw(libc::SYS_socket, [1, 1, 0, 0]),
            raw(libc::SYS_clone, [0; 4]),
            raw(libc::SYS_execve, [0; 4]),
            raw(libc::SYS_kill, [0; 4]),
            raw(libc::SYS_mount, [0; 4]),
            raw(libc::SYS_prctl, [0; 4]),
            raw(libc::SYS_ioctl, [0; 4]),
            raw(libc::SYS_mknodat, [0; 4]),
        ])
    });
    std::fs::remove_dir_all(&home).unwrap();
    assert_eq!(refused.expect("file work"), [libc::EPERM; 8]);
}

#[test]
#[ignore = "a measurement: cargo nextest run -p dockless-sys --run-ignored only --no-capture"]
fn what_a_filter_costs() {
    for policy in POLICIES {
        let start = Instant::now();
        let filter = Filter::compile(policy);
        let compiled = start.elapsed();
        let mut times: Vec<Duration> = (0..300)
            .map(|_| {
                std::thread::scope(|scope| {
                    let thread = scope.spawn(|| {
                        set_no_new_privs().unwrap();
                        let start = Instant::now();
                        filter.install().unwrap();
                        start.elapsed()
                    });
                    thread.join().unwrap()
                })
            })
            .collect();
        times.sort();
        let calls = |filter: Option<&Filter>| {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    if let Some(filter) = filter {
                        set_no_new_privs().unwrap();
                        filter.install().unwrap();
                    }
                    let start = Instant::now();
                    (0..100_000).for_each(|_| assert_eq!(raw(libc::SYS_getpid, [0; 4]), 0));
                    start.elapsed() / 100_000
                });
                thread.join().unwrap()
            })
        };
        println!(
            "{policy:?}: {} instructions, compiled in {compiled:?}, loaded in min {:?} med {:?} p95 {:?}, \
             getpid {:?} bare, {:?} behind it",
            filter.len(),
            times[0],
            times[150],
            times[285],
            calls(None),
            calls(Some(&filter))
        );
    }
}

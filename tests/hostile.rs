//! What a hostile tenant tries: the host, its neighbours, the platform. Programs it brings along are compiled here.

#[path = "hostile/everywhere.rs"]
mod everywhere;
#[path = "hostile/exhaustion.rs"]
mod exhaustion;
#[path = "hostile/network.rs"]
mod network;
#[path = "hostile/outside.rs"]
mod outside;

use dockless_testkit::{
    Deployment, Files, Options, PATIENCE, Request, Scratch, Server, compile, copy_tree, eventually, process, wait_until,
};
use serde_json::Value;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

fn started() -> (Server, Deployment) {
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let hostile = deploy(&server, "hostile");
    (server, hostile)
}

fn sources() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

/// The hostile application, with its programs.
fn deploy(server: &Server, name: &str) -> Deployment {
    let programs = Scratch::new();
    let mut files = Files::new();
    copy_tree(&sources().join("apps/hostile"), files.path());
    for (program, source) in [
        ("forbidden", concat!(include_str!("natives/confined.h"), include_str!("natives/forbidden.c"))),
        ("abstract", include_str!("natives/abstract.c")),
        ("daemon", include_str!("natives/daemon.c")),
    ] {
        files = files.with_program(&format!("bin/{program}"), &compile(source, &programs, program));
    }
    server.deploy_folder(files.path(), name)
}

/// Runs one of its programs in its sandbox.
#[track_caller]
fn run(hostile: &Deployment, arguments: &[&str]) -> Value {
    let query: Vec<String> = arguments.iter().map(|argument| format!("arg={argument}")).collect();
    hostile.json(&format!("/api/run?{}", query.join("&")))
}

/// Tries an operation on paths; what became of each.
#[track_caller]
fn attempt(hostile: &Deployment, operation: &str, paths: &[&str]) -> serde_json::Map<String, Value> {
    let query: Vec<String> = paths.iter().map(|path| format!("&path={path}")).collect();
    let answer = hostile.json(&format!("/api/files?do={operation}{}", query.concat()));
    answer.as_object().expect("an object").clone()
}

#[test]
fn files_of_the_host_are_not_there() {
    let (server, hostile) = started();
    let neighbour = server.deploy(&Files::new().with("api/secret.js", "module.exports = (req, res) => res.send('x')"));
    let _ = neighbour.get("/api/secret").expect(200);
    let data = server.data().to_string_lossy().into_owned();
    let (token, run) = (format!("{data}/token"), server.run().to_string_lossy().into_owned());
    let (trees, database) = (format!("{data}/trees"), format!("{data}/db/dockless.sqlite"));
    let paths =
        ["/etc/shadow", "/root", "/home", "/work", "/run/dockless", "/var/lib", "/sys", "/boot", "/mnt", "/proc/kcore"];
    for path in paths.into_iter().chain([data.as_str(), &token, &run, &trees, &database]) {
        for operation in ["read", "list"] {
            let outcome = attempt(&hostile, operation, &[path])[path].clone();
            let nothing = matches!(outcome.as_str(), Some("ENOENT" | "EACCES" | "EPERM" | "EISDIR" | "ENOTDIR"))
                || outcome == 0
                || outcome == Value::Array(Vec::new());
            assert!(nothing, "{operation} {path}: {outcome}");
        }
    }
    let code = attempt(&hostile, "list", &["/var/task"]);
    assert!(!code["/var/task"].to_string().contains("secret"), "{code:?}");
    // Nothing about us in what it can read of itself.
    let seen =
        attempt(&hostile, "text", &["/proc/self/environ", "/proc/1/environ", "/proc/1/cmdline", "/proc/self/cgroup"]);
    assert!(!format!("{seen:?}").contains(server.token()), "the token: {seen:?}");
    let held = hostile.json("/api/self")["fds"].clone();
    for fd in held.as_array().unwrap() {
        let target = fd[1].as_str().unwrap_or_default();
        assert!(!target.contains("dockless-test") && !target.contains("/run/dockless"), "{held}");
    }
    server.stop();
}

#[test]
fn only_tmp_can_be_written() {
    let (server, hostile) = started();
    let paths = [
        "/var/task/x",
        "/var/task/api/files.js",
        "/opt/dockless/x",
        "/opt/dockless/nodejs/launcher.cjs",
        "/usr/bin/node",
        "/etc/passwd",
        "/etc/hosts",
        "/x",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/1/oom_score_adj_x",
        "/dev/x",
        "/dev/sda",
        "/run/x",
    ];
    for (path, outcome) in attempt(&hostile, "write", &paths) {
        let refused = matches!(outcome.as_str(), Some("EROFS" | "EACCES" | "EPERM" | "ENOENT"));
        assert!(refused, "write {path}: {outcome}");
    }
    for (path, outcome) in attempt(&hostile, "remove", &["/var/task", "/opt/dockless", "/etc/passwd"]) {
        let refused = matches!(outcome.as_str(), Some("EROFS" | "EACCES" | "EPERM" | "EBUSY"));
        assert!(refused, "remove {path}: {outcome}");
    }
    assert_eq!(attempt(&hostile, "write", &["/tmp/x"])["/tmp/x"], "done");
    assert_eq!(attempt(&hostile, "text", &["/etc/passwd"])["/etc/passwd"].as_str().unwrap().lines().count(), 3);
    server.stop();
}

#[test]
fn a_function_is_one_unprivileged_user_among_its_own_processes() {
    let (server, hostile) = started();
    let own = hostile.json("/api/self");
    assert_eq!((&own["uid"], &own["gid"]), (&1000.into(), &1000.into()));
    assert_eq!(own["groups"], serde_json::json!([1000]), "no group of the host: {own}");
    assert_eq!(own["cwd"], "/var/task");
    assert_eq!(own["processes"].as_array().unwrap().len(), 1, "{}", own["processes"]);
    assert_eq!(own["interfaces"], serde_json::json!(["lo", "eth0"]));
    let status = own["status"].as_str().unwrap();
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {status}")).trim()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");

    // Seen from outside: its own ids, namespaces and limits.
    let pid = server.frozen(&hostile, "api/self").pid.unwrap();
    let user = process::user(pid).unwrap();
    assert!(user >= 0x1_0000, "user {user} on the host");
    let shared: Vec<String> =
        process::namespaces(pid).intersection(&process::namespaces(std::process::id())).cloned().collect();
    let kinds: Vec<&str> = shared.iter().filter_map(|name| name.split(':').next()).collect();
    assert!(kinds.iter().all(|kind| matches!(*kind, "time" | "time_for_children")), "shared with the host: {shared:?}");
    let memory = process::group_file(pid, "memory", "memory.max")
        .or_else(|| process::group_file(pid, "memory", "memory.limit_in_bytes"))
        .and_then(|bytes| bytes.parse::<u64>().ok());
    assert_eq!(memory, Some((3008 + 512) << 20));

    let other = server.deploy_folder(&sources().join("apps/life"), "life");
    let _ = other.get("/api/count").expect(200);
    let neighbour = server.frozen(&other, "api/count").pid.unwrap();
    assert_ne!(process::user(neighbour), Some(user), "two sandboxes, two users");
    server.stop();
}

#[test]
fn system_calls_that_no_function_needs_are_refused() {
    let (server, hostile) = started();
    let done = run(&hostile, &["forbidden"]);
    assert_eq!(done["status"], 0, "{done}");
    let text = done["stdout"].as_str().unwrap();
    let allowed: Vec<&str> = text.lines().filter(|line| line.ends_with(" 0")).collect();
    assert!(text.lines().count() >= 66, "every call was tried: {text}");
    assert_eq!(allowed, [""; 0], "allowed; all of it:\n{text}");
    // None of them killed it, which would be a way to guess the filter, and none is a mere bad argument.
    for line in text.lines() {
        let (name, errno) = line.split_once(' ').unwrap();
        let errno: i32 = errno.parse().unwrap();
        assert!(errno < 1000, "{name} was killed by signal {}", errno - 1000);
        let refusals = [
            libc_eperm(),
            38, /* ENOSYS */
            97, /* EAFNOSUPPORT */
            13, /* EACCES */
            22, /* EINVAL: an id that is not mapped */
        ];
        assert!(refusals.contains(&errno), "{name} failed with {errno}, which may mean that the kernel looked at it");
    }
    server.stop();
}

const fn libc_eperm() -> i32 {
    1
}

#[test]
fn processes_of_others_can_be_neither_seen_nor_signalled() {
    let (server, hostile) = started();
    let _ = hostile.get("/api/count").expect(200);
    let neighbour = server.frozen(&hostile, "api/count").pid.unwrap();
    let pids = [server.pid(), server.servers()[0].pid, neighbour, std::process::id()];
    let query: Vec<String> = pids.iter().map(|pid| format!("&pid={pid}")).collect();
    for signal in [0, 9, 19] {
        let answer = hostile.json(&format!("/api/signal?signal={signal}{}", query.concat()));
        for (pid, outcome) in answer.as_object().unwrap() {
            assert_eq!(outcome, "ESRCH", "signal {signal} to {pid}");
        }
    }
    for pid in pids {
        assert!(process::find(pid).is_some(), "{pid} is gone");
    }
    server.stop();
}

#[test]
fn the_network_ends_at_its_own_loopback() {
    let options = Options::new(env!("CARGO_BIN_EXE_dockless"));
    let server = Server::start(Options { arguments: vec!["--egress".to_owned(), "off".to_owned()], ..options });
    let hostile = deploy(&server, "hostile");
    let dial = |host: &str, port: u16| {
        hostile.json(&format!("/api/dial?host={host}&port={port}"))["outcome"].as_str().unwrap_or_default().to_owned()
    };
    let somebody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [server.address().port(), somebody.local_addr().unwrap().port()] {
        assert_eq!(dial("127.0.0.1", port), "ECONNREFUSED", "the host's loopback");
        assert_eq!(dial("::1", port), "ECONNREFUSED");
    }
    for host in
        ["169.254.169.254", "10.0.0.1", "192.168.0.1", "172.17.0.1", "8.8.8.8", "fd00::1", "2001:4860:4860::8888"]
    {
        let outcome = dial(host, 80);
        assert!(matches!(outcome.as_str(), "ENETUNREACH" | "EHOSTUNREACH"), "{host}: {outcome}");
    }
    // A neighbour, of the same deployment even, has a loopback of its own.
    let port = u16::try_from(hostile.json("/api/listen")["port"].as_u64().unwrap()).unwrap();
    assert_eq!(dial("127.0.0.1", port), "ECONNREFUSED");

    let name = format!("dockless-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let done = run(&hostile, &["abstract", &name]);
    assert_eq!(done["stdout"], "111\n", "ECONNREFUSED: {done}");
    server.stop();
}

#[test]
fn what_it_left_running_is_gone_with_its_instance() {
    let (server, hostile) = started();
    let done = run(&hostile, &["daemon"]);
    assert_eq!(done["status"], 0, "{done}");
    let instance = server.frozen(&hostile, "api/run");
    let pid = instance.pid.unwrap();
    let members: Vec<_> = process::group_members(pid).into_iter().filter_map(process::find).collect();
    assert!(members.iter().any(|member| member.name == "daemon"), "{members:?}");
    assert!(process::is_frozen(pid));
    let _ = server.cli(&["sleep", &hostile.url]).ok();
    wait_until("the end of all of them", PATIENCE, || members.iter().all(|member| !member.exists()));
    server.stop();
}

#[test]
fn garbage_on_the_control_channel_costs_its_own_instance_alone() {
    let (server, hostile) = started();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let forged = |request: u64| {
        format!("{{\"type\":\"end\",\"payload\":{{\"context\":{{\"invocationId\":\"x\",\"requestId\":{request}}}}}}}\0")
    };
    assert_eq!(hostile.json("/api/count")["count"], 1);
    for (name, bytes) in [
        ("not JSON", hex("garbage\0")),
        ("not text", "fffe00ff00".to_owned()),
        ("no type", hex("{}\0")),
        ("an unknown type", hex("{\"type\":\"later\",\"payload\":{}}\0")),
        ("a wrong payload", hex("{\"type\":\"end\",\"payload\":7}\0")),
        ("an end of nothing", hex(&forged(1))),
        ("an end of much later", hex(&forged(u64::MAX >> 12))),
        ("a second start", hex("{\"type\":\"server-started\",\"payload\":{}}\0")),
        ("a frame without end", hex(&"x".repeat(1000))),
        ("deep", hex(&format!("{}\0", "[".repeat(1500)))),
    ] {
        let answer = hostile.send(&Request::get(&format!("/api/control?hex={bytes}")));
        let known = matches!(answer.status(), 200 | 500 | 502);
        assert!(known, "{name}: {answer:?}");
        eventually("its function answers again", PATIENCE, || {
            // Two zero bytes: empty frames, which nobody minds or which end this instance too.
            let again = hostile.get("/api/count");
            (again.status() == 200).then_some(())
        });
    }
    let count = hostile.json("/api/count")["count"].as_u64().unwrap();
    assert!(count >= 11, "the instance of another function lived through it: {count}");
    let last = hostile.send(&Request::get(&format!("/api/control?hex={}", hex("ok\0"))));
    assert!(matches!(last.status(), 200 | 500 | 502), "{last:?}");
    server.stop();
}

#[test]
fn bytes_that_are_no_http_are_a_failure_of_the_instance() {
    let (server, hostile) = started();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (name, bytes) in [
        ("garbage", hex("garbage\r\n\r\n")),
        ("no status", hex("HTTP/1.1\r\n\r\n")),
        ("two lengths", hex("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")),
        ("nothing", String::new()),
        ("another protocol", hex("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")),
        ("a head without end", hex(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(3000)))),
    ] {
        let answer = hostile.send(&Request::post(&format!("/api/raw?hex={bytes}"), ""));
        assert!(matches!(answer.status(), 500 | 502), "{name}: {answer:?}");
        assert!(answer.code().is_some(), "{name}: the page is ours: {answer:?}");
    }
    // An answer split in two must not become the next client's.
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let answer = hostile.send(&Request::get(&format!("/api/raw?hex={}", hex(smuggled))));
    assert!(!answer.text().contains("evil"), "{answer:?}");
    for _ in 0..5 {
        assert_ne!(hostile.get("/api/raw?hex=").text(), "evil");
        assert!(hostile.json("/api/count")["count"].as_u64().is_some());
    }
    server.stop();
}

#[test]
fn neighbours_do_not_share_state() {
    let (server, one) = started();
    let two = deploy(&server, "other");
    assert_eq!(attempt(&one, "write", &["/tmp/mine", "/dev/shm/mine"])["/tmp/mine"], "done");
    for (path, outcome) in attempt(&two, "read", &["/tmp/mine", "/dev/shm/mine"]) {
        assert_eq!(outcome, "ENOENT", "{path}");
    }
    // Another function of the same deployment is another sandbox too; the next request of the same one is not.
    assert_eq!(attempt(&one, "read", &["/tmp/mine"])["/tmp/mine"], 1);
    server.stop();
}

//! Machines that cannot carry sandboxes: the platform refuses to start with the reason and the cure, and `dockless doctor`
//! says the same.

use dockless_testkit::Scratch;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const DOCKLESS: &str = env!("CARGO_BIN_EXE_dockless");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Refused by the start: exit code 1, nothing on stdout, these words and this hint.
#[track_caller]
fn assert_refused(output: &Output, error: &str, hint: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(text(&output.stdout), "");
    let line = |start: &str| stderr.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default().to_owned();
    assert!(line("error: ").contains(error), "{stderr}");
    assert!(line("hint: ").contains(hint), "{stderr}");
}

/// The finding of this name in the answer of `doctor --json`, which failed.
#[track_caller]
fn failed(output: &Output, name: &str) -> Value {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!((output.status.code(), &answer["ok"]), (Some(1), &Value::Bool(false)), "{answer}");
    let findings = answer["findings"].as_array().expect("a list");
    let found =
        findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("no {name}: {answer}"));
    assert_eq!(found["state"], "fail", "{found}");
    found.clone()
}

/// `serve` and `doctor` behind a wrapper that takes something away; `sh -c SCRIPT sh dockless ARGUMENTS`.
fn under(wrapper: &[&str], script: &str) -> [Output; 2] {
    let scratch = Scratch::new();
    let data = scratch.path().join("data");
    let data = data.to_str().expect("a path is text");
    [&["serve", "--listen", "127.0.0.1:0", "--data", data][..], &["doctor", "--json", "--data", data]].map(
        |arguments| {
            let mut command = Command::new(wrapper[0]);
            command.args(&wrapper[1..]).args(["sh", "-c", script, "sh", DOCKLESS]).args(arguments);
            command.env("SCRATCH", scratch.path()).output().expect("the wrapper runs")
        },
    )
}

#[test]
fn this_machine_is_fit() {
    let scratch = Scratch::new();
    let output = Command::new(DOCKLESS).args(["doctor", "--data"]).arg(scratch.path()).output().unwrap();
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    for name in [
        "kernel",
        "namespaces",
        "id maps",
        "id-mapped mounts",
        "/proc",
        "overlay",
        "seccomp",
        "control groups",
        "egress",
        "node",
    ] {
        assert!(stdout.lines().any(|line| line.starts_with("ok ") && line.contains(name)), "{name}: {stdout}");
    }
    assert!(!stdout.contains("fail"), "{stdout}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "something was left in the data folder");
    assert!(dockless_testkit::process::groups_named("dockless-doctor").is_empty());
}

#[test]
fn a_folder_that_does_not_exist_is_not_made() {
    let scratch = Scratch::new();
    let data = scratch.path().join("not/yet");
    let output = Command::new(DOCKLESS).args(["doctor", "--data"]).arg(&data).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn an_old_kernel_is_refused() {
    let [serve, doctor] = under(&["setarch", "--uname-2.6"], "exec \"$@\"");
    assert_refused(&serve, "is too old: 6.1 or newer is needed", "upgrade the kernel");
    assert!(failed(&doctor, "kernel")["advice"].as_str().unwrap().contains("Debian 12"));
}

#[test]
fn a_file_system_without_id_mapped_mounts_is_refused() {
    // The overlay is a mount of the shell's own namespace and gone with it.
    let script = "cd \"$SCRATCH\" && mkdir -p l u w data && \
        mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w data && exec \"$@\"";
    let [serve, doctor] = under(&["unshare", "--mount", "--propagation", "private"], script);
    assert_refused(&serve, "cannot be id-mapped", "choose another folder with --data: on ext4");
    assert!(failed(&doctor, "id-mapped mounts")["advice"].as_str().unwrap().contains("--data"));
}

#[test]
fn missing_privileges_are_refused() {
    let [serve, doctor] =
        under(&["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"], "exec \"$@\"");
    assert_refused(&serve, "shifted owners: Operation not permitted", "CAP_SYS_ADMIN");
    assert!(failed(&doctor, "id-mapped mounts")["found"].as_str().unwrap().contains("not permitted"));
}

#[test]
fn missing_control_groups_are_refused() {
    let script = "umount --recursive /sys/fs/cgroup && exec \"$@\"";
    let [serve, doctor] = under(&["unshare", "--mount", "--propagation", "private"], script);
    assert_refused(&serve, "no control groups are mounted", "mount -t cgroup2");
    assert!(failed(&doctor, "control groups")["advice"].as_str().unwrap().contains("mount cgroup2"));
}

#[test]
fn forbidden_namespaces_are_refused_with_the_setting() {
    // A setting of a user namespace of its own: the machine's is not touched. Capabilities come with the second exec,
    // once the first user is root.
    let script = "read go; exec sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"' sh \"$@\"";
    let scratch = Scratch::new();
    let mut child = Command::new("unshare")
        .args(["--user", "sh", "-c", script, "sh", DOCKLESS, "serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(scratch.path().join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ours = std::fs::read_link("/proc/self/ns/user").unwrap();
    dockless_testkit::wait_until("a user namespace", dockless_testkit::PATIENCE, || {
        std::fs::read_link(format!("/proc/{}/ns/user", child.id())).is_ok_and(|theirs| theirs != ours)
    });
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{map}", child.id()), "0 0 4294967295\n").unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_refused(&output, "cannot make a user namespace", "sysctl -w user.max_user_namespaces=");
}

#[test]
fn without_root_the_rest_is_told() {
    let scratch = Scratch::new();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "DOCKLESS_NODE=no-such-node"])
        .arg(DOCKLESS)
        .args(["doctor", "--json", "--data"])
        .arg(scratch.path())
        .output()
        .unwrap();
    assert!(failed(&output, "root")["advice"].as_str().unwrap().contains("sudo dockless doctor"));
    assert!(failed(&output, "node")["advice"].as_str().unwrap().contains("apt install nodejs"));
}

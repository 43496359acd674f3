//! The examples that need base images, as they lie in the repository: built from bases of Debian's, deployed, asked.
//! The other examples are deployed in the suites of what they show.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_testkit::{LayerTar, Options, Registry, Scratch, Server, TestImage, copy_tree, installed};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// One root for all: a compiler of Go, and what Node needs, which images of Docker Hub have one by one.
const PACKAGES: &str = "ca-certificates,golang-go,libatomic1,libstdc++6";

/// Types two commands into a terminal; says what was shown until the second had answered.
const SHELL: &str = r"
const net = require('node:net');
const [host, port, authority] = process.argv.slice(1);
const socket = net.connect(Number(port), host);
const frame = (text) => {
  const payload = Buffer.from(text);
  const mask = Buffer.from([1, 2, 3, 4]);
  return Buffer.concat([Buffer.from([0x82, 0x80 | payload.length]), mask, payload.map((byte, at) => byte ^ mask[at % 4])]);
};
let shown = '';
const done = (error) => { console.log(JSON.stringify({ error, shown })); process.exit(0); };
setTimeout(() => done('late'), 30000);
socket.on('error', (error) => done(String(error)));
socket.on('close', () => done('closed'));
socket.write(`GET /shell HTTP/1.1\r\nHost: ${authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
let open = false;
socket.on('data', (data) => {
  shown += data.toString('latin1');
  if (!open && shown.includes('\r\n\r\n')) {
    open = true;
    socket.write(frame('stty size; echo kept > note; echo $((6 * 7))-done\n'));
  }
  if (shown.includes('42-done')) done();
});
";

/// A registry with the base, or `None` where one cannot be made.
fn base() -> Option<(Registry, String)> {
    if !installed("debootstrap", "debootstrap") || !installed("buildah", "buildah") {
        return None;
    }
    let registry = Registry::start(None)?;
    let root = Scratch::new();
    let root = root.path().join("root");
    let include = format!("--include={PACKAGES}");
    let made = Command::new("debootstrap")
        .args(["--variant=minbase", &include, "bookworm"])
        .arg(&root)
        .arg("http://deb.debian.org/debian")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    // Debian's npm brings four hundred packages of its own: Node and npm of this machine do.
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
        Path::new(String::from_utf8_lossy(&output.stdout).trim()).to_owned()
    };
    let npm = said("npm", &["root", "--global"]).join("npm");
    let layer = LayerTar::new()
        .tree(&root, "")
        .program("usr/local/bin/node", &said("node", &["-p", "process.execPath"]))
        .tree(&npm, "usr/local/lib/node_modules/npm")
        .symlink("usr/local/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js");
    // Whom this machine trusts, as the base images of its owner would have it.
    let authorities = std::fs::read("/etc/ssl/certs/ca-certificates.crt").expect("ca-certificates is needed here");
    let image = TestImage::new()
        .layer(layer)
        .layer(LayerTar::new().file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities))
        .env("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    image.push(registry.address(), "debian", "bookworm", None);
    let name = format!("{}/debian:bookworm", registry.address());
    Some((registry, name))
}

/// The example with other bases, which is all that is changed.
fn example(name: &str, bases: &[&str], image: &str) -> Scratch {
    let folder = Scratch::new();
    copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name), folder.path());
    let bases: serde_json::Map<String, Value> =
        bases.iter().map(|base| ((*base).to_owned(), Value::from(image))).collect();
    let config = json!({ "type": "docker", "slot": "c1-m512", "build": { "env": bases } });
    std::fs::write(folder.path().join("now.json"), config.to_string()).unwrap();
    folder
}

#[test]
#[ignore = "makes a Debian root and compiles in it: make test-slow"]
fn examples_with_a_dockerfile_are_deployed_as_they_are() {
    let Some((_registry, image)) = base() else { return };
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let deployed = |name: &str, bases: &[&str]| {
        let folder = example(name, bases, &image);
        let told = server.cli(&["deploy", folder.path().to_str().unwrap(), "--name", name, "--yes", "--json"]);
        assert_eq!(told.code, Some(0), "{name}: {told:?}\nthe server said:\n{}", server.messages());
        server.reached(&serde_json::from_str(&told.stdout).unwrap())
    };

    let micro = deployed("docker-node-micro", &["BASE"]);
    let first: Value = micro.json("/one");
    let second: Value = micro.json("/two");
    assert_eq!((&first["hello"], &second["hello"]), (&json!("/one"), &json!("/two")));
    assert_eq!((&first["instance"], &second["requests"]), (&second["instance"], &json!(2)));

    let shell = deployed("docker-go-websocket-shell", &["BUILD", "BASE"]);
    assert!(shell.get("/").expect(200).text().contains("<title>"));
    assert_eq!(shell.json("/state")["files"], json!([]));
    let address = server.address();
    let mut client = Command::new("node");
    client.args(["-e", SHELL, "--", &address.ip().to_string(), &address.port().to_string(), &shell.authority()]);
    let said = client.stdin(Stdio::null()).output().unwrap();
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(said["error"].is_null() && said["shown"].as_str().unwrap().contains("42-done"), "{said}");
    // Seen by others while the instance lives, gone with it.
    let state = shell.json("/state");
    assert_eq!((&state["files"], &state["shellsOpened"]), (&json!(["note"]), &json!(1)), "{state}");
    let _ = server.cli(&["sleep", &shell.authority()]).ok();
    assert_eq!(shell.json("/state")["files"], json!([]));
    server.stop();
}

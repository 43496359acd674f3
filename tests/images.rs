//! Images of a real registry: pulled, unpacked, served, collected; and registries that misbehave.

use dockless_testkit::{
    Compression, Deployment, Fault, FaultProxy, Finished, LayerTar, Options, PATIENCE, Registry, Scratch, Server,
    TestImage, compile, installed, push_manifest, wait_until,
};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const LOGIN: (&str, &str) = ("ada", "difference-engine-1843");

fn server() -> Server {
    Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) })
}

/// A server program in an image FROM scratch, in two layers.
fn image(scratch: &Scratch) -> TestImage {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/natives/server.c"));
    let program = compile(&source.expect("the program's source is there"), scratch, "server");
    let users = LayerTar::new()
        .folder("etc", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0::/:/server\napp:x:1234:1234::/srv:/server\n")
        .file("etc/group", 0o644, "root:x:0:\napp:x:1234:\n")
        .folder("tmp", 0o1777);
    TestImage::new()
        .packed_layer(users, Compression::Zstd)
        .layer(LayerTar::new().program("server", &program).file_of((1234, 1234), "srv/data/own", 0o600, "mine"))
        .entrypoint(&["/server"])
        .env("GREETING", "hello")
        .with("User", json!("app"))
        .with("WorkingDir", json!("/srv/data"))
        .expose("8080/tcp")
}

/// `deploy --image` with a docker configuration that has this login.
fn deploy(server: &Server, name: &str, login: Option<(SocketAddr, (&str, &str))>, more: &[&str]) -> Finished {
    let config = Scratch::new();
    if let Some((registry, (user, password))) = login {
        let auth = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
        let auths = json!({ "auths": { registry.to_string(): { "auth": auth } } });
        std::fs::write(config.path().join("config.json"), auths.to_string()).expect("the folder is writable");
    }
    let folder = config.path().to_str().expect("a path is text");
    let mut arguments = vec!["deploy", "--image", name, "--json"];
    arguments.extend(more);
    server.cli_with(&[("DOCKER_CONFIG", folder), ("XDG_CONFIG_HOME", folder), ("XDG_RUNTIME_DIR", folder)], &arguments)
}

#[track_caller]
fn ready(server: &Server, finished: Finished) -> Deployment {
    let finished = finished.ok();
    server.reached(&serde_json::from_value(finished.json()).expect("the answer is a deployment"))
}

/// Names of unpacked layers.
fn layers(server: &Server) -> Vec<String> {
    let folder = std::fs::read_dir(server.data().join("layers")).expect("the folder of layers is there");
    let mut names: Vec<_> = folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_image_behind_a_login_becomes_a_service() {
    let Some(registry) = Registry::start(Some(LOGIN)) else { return };
    let (server, scratch, at) = (server(), Scratch::new(), registry.address());
    let image = image(&scratch);
    image.push(at, "me/app", "1", Some(LOGIN));
    let name = format!("{at}/me/app:1");

    // Nobody, and somebody else: said so, with what to do.
    let refused = deploy(&server, &name, None, &[]).exits(1);
    assert!(refused.stderr.contains("401") && refused.stderr.contains(&format!("docker login {at}")), "{refused:?}");
    let refused = deploy(&server, &name, Some((at, ("ada", "wrong"))), &[]).exits(1);
    assert!(refused.stderr.contains("is not accepted"), "{refused:?}");

    let finished = deploy(&server, &name, Some((at, LOGIN)), &["--slot", "c1-m64", "--env", "GREETING=welcome"]);
    assert!(finished.stderr.contains("pulled"), "{finished:?}");
    let app = ready(&server, finished);
    assert!(app.host.as_str().starts_with("app-"), "{app:?}");
    let text = app.get("/some/path?x=1").expect(200).text();
    assert_eq!(text, "path=/some/path?x=1 uid=1234 gid=1234 cwd=/srv/data greeting=welcome\n");
    assert_eq!(layers(&server).len(), 2);

    // The same layers again: nothing is pulled but what is new. A tag may have moved, so the same command is a new one.
    let more = image.clone().layer(LayerTar::new().file("srv/data/new", 0o644, "new"));
    more.push(at, "me/app", "1", Some(LOGIN));
    let finished = deploy(&server, &name, Some((at, LOGIN)), &["--slot", "c1-m64"]);
    let log: Vec<&str> = finished.stderr.lines().filter(|line| line.contains(" layer ")).collect();
    assert_eq!(log.iter().filter(|line| line.contains("was here")).count(), 2, "{finished:?}");
    let second = ready(&server, finished);
    assert_ne!(app.id, second.id);
    assert_eq!(layers(&server).len(), 3);

    // The login is nowhere: not in the database, not in a blob, not in the log.
    let found =
        std::process::Command::new("grep").args(["-rlF", LOGIN.1]).arg(server.data()).output().expect("grep runs");
    assert!(found.stdout.is_empty(), "the password is stored in {}", String::from_utf8_lossy(&found.stdout));
    assert!(!server.messages().contains(LOGIN.1));

    // What no deployment has any more goes; what another has stays.
    let _ = server.cli(&["rm", app.id.as_str(), "--yes"]).ok();
    assert_eq!(second.get("/").expect(200).text().split(' ').next(), Some("path=/"));
    assert_eq!(layers(&server).len(), 3);
    let _ = server.cli(&["rm", second.id.as_str(), "--yes"]).ok();
    wait_until("the layers to go", PATIENCE, || layers(&server).is_empty());
    server.stop();
}

#[test]
fn a_root_of_several_layers_is_one() {
    let Some(registry) = Registry::start(None) else { return };
    if !installed("busybox", "busybox-static") {
        return;
    }
    let (server, at) = (server(), registry.address());
    let base = LayerTar::new()
        .program("bin/busybox", Path::new("/bin/busybox"))
        .symlink("bin/sh", "busybox")
        .file("www/kept", 0o644, "kept")
        .file("www/gone", 0o644, "gone")
        .file("www/changed", 0o644, "old")
        .file("www/hidden/old", 0o644, "old")
        .folder("tmp", 0o1777);
    let change = LayerTar::new()
        .whiteout("www/gone")
        .file("www/changed", 0o644, "new")
        .opaque("www/hidden")
        .file("www/hidden/new", 0o644, "new")
        .hard_link("www/linked", "www/changed")
        .symlink("www/to", "changed");
    // One layer comes twice, which overlays do not take.
    let twice = LayerTar::new().file("www/twice", 0o644, "twice");
    let image = TestImage::new()
        .layer(twice.clone())
        .layer(base)
        .packed_layer(change, Compression::None)
        .layer(twice)
        .with("Cmd", json!(["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]))
        .expose("8080");
    image.push(at, "root", "latest", None);
    let root = ready(&server, deploy(&server, &format!("{at}/root"), None, &["--slot", "c1-m64", "--name", "root"]));
    for (path, status, text) in [
        ("/kept", 200, "kept"),
        ("/gone", 404, ""),
        ("/changed", 200, "new"),
        ("/hidden/new", 200, "new"),
        ("/hidden/old", 404, ""),
        ("/linked", 200, "new"),
        ("/to", 200, "new"),
        ("/twice", 200, "twice"),
    ] {
        let answer = root.get(path).expect(status);
        assert!(status != 200 || answer.text() == text, "{path}: {answer:?}");
    }
    server.stop();
}

#[test]
fn a_registry_that_stumbles_is_asked_again() {
    let Some(registry) = Registry::start(None) else { return };
    let (server, scratch, at) = (server(), Scratch::new(), registry.address());
    image(&scratch).push(at, "app", "1", None);
    let mut manifests = 0;
    let mut blobs = std::collections::HashMap::<String, u32>::new();
    let proxy = FaultProxy::start(at, move |line, _| {
        if line.contains("/manifests/") {
            manifests += 1;
            return match manifests {
                1 => Some(Fault::Answer(429, vec!["retry-after: 1".to_owned()])),
                2 => Some(Fault::Answer(503, Vec::new())),
                _ => None,
            };
        }
        let times = blobs.entry(line.to_owned()).or_default();
        *times += 1;
        match times {
            1 => Some(Fault::CutAfter(100)),
            2 => Some(Fault::Slow(Duration::from_millis(300))),
            _ => None,
        }
    });
    let begin = Instant::now();
    let app = ready(&server, deploy(&server, &format!("{}/app:1", proxy.address()), None, &[]));
    assert!(begin.elapsed() >= Duration::from_secs(1), "Retry-After was waited for");
    assert!(app.get("/").expect(200).text().starts_with("path=/ "));
    let resumed = proxy.seen().iter().filter(|head| head.to_ascii_lowercase().contains("range: bytes=100-")).count();
    assert_eq!(resumed, 2, "both layers go on where they were cut: {:#?}", proxy.seen());
    server.stop();
}

#[test]
fn what_cannot_be_pulled_is_said_and_leaves_nothing() {
    let Some(registry) = Registry::start(None) else { return };
    let (server, scratch, at) = (server(), Scratch::new(), registry.address());
    let good = image(&scratch);
    good.push(at, "good", "1", None);
    let mut other = good.clone();
    other.architecture = "s390x".to_owned();
    other.push(at, "other", "1", None);
    TestImage::new().layer(LayerTar::new().file("a", 0o644, "a")).push(at, "no-command", "1", None);
    let device = LayerTar::new().file("fine", 0o644, "x").entry(tar::EntryType::Block, "x/sda", 0o600, (0, 0), "", &[]);
    good.clone().layer(device).push(at, "device", "1", None);
    let outside = LayerTar::new().file("a/../../../etc/cron.d/evil", 0o644, "x");
    good.clone().layer(outside).push(at, "outside", "1", None);
    // A manifest whose configuration tells of another layer than it carries.
    let mut config: serde_json::Value = serde_json::from_slice(&good.config_json()).expect("JSON");
    config["rootfs"]["diff_ids"][1] = json!(format!("sha256:{}", "0".repeat(64)));
    let lying = config.to_string();
    good.push_with_config(at, "lying", "1", lying.as_bytes(), None);
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] });
    push_manifest(at, "good", "empty", "application/vnd.oci.image.index.v1+json", index.to_string(), None);

    let spoiling = FaultProxy::start(at, |line, _| line.contains("/blobs/").then_some(Fault::Spoil));
    let tired = FaultProxy::start(at, |_, _| Some(Fault::Answer(429, vec!["retry-after: 0".to_owned()])));
    let away = FaultProxy::start(at, |line, _| {
        let to = "location: http://192.0.2.1/blob".to_owned();
        line.contains("/blobs/").then_some(Fault::Answer(307, vec![to]))
    });
    let before = layers(&server);
    for (name, words) in [
        (format!("{at}/good:none"), "does not have good:none"),
        (format!("{at}/missing"), "does not have missing:latest"),
        (format!("{at}/other:1"), "only for linux/s390x"),
        (format!("{at}/good:empty"), "is not made for linux/"),
        (format!("{at}/no-command:1"), "names no command"),
        (format!("{at}/device:1"), "entry x/sda: device nodes are not allowed"),
        (format!("{at}/outside:1"), "entry a/../../../etc/cron.d/evil: paths with .."),
        (format!("{at}/lying:1"), "expected 0000"),
        (format!("{}/good:1", spoiling.address()), "sent other bytes"),
        (format!("{}/good:1", tired.address()), "429"),
        (format!("{}/good:1", away.address()), "which is not https"),
        ("127.0.0.1:1/good".to_owned(), "cannot reach http://127.0.0.1:1"),
    ] {
        let refused = deploy(&server, &name, None, &[]).exits(1);
        assert!(refused.stderr.contains(words), "{name}: {refused:?}");
    }
    // A digest is believed only if the bytes have it.
    let pinned = format!("{at}/good@sha256:{}", dockless_model::Digest::of(&good.manifest()));
    let app = ready(&server, deploy(&server, &pinned, None, &["--name", "pinned"]));
    assert_eq!(layers(&server).len(), before.len() + 2, "layers of failed builds are deleted");
    let _ = app.get("/").expect(200);
    for (more, code, words) in [
        (&["--concurrency", "500"][..], 1, "limits.maxConcurrentReqs"),
        (&["--duration", "1s"], 1, "limits.duration"),
        (&["--slot", "huge"], 1, "expected c<cores>-m<MiB>"),
    ] {
        let refused = deploy(&server, &pinned, None, more).exits(code);
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    let usage = server.cli(&["deploy", "--image", "Not/A/Name"]).exits(2);
    assert!(usage.stderr.contains("lower case"), "{usage:?}");
    server.stop();
}

#[test]
fn logins_come_from_helpers_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(registry) = Registry::start(Some(LOGIN)) else { return };
    let (server, scratch, at) = (server(), Scratch::new(), registry.address());
    image(&scratch).push(at, "me/app", "1", Some(LOGIN));
    let helper = scratch.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = {at} ] || {{ echo credentials not found in native keychain; exit 1; }}\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"{}\",\"Secret\":\"{}\"}}'\n",
        LOGIN.0, LOGIN.1
    );
    std::fs::write(&helper, script).expect("the folder is writable");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let config = json!({ "credHelpers": { at.to_string(): "test" } });
    std::fs::write(scratch.path().join("config.json"), config.to_string()).expect("the folder is writable");
    let folder = scratch.path().to_str().expect("a path is text");
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let name = format!("{at}/me/app:1");
    let arguments = ["deploy", "--image", &name, "--json"];
    let app = ready(&server, server.cli_with(&[("DOCKER_CONFIG", folder), ("PATH", &path)], &arguments));
    let _ = app.get("/").expect(200);
    server.stop();
}

#[test]
fn images_on_a_disk_are_deployed_as_they_are() {
    let (server, scratch) = (server(), Scratch::new());
    let image = image(&scratch);
    let at = |name: &str| scratch.path().join(name).to_str().expect("a path is text").to_owned();
    image.docker_archive(Path::new(&at("new.tar")), "app:1");
    image.old_docker_archive(Path::new(&at("old.tar")), "app:1");
    image.oci_layout(Path::new(&at("layout")), "1");
    for name in [
        format!("docker-archive:{}", at("new.tar")),
        format!("docker-archive:{}", at("old.tar")),
        format!("oci:{}:1", at("layout")),
    ] {
        let app = ready(&server, deploy(&server, &name, None, &["--name", "disk", "--slot", "c1-m64"]));
        assert!(app.get("/x").expect(200).text().starts_with("path=/x uid=1234 "), "{name}");
    }
    assert_eq!(layers(&server).len(), 2, "the three are one image");
    let missing = deploy(&server, &format!("oci:{}", at("nothing")), None, &[]).exits(1);
    assert!(missing.stderr.contains("cannot read"), "{missing:?}");
    let packed = Compression::Gzip.pack(&std::fs::read(at("new.tar")).expect("just written"));
    std::fs::write(at("new.tar.gz"), packed).expect("the folder is writable");
    let packed = deploy(&server, &format!("docker-archive:{}", at("new.tar.gz")), None, &[]).exits(1);
    assert!(packed.stderr.contains("gunzip"), "{packed:?}");
    server.stop();
}

//! Dockerfiles, by the real command line and the real buildah: what they become, what is kept, what a hostile one can do.

use dockless_testkit::{
    Deployment, Files, Finished, LayerTar, Options, PATIENCE, Registry, Scratch, Server, TestImage, copy_tree,
    installed, wait_until,
};
use serde_json::json;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// A shell from one program: every image here begins with it.
const SHELL: &str =
    "FROM scratch AS shell\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
const SERVE: &str = "EXPOSE 8080\nCMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n";

/// Whether this machine has what Dockerfiles here are built with, installed where it can be.
fn can_build() -> bool {
    installed("buildah", "buildah") && installed("busybox", "busybox-static")
}

fn server() -> Server {
    Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) })
}

fn files(dockerfile: &str) -> Files {
    Files::new().with("Dockerfile", dockerfile).with_program("busybox", Path::new("/bin/busybox"))
}

fn deploy(server: &Server, folder: &Path, name: &str) -> Finished {
    let folder = folder.to_str().expect("a path is text");
    server.cli(&["deploy", folder, "--name", name, "--yes", "--json", "--force"])
}

#[track_caller]
fn ready(server: &Server, finished: Finished) -> (Deployment, String) {
    assert_eq!(finished.code, Some(0), "{finished:?}\nthe server said:\n{}", server.messages());
    let deployed = serde_json::from_str(&finished.stdout).expect("a deployment");
    (server.reached(&deployed), finished.stderr)
}

fn stores(server: &Server) -> usize {
    std::fs::read_dir(server.data().join("stores")).expect("the folder of stores is there").count()
}

#[test]
fn a_dockerfile_becomes_a_server_and_its_steps_are_kept() {
    if !can_build() {
        return;
    }
    let server = server();
    let file = format!(
        "ARG WORD=nothing\n{SHELL}FROM shell AS build\nARG WORD\nRUN mkdir -p /www && echo \"built with $WORD\" > /www/word\n\
         COPY . /context\nRUN ls /context > /www/context && id -u > /www/user\nFROM shell\n\
         COPY --from=build /www /www\nCOPY page /www/page\n{SERVE}"
    );
    let source = files(&file)
        .with("page", "one")
        .with("secret/key", "x")
        .with("notes.txt", "x")
        .with(".dockerignore", "secret\n*.txt\n")
        .with("now.json", r#"{"type":"docker","slot":"c.5-m64","build":{"env":{"WORD":"care"}}}"#);
    let (first, said) = ready(&server, deploy(&server, source.path(), "kept"));
    assert_eq!(first.get("/word").expect(200).text(), "built with care\n");
    assert_eq!(first.get("/user").expect(200).text(), "0\n");
    let context = first.get("/context").expect(200).text();
    assert!(context.contains("page") && !context.contains("secret") && !context.contains("notes"), "{context}");
    assert!(said.contains("RUN mkdir") && said.contains("layer 1/") && !said.contains("CACHED"), "{said}");

    let begin = Instant::now();
    let (_, said) = ready(&server, deploy(&server, source.path(), "kept"));
    let took = begin.elapsed();
    assert!(said.contains("CACHED, nothing changed") && !said.contains("STEP"), "{said}");
    assert!(took < Duration::from_secs(2), "an unchanged Dockerfile took {took:?}");

    std::fs::write(source.path().join("page"), "two").expect("the folder is ours");
    let (changed, said) = ready(&server, deploy(&server, source.path(), "kept"));
    assert_eq!(changed.get("/page").expect(200).text(), "two");
    assert!(said.contains("--> CACHED"), "{said}");
    assert_eq!(stores(&server), 1);
    wait_until("work folders are removed", PATIENCE, || {
        std::fs::read_dir(server.data().join("builds")).is_ok_and(|folder| folder.count() == 0)
    });

    // Another project begins with nothing of it.
    let (_, said) = ready(&server, deploy(&server, source.path(), "other"));
    assert!(said.contains("CACHED, nothing changed") || !said.contains("--> CACHED"), "{said}");
    server.stop();
}

#[test]
fn images_that_it_begins_from_come_from_a_registry() {
    if !can_build() {
        return;
    }
    let Some(registry) = Registry::start(None) else { return };
    let (server, at) = (server(), registry.address());
    let base = LayerTar::new().program("bin/busybox", Path::new("/bin/busybox")).file("etc/base", 0o644, "the base\n");
    TestImage::new().layer(base).with("Env", json!(["FROM_BASE=yes"])).push(at, "tools/busybox", "1", None);

    // As it lies in the repository, the image's name alone replaced.
    let example = Scratch::new();
    copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/docker-static"), example.path());
    let config = json!({ "type": "docker", "build": { "env": { "BASE": format!("{at}/tools/busybox:1") } } });
    std::fs::write(example.path().join("now.json"), config.to_string()).expect("the folder is ours");
    let (page, said) = ready(&server, deploy(&server, example.path(), "static"));
    assert!(page.get("/").expect(200).text().contains("from scratch"));
    assert!(
        said.contains("FROM") && said.contains(&format!("{at}/tools/busybox:1")) && !said.contains("base-"),
        "{said}"
    );

    // Several uses, one of them never a stage.
    let name = format!("{at}/tools/busybox:1");
    let file = format!(
        "FROM {name}\nRUN [\"/bin/busybox\", \"mkdir\", \"/www\"]\nCOPY --from={name} /etc/base /www/base\n{SERVE}"
    );
    let (both, _) = ready(&server, deploy(&server, files(&file).path(), "both"));
    assert_eq!(both.get("/base").expect(200).text(), "the base\n");

    let missing = format!("FROM {at}/tools/nothing:1\n");
    let failed = deploy(&server, files(&missing).path(), "missing").exits(1);
    assert!(failed.stderr.contains("tools/nothing") && failed.stderr.contains("pull"), "{failed:?}");
    server.stop();
}

#[test]
fn servers_stand_beside_files_and_functions() {
    if !can_build() {
        return;
    }
    let Some(registry) = Registry::start(None) else { return };
    let (server, at) = (server(), registry.address());
    let base = LayerTar::new().program("bin/busybox", Path::new("/bin/busybox"));
    let base =
        ["sh", "mkdir", "cat"].into_iter().fold(base, |base, name| base.symlink(&format!("bin/{name}"), "busybox"));
    TestImage::new().layer(base).env("PATH", "/bin").push(at, "tools/busybox", "1", None);

    // As it lies in the repository, the base image's name alone added.
    let example = Scratch::new();
    copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/mixed"), example.path());
    let path = example.path().join("now.json");
    let text = std::fs::read_to_string(&path).expect("the example has one");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["builds"][2]["config"]["build"] = json!({ "env": { "BASE": format!("{at}/tools/busybox:1") } });
    std::fs::write(&path, config.to_string()).expect("the folder is ours");
    let (mixed, _) = ready(&server, deploy(&server, example.path(), "mixed"));
    assert!(mixed.get("/").expect(200).text().contains("One address"));
    assert!(mixed.get("/api/date.js").expect(200).text().contains("now"));
    assert!(mixed.get("/manual/").expect(200).text().contains("/manual/files.html"));
    assert!(mixed.get("/manual/programs.html").expect(200).text().contains("servers many"));
    assert!(mixed.get("/manual/chapters/files.txt").expect(404).text().contains("404"), "the server says so itself");
    assert_eq!(mixed.get("/help").expect(302).header("location"), Some("/manual/"));
    let _ = mixed.get("/manual2").expect(404);
    let _ = mixed.get("/now.json").expect(404);

    // A change elsewhere builds no image.
    std::fs::write(example.path().join("index.html"), "<h1>changed</h1>").expect("the folder is ours");
    let (changed, said) = ready(&server, deploy(&server, example.path(), "mixed"));
    assert!(said.contains("CACHED, nothing changed") && !said.contains("STEP"), "{said}");
    assert!(changed.get("/").expect(200).text().contains("changed"));

    // Two servers, one of which copies from the whole project; a route leads to it by name.
    let serve = "EXPOSE 8080\nCMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n";
    let own = format!("FROM scratch\nCOPY busybox /bin/busybox\nCOPY page /www/one/page\n{serve}");
    let whole = format!("FROM scratch\nCOPY one/busybox /bin/busybox\nCOPY top /www/by/name\n{serve}");
    let config = r#"{"builds":[{"src":"*/Dockerfile","use":"@dockless/docker"},
        {"src":"two/Serve","use":"@dockless/docker","config":{"context":"."}}],
        "routes":[{"src":"/by/name","dest":"/two/Serve"}]}"#;
    let source = Files::new()
        .with("now.json", config)
        .with("one/Dockerfile", own)
        .with_program("one/busybox", Path::new("/bin/busybox"))
        .with("one/page", "one")
        .with("two/Serve", whole)
        .with("top", "top");
    let (two, _) = ready(&server, deploy(&server, source.path(), "two"));
    assert_eq!(two.get("/one/page").expect(200).text(), "one");
    assert_eq!(two.get("/by/name").expect(200).text(), "top");
    let _ = two.get("/top").expect(404);
    assert!(server.cli(&["ps"]).ok().stdout.contains("two/Serve"));
    server.stop();
}

#[test]
fn what_fails_is_named_with_its_step_its_line_and_a_hint() {
    if !can_build() {
        return;
    }
    let server = server();
    let failing = format!("{SHELL}RUN echo before; cat /nothing; exit 7\nCMD [\"/bin/sh\"]\n");
    for (name, source, words) in [
        ("step", files(&failing), vec!["STEP 4/5", "exit code 7", "cat: can't open '/nothing'"]),
        ("command", files(SHELL), vec!["names no command"]),
        ("empty", files("\n"), vec!["Dockerfile, line 1", "no FROM"]),
        ("variable", files("FROM node:$V\n"), vec!["line 1", "$V is not known"]),
        ("copy", files("FROM scratch\nCOPY absent /\nCMD [\"/x\"]\n"), vec!["STEP 2/3", "absent"]),
        ("out", files("FROM scratch\nCOPY ../../etc/passwd /\nCMD [\"/x\"]\n"), vec!["passwd"]),
        ("none", Files::new().with("now.json", r#"{"type":"docker"}"#), vec!["now.json wants a Dockerfile"]),
        (
            "slot",
            files(SHELL).with("now.json", r#"{"type":"docker","slot":"large"}"#),
            vec!["now.json sets slot", "c.125-m512"],
        ),
    ] {
        let failed = deploy(&server, source.path(), name).exits(1);
        for word in words {
            assert!(failed.stderr.contains(word), "{name} lacks {word:?}: {}", failed.stderr);
        }
    }
    server.stop();
}

#[test]
fn a_hostile_step_sees_nothing_reaches_nobody_and_leaves_nothing() {
    if !can_build() {
        return;
    }
    let server = server();
    // Somebody on the host's loopback who would notice.
    let bait = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    bait.set_nonblocking(true).expect("it can be polled");
    let port = bait.local_addr().expect("it is bound").port();
    let data = server.data().display().to_string();
    let probes = [
        format!("nc -w 2 127.0.0.1 {port} </dev/null && echo REACHED the host"),
        "nc -w 2 169.254.169.254 80 </dev/null && echo REACHED metadata".to_owned(),
        "nc -w 2 192.0.2.1 80 </dev/null && echo REACHED another host".to_owned(),
        ask_proxy(&format!("127.0.0.1:{port}")),
        ask_proxy("169.254.169.254:80"),
        ask_proxy("10.0.0.1:443"),
        ask_proxy("example.com:443"),
        "mkdir -p /m && mount -t tmpfs none /m && echo MOUNTED".to_owned(),
        "unshare -U true && echo NESTED a user namespace".to_owned(),
        "unshare -m true && echo UNSHARED mounts".to_owned(),
        "mknod /disk b 8 0 && echo MADE a device".to_owned(),
        format!("ls {data} && echo SAW the data"),
        "ls /proc/1/root/ && echo SAW another root".to_owned(),
        "kill -9 1; echo alive".to_owned(),
        "test $(ls /proc | grep -c '^[0-9]') -lt 50 || echo SAW other processes".to_owned(),
        "head -c 1 /proc/kcore && echo READ memory".to_owned(),
    ];
    let file = format!("{SHELL}RUN {}; true\nRUN mkdir /www && echo ok > /www/ok\n{SERVE}", probes.join("; "));
    let (server_after, said) = ready(&server, deploy(&server, files(&file).path(), "hostile"));
    for word in ["REACHED", "MOUNTED", "NESTED", "UNSHARED", "MADE", "SAW", "READ"] {
        let told = said.lines().filter(|line| !line.contains("STEP") && !line.contains("layer "));
        assert!(!told.clone().any(|line| line.contains(word)), "{word}: {said}");
    }
    assert_eq!(said.matches("403").count(), 4, "the proxy refuses each: {said}");
    assert!(said.contains("network: refused"), "{said}");
    assert!(bait.accept().is_err(), "somebody came to the host's loopback");
    assert_eq!(server_after.get("/ok").expect(200).text(), "ok\n");

    // More processes than it may have: the step ends, and the next build goes on.
    let bomb = format!("{SHELL}RUN b() {{ b | b & }}; b; sleep 2; echo over\nCMD [\"/bin/sh\"]\n");
    let _ = deploy(&server, files(&bomb).path(), "bomb");
    // More bytes than it may have, at once and without writing them.
    let flood = format!("{SHELL}RUN fallocate -l 17G /big && sleep 300\nCMD [\"/bin/sh\"]\n");
    if has_room(server.data()) {
        let failed = deploy(&server, files(&flood).path(), "flood").exits(1);
        assert!(failed.stderr.contains("16384 MiB"), "{failed:?}");
    } else {
        eprintln!("SKIPPED the disk filler: less than 30 GiB are free");
    }
    let (again, _) = ready(&server, deploy(&server, files(&file).path(), "again"));
    assert_eq!(again.get("/ok").expect(200).text(), "ok\n");
    wait_until("work folders are removed", PATIENCE, || {
        std::fs::read_dir(server.data().join("builds")).is_ok_and(|folder| folder.count() == 0)
    });
    server.stop();
}

/// A tunnel asked of the build's proxy.
fn ask_proxy(target: &str) -> String {
    format!("printf 'CONNECT {target} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | nc -w 5 127.0.0.1 3128 | head -n 1")
}

fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail * disk.f_frsize > 30 << 30)
}

//! Servers from images: booted by a request, found at their port, shared, ended, replaced.

#[path = "services/kit.rs"]
mod kit;

use dockless_model::InstanceState;
use dockless_testkit::{Connection, PATIENCE, Request, eventually, process, wait_until};
use kit::Kit;
use serde_json::json;

#[test]
fn a_service_boots_on_its_first_request_and_runs_as_its_image_says() {
    let Some(kit) = Kit::start(&[]) else { return };
    let image = kit
        .image()
        .with("User", json!("web"))
        .with("WorkingDir", json!("/work/deep"))
        .env("GREETING", "hello there")
        .expose("8123/tcp");
    let service = kit.deploy("who", &image, &[]);
    assert!(kit.server.instances().is_empty(), "nothing runs before it is asked");

    let who = service.json("/who");
    assert_eq!((&who["uid"], &who["gid"]), (&json!(33), &json!(44)), "{who}");
    assert_eq!(who["groups"].as_str().unwrap().trim(), "55", "{who}");
    assert_eq!((&who["cwd"], &who["home"]), (&json!("/work/deep"), &json!("/var/www")), "{who}");
    assert_eq!((&who["greeting"], &who["port"]), (&json!("hello there"), &json!("8123")), "{who}");
    assert_eq!((&who["nnp"], &who["seccomp"]), (&json!("1"), &json!("2")), "{who}");
    assert_eq!(who["caps"], json!("0000000000000000"), "another user than root has no capability: {who}");
    assert_ne!(who["pid"], json!(1), "a first process of ours is there to reap: {who}");
    assert_eq!(who["host"].as_str().unwrap().len(), 12, "{who}");
    assert!(who["url"].as_str().unwrap().starts_with("who-"), "{who}");

    let instances = kit.server.instances();
    assert_eq!(instances.len(), 1);
    assert_eq!((instances[0].function.as_str(), instances[0].requests), ("app", 1));
    // Asked again, it is the same one, and the paths are its own business.
    assert_eq!(service.get("/a//b/../%2e?x=1&y=%00").text(), "GET /a//b/../%2e?x=1&y=%00");
    assert_eq!(kit.server.instances()[0].id, instances[0].id);
    let log = kit.server.cli(&["logs", &service.authority()]).ok();
    assert!(log.stdout.contains("listening on 0.0.0.0 port 8123"), "{log:?}");
    kit.server.stop();
}

#[test]
fn root_in_an_image_is_root_of_nothing_else() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("root", &kit.image(), &[]);
    let who = service.json("/who");
    assert_eq!(who["uid"], json!(0));
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT
    assert_eq!(who["caps"], json!("00000000000405fb"), "{who}");
    let pid = kit.server.instances()[0].pid.expect("an instance has a process");
    let members = process::group_members(pid);
    assert!(members.len() >= 2, "{members:?}");
    for member in members {
        assert!(process::user(member).is_some_and(|user| user >= 0x7001_0000), "{member} is root of the machine");
    }
    let read = |path: &str| service.get(&format!("/read{path}")).text();
    assert!(read("/etc/hosts").contains("localhost"));
    assert_eq!(read("/proc/kcore"), "(cannot)", "masked");
    for path in ["/proc/1/environ", "/proc/1/maps", "/proc/1/root/etc/shadow", "/etc/shadow", "/proc/sysrq-trigger"] {
        assert_eq!(read(path), "(cannot)", "{path}");
    }
    // On every hierarchy: the program is where its limits are.
    let groups = |path: &str| std::fs::read_to_string(path).expect("a process has groups");
    let of_first = groups(&format!("/proc/{pid}/cgroup"));
    for member in process::tree(pid) {
        assert_eq!(groups(&format!("/proc/{}/cgroup", member.pid)), of_first, "{member:?}");
    }
    let mounts = read("/proc/self/mounts");
    assert!(!mounts.contains(&*kit.server.data().to_string_lossy()), "it sees where its files lie:\n{mounts}");
    kit.server.stop();
}

#[test]
fn the_port_is_found_wherever_it_is() {
    let Some(kit) = Kit::start(&[]) else { return };
    for (name, image) in [
        ("loopback", kit.image().env("BIND", "127.0.0.1")),
        ("everywhere", kit.image().env("BIND", "0.0.0.0").env("PORT", "80")),
        ("loopback6", kit.image().env("BIND", "::1")),
        ("everywhere6", kit.image().env("BIND", "::").env("PORT", "9")),
        ("admin-first", kit.image().env("FIRST", "9090").env("PORT", "7000")),
        ("declared", kit.image().env("FIRST", "9090").expose("7001/tcp").env("PORT", "7001")),
    ] {
        let service = kit.deploy(name, &image, &[]);
        assert_eq!(service.get("/x").expect(200).text(), "GET /x", "{name}");
    }
    kit.server.stop();
}

#[test]
fn requests_share_an_instance_and_a_burst_starts_no_more_than_it_needs() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("burst", &kit.image(), &["--concurrency", "10"]);
    let mut asked: Vec<Connection> = (0..25).map(|_| service.open()).collect();
    for connection in &mut asked {
        connection.start(&Request::get("/nap/1500")).expect("the connection holds");
    }
    for mut connection in asked {
        assert_eq!(connection.response("GET").expect("an answer").expect(200).text(), "awake");
    }
    // Ten in each at most: three for twenty-five at once.
    let instances = kit.server.instances();
    assert_eq!(instances.iter().map(|instance| instance.requests).sum::<u64>(), 25, "{instances:?}");
    assert_eq!(instances.len(), 3, "{instances:?}");
    for _ in 0..3 {
        let most: u32 = service.get("/most").expect(200).text().parse().expect("a number");
        assert!(most <= 10, "{most} at once in one");
    }
    kit.server.stop();
}

#[test]
fn state_lives_exactly_as_long_as_its_instance() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("state", &kit.image(), &[]);
    let ask = |path: &str| service.get(path).expect(200).text();
    assert_eq!(
        (ask("/count"), ask("/count"), ask("/keep"), ask("/keep")),
        ("1".into(), "2".into(), "1".into(), "2".into())
    );
    let _ = kit.server.cli(&["sleep", &service.authority()]).ok();
    assert!(kit.server.instances().is_empty());
    let log = kit.server.cli(&["logs", &service.authority()]).ok();
    assert!(log.stdout.contains("asked to end"), "it had time to say goodbye: {log:?}");
    assert_eq!((ask("/count"), ask("/keep")), ("1".into(), "1".into()), "both gone with the instance");
    kit.server.stop();
}

#[test]
fn a_layer_that_is_missing_is_unpacked_again() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("again", &kit.image(), &[]);
    assert_eq!(service.get("/count").expect(200).text(), "1");
    let _ = kit.server.cli(&["sleep", &service.authority()]).ok();
    let layers = kit.server.data().join("layers");
    let trees: Vec<_> = std::fs::read_dir(&layers).expect("layers").flatten().map(|entry| entry.path()).collect();
    assert!(!trees.is_empty());
    for tree in trees {
        std::fs::remove_dir_all(&tree).expect("a tree can be taken away");
    }
    assert_eq!(service.get("/count").expect(200).text(), "1");
    assert_eq!(std::fs::read_dir(&layers).expect("layers").count(), 1, "it is there again");
    kit.server.stop();
}

#[test]
fn a_service_that_ends_is_named_and_replaced() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("ends", &kit.image(), &[]);
    assert_eq!(service.get("/count").expect(200).text(), "1");
    let died = service.send(&Request::post("/exit/3", "x").header("accept", "application/json"));
    assert_eq!((died.status(), died.code()), (502, Some("INSTANCE_DIED")), "{died:?}");
    assert_eq!(service.get("/count").expect(200).text(), "1", "another one serves");
    let eaten = service.send(&Request::post("/eat", "x").header("accept", "application/json"));
    assert_eq!((eaten.status(), eaten.code()), (502, Some("OUT_OF_MEMORY")), "{eaten:?}");
    assert_eq!(service.get("/count").expect(200).text(), "1", "and another");
    let log = kit.server.cli(&["logs", &service.authority()]).ok();
    for words in ["leaving on request", "exited with code 3", "ran out of memory"] {
        assert!(log.stdout.contains(words), "{words:?} is missing: {log:?}");
    }
    kit.server.stop();
}

#[test]
fn a_service_that_does_not_start_says_why() {
    let Some(kit) = Kit::start(&[]) else { return };
    for (name, image, words) in [
        ("leaves", kit.image().env("MODE", "exit"), "no configuration, no service"),
        ("missing", kit.image().entrypoint(&["/nothing"]), "no such file in the image"),
        ("path", kit.image().entrypoint(&["nothing"]), "not found in the PATH of the image"),
        ("data", kit.image().entrypoint(&["/etc/passwd"]), "Permission denied"),
        ("nobody", kit.image().with("User", json!("nobody")), "no such user in /etc/passwd"),
    ] {
        let service = kit.deploy(name, &image, &[]);
        let refused = service.send(&Request::get("/").header("accept", "application/json"));
        assert_eq!((refused.status(), refused.code()), (502, Some("BOOT_FAILED")), "{name}: {refused:?}");
        let log = kit.server.cli(&["logs", &service.authority()]).ok();
        assert!(log.stdout.contains(words), "{name}: {words:?} is missing: {log:?}");
    }
    assert!(kit.server.instances().is_empty());
    kit.server.stop();
}

#[test]
fn bodies_stream_both_ways_without_a_cap() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("stream", &kit.image(), &[]);
    // Four times the largest body of a function. It is not echoed: this client reads when it has sent all.
    let large = 20 * 1024 * 1024;
    assert_eq!(service.send(&Request::post("/swallow", vec![b'x'; large])).expect(200).text(), large.to_string());
    assert_eq!(service.send(&Request::post("/echo", "there and back")).expect(200).text(), "there and back");

    let mut connection = service.open();
    connection.start(&Request::get("/stream")).expect("the connection holds");
    assert_eq!(connection.read_head("GET").expect("a head").status, 200);
    for piece in 0..3 {
        let got = connection.read_some().expect("the connection holds").expect("a piece");
        assert_eq!(got, b"piece", "{piece}");
        // The next one is not sent before this is asked: what came was not held back.
        let _ = service.get("/free").expect(200);
    }
    assert!(connection.read_some().expect("the connection holds").is_none());
    kit.server.stop();
}

#[test]
fn a_websocket_is_a_tunnel_and_a_place_taken() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("socket", &kit.image(), &["--concurrency", "1"]);
    let open = || {
        let mut connection = service.open();
        let request = Request::get("/socket").header("connection", "Upgrade").header("upgrade", "shout");
        connection.start_head(&request).expect("the connection holds");
        let head = connection.read_head("GET").expect("a head");
        assert_eq!((head.status, head.header("upgrade")), (101, Some("shout")));
        connection
    };
    let mut first = open();
    for words in ["hello", "again"] {
        first.write(words.as_bytes()).expect("the tunnel holds");
        assert_eq!(first.read_exactly(words.len()).expect("the tunnel holds"), words.to_uppercase().as_bytes());
    }
    let mut second = open();
    second.write(b"two").expect("the tunnel holds");
    assert_eq!(second.read_exactly(3).expect("the tunnel holds"), b"TWO");
    let instances = kit.server.instances();
    assert_eq!(instances.len(), 2, "one open socket is one request at a time: {instances:?}");
    assert!(instances.iter().all(|instance| instance.state == InstanceState::Busy));
    drop(first);
    drop(second);
    wait_until("free places", PATIENCE, || {
        kit.server.instances().iter().all(|instance| instance.state == InstanceState::Ready)
    });
    assert_eq!(kit.server.instances().len(), 2);
    kit.server.stop();
}

#[test]
fn orphans_are_reaped() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("orphans", &kit.image(), &[]);
    for _ in 0..3 {
        assert_eq!(service.get("/orphan").expect(200).text(), "0", "zombies");
    }
    kit.server.stop();
}

#[test]
fn running_services_are_handed_over() {
    let Some(kit) = Kit::start(&[]) else { return };
    let service = kit.deploy("handed", &kit.image(), &[]);
    assert_eq!(service.get("/count").expect(200).text(), "1");
    let before = kit.server.instances()[0].clone();
    let _ = kit.server.cli(&["upgrade"]).ok();
    wait_until("the instance in its new server's list", PATIENCE, || {
        kit.server.instances().iter().any(|instance| (&instance.id, instance.pid) == (&before.id, before.pid))
    });
    assert_eq!(service.get("/x").expect(200).text(), "GET /x");

    // A server that was killed let go of nothing: the next one finds what runs before it takes requests.
    let mut running: Vec<_> = kit.server.instances().into_iter().map(|instance| (instance.id, instance.pid)).collect();
    running.sort();
    let server = kit.server.servers().pop().expect("a server runs");
    process::signal(server.pid, rustix::process::Signal::KILL);
    eventually("an answer of the next server", PATIENCE, || {
        service.open().send(&Request::get("/x")).ok().filter(|answer| answer.status() == 200)
    });
    let mut adopted: Vec<_> = kit.server.instances().into_iter().map(|instance| (instance.id, instance.pid)).collect();
    adopted.sort();
    assert_eq!(adopted, running, "the same processes go on, and no others were started");
    kit.server.stop();
}

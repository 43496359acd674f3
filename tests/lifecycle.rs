//! Beginnings and ends: nothing is left behind, nothing is lost, and nobody is in the way.

use dockless_testkit::{Deployment, Files, Options, PATIENCE, Request, Scratch, Server, process, wait_until};
use rustix::process::Signal;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_dockless"))
}

fn app() -> Files {
    Files::new()
        .with("index.html", "hello")
        .with("api/count.js", "let count = 0; module.exports = (req, res) => res.json({ count: ++count })")
        .with(
            "api/gate.js",
            "module.exports = (req, res) => { res.write('in'); req.resume().on('end', () => res.end('out')); }",
        )
        .with("api/never.js", "module.exports = (req, res) => { res.write('in'); }")
}

/// A server with all that one can have: a frozen instance, a shelf, a request in flight.
fn busy(options: Options) -> (Server, Deployment) {
    let server = Server::start(options);
    let app = server.deploy(&app());
    let _ = app.get("/api/count").expect(200);
    let _ = server.frozen(&app, "api/count");
    wait_until("something on the shelf", PATIENCE, || server.status().runtimes.iter().any(|runtime| runtime.shelf > 0));
    (server, app)
}

#[test]
fn each_signal_that_ends_the_server_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (mut server, _) = busy(options());
        let census = server.census();
        assert!(census.processes.len() >= 6, "warden, spawners, server, instances: {census:#?}");
        assert!(census.namespaces.len() >= 6, "{census:#?}");
        assert!(!census.groups.is_empty() && census.run.exists(), "{census:#?}");
        server.signal(signal);
        let finished = server.ended();
        assert_eq!(finished.code, Some(0), "{signal:?}: {}", finished.stderr);
        census.assert_nothing_left();
        assert_eq!(finished.stdout.lines().count(), 1, "the ready line and nothing else: {}", finished.stdout);
    }
}

#[test]
fn a_request_in_flight_is_finished_before_the_end() {
    let (mut server, app) = busy(Options { grace: 30, ..options() });
    let mut connection = app.open();
    connection.start_head(&Request::new("POST", "/api/gate").header("transfer-encoding", "chunked")).unwrap();
    let _ = connection.read_head("POST").unwrap();
    assert_eq!(connection.read_some().unwrap().as_deref(), Some(&b"in"[..]));
    let census = server.census();
    server.signal(Signal::TERM);
    wait_until("the end of its listener or of its welcome", PATIENCE, || server.messages().contains("stopping"));
    connection.chunk(b"").unwrap();
    assert_eq!(connection.read_some().unwrap().as_deref(), Some(&b"out"[..]));
    assert!(connection.read_some().unwrap().is_none());
    assert_eq!(server.ended().code, Some(0));
    census.assert_nothing_left();
}

#[test]
fn a_request_that_never_ends_does_not_keep_the_server_beyond_its_grace() {
    let (mut server, app) = busy(Options { grace: 1, ..options() });
    let mut connection = app.open();
    connection.start(&Request::get("/api/never")).unwrap();
    let _ = connection.read_head("GET").unwrap();
    let census = server.census();
    server.signal(Signal::INT);
    assert_eq!(server.ended().code, Some(0));
    census.assert_nothing_left();
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut server, app) = busy(Options { grace: 3600, ..options() });
    let mut connection = app.open();
    connection.start(&Request::get("/api/never")).unwrap();
    let _ = connection.read_head("GET").unwrap();
    let census = server.census();
    server.signal(Signal::INT);
    wait_until("the first signal was heard", PATIENCE, || server.messages().contains("stopping"));
    server.signal(Signal::INT);
    assert_eq!(server.ended().code, Some(0));
    census.assert_nothing_left();
}

#[test]
fn killing_the_warden_leaves_no_process_and_the_next_start_sweeps_the_rest() {
    let (server, app) = busy(options());
    let mut connection = app.open();
    connection.start(&Request::get("/api/never")).unwrap();
    let _ = connection.read_head("GET").unwrap();
    let census = server.census();
    let kept = server.kill();
    wait_until("the end of all its processes", PATIENCE, || census.survivors().is_empty());

    let server = Server::start(Options { data: Some(kept.data.clone()), ..options() });
    let again = server_of(&server, &app);
    assert_eq!(again.get("/").expect(200).text(), "hello");
    assert_eq!(again.json("/api/count")["count"], 1, "instances died with their warden");
    server.stop();
    census.assert_nothing_left();
}

#[test]
fn groups_of_a_run_that_was_started_elsewhere_and_killed_are_removed_too() {
    // Where the groups lie depends on the group of whoever starts the server: this one joins its own first.
    let scratch = Scratch::new();
    let elsewhere = format!("elsewhere-{}", std::process::id());
    let wrapper = scratch.path().join("dockless");
    let script = format!(
        "#!/bin/sh\nfor h in /sys/fs/cgroup/memory /sys/fs/cgroup/pids /sys/fs/cgroup; do\n\
         [ -e $h/cgroup.procs ] && mkdir $h/{elsewhere} && echo $$ > $h/{elsewhere}/cgroup.procs && break\n\
         done\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_dockless")
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (server, _) = busy(Options { binary: wrapper, ..options() });
    let census = server.census();
    assert!(census.groups.iter().any(|group| group.to_string_lossy().contains(&elsewhere)), "{census:#?}");
    let kept = server.kill();
    wait_until("the end of all its processes", PATIENCE, || census.survivors().is_empty());
    Server::start(Options { data: Some(kept.data.clone()), ..options() }).stop();
    census.assert_nothing_left();
    for hierarchy in ["memory", "pids", "."] {
        let group = std::path::Path::new("/sys/fs/cgroup").join(hierarchy).join(&elsewhere);
        // Version 2 lets the warden make a group of its own below.
        for left in [group.join("supervisor"), group] {
            let _ = std::fs::remove_dir(left);
        }
    }
}

/// The same deployment on a server that listens elsewhere.
fn server_of(server: &Server, app: &Deployment) -> Deployment {
    let shown = server.api().get(&format!("/v13/deployments/{}", app.id)).expect(200);
    server.reached(&serde_json::from_slice(&shown.body).expect("a deployment"))
}

#[test]
fn a_restart_keeps_deployments_tokens_and_logs() {
    let server = Server::start(options());
    let files = app().with("api/log.js", "module.exports = (req, res) => { console.log('kept'); res.send('ok'); }");
    let app = server.deploy(&files);
    let _ = app.get("/api/log").expect(200);
    let _ = server.logged(&app, "kept");
    let token = server.token().to_owned();
    let kept = server.stop_keeping_data();

    let server = Server::start(Options { data: Some(kept.data.clone()), ..options() });
    assert_eq!(server.token(), token);
    let again = server_of(&server, &app);
    assert_eq!(again.host, app.host);
    assert_eq!(again.get("/").expect(200).text(), "hello");
    assert_eq!(again.json("/api/count")["count"], 1);
    let _ = server.logged(&again, "kept");
    assert_eq!(server.cli(&["ls", "--json"]).ok().json()["deployments"].as_array().unwrap().len(), 1);
    server.stop();
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_hurts_nobody() {
    let (server, app) = busy(options());
    let pid = server.servers()[0].pid;
    let refused = Server::refuse(&Options { data: Some(server.data().to_owned()), ..options() });
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(refused.stdout, "");
    assert!(refused.stderr.contains("another dockless already serves"), "{refused:?}");
    assert_eq!(app.json("/api/count")["count"], 2, "the instance of the first lives");
    assert_eq!(server.servers()[0].pid, pid);
    assert_eq!(server.cli(&["ls"]).ok().lines().len(), 1);
    server.stop();
}

#[test]
fn two_servers_on_two_folders_do_not_meet() {
    let (one, first) = busy(options());
    let (two, second) = busy(options());
    assert_eq!(second.get("/").expect(200).text(), "hello");
    let answer =
        dockless_testkit::connect(two.address(), &first.authority()).unwrap().send(&Request::get("/")).unwrap();
    assert_eq!(answer.status(), 404);
    two.stop();
    assert_eq!(first.json("/api/count")["count"], 2);
    one.stop();
}

#[test]
fn what_cannot_work_is_refused_with_a_reason() {
    let server = Server::start(options());
    for (name, options, words) in [
        ("a port in use", Options { listen: vec![server.address().to_string()], ..options() }, "cannot listen"),
        ("no API", Options { listen: vec!["127.0.0.1:0=apps".to_owned()], ..options() }, "no listener answers for api"),
        (
            "no apps",
            Options { listen: vec!["127.0.0.1:0=api".to_owned()], ..options() },
            "no listener answers for apps",
        ),
        (
            "no node",
            Options { arguments: vec!["--node".to_owned(), "/no/such/node".to_owned()], ..options() },
            "/no/such/node",
        ),
    ] {
        let refused = Server::refuse(&options);
        assert_eq!(refused.code, Some(1), "{name}: {refused:?}");
        assert!(refused.stderr.contains(words), "{name}: {refused:?}");
        assert_eq!(refused.stdout, "", "{name}");
    }
    let usage = Server::refuse(&Options { listen: vec!["nonsense".to_owned()], ..options() });
    assert_eq!(usage.code, Some(2), "{usage:?}");
    server.stop();
}

#[test]
fn listeners_have_roles() {
    let listen = vec!["127.0.0.1:0=api".to_owned(), "127.0.0.1:0=apps".to_owned()];
    let server = Server::start(Options { listen, ..options() });
    let folder = app();
    let deployed = server.cli(&["deploy", &folder.path().to_string_lossy(), "--name", "app", "--yes"]).ok();
    let url = deployed.lines()[0].to_owned();
    let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let port: u16 = authority.rsplit_once(':').unwrap().1.parse().unwrap();
    assert_ne!(port, server.address().port(), "deployments have the port of the apps' listener");
    let ask = |address, host: &str, path: &str| {
        dockless_testkit::connect(address, host)
            .unwrap()
            .send(&server.api().signed(Request::get(path)))
            .unwrap()
            .status()
    };
    let apps = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(ask(apps, &authority, "/"), 200);
    assert_eq!(ask(apps, &apps.to_string(), "/v2/user"), 404, "no API on the apps' listener, whatever the host");
    assert_eq!(ask(apps, "localhost", "/v2/user"), 404);
    assert_eq!(ask(server.address(), &authority, "/"), 404, "no apps on the API's listener");
    assert_eq!(ask(server.address(), "any.name", "/v2/user"), 200);
    server.stop();
}

#[test]
fn a_data_folder_below_a_private_home_works_and_is_private_itself() {
    let home = Scratch::new();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let data = home.path().join("share/dockless");
    let server = Server::start(Options { data: Some(data.clone()), ..options() });
    let app = server.deploy(&app());
    assert_eq!(app.json("/api/count")["count"], 1);
    let mode = |path: &str| std::fs::metadata(data.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("token"), 0o600);
    for private in ["db", "blobs", "logs"] {
        assert_eq!(mode(private), 0o700, "{private}");
    }
    assert_ne!(process::user(server.servers()[0].pid), Some(0), "the server is not root");
    let announced = std::fs::metadata(server.run().join("server.json")).unwrap();
    assert_eq!((announced.uid(), announced.mode() & 0o022), (0, 0), "ours, and nobody else's to write");
    server.stop();
}

#[test]
fn a_server_that_is_stopped_while_it_starts_leaves_nothing_behind() {
    // Wherever the signal hits: before the world is made, in it, or after.
    let data = Scratch::new();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let first = Server::start(Options { data: Some(data.path().to_owned()), ..options() });
    let census = first.census();
    first.stop();
    for step in ["lock", "run", "server.json"] {
        let mut starting = Server::start_only(&Options { data: Some(data.path().to_owned()), ..options() });
        wait_until(step, PATIENCE, || {
            starting.ended().is_some()
                || match step {
                    "lock" => true,
                    "run" => census.run.exists(),
                    _ => census.run.join("server.json").exists(),
                }
        });
        process::signal(starting.pid(), Signal::TERM);
        let finished = starting.finish();
        assert!(finished.code == Some(0) || finished.code.is_none(), "{step}: {finished:?}");
        census.assert_nothing_left();
    }
}

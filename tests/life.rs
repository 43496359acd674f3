//! Lives of instances: frozen, thawed, used again, and every way to die.

use dockless_model::InstanceState;
use dockless_testkit::{
    Connection, Deployment, Options, PATIENCE, Request, Scratch, Server, eventually, process, wait_until,
};
use rustix::process::Signal;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// 5 MiB, the largest body of a function.
const MOST_BODY: usize = 5 * 1024 * 1024;

fn started() -> (Server, Deployment) {
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/apps/life");
    let life = server.deploy_folder(&folder, "life");
    (server, life)
}

/// A request that stays until it is let go: its connection, and which instance serves it.
fn enter(life: &Deployment) -> (Connection, String) {
    let mut connection = life.open();
    connection
        .start_head(&Request::new("POST", "/api/gate").header("transfer-encoding", "chunked"))
        .expect("the connection holds");
    assert_eq!(connection.read_head("POST").expect("the connection holds").status, 200);
    let id = connection.read_some().expect("the connection holds").expect("the instance says who it is");
    (connection, String::from_utf8(id).expect("the connection holds"))
}

fn leave(mut connection: Connection) {
    connection.chunk(b"").expect("the connection holds");
    assert!(connection.read_some().expect("the connection holds").is_none());
}

/// What a file inside of a sandbox holds: seen from outside, so that nothing has to be thawed for it.
fn beats(pid: u32) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/root/tmp/beats")).map_or(0, |file| file.len())
}

#[test]
fn a_child_process_stops_with_its_frozen_instance_and_goes_on_after() {
    let (server, life) = started();
    let _ = life.json("/api/pulse");
    let instance = server.frozen(&life, "api/pulse");
    let pid = instance.pid.expect("a frozen instance has a process");
    let members = process::group_members(pid);
    assert!(members.len() >= 2, "the child is in the same group: {members:?}");

    // The same program outside of any sandbox is the clock: while it writes a hundred times, the frozen one writes nothing.
    let before = beats(pid);
    let clock = Scratch::new();
    let file = clock.path().join("beats");
    let beat = format!("setInterval(() => require('node:fs').appendFileSync('{}', '.'), 5)", file.display());
    let mut ticking = Command::new("node").args(["-e", &beat]).spawn().expect("node runs");
    wait_until("a hundred beats outside", PATIENCE, || std::fs::metadata(&file).is_ok_and(|file| file.len() >= 100));
    ticking.kill().unwrap();
    ticking.wait().unwrap();
    assert_eq!(beats(pid), before, "the child wrote while it was frozen");
    assert!(process::is_frozen(pid), "cgroup.events says frozen 1 throughout");

    let seen = life.json("/api/pulse")["beats"].as_u64().unwrap();
    assert!(seen >= before, "the same /tmp");
    // It runs while a request does: one that lasts until the child has written again.
    eventually("a beat after the thaw", PATIENCE, || {
        // Asked before the end of the last is told, another instance might answer.
        let _ = server.frozen(&life, "api/pulse");
        let now = life.json("/api/pulse")["beats"].as_u64().unwrap();
        (now > before).then_some(())
    });
    assert_eq!(server.frozen(&life, "api/pulse").id, instance.id, "it was the same instance throughout");
    server.stop();
}

#[test]
fn one_instance_serves_requests_one_after_another() {
    let (server, life) = started();
    let first = life.json("/api/count");
    for count in 2..20 {
        // The answer may be here before the word that its program is done; who asks in between gets an instance of his own.
        wait_until("an idle instance", PATIENCE, || idle(&server, &life, "api/count") == 1);
        let next = life.json("/api/count");
        assert_eq!((&next["id"], &next["count"]), (&first["id"], &count.into()));
    }
    let instance = server.frozen(&life, "api/count");
    assert_eq!(instance.requests, 19);
    server.stop();
}

#[test]
fn a_second_request_at_once_gets_a_second_instance_and_the_latest_is_used_first() {
    let (server, life) = started();
    let (one, first) = enter(&life);
    let (two, second) = enter(&life);
    assert_ne!(first, second);
    let states: Vec<_> = server.instances_of(&life, "api/gate").iter().map(|instance| instance.state).collect();
    assert_eq!(states, [InstanceState::Busy; 2]);

    leave(two);
    wait_until("one idle instance", PATIENCE, || idle(&server, &life, "api/gate") == 1);
    leave(one);
    wait_until("two idle instances", PATIENCE, || idle(&server, &life, "api/gate") == 2);
    let (one, used_first) = enter(&life);
    let (two, used_second) = enter(&life);
    assert_eq!((used_first, used_second), (first, second), "both are used again");
    leave(one);
    leave(two);
    server.stop();
}

fn idle(server: &Server, life: &Deployment, function: &str) -> usize {
    let rests = |state| matches!(state, InstanceState::Ready | InstanceState::Frozen);
    server.instances_of(life, function).iter().filter(|instance| rests(instance.state)).count()
}

#[test]
fn a_burst_is_answered_by_as_many_instances() {
    let (server, life) = started();
    let visitors: Vec<(Connection, String)> = std::thread::scope(|scope| {
        let entering: Vec<_> = (0..8).map(|_| scope.spawn(|| enter(&life))).collect();
        entering.into_iter().map(|visitor| visitor.join().unwrap()).collect()
    });
    let mut ids: Vec<&String> = visitors.iter().map(|(_, id)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 8);
    visitors.into_iter().for_each(|(connection, _)| leave(connection));
    server.stop();
}

#[test]
fn failures_are_told_in_the_format_that_is_asked_for_and_without_details() {
    let (server, life) = started();
    for (accept, content_type, opening) in [
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8", "<!doctype html>"),
        ("application/json", "application/json; charset=utf-8", "{"),
        ("*/*", "text/plain; charset=utf-8", "The function failed."),
    ] {
        let answer = life.send(&Request::get("/api/throw").header("accept", accept)).expect(500);
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.code(), Some("FUNCTION_FAILED"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let text = answer.text();
        assert!(text.to_lowercase().starts_with(&opening.to_lowercase()), "{text}");
        assert!(text.contains("FUNCTION_FAILED") && !text.contains("secret detail") && !text.contains(".js"), "{text}");
        let id = answer.header("x-dockless-id").expect("a request id");
        assert!(text.contains(id), "the page says the request's id: {text}");
        if content_type.contains("json") {
            assert_eq!(answer.json()["error"]["requestId"], id);
        }
    }
    server.stop();
}

#[test]
fn each_way_to_fail_has_its_code_and_its_line_in_the_log() {
    let (server, life) = started();
    for (path, status, code, words) in [
        ("/api/throw", 500, "FUNCTION_FAILED", "secret detail of a throw"),
        ("/api/reject", 500, "FUNCTION_FAILED", "secret detail of a rejection"),
        ("/api/uncaught", 500, "FUNCTION_FAILED", "secret detail of a late throw"),
        // Every time, whether the request came before the module failed or after.
        ("/api/broken", 502, "BOOT_FAILED", "secret detail of a broken module"),
        ("/api/broken", 502, "BOOT_FAILED", "secret detail of a broken module"),
        ("/api/broken", 502, "BOOT_FAILED", "secret detail of a broken module"),
        ("/api/exit", 502, "INSTANCE_DIED", "code 3"),
    ] {
        // A method that may not be sent twice: the first failure is the answer.
        let answer = life.send(&Request::post(path, ""));
        assert_eq!((answer.status(), answer.code()), (status, Some(code)), "{path}: {answer:?}");
        assert!(!answer.text().contains("secret"), "{answer:?}");
        let record = server.logged(&life, words);
        assert_eq!(record.function.as_deref(), Some(path.trim_start_matches('/')), "{record:?}");
    }
    assert_eq!(server.logged(&life, "about to leave").kind, "stdout", "what it wrote last is not lost");
    assert_eq!(life.json("/api/count")["count"], 1, "the others are well");
    server.stop();
}

/// The one busy instance of a function, once it waits for us.
fn waiting(server: &Server, life: &Deployment, but: Option<u32>) -> u32 {
    eventually("an instance that waits", PATIENCE, || {
        let found = server.instances_of(life, "api/wait");
        let pid = found.iter().filter_map(|instance| instance.pid).find(|pid| Some(*pid) != but)?;
        Path::new(&format!("/proc/{pid}/root/tmp/gate")).exists().then_some(pid)
    })
}

#[test]
fn an_instance_that_is_killed_costs_only_what_cannot_be_sent_again() {
    let (server, life) = started();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| life.send(&Request::post("/api/wait", "")));
        process::signal(waiting(&server, &life, None), Signal::KILL);
        let answer = asked.join().unwrap();
        assert_eq!((answer.status(), answer.code()), (502, Some("INSTANCE_DIED")), "{answer:?}");
        let _ = server.logged(&life, "signal 9");

        // Nobody notices with a GET.
        let asked = scope.spawn(|| life.get("/api/wait"));
        let first = waiting(&server, &life, None);
        process::signal(first, Signal::KILL);
        let second = waiting(&server, &life, Some(first));
        drop(UnixStream::connect(format!("/proc/{second}/root/tmp/gate")).unwrap());
        assert_eq!(asked.join().unwrap().status(), 200);

        // But only once: what kills two would kill three.
        let asked = scope.spawn(|| life.get("/api/wait"));
        let first = waiting(&server, &life, None);
        process::signal(first, Signal::KILL);
        process::signal(waiting(&server, &life, Some(first)), Signal::KILL);
        let answer = asked.join().unwrap();
        assert_eq!((answer.status(), answer.code()), (502, Some("INSTANCE_DIED")), "{answer:?}");
    });
    server.stop();
}

#[test]
fn an_instance_that_threw_is_used_again_and_one_that_died_is_not() {
    let (server, life) = started();
    let _ = life.get("/api/throw").expect(500);
    let before = server.frozen(&life, "api/throw").id;
    let _ = life.get("/api/throw").expect(500);
    assert_eq!(server.frozen(&life, "api/throw").id, before);
    let _ = life.send(&Request::post("/api/exit", "")).expect(502);
    wait_until("no dead instance in the list", PATIENCE, || server.instances_of(&life, "api/exit").is_empty());
    server.stop();
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let (server, life) = started();
    let mut connection = life.open();
    connection.start_head(&Request::new("POST", "/api/half").header("transfer-encoding", "chunked")).unwrap();
    assert_eq!(connection.read_head("POST").unwrap().status, 200);
    assert_eq!(connection.read_some().unwrap().as_deref(), Some(&b"the first half"[..]));
    connection.chunk(b"now").unwrap();
    loop {
        match connection.read_some() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the answer ended as if it were complete"),
            Err(_) => break,
        }
    }
    let _ = server.logged(&life, "code 4");
    server.stop();
}

#[test]
fn memory_beyond_the_limit_is_named_in_answer_and_log() {
    let (server, life) = started();
    for path in ["/api/eat", "/api/heap"] {
        let answer = life.send(&Request::post(path, ""));
        let told = (answer.status(), answer.code());
        assert_eq!(told, (502, Some("OUT_OF_MEMORY")), "{path}: {answer:?}\n{:#?}", server.logs(&life));
    }
    let _ = server.logged(&life, "out of memory");
    // The second was ended by V8, which says so, and not by the kernel.
    let _ = server.logged(&life, "heap out of memory");
    assert_eq!(life.json("/api/count")["count"], 1);
    server.stop();
}

#[test]
fn a_fork_bomb_stays_in_its_sandbox() {
    let (server, life) = started();
    // Not lit before the kernel confirms the limits: this is somebody's machine.
    let _ = life.json("/api/count");
    let other = server.frozen(&life, "api/count").pid.unwrap();
    let most = process::group_file(other, "pids", "pids.max").expect("a limit of processes");
    assert!(most.parse::<u32>().is_ok_and(|most| most <= 4096), "pids.max is {most}");

    let _ = life.get("/api/bomb");
    assert_eq!(life.json("/api/count")["count"], 2, "others are served meanwhile");
    assert_eq!(life.get("/").status(), 200);
    let bombed = eventually("the instance of the bomb", PATIENCE, || {
        server.instances_of(&life, "api/bomb").first().and_then(|instance| instance.pid)
    });
    let members = process::group_members(bombed).len();
    assert!(members <= most.parse::<usize>().unwrap(), "{members} processes");
    let events = process::group_file(bombed, "pids", "pids.events").unwrap_or_default();
    assert!(!events.contains("max 0"), "the limit was reached: {events}, {members} processes");

    let _ = server.cli(&["sleep", &life.url]).ok();
    wait_until("the end of the bomb", PATIENCE, || process::find(bombed).is_none());
    server.stop();
}

#[test]
fn a_full_tmp_is_an_error_inside_and_nobody_elses_trouble() {
    let (server, life) = started();
    let filled = life.json("/api/fill");
    assert_eq!(filled["code"], "ENOSPC");
    let bytes = filled["bytes"].as_u64().unwrap();
    assert!((500 << 20..=512 << 20).contains(&bytes), "/tmp held {bytes} bytes");
    assert_eq!(life.json("/api/fill")["code"], "ENOSPC", "the instance has survived it");
    assert_eq!(life.json("/api/count")["count"], 1);
    server.stop();
}

#[test]
fn an_instance_whose_client_left_is_abandoned_until_it_is_done_and_then_used_again() {
    let (server, life) = started();
    let mut connection = life.open();
    connection.start(&Request::get("/api/hold")).unwrap();
    let _ = connection.read_head("GET").unwrap();
    let id = String::from_utf8(connection.read_some().unwrap().unwrap()).unwrap();
    drop(connection);
    let instance = eventually("an abandoned instance", PATIENCE, || {
        let found = server.instances_of(&life, "api/hold");
        found.into_iter().find(|instance| instance.state == InstanceState::Abandoned)
    });
    // Not given to others meanwhile.
    let other = life.json("/api/hold?quick=1");
    assert_ne!(other["id"], id.as_str());
    wait_until("the other's rest", PATIENCE, || idle(&server, &life, "api/hold") == 1);
    let pid = instance.pid.expect("an abandoned instance has a process");
    drop(UnixStream::connect(format!("/proc/{pid}/root/tmp/gate")).expect("the function waits for us"));
    wait_until("an idle instance", PATIENCE, || {
        let found = server.instances_of(&life, "api/hold");
        found
            .iter()
            .any(|now| now.id == instance.id && matches!(now.state, InstanceState::Ready | InstanceState::Frozen))
    });
    assert_eq!(life.json("/api/hold?quick=1")["id"], id.as_str(), "it rests last, so it is used first");
    server.stop();
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_long_answer_hurts_nobody() {
    let (server, life) = started();
    for _ in 0..5 {
        let mut connection = life.open();
        connection.start(&Request::get("/api/flood")).unwrap();
        let _ = connection.read_head("GET").unwrap();
        let _ = connection.read_some().unwrap();
        drop(connection);
    }
    let whole = life.get("/api/flood").expect(200);
    assert_eq!(whole.body.len(), 4096 * 64 * 1024);
    wait_until("all at rest", PATIENCE, || {
        let found = server.instances_of(&life, "api/flood");
        found.iter().all(|instance| instance.state == InstanceState::Frozen)
    });
    server.stop();
}

#[test]
fn a_body_over_the_limit_is_refused_whether_or_not_it_says_so() {
    let (server, life) = started();
    let fits = life.send(&Request::post("/api/sink", vec![b'x'; MOST_BODY])).expect(200);
    assert_eq!(fits.json()["bytes"], MOST_BODY);

    // By its length, before a byte of it is read.
    let mut connection = life.open();
    let declared = Request::new("POST", "/api/sink").header("content-length", &(MOST_BODY + 1).to_string());
    connection.start_head(&declared).unwrap();
    let answer = connection.response("POST").unwrap();
    assert_eq!((answer.status(), answer.code()), (413, Some("BODY_TOO_LARGE")));

    // By counting. The answer may come while we still write, and then nobody reads what we write.
    let mut connection = life.open();
    connection.start_head(&Request::new("POST", "/api/sink").header("transfer-encoding", "chunked")).unwrap();
    let piece = vec![b'x'; 64 * 1024];
    let written = (0..=MOST_BODY / piece.len()).try_for_each(|_| connection.chunk(&piece));
    let answer = connection.response("POST").unwrap_or_else(|error| panic!("{error}, after writing: {written:?}"));
    assert_eq!((answer.status(), answer.code()), (413, Some("BODY_TOO_LARGE")));

    let fits = life.send(&Request::post("/api/sink", "x")).expect(200);
    assert_eq!(fits.json()["bytes"], 1);
    server.stop();
}

#[test]
fn a_websocket_is_refused_by_name() {
    let (server, life) = started();
    let upgrade = Request::get("/api/count")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = life.send(&upgrade);
    assert_eq!((answer.status(), answer.code()), (501, Some("WEBSOCKET_IN_FUNCTION")));
    server.stop();
}

#[test]
fn hosts_nobody_has_and_requests_that_are_none_are_refused() {
    let (server, life) = started();
    let port = server.address().port();
    let ask = |host: &str| dockless_testkit::connect(server.address(), host).unwrap().send(&Request::get("/")).unwrap();
    for host in ["nobody-123456789.localhost", "life-000000000.localhost", "example.org", "a.b.c.localhost", "x"] {
        let answer = ask(&format!("{host}:{port}"));
        assert_eq!((answer.status(), answer.code()), (404, Some("DEPLOYMENT_NOT_FOUND")), "{host}");
    }
    for (name, bytes) in [
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("two hosts", format!("GET / HTTP/1.1\r\nHost: {0}\r\nHost: {0}\r\n\r\n", life.authority())),
        ("hosts that differ", format!("GET http://other.localhost/ HTTP/1.1\r\nHost: {}\r\n\r\n", life.authority())),
        ("a path in the host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned()),
        ("no HTTP", "hello\r\n\r\n".to_owned()),
        ("a header without name", format!("GET / HTTP/1.1\r\nHost: {}\r\n: x\r\n\r\n", life.authority())),
        (
            "two lengths",
            format!(
                "POST /api/sink HTTP/1.1\r\nHost: {}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                life.authority()
            ),
        ),
        (
            "length and chunks",
            format!(
                "POST /api/sink HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
                life.authority()
            ),
        ),
        (
            "a negative length",
            format!("POST /api/sink HTTP/1.1\r\nHost: {}\r\nContent-Length: -1\r\n\r\n", life.authority()),
        ),
    ] {
        let mut connection = life.open();
        connection.write(bytes.as_bytes()).unwrap();
        match connection.response("GET") {
            Ok(answer) => assert_eq!(answer.status(), 400, "{name}: {answer:?}"),
            // Closing without a word is a refusal too.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{name}: {error}"),
        }
    }
    let long = format!("/{}", "x".repeat(100_000));
    let mut connection = life.open();
    let _ = connection.start(&Request::get(&long));
    if let Ok(answer) = connection.response("GET") {
        assert!(matches!(answer.status(), 400 | 414 | 431), "{answer:?}");
    }
    assert_eq!(life.get("/").status(), 200);
    server.stop();
}

#[test]
fn headers_of_the_platform_cannot_be_forged_by_either_side() {
    let (server, life) = started();
    let request = Request::get("/api/headers")
        .header("x-dockless-internal-invocation-id", "forged")
        .header("x-dockless-internal-warmup", "1")
        .header("X-Dockless-Id", "forged")
        .header("x-forwarded-for", "6.6.6.6")
        .header("connection", "x-hop, close")
        .header("x-hop", "1")
        .header("x-kept", "yes");
    let answer = life.send(&request).expect(200);
    assert_eq!(answer.code(), None, "a function cannot speak for the platform: {answer:?}");
    assert_ne!(answer.header("x-dockless-id"), Some("forged"));
    let seen = answer.json();
    let headers = &seen["headers"];
    assert_eq!(headers["x-kept"], "yes");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["host"], life.authority());
    assert!(headers.get("x-hop").is_none(), "{headers}");
    for (name, value) in headers.as_object().unwrap() {
        assert!(!name.starts_with("x-dockless-internal"), "{name}: {value}");
        assert_ne!(value, "forged", "{name}");
    }
    server.stop();
}

#[test]
#[ignore = "takes five minutes, the longest request of a function: make test-slow"]
fn a_function_that_never_answers_is_ended_at_its_deadline() {
    let (server, life) = started();
    let ask = |path: &str| {
        let mut connection = life.open();
        connection.set_patience(Duration::from_secs(400)).unwrap();
        connection.send(&Request::get(path)).unwrap()
    };
    std::thread::scope(|scope| {
        let asked = ["/api/never", "/api/spin"].map(|path| (path, scope.spawn(move || ask(path))));
        for (path, answer) in asked {
            let answer = answer.join().unwrap();
            assert_eq!((answer.status(), answer.code()), (504, Some("FUNCTION_TIMEOUT")), "{path}");
        }
    });
    let _ = server.logged(&life, "timed out after 300 s");
    wait_until("no instance", PATIENCE, || server.instances().is_empty());
    server.stop();
}

#[test]
#[ignore = "takes five minutes, the idle time of a function: make test-slow"]
fn an_instance_that_nobody_needs_is_retired() {
    let (server, life) = started();
    let _ = life.json("/api/count");
    let instance = server.frozen(&life, "api/count");
    let pid = instance.pid.unwrap();
    wait_until("the end of an idle instance", Duration::from_secs(400), || process::find(pid).is_none());
    wait_until("no instance", PATIENCE, || server.instances().is_empty());
    assert_eq!(life.json("/api/count")["count"], 1);
    server.stop();
}

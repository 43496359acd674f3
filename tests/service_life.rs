//! How long instances of services live: stopped when idle, replaced at the end of their time, slowed when they crash.

#[path = "services/kit.rs"]
mod kit;

use dockless_model::InstanceState;
use dockless_testkit::{Connection, Deployment, PATIENCE, Request, eventually, process, wait_until};
use kit::Kit;
use std::time::{Duration, Instant};

/// Lives and idle times of seconds may be asked for.
const SHORT: &[&str] = &["--service-min-duration", "1", "--service-min-timeout", "1"];

/// Which instance answers.
fn who(service: &Deployment) -> String {
    let who = service.json("/who");
    who["host"].as_str().expect("a host name").to_owned()
}

/// An open tunnel of this protocol.
fn tunnel(service: &Deployment, protocol: &str) -> Connection {
    let mut connection = service.open();
    let request = Request::get("/socket").header("connection", "Upgrade").header("upgrade", protocol);
    connection.start_head(&request).expect("the connection holds");
    let head = connection.read_head("GET").expect("a head");
    assert_eq!((head.status, head.header("upgrade")), (101, Some(protocol)));
    connection
}

fn shout(tunnel: &mut Connection, words: &str) {
    tunnel.write(words.as_bytes()).expect("the tunnel holds");
    assert_eq!(tunnel.read_exactly(words.len()).expect("the tunnel holds"), words.to_uppercase().as_bytes());
}

#[test]
fn what_nobody_uses_is_stopped_after_its_timeout() {
    let arguments = [SHORT, &["--service-slot", "small=c1-m64"]].concat();
    let Some(kit) = Kit::start(&arguments) else { return };
    let service = kit.deploy("idle", &kit.image(), &["--timeout", "2s", "--slot", "small"]);
    let mut socket = tunnel(&service, "shout");
    let first = kit.server.instances().pop().expect("an instance");
    let limit = process::group_file(first.pid.expect("a process"), "memory", "memory.max")
        .or_else(|| process::group_file(first.pid.expect("a process"), "memory", "memory.limit_in_bytes"));
    assert_eq!(limit.expect("a limit").trim(), (64 << 20).to_string(), "the slot with a name");

    // An open socket keeps it awake, for longer than its timeout.
    std::thread::sleep(Duration::from_secs(4));
    shout(&mut socket, "still");
    assert_eq!(kit.server.instances().len(), 1);
    let closed = Instant::now();
    drop(socket);
    wait_until("its end", PATIENCE, || kit.server.instances().is_empty());
    let took = closed.elapsed();
    assert!(took >= Duration::from_millis(1900), "stopped after {took:?} without a request");
    let _ = kit.server.logged(&service, "asked to end");
    assert_ne!(who(&service), first.id.to_string(), "the next request wakes another");
    kit.server.stop();
}

#[test]
fn an_instance_is_replaced_at_the_end_of_its_life_before_it_goes() {
    let Some(kit) = Kit::start(SHORT) else { return };
    // Whoever had to wait for a start would wait for this long.
    let image = kit.image().env("DELAY", "1500");
    let service = kit.deploy("replaced", &image, &["--duration", "4s"]);
    let mut seen = vec![who(&service)];
    let begin = Instant::now();
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    let mut connection = service.open();
    // Mostly idle, as servers are: no request is under way at the very moment when its life is over.
    while begin.elapsed() < Duration::from_secs(13) {
        let asked = Instant::now();
        let answer = connection.send(&Request::get("/who")).expect("an answer").expect(200);
        slowest = slowest.max(asked.elapsed());
        let host = answer.json()["host"].as_str().expect("a host name").to_owned();
        if !seen.contains(&host) {
            seen.push(host);
        }
        most = most.max(kit.server.instances().len());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!((3..=4).contains(&seen.len()), "in 13 s of 4 s each: {seen:?}");
    assert!(slowest < Duration::from_millis(1200), "a request waited {slowest:?}: not replaced before it went");
    assert!(most <= 2, "{most}: more than one and its replacement");
    wait_until("the old one's end", PATIENCE, || kit.server.instances().len() <= 1);
    kit.server.stop();
}

#[test]
fn at_the_end_of_a_life_streams_have_half_a_minute_and_a_websocket_is_told() {
    let Some(kit) = Kit::start(SHORT) else { return };
    let service = kit.deploy("farewell", &kit.image(), &["--duration", "2s"]);
    let (mut websocket, mut other) = (tunnel(&service, "websocket"), tunnel(&service, "shout"));
    let first = kit.server.instances().pop().expect("an instance").id;
    let replaced = eventually("a replacement", PATIENCE, || {
        let instances = kit.server.instances();
        instances.iter().any(|instance| instance.id != first).then(Instant::now)
    });
    // Both go on in the old one, whose time is over, for as long as the farewell.
    std::thread::sleep(Duration::from_secs(20));
    shout(&mut other, "on");
    websocket.set_patience(Duration::from_secs(30)).expect("a socket");
    let frame = websocket.read_exactly(4).expect("a frame of the platform");
    assert_eq!(frame, [0x88, 2, 0x03, 0xe9], "close, 1001");
    let lasted = replaced.elapsed();
    assert!((28..=35).contains(&lasted.as_secs()), "cut {lasted:?} after the replacement");
    assert!(
        !kit.server
            .instances()
            .iter()
            .any(|instance| instance.id == first && instance.state != InstanceState::Draining)
    );
    wait_until("the old one's end", PATIENCE, || kit.server.instances().iter().all(|instance| instance.id != first));
    assert!(matches!(other.closes(), Ok(true)), "what is no websocket is closed");
    kit.server.stop();
}

#[test]
fn a_program_that_never_listens_has_not_started() {
    let Some(kit) = Kit::start(SHORT) else { return };
    let service = kit.deploy("deaf", &kit.image().env("MODE", "deaf"), &[]);
    let asked = Instant::now();
    let mut connection = service.open();
    connection.set_patience(Duration::from_secs(60)).expect("a socket");
    let refused = connection.send(&Request::get("/").header("accept", "application/json")).expect("an answer");
    assert_eq!((refused.status(), refused.code()), (502, Some("BOOT_FAILED")), "{refused:?}");
    let took = asked.elapsed();
    assert!((29..=45).contains(&took.as_secs()), "refused after {took:?}");
    let _ = kit.server.logged(&service, "warming up, for ever");
    let _ = kit.server.logged(&service, "it did not listen on a TCP port within 30 s");
    wait_until("its end", PATIENCE, || kit.server.instances().is_empty());
    kit.server.stop();
}

#[test]
fn who_does_not_end_when_asked_is_ended() {
    let Some(kit) = Kit::start(SHORT) else { return };
    let service = kit.deploy("stubborn", &kit.image().env("MODE", "stubborn"), &[]);
    assert_eq!(service.get("/count").expect(200).text(), "1");
    let pid = kit.server.instances()[0].pid.expect("a process");
    let members: Vec<_> = process::group_members(pid).into_iter().filter_map(process::find).collect();
    let asked = Instant::now();
    let _ = kit.server.cli(&["sleep", &service.authority()]).ok();
    // It takes no request any more, whatever it does with its time.
    assert_eq!(service.get("/count").expect(200).text(), "1", "another one answers");
    assert!(members.iter().any(process::Process::is_alive), "it has ten seconds");
    wait_until("the end of all its processes", PATIENCE, || !members.iter().any(process::Process::is_alive));
    let took = asked.elapsed();
    assert!((9..=15).contains(&took.as_secs()), "ended after {took:?}");
    kit.server.stop();
}

#[test]
fn a_crash_loop_is_slowed_and_said() {
    let Some(kit) = Kit::start(SHORT) else { return };
    let service = kit.deploy("loop", &kit.image().env("MODE", "exit"), &[]);
    let mut took = Vec::new();
    for _ in 0..6 {
        let asked = Instant::now();
        let refused = service.send(&Request::get("/").header("accept", "application/json"));
        assert_eq!((refused.status(), refused.code()), (502, Some("BOOT_FAILED")), "{refused:?}");
        took.push(asked.elapsed().as_millis());
    }
    // At once, at once, then after 250, 500, 1000, 2000 ms.
    for (took, least) in took.iter().zip([0, 0, 200, 450, 950, 1900]) {
        assert!(*took >= least, "{took} ms where a pause of {least} is due");
    }
    let tried = kit.server.logs(&service).into_iter().filter(|line| line.text.contains("no configuration")).count();
    assert!(tried >= 6, "{tried}");
    let said = kit.server.logged(&service, "failed 6 times in a row");
    assert!(said.text.contains("the next start waits 4 s"), "{}", said.text);
    kit.server.stop();
}

#[test]
fn as_many_as_wanted_are_kept_without_being_asked_for() {
    let Some(kit) = Kit::start(SHORT) else { return };
    let service = kit.deploy("kept", &kit.image(), &["--timeout", "1s", "--duration", "4s"]);
    let running = || {
        let instances = kit.server.instances().into_iter();
        let ready = instances.filter(|instance| instance.state != InstanceState::Draining);
        ready.map(|instance| instance.id.to_string()).collect::<Vec<_>>()
    };
    let scale = |arguments: &[&str]| {
        let url = service.authority();
        let _ = kit.server.cli(&[&["scale", &url], arguments].concat()).ok();
    };
    assert!(running().is_empty());
    scale(&["2", "5"]);
    wait_until("two instances", PATIENCE, || running().len() == 2);
    let first = running();
    // Past their idle timeout they are there, and past their duration others.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(running(), first, "they were stopped for being idle");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        assert!(running().len() >= 2, "others were not there before they went: {:?}", running());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(running().iter().all(|id| !first.contains(id)), "they outlive their duration");

    // Killed, slept, handed over: two are there again.
    let again = |what: &str| {
        wait_until(what, PATIENCE, || running().len() == 2);
        assert_eq!(service.get("/x").expect(200).text(), "GET /x");
    };
    for instance in kit.server.instances() {
        process::signal(instance.pid.expect("a process"), rustix::process::Signal::KILL);
    }
    again("two after a kill");
    let _ = kit.server.cli(&["sleep", &service.authority()]).ok();
    again("two after sleep");
    let _ = kit.server.cli(&["upgrade"]).ok();
    again("two after an upgrade");
    let server = kit.server.servers().pop().expect("a server runs");
    process::signal(server.pid, rustix::process::Signal::KILL);
    eventually("an answer of the next server", PATIENCE, || {
        service.open().send(&Request::get("/x")).ok().filter(|answer| answer.status() == 200)
    });
    again("two after a crash");

    scale(&["0"]);
    wait_until("none when switched off", PATIENCE, || kit.server.instances().is_empty());
    let off = service.send(&Request::get("/").header("accept", "application/json"));
    assert_eq!((off.status(), off.code()), (503, Some("DEPLOYMENT_DISABLED")), "{off:?}");
    scale(&["1", "1"]);
    wait_until("one", PATIENCE, || running().len() == 1);
    scale(&["auto"]);
    wait_until("none, after the idle timeout", PATIENCE, || kit.server.instances().is_empty());
    scale(&["1", "1"]);
    wait_until("one", PATIENCE, || running().len() == 1);
    let _ = kit.server.cli(&["rm", &service.authority(), "--yes"]).ok();
    wait_until("none when removed", PATIENCE, || kit.server.instances().is_empty());
    kit.server.stop();
}

#[test]
fn memory_is_told_over_a_life() {
    let Some(kit) = Kit::start(SHORT) else { return };
    let service = kit.deploy("memory", &kit.image(), &[]);
    let memory = || {
        let listed = kit.server.cli(&["ps", "--json"]).ok().json();
        let one = &listed["instances"][0];
        let of = |key: &str| one[key].as_u64().unwrap_or_else(|| panic!("{key} is a number: {one}"));
        (of("memoryBytes"), of("memoryPeakBytes"))
    };
    assert_eq!(service.get("/grow/0").expect(200).text(), "grown");
    let (before, _) = memory();
    assert_eq!(service.get("/grow/80").expect(200).text(), "grown");
    let (grown, peak) = memory();
    assert!(grown >= before + (70 << 20) && peak >= grown, "{before} {grown} {peak}");
    assert_eq!(service.get("/grow/0").expect(200).text(), "grown");
    let (after, peak) = memory();
    assert!(after + (60 << 20) < peak, "what was given back is told, and what was needed: {after} {peak}");
    let table = kit.server.cli(&["ps"]).ok();
    let peak = table.stdout.split('\t').nth(7).expect("eight columns before the process");
    assert!(peak.ends_with("MiB") && peak.starts_with('8'), "{table:?}");
    kit.server.stop();
}

//! Many clients of a service: bursts on one that sleeps, and a constant load through everything that happens to it.

#[path = "services/kit.rs"]
mod kit;

use dockless_testkit::{Connection, Deployment, PATIENCE, Request, eventually, process, wait_until};
use kit::Kit;
use serde_json::{Value, json};
use std::time::Duration;

/// So many requests at once, each on its own connection; says how many were answered and how many refused by a cap.
fn burst(service: &Deployment, clients: usize, path: &str) -> (usize, usize) {
    let mut asked: Vec<Connection> = (0..clients).map(|_| service.open()).collect();
    for connection in &mut asked {
        connection.set_patience(Duration::from_secs(60)).expect("a socket");
        connection.start(&Request::get(path).header("accept", "application/json")).expect("the connection holds");
    }
    let (mut answered, mut refused) = (0, 0);
    for mut connection in asked {
        let answer = connection.response("GET").expect("an answer");
        match (answer.status(), answer.code()) {
            (200, None) => answered += 1,
            (429, Some("CAP_REACHED")) => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                refused += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    (answered, refused)
}

#[test]
fn a_burst_on_a_sleeping_service_starts_what_it_needs_and_no_more() {
    let Some(kit) = Kit::start(&[]) else { return };
    for (name, clients, concurrency, starts) in
        [("b50-10", 50, "10", 5), ("b250-10", 250, "10", 25), ("b50-1", 50, "1", 50)]
    {
        let service = kit.deploy(name, &kit.image(), &["--concurrency", concurrency]);
        assert_eq!(burst(&service, clients, "/nap/3000"), (clients, 0), "{name}");
        let instances = kit.server.instances_of(&service, "app");
        assert_eq!(instances.len(), starts, "{name}: as many as those who wait need");
        assert_eq!(
            instances.iter().map(|instance| instance.requests).sum::<u64>().to_string(),
            clients.to_string(),
            "{name}"
        );
        let _ = kit.server.cli(&["sleep", &service.authority()]).ok();
        wait_until("their ends", PATIENCE, || kit.server.instances().is_empty());
    }
    kit.server.stop();
}

#[test]
fn a_burst_beyond_a_cap_fills_the_queue_and_refuses_the_rest() {
    let Some(kit) = Kit::start(&[]) else { return };
    // Ten have a place at once, a hundred wait.
    for (name, clients, concurrency, most_refused) in
        [("q50-1", 50, "1", 0), ("q250-1", 250, "1", 140), ("q250-10", 250, "10", 50)]
    {
        let service = kit.deploy(name, &kit.image(), &["--concurrency", concurrency]);
        let _ = kit.server.cli(&["scale", &service.authority(), "0", "10"]).ok();
        let (answered, refused) = burst(&service, clients, "/nap/300");
        assert!(refused <= most_refused, "{name}: {refused} refused, who fit the queue");
        assert_eq!(answered + refused, clients, "{name}");
        let instances = kit.server.instances_of(&service, "app");
        assert!(instances.len() <= 10, "{name}: the cap is held: {}", instances.len());
        let _ = kit.server.cli(&["sleep", &service.authority()]).ok();
        wait_until("their ends", PATIENCE, || kit.server.instances().is_empty());
    }
    kit.server.stop();
}

/// What a probe of 30 requests a second found.
fn probe(kit: &Kit, url: &str, method: &str, seconds: u32, meanwhile: impl FnOnce()) -> Value {
    let lasting = format!("{seconds}s");
    let probing =
        kit.server.cli_start(&["probe", url, "--rate", "30", "--for", &lasting, "--method", method, "--json"]);
    eventually("the first answers", PATIENCE, || (!kit.server.instances().is_empty()).then_some(()));
    meanwhile();
    let finished = probing.finish();
    let line = finished.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn nothing_is_lost_while_everything_happens_to_a_service() {
    let Some(kit) = Kit::start(&["--service-min-duration", "1", "--service-min-timeout", "1"]) else { return };
    let limits = ["--duration", "4s", "--timeout", "2s", "--concurrency", "10"];
    let first = kit.deploy("probed", &kit.image(), &limits);
    // The project's own name, which follows its newest deployment.
    let host = first.authority();
    let (_, port) = host.split_once(':').expect("an authority with a port");
    let url = format!("http://probed.localhost:{port}/count");
    for method in ["GET", "POST"] {
        let cli = |arguments: &[&str]| drop(kit.server.cli(arguments).ok());
        let ledger = probe(&kit, &url, method, 20, || {
            let second = kit.deploy("probed", &kit.image().env("GREETING", method), &limits);
            cli(&["sleep", &first.authority()]);
            cli(&["scale", &second.authority(), "1", "5"]);
            cli(&["rollback", "probed"]);
            cli(&["sleep", &first.authority()]);
            cli(&["promote", &second.authority()]);
            cli(&["upgrade"]);
            cli(&["scale", &second.authority(), "auto"]);
            cli(&["sleep", &second.authority()]);
        });
        assert!(ledger["sent"].as_u64() >= Some(600), "{method}: {ledger}");
        assert_eq!(ledger["answered"], ledger["sent"], "{method}: {ledger}");
        assert_eq!(ledger["statuses"], json!({ "200": ledger["sent"] }), "{method}: {ledger}");
    }

    // Whoever can be asked again is, where an instance is killed.
    let kill_all = || {
        for instance in kit.server.instances() {
            process::signal(instance.pid.expect("a process"), rustix::process::Signal::KILL);
        }
    };
    let ledger = probe(&kit, &url, "GET", 6, || {
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(700));
            kill_all();
        }
    });
    assert_eq!(ledger["statuses"], json!({ "200": ledger["sent"] }), "{ledger}");

    // A server that is killed loses what it had accepted, and no new connection is refused.
    let ledger = probe(&kit, &url, "GET", 6, || {
        let server = kit.server.servers().pop().expect("a server runs");
        process::signal(server.pid, rustix::process::Signal::KILL);
    });
    let lost = ledger["lost"].as_object().expect("reasons").clone();
    let count: u64 = lost.values().filter_map(Value::as_u64).sum();
    assert!(count <= 10, "{ledger}");
    assert!(!lost.contains_key("no connection"), "{ledger}");
    assert_eq!(ledger["answered"].as_u64().map(|answered| answered + count), ledger["sent"].as_u64(), "{ledger}");
    kit.server.stop();
}

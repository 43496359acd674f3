//! Many clients at once of a service that sleeps.

#[path = "services/kit.rs"]
mod kit;

use dockless_testkit::{Connection, Deployment, PATIENCE, Request, wait_until};
use kit::Kit;
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

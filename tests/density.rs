//! Many deployments that nobody asks for: what they cost at rest, and whether the next one wakes as soon as the first ones did.
//!
//! `make density` makes 10,000 of them; the slow tier 1,000.

use dockless_testkit::{Deployment, Options, PATIENCE, Server, process, wait_until};
use serde_json::json;
use std::time::{Duration, Instant};

const THREADS: usize = 4;
/// Deployments that are woken at each stage.
const SAMPLES: usize = 21;
/// How long nothing is done, to see what nothing costs.
const REST: Duration = Duration::from_secs(10);

/// The platform with so many deployments.
#[derive(Debug, Clone, Copy)]
struct Stage {
    deployments: usize,
    /// Of warden and server, not files', in KB.
    memory: u64,
    /// Of both, in ticks of the clock during [`REST`].
    processor: u64,
    /// Medians of first requests: of a file, and of a function that has to be started.
    file: Duration,
    function: Duration,
}

/// Creates deployments `from..to`; those that are READY by then.
fn create(server: &Server, from: usize, to: usize) -> Vec<Deployment> {
    let share = |thread: usize| {
        let mut made = Vec::new();
        for number in (from + thread..to).step_by(THREADS) {
            let files = json!([
                { "file": "index.html", "data": format!("page {number}") },
                { "file": "api/x.js", "data": "module.exports = (req, res) => res.end('woken')" },
            ]);
            let body = json!({ "version": 2, "name": format!("d{number}"), "files": files, "projectSettings": {} });
            let created = server.api().post("/v13/deployments", &body).expect(200).json();
            made.push(serde_json::from_value::<dockless_wire::Deployment>(created).expect("a deployment"));
        }
        for one in &made {
            wait_until("it is built", PATIENCE * 4, || {
                let answer = server.api().get(&format!("/v13/deployments/{}", one.id)).expect(200).json();
                assert_ne!(answer["readyState"], "ERROR", "{answer}");
                answer["readyState"] == "READY"
            });
        }
        made.iter().map(|one| server.reached(one)).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || share(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn measure(server: &Server, deployments: usize, fresh: &[Deployment]) -> Stage {
    let woken = |path: &str, expected: &str| {
        let sample = |app: &Deployment| {
            let began = Instant::now();
            let answer = app.get(path).expect(200);
            let took = began.elapsed();
            assert!(answer.text().starts_with(expected), "{answer:?}");
            took
        };
        // Spread over all that were made since the last stage; each is asked for the first time.
        fresh.iter().step_by((fresh.len() / SAMPLES).max(1)).take(SAMPLES).map(sample).collect()
    };
    let (file, function) = (median(woken("/", "page")), median(woken("/api/x", "woken")));
    for instance in server.instances() {
        let _ = server.api().post(&format!("/v1/deployments/{}/sleep", instance.deployment), &json!({})).expect(200);
    }
    wait_until("all sleep", PATIENCE * 2, || server.instances().is_empty());
    let both = [server.pid(), server.servers()[0].pid];
    let spent = || both.iter().map(|pid| process::processor_time(*pid)).sum::<u64>();
    let before = spent();
    std::thread::sleep(REST);
    Stage {
        deployments,
        memory: both.iter().map(|pid| memory(*pid)).sum(),
        processor: spent() - before,
        file,
        function,
    }
}

#[test]
#[ignore = "slow: DOCKLESS_DENSITY deployments, 1,000 unless told otherwise"]
fn sleeping_deployments_cost_next_to_nothing() {
    let many = std::env::var("DOCKLESS_DENSITY").ok().and_then(|text| text.parse().ok()).unwrap_or(1000_usize);
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    // The first ones fill caches and pools of threads.
    let few = (many / 10).max(2 * SAMPLES);
    let first = create(&server, 0, few);
    let early = measure(&server, few, &first);
    let rest = create(&server, few, many.max(2 * few));
    let late = measure(&server, few + rest.len(), &rest);
    eprintln!("{early:?}\n{late:?}");
    let made = u64::try_from(rest.len()).expect("a count");
    let each = late.memory.saturating_sub(early.memory) / made;
    assert!(each <= 16, "{each} KB for each that sleeps: {early:?}, {late:?}");
    // What is done at rest does not grow with what rests: a twentieth of one processor is noise.
    assert!(late.processor <= 2 * early.processor + 50, "{early:?}, {late:?}");
    let (few, many) = (early.deployments, late.deployments);
    for (what, early, late) in [("a file", early.file, late.file), ("a function", early.function, late.function)] {
        assert!(late <= early * 3, "{what}: {late:?} of {many} deployments, {early:?} of {few}");
    }
    server.stop();
}

//! Taking all there is of something: it ends at the taker's own bound, and nobody else notices.

use crate::everywhere::{attacker, service};
use dockless_testkit::{
    Deployment, Files, Options, PATIENCE, Registry, Scratch, Server, eventually, process, wait_until,
};

/// What is taken, and how much of it no sandbox may have.
const THINGS: [(&str, u64); 17] = [
    ("descriptors", 16_384),
    ("processes", 256),
    ("threads", 256),
    // Each holds a megabyte of memory, which is limited.
    ("pipes", 8_192),
    ("sockets", 8_192),
    ("inotify", 16_384),
    ("epoll", 16_384),
    ("timers", 1_000_000),
    ("queues", 1_024),
    ("segments", 100_000),
    ("semaphores", 100_000),
    ("messages", 1_000_000),
    ("files", 131_072),
    ("folders", 131_072),
    ("locks", 2_000_000),
    ("mappings", 100_000),
    ("memfds", 16_384),
];

fn server() -> Server {
    Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) })
}

fn exhaust(folder: &Scratch) -> std::path::PathBuf {
    attacker("exhaust", include_str!("../natives/exhaust.c"), folder)
}

/// A neighbour that must not notice, and the processes of the platform, which must be the same afterwards.
struct Witness {
    neighbour: Deployment,
    platform: Vec<u32>,
}

impl Witness {
    fn of(server: &Server) -> Self {
        let count = "let n = 0;\nmodule.exports = (req, res) => res.json({ count: ++n });\n";
        let neighbour = server.deploy_folder(Files::new().with("api/count.js", count).path(), "neighbour");
        assert_eq!(neighbour.json("/api/count")["count"], 1);
        Self { neighbour, platform: Self::platform(server) }
    }

    fn platform(server: &Server) -> Vec<u32> {
        std::iter::once(server.pid()).chain(server.servers().into_iter().map(|server| server.pid)).collect()
    }

    /// The same instance answers, and the same processes serve.
    #[track_caller]
    fn is_unharmed(&self, server: &Server, seen: u64, what: &str) {
        assert_eq!(self.neighbour.json("/api/count")["count"], seen, "the neighbour of {what}");
        assert_eq!(Self::platform(server), self.platform, "beside {what}");
    }
}

/// How much `exhaust` got.
fn taken(said: &str, thing: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix(thing)?.split_whitespace().next()?.parse().ok())
}

#[test]
#[ignore = "slow: seventeen things, one after the other"]
fn a_function_that_takes_all_of_something_meets_its_own_bound() {
    let (server, programs) = (server(), Scratch::new());
    let files = Files::new()
        .with("api/run.js", include_str!("../apps/hostile/api/run.js"))
        .with_program("bin/exhaust", &exhaust(&programs));
    let hostile = server.deploy_folder(files.path(), "hostile");
    let witness = Witness::of(&server);
    for (n, (thing, most)) in (2..).zip(THINGS) {
        let answer = hostile.get(&format!("/api/run?arg=exhaust&arg={thing}"));
        // Killed for its memory, with its instance or without, is an end too.
        if answer.status() == 200 {
            let done = answer.json();
            let said = done["stdout"].as_str().unwrap_or_default();
            match taken(said, thing) {
                Some(count) => assert!(count <= most, "{count} {thing}: {done}"),
                None => assert!(done["signal"].is_string() || done["error"].is_string(), "{thing}: {done}"),
            }
        } else {
            assert!(matches!(answer.status(), 500 | 502 | 504), "{thing}: {answer:?}");
        }
        witness.is_unharmed(&server, n, thing);
        // Its instance goes, with all it took: the next thing begins with a fresh one.
        let _ = server.cli(&["sleep", &hostile.url]).ok();
        wait_until("its instance is gone", PATIENCE, || server.instances_of(&hostile, "api/run").is_empty());
    }
    server.stop();
}

#[test]
#[ignore = "slow: seventeen things, one after the other"]
fn a_service_that_takes_all_of_something_meets_its_own_bound() {
    let Some(registry) = Registry::start(None) else { return };
    let (server, programs) = (server(), Scratch::new());
    let exhaust = exhaust(&programs);
    let hostile = service(&server, &registry, &[("exhaust", &exhaust)], None);
    let witness = Witness::of(&server);
    for (n, (thing, most)) in (2..).zip(THINGS) {
        let answer = hostile.get(&format!("/spawn/exhaust/{thing}"));
        if answer.status() == 200 {
            if let Some(count) = taken(&answer.text(), thing) {
                // Servers have more threads and connections than functions.
                assert!(count <= 16 * most, "{count} {thing}");
            }
        } else {
            assert_eq!(answer.status(), 502, "{thing}: {answer:?}");
        }
        witness.is_unharmed(&server, n, thing);
        let _ = server.cli(&["sleep", &hostile.url]).ok();
        wait_until("its instance is gone", PATIENCE, || server.instances_of(&hostile, "app").is_empty());
    }
    server.stop();
}

#[test]
fn whoever_is_told_to_go_goes_whatever_it_does() {
    // A process that ignores every signal, forks without end, and one that never yields: gone with their instance.
    const STUBBORN: &str = r"const { spawn } = require('node:child_process');
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2']) process.on(signal, () => {});
const again = 'const { spawn } = require(`node:child_process`); ' +
  'const go = () => { try { spawn(process.execPath, [`-e`, process.env.AGAIN], { detached: true, stdio: `ignore` }).unref() } catch {} }; ' +
  'go(); go(); setInterval(go, 50); process.on(`SIGTERM`, () => {}); for (const end = Date.now() + 500; Date.now() < end; );';
module.exports = (req, res) => {
  for (let n = 0; n < 4; n++) spawn(process.execPath, ['-e', again], { detached: true, stdio: 'ignore', env: { AGAIN: again } }).unref();
  res.end('begun');
};
";
    let server = server();
    let hostile = server.deploy_folder(Files::new().with("api/go.js", STUBBORN).path(), "stubborn");
    let witness = Witness::of(&server);
    assert_eq!(hostile.get("/api/go").expect(200).text(), "begun");
    let instance = server.instances_of(&hostile, "api/go")[0].clone();
    let pid = instance.pid.expect("it runs");
    let members = eventually("it has children", PATIENCE, || {
        let members: Vec<_> = process::group_members(pid).into_iter().filter_map(process::find).collect();
        (members.len() > 4).then_some(members)
    });
    // Asleep between requests: not one of them runs on, though they fork as fast as they can.
    wait_until("all of it is frozen", PATIENCE, || process::is_frozen(pid));
    let asleep: Vec<_> = process::group_members(pid);
    let processor = |pids: &[u32]| pids.iter().map(|pid| process::processor_time(*pid)).sum::<u64>();
    let before = processor(&asleep);
    witness.is_unharmed(&server, 2, "a fork bomb");
    assert_eq!((processor(&asleep), process::group_members(pid)), (before, asleep), "it runs while it is frozen");
    let _ = server.cli(&["sleep", &hostile.url]).ok();
    wait_until("the end of all of them", PATIENCE, || members.iter().all(|member| !member.exists()));
    witness.is_unharmed(&server, 3, "what is gone");
    server.stop();
}

//! Minutes of everything at once, round after round: what a round took is given back at its end, and memory does not grow.
//!
//! `make soak MINUTES=60`; two minutes in the slow tier.

use dockless_testkit::{
    Deployment, Files, LayerTar, Options, PATIENCE, Registry, Request, Scratch, Server, TestImage, compile, eventually,
    process, wait_until,
};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is there when nothing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rest {
    processes: usize,
    /// Of warden, server, router and spawners.
    descriptors: usize,
    namespaces: usize,
    groups: usize,
    mounts: usize,
    links: usize,
    /// In the run folder, the folder of builds and those of unpacked trees and layers.
    files: usize,
}

fn entries(folder: &Path) -> usize {
    let Ok(list) = std::fs::read_dir(folder) else { return 0 };
    list.flatten().map(|entry| 1 + if entry.path().is_dir() { entries(&entry.path()) } else { 0 }).sum()
}

fn shallow(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn lines(path: String) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// The warden and those of its children that are no sandboxes: root's, and the server.
fn platform(server: &Server) -> Vec<u32> {
    let roots = process::children(server.pid()).into_iter().filter(|child| process::user(child.pid) == Some(0));
    let servers = server.servers().into_iter();
    std::iter::once(server.pid()).chain(roots.chain(servers).map(|process| process.pid)).collect()
}

impl Rest {
    fn of(server: &Server) -> Self {
        let census = server.census();
        let networks: BTreeSet<(String, u32)> = census
            .processes
            .iter()
            .filter_map(|process| {
                let name = std::fs::read_link(format!("/proc/{}/ns/net", process.pid)).ok()?;
                Some((name.to_string_lossy().into_owned(), process.pid))
            })
            .collect();
        let mut seen = BTreeSet::new();
        let links = networks.into_iter().filter(|(name, _)| seen.insert(name.clone()));
        let data = server.data();
        Self {
            processes: census.processes.len(),
            descriptors: platform(server).into_iter().map(|pid| shallow(Path::new(&format!("/proc/{pid}/fd")))).sum(),
            namespaces: census.namespaces.len(),
            groups: census.groups.iter().map(|group| folders(group)).sum(),
            mounts: lines(format!("/proc/{}/mountinfo", server.pid())),
            links: links.map(|(_, pid)| lines(format!("/proc/{pid}/net/dev"))).sum(),
            files: entries(&server.run())
                + ["builds", "trees", "layers"].map(|folder| shallow(&data.join(folder))).iter().sum::<usize>(),
        }
    }
}

fn folders(group: &Path) -> usize {
    let Ok(list) = std::fs::read_dir(group) else { return 0 };
    let inner = list.flatten().filter(|entry| entry.path().is_dir());
    1 + inner.map(|entry| folders(&entry.path())).sum::<usize>()
}

/// Resident memory of a process that is no file's, in kilobytes.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn app(round: usize) -> Files {
    Files::new()
        .with("index.html", format!("round {round}"))
        .with("large.bin", "x".repeat(600_000))
        .with("api/hello.js", "module.exports = (req, res) => { req.resume(); req.on('end', () => res.end('hello')) }")
        .with("api/throws.js", "module.exports = () => { throw new Error('no') }")
        .with("api/dies.js", "module.exports = () => process.exit(3)")
        .with(
            "api/drips.js",
            "module.exports = (req, res) => { const drip = setInterval(() => res.write('x'.repeat(1000)), 5);\n\
             res.on('close', () => clearInterval(drip)); }",
        )
        .with("api/late.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'late']\n")
}

/// Everything that a day brings to a deployment.
fn day(server: &Server, app: &Deployment, round: usize) {
    assert_eq!(app.get("/").expect(200).text(), format!("round {round}"));
    let _ = app.get("/large.bin").expect(200);
    let _ = app.get("/nothing").expect(404);
    for n in 0..10 {
        let answer = app.send(&Request::post("/api/hello", vec![b'x'; n * 10_000]));
        assert_eq!(answer.expect(200).text(), "hello");
    }
    let _ = app.get("/api/late").expect(200);
    let _ = app.get("/api/throws").expect(500);
    let _ = app.get("/api/dies").expect(502);
    // A client that goes in the middle of its answer, and one that goes in the middle of its request.
    let mut leaving = app.open();
    leaving.start(&Request::get("/api/drips")).expect("it is sent");
    assert_eq!(leaving.read_head("GET").expect("an answer").status, 200);
    drop(leaving);
    let mut leaving = app.open();
    leaving.write(b"POST /api/hello HTTP/1.1\r\nhost: ").expect("it is sent");
    drop(leaving);
    // Asleep and awake, and killed by somebody.
    let instance = server.frozen(app, "api/hello");
    assert_eq!(app.send(&Request::post("/api/hello", "")).expect(200).text(), "hello");
    process::signal(instance.pid.expect("it runs"), Signal::KILL);
    wait_until("it is gone", PATIENCE, || !server.instances().iter().any(|other| other.id == instance.id));
    assert_eq!(app.send(&Request::post("/api/hello", "")).expect(200).text(), "hello");
    let _ = server.cli(&["scale", &app.url, "0"]).ok();
    let _ = app.get("/").expect(503);
    let _ = server.cli(&["scale", &app.url, "auto"]).ok();
    let _ = server.cli(&["alias", "set", &app.url, "soak.localhost"]).ok();
    let _ = server.cli(&["logs", &app.url]).ok();
}

/// An upload that breaks off.
fn broken_upload(server: &Server) {
    let mut open = server.api().open();
    let request = server.api().signed(dockless_testkit::Api::upload_of(&vec![b'y'; 400_000]));
    open.start_head(&request).expect("it is sent");
    let _ = open.write(&vec![b'y'; 100_000]);
}

/// A service, with a WebSocket that is cut.
fn service(server: &Server, registry: &Registry, program: &Path) -> Deployment {
    let image = TestImage::new().layer(LayerTar::new().program("server", program)).entrypoint(&["/server"]);
    image.push(registry.address(), "soak", "1", None);
    let service = server.deploy_image(&format!("{}/soak:1", registry.address()), "soak-service", &[]);
    assert_eq!(service.get("/count").expect(200).text(), "1");
    let mut socket = service.open();
    let upgrade = Request::get("/socket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
    socket.start(&upgrade).expect("it is sent");
    let _ = socket.read_head("GET").expect("an answer");
    drop(socket);
    service
}

#[test]
#[ignore = "slow: DOCKLESS_SOAK_MINUTES, 2 unless told otherwise"]
fn nothing_grows_however_often_everything_is_done() {
    let minutes = std::env::var("DOCKLESS_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let data = Scratch::new();
    let options = Options { data: Some(data.path().join("data")), ..Options::new(env!("CARGO_BIN_EXE_dockless")) };
    let server = Server::start(options);
    let registry = Registry::start(None);
    let program = compile(include_str!("natives/service.c"), &data, "service");
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let (mut before, mut memories) = (None, Vec::new());
    let mut round = 0;
    while Instant::now() < end || round < 6 {
        round += 1;
        let site = server.deploy_folder(app(round).path(), "soak");
        day(&server, &site, round);
        broken_upload(&server);
        let mut all = vec![site];
        all.extend(registry.as_ref().map(|registry| service(&server, registry, &program)));
        if round == 1 {
            // What comes after a crash is what is compared.
            process::signal(server.servers()[0].pid, Signal::KILL);
            eventually("a new server answers", PATIENCE, || {
                let request = server.api().signed(Request::get("/v1/status"));
                server.api().open().send(&request).ok().filter(|answer| answer.status() == 200)
            });
        }
        for deployment in all {
            let _ = server.cli(&["rm", deployment.id.as_str(), "--yes"]).ok();
        }
        wait_until("no instance is left", PATIENCE * 2, || server.instances().is_empty());
        // The first rounds fill caches, pools of threads and of links.
        if round <= 2 {
            continue;
        }
        let mut last = None;
        match &before {
            None => {
                // As it is when it does not change any more.
                before = Some(eventually("rest", PATIENCE * 4, || {
                    let now = Rest::of(&server);
                    let still = last.replace((now.clone(), Instant::now()));
                    std::thread::sleep(Duration::from_secs(3));
                    still.filter(|(then, _)| *then == now).map(|(then, _)| then)
                }));
            }
            Some(before) => {
                let since = Instant::now();
                let same = eventually("a last look", PATIENCE * 8, || {
                    let now = Rest::of(&server);
                    let same = is_rest(before, &now);
                    last = Some((now, since));
                    (same || since.elapsed() > PATIENCE * 3).then_some(same)
                });
                assert!(same, "round {round} left something:\nbefore {before:?}\nafter  {:?}", last.map(|last| last.0));
            }
        }
        let [warden, serving] = [server.pid(), server.servers()[0].pid];
        memories.push((memory(warden), memory(serving)));
        eprintln!("round {round}: warden {} KB, server {} KB", memory(warden), memory(serving));
    }
    for (who, memory) in [
        ("warden", memories.iter().map(|(warden, _)| *warden).collect::<Vec<_>>()),
        ("server", memories.iter().map(|(_, server)| *server).collect()),
    ] {
        let half = memory.len() / 2;
        let median = |part: &[u64]| {
            let mut sorted = part.to_vec();
            sorted.sort_unstable();
            sorted[sorted.len() / 2]
        };
        let (early, late) = (median(&memory[..half.max(1)]), median(&memory[half..]));
        // What allocators keep moves by some; what a round leaves behind would add up.
        assert!(late <= early + early / 5 + 8 * 1024, "the {who} grows: {memory:?} KB");
    }
    server.stop();
    let consistent = "import sqlite3, sys\n\
        base = sqlite3.connect(sys.argv[1])\n\
        print(base.execute('pragma integrity_check').fetchall(), base.execute('pragma foreign_key_check').fetchall())\n";
    let checked = std::process::Command::new("python3")
        .args(["-c", consistent])
        .arg(data.path().join("data/db/dockless.sqlite"))
        .output()
        .expect("python3 runs");
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "[('ok',)] []\n", "{checked:?}");
}

/// Connections of the API's clients, and threads' own descriptors, come and go: some are no leak.
fn is_rest(before: &Rest, now: &Rest) -> bool {
    let but = Rest { descriptors: 0, files: 0, ..before.clone() };
    but == Rest { descriptors: 0, files: 0, ..now.clone() }
        && now.descriptors <= before.descriptors + 12
        && now.files <= before.files
}

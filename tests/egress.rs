//! The way out of sandboxes: the internet is reached, and nothing else. Each test makes an internet of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_testkit::{
    Deployment, Files, LayerTar, Options, Outside, Registry, Scratch, Server, TestImage, compile, process, wait_until,
};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

const DIAL: &str = include_str!("apps/hostile/api/dial.js");
const FETCH: &str = r"module.exports = async (req, res) => {
  try { res.send(await (await fetch(req.query.url)).text()); }
  catch (error) { res.send('failed: ' + ((error.cause || error).code || error)); }
};
";
const LOOKUP: &str = r"module.exports = (req, res) => require('node:dns').lookup(req.query.name, { all: true, family: 4 },
  (error, found) => res.json(error ? error.code : found.map((one) => one.address)));
";
/// Asks the gateway under any name.
const RAW: &str = r"module.exports = (req, res) => {
  const { host, port, path } = req.query;
  const request = require('node:http').request({ host: '169.254.1.1', port, path, headers: { host: `${host}:${port}` } }, (answer) => {
    let text = '';
    answer.on('data', (chunk) => text += chunk).on('end', () => res.json({ status: answer.statusCode, text }));
  });
  request.on('error', (error) => res.json({ status: error.code })).end();
};
";
const FLOOD: &str = r"const net = require('node:net');
module.exports = (req, res) => {
  const outcomes = {}, all = [];
  const count = Number(req.query.count);
  for (let n = 0; n < count; n++) all.push(new Promise((done) => {
    const socket = net.connect({ host: req.query.host, port: Number(req.query.port), timeout: 8000 });
    const end = (outcome) => { outcomes[outcome] = (outcomes[outcome] || 0) + 1; done(socket); };
    socket.on('connect', () => end('connected'));
    socket.on('timeout', () => end('timeout'));
    socket.on('error', (error) => end(error.code));
  }));
  Promise.all(all).then((sockets) => { res.json(outcomes); for (const socket of sockets) socket.destroy(); });
};
";

fn start(arguments: &[&str]) -> Server {
    let mut options = Options::new(env!("CARGO_BIN_EXE_dockless"));
    options.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    Server::start(options)
}

fn files() -> Files {
    Files::new()
        .with("api/dial.js", DIAL)
        .with("api/fetch.js", FETCH)
        .with("api/flood.js", FLOOD)
        .with("api/lookup.js", LOOKUP)
        .with("api/raw.js", RAW)
}

fn dial(app: &Deployment, host: impl std::fmt::Display, port: u16) -> String {
    let answer = app.json(&format!("/api/dial?host={host}&port={port}"));
    answer["outcome"].as_str().unwrap_or_default().to_owned()
}

fn fetch(app: &Deployment, url: &str) -> String {
    app.get(&format!("/api/fetch?url={url}")).expect(200).text()
}

#[test]
fn a_function_reaches_the_internet_under_the_machines_address() {
    let (outside, server) = (Outside::start(), start(&["--egress", "on"]));
    let app = server.deploy(&files());
    let page = fetch(&app, &format!("http://{}/hello", outside.address));
    assert_eq!(page, format!("GET /hello from {}", outside.machine));
    // From the shelf or from nothing, the first thing it does: nothing runs ahead of its link.
    for _ in 0..3 {
        let _ = server.cli(&["sleep", &app.authority()]).ok();
        wait_until("it sleeps", Duration::from_secs(10), || server.instances_of(&app, "api/fetch").is_empty());
        assert!(fetch(&app, &format!("http://{}/again", outside.address)).starts_with("GET /again"), "a cold start");
    }
    server.stop();
}

#[test]
fn names_are_resolved_as_the_machine_resolves_them() {
    let outside = Outside::start();
    let server = start(&["--egress", "on", "--egress-resolver", &outside.address.to_string()]);
    let app = server.deploy(&files());
    let page = fetch(&app, "http://world.test.example/by-name");
    assert_eq!(page, format!("GET /by-name from {}", outside.machine));
    assert_eq!(fetch(&app, "http://unknown.example.org/"), "failed: ENOTFOUND");
    // What a name points to changes nothing about what is reached.
    assert_eq!(fetch(&app, "http://private.test.example/"), "failed: EHOSTUNREACH");
    let long = app.json("/api/lookup?name=long.test.example");
    assert_eq!(long.as_array().map(Vec::len), Some(100), "by stream, because a datagram is too short: {long}");
    let silent = app.json("/api/lookup?name=silent.test.example");
    assert_eq!(silent, "EAI_AGAIN", "somebody says that nobody knows");
    server.stop();
}

#[test]
fn an_app_reaches_its_own_account_by_public_urls_and_never_the_api() {
    let outside = Outside::start();
    let server = start(&["--egress", "on", "--egress-resolver", &outside.address.to_string()]);
    let app = server.deploy(&files().with("own.txt", "mine"));
    let sibling = server.deploy_folder(Files::new().with("page.txt", "a sibling's").path(), "sibling");
    assert_eq!(fetch(&app, &format!("{}own.txt", app.url)), "mine");
    assert_eq!(fetch(&app, &format!("{}page.txt", sibling.url)), "a sibling's");
    // A function of its own, started for it.
    assert!(fetch(&app, &format!("{}api/lookup?name=localhost", app.url)).contains("127.0.0.1"));
    // Another account's deployment is not there, by name or by force.
    let token = server.cli(&["account", "add", "second"]).ok().stdout.trim().to_owned();
    let folder = Files::new().with("page.txt", "a stranger's");
    let told = server.cli_with(
        &[("DOCKLESS_TOKEN", &token)],
        &["deploy", folder.path().to_str().unwrap(), "--name", "stranger", "--yes", "--json"],
    );
    let stranger = told.ok().json()["url"].as_str().unwrap().to_owned();
    let port = server.address().port();
    assert_eq!(fetch(&app, &format!("http://{stranger}:{port}/page.txt")), "failed: ENOTFOUND");
    for host in [stranger.as_str(), "localhost", "api.localhost", "169.254.1.1"] {
        let answer = app.json(&format!("/api/raw?host={host}&port={port}&path=/page.txt"));
        assert_eq!(answer["status"], 404, "{host}: {answer}");
        let answer = app.json(&format!("/api/raw?host={host}&port={port}&path=/v1/status"));
        assert_eq!(answer["status"], 404, "{host}: {answer}");
        assert!(!answer["text"].as_str().unwrap().contains("version"), "{host}: {answer}");
    }
    for name in ["api.localhost", "nobody.localhost"] {
        assert_eq!(app.json(&format!("/api/lookup?name={name}")), "ENOTFOUND", "{name}");
    }
    assert!(outside.asked().iter().all(|question| !question.contains("localhost")), "{:?}", outside.asked());
    server.stop();
}

#[test]
fn routes_lead_to_other_servers_and_never_to_this_machine_or_its_neighbours() {
    let outside = Outside::start();
    let server = start(&["--egress", "on", "--egress-allow", "10.9.9.9"]);
    let port = server.address().port();
    let sibling = server.deploy_folder(Files::new().with("page.txt", "a sibling's").path(), "sibling");
    let (host, machine) = (&sibling.host, outside.machine);
    let config = serde_json::json!({ "rewrites": [
        { "source": "/out/:path*", "destination": format!("http://{}/base/:path*", outside.address) },
        { "source": "/sibling/:path*", "destination": format!("http://{host}:{port}/:path*") },
        { "source": "/loopback", "destination": format!("http://127.0.0.1:{port}/v1/status") },
        { "source": "/api-by-name", "destination": format!("http://localhost:{port}/v1/status") },
        { "source": "/machine", "destination": format!("http://{machine}:{port}/v1/status") },
        { "source": "/metadata", "destination": "http://169.254.169.254/latest/meta-data" },
        { "source": "/private", "destination": "http://10.1.2.3/" },
        { "source": "/six", "destination": "http://[::1]/" },
        { "source": "/mapped", "destination": format!(r"http://[\:\:ffff\:127.0.0.1]:{port}/v1/status") },
    ]});
    let app = server.deploy(&Files::new().with("vercel.json", config.to_string()).with("index.html", "home"));
    let page = app.get("/out/a/b?c=d").expect(200).text();
    assert_eq!(page, format!("GET /base/a/b?c=d from {machine}"));
    assert_eq!(app.get("/sibling/page.txt").expect(200).text(), "a sibling's");
    for path in ["/loopback", "/api-by-name", "/machine", "/metadata", "/private", "/six", "/mapped"] {
        let answer = app.get(path);
        assert_eq!((answer.status(), answer.code()), (502, Some("DESTINATION_FAILED")), "{path}: {answer:?}");
    }
    assert_eq!(outside.asked().len(), 1, "{:?}", outside.asked());
    server.stop();

    let closed = start(&["--egress", "off"]);
    let app = closed.deploy(&Files::new().with("vercel.json", config.to_string()).with("index.html", "home"));
    assert_eq!(app.get("/out/a").status(), 502);
    closed.stop();
}

#[test]
fn an_upgrade_keeps_links_names_and_who_asks() {
    let outside = Outside::start();
    let server = start(&["--egress", "on", "--egress-resolver", &outside.address.to_string()]);
    let app = server.deploy(&files().with("own.txt", "mine"));
    let by_name = "http://world.test.example/x";
    let page = format!("GET /x from {}", outside.machine);
    assert_eq!(fetch(&app, by_name), page);
    let before = server.instances_of(&app, "api/fetch");
    for _ in 0..2 {
        let _ = server.cli(&["upgrade"]).ok();
        for _ in 0..5 {
            assert_eq!(fetch(&app, by_name), page);
            assert_eq!(fetch(&app, &format!("{}own.txt", app.url)), "mine");
        }
    }
    let after = server.instances_of(&app, "api/fetch");
    assert!(after.iter().any(|instance| instance.id == before[0].id), "the same instance, taken over: {after:?}");
    // A server that dies leaves them as they are, too.
    process::signal(server.servers()[0].pid, rustix::process::Signal::KILL);
    assert_eq!(fetch(&app, by_name), page);
    server.stop();
}

#[test]
fn a_router_that_dies_is_replaced() {
    let (outside, server) = (Outside::start(), start(&["--egress", "on"]));
    let app = server.deploy(&files());
    assert_eq!(dial(&app, outside.address, 80), "connected");
    // The one child in the network between.
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    let (network, root) =
        (|pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok(), |pid| process::user(pid) == Some(0));
    let routers = || {
        let children = process::children(server.pid()).into_iter();
        children
            .filter(|child| root(child.pid) && network(child.pid).is_some_and(|net| net != ours))
            .collect::<Vec<_>>()
    };
    let before = routers();
    assert_eq!(before.len(), 1, "{before:?}");
    process::signal(before[0].pid, rustix::process::Signal::KILL);
    wait_until("there is another", Duration::from_secs(10), || {
        routers().first().is_some_and(|now| now.pid != before[0].pid)
    });
    assert_eq!(dial(&app, outside.address, 80), "connected", "links stay as they are");
    let _ = server.cli(&["sleep", &app.authority()]).ok();
    assert_eq!(dial(&app, outside.address, 80), "connected", "and new ones are made");
    assert!(fetch(&app, &format!("http://{}/", outside.address)).starts_with("GET / "));
    server.stop();
}

#[test]
fn a_service_reaches_the_internet_too() {
    let Some(registry) = Registry::start(None) else { return };
    let (outside, server) = (Outside::start(), start(&["--egress", "on"]));
    let scratch = Scratch::new();
    let program = compile(include_str!("natives/service.c"), &scratch, "service");
    let files = LayerTar::new().program("server", &program).folder("etc", 0o755);
    TestImage::new().layer(files).entrypoint(&["/server"]).push(registry.address(), "out", "1", None);
    let service = server.deploy_image(&format!("{}/out:1", registry.address()), "out", &[]);
    let shut = server.deploy_image(&format!("{}/out:1", registry.address()), "shut", &["--no-egress"]);
    let refusal = shut.get(&format!("/dial/{}/80", outside.address)).expect(200).text();
    assert!(refusal.starts_with("failed: "), "{refusal}");
    let page = service.get(&format!("/dial/{}/80", outside.address)).expect(200).text();
    assert!(page.ends_with(&format!("GET /of-a-service from {}", outside.machine)), "{page}");
    assert_eq!(service.get("/read/etc/resolv.conf").text(), "nameserver 169.254.1.1\n");
    let port = server.address().port();
    for host in
        [outside.machine.to_string(), "127.0.0.1".to_owned(), "10.0.0.1".to_owned(), "169.254.169.254".to_owned()]
    {
        let refusal = service.get(&format!("/dial/{host}/{port}")).expect(200).text();
        assert!(refusal.starts_with("failed: "), "{host}: {refusal}");
    }
    server.stop();
}

#[test]
fn nothing_but_the_internet_is_reached() {
    let (outside, server) = (Outside::start(), start(&["--egress", "on"]));
    let app = server.deploy(&files());
    assert_eq!(dial(&app, outside.address, 80), "connected");
    // Somebody who listens on every address of the machine, and the API.
    let everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = everywhere.local_addr().unwrap().port();
    let refused = ["EHOSTUNREACH", "ENETUNREACH", "ECONNREFUSED"];
    let mut forbidden: Vec<String> = own_addresses();
    assert!(forbidden.contains(&outside.machine.to_string()), "{forbidden:?}");
    forbidden.extend(
        [
            "169.254.169.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.17.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "fd00::1",
            "fe80::1",
            "::1",
        ]
        .map(str::to_owned),
    );
    for host in &forbidden {
        for port in [port, server.address().port()] {
            let outcome = dial(&app, host, port);
            assert!(
                refused.contains(&outcome.as_str()) || outcome == "EACCES" || outcome == "EINVAL",
                "{host}:{port}: {outcome}"
            );
        }
    }
    everywhere.set_nonblocking(true).unwrap();
    assert!(everywhere.accept().is_err(), "something came through");
    // A neighbour that listens everywhere: every instance has an address beside the others'.
    let neighbour = server.deploy_folder(
        Files::new()
            .with("api/wait.js", "module.exports = (req, res) => require('net').createServer().listen(7777, '0.0.0.0', () => res.json({ all: require('os').networkInterfaces() }))")
            .path(),
        "neighbour",
    );
    let all = neighbour.json("/api/wait");
    let address = all["all"]["eth0"][0]["address"].as_str().unwrap_or_else(|| panic!("{all}")).to_owned();
    assert!(refused.contains(&dial(&app, &address, 7777).as_str()), "{address}");
    server.stop();
}

#[test]
fn the_operator_may_open_a_private_range() {
    let outside = Outside::start();
    let (name, private) = (format!("{}", outside.address), "10.98.76.1");
    let command = format!("addr add {private}/32 dev lo");
    outside.ip_inside(&command);
    outside.ip(&format!("route add {private}/32 via {name}"));
    let closed = start(&["--egress", "on"]);
    let app = closed.deploy(&files());
    assert_eq!(dial(&app, private, 80), "EHOSTUNREACH");
    closed.stop();
    let open = start(&["--egress", "on", "--egress-allow", "10.98.76.0/24"]);
    let app = open.deploy(&files());
    // The world listens on its public address alone: the refusal is its own.
    assert_eq!(dial(&app, private, 81), "ECONNREFUSED");
    assert_eq!(dial(&app, "10.98.77.1", 81), "EHOSTUNREACH");
    open.stop();
}

#[test]
fn one_sandbox_cannot_fill_the_machines_tables() {
    let (outside, server) = (Outside::start(), start(&["--egress", "on"]));
    let app = server.deploy(&files());
    let many = app.json(&format!("/api/flood?host={}&port=80&count=3000", outside.address));
    let connected = many["connected"].as_u64().unwrap_or(0);
    assert!((100..=1024).contains(&connected), "{many}");
    assert!(many["EHOSTUNREACH"].as_u64().is_some_and(|told| told > 0), "refused, as far as the kernel tells: {many}");
    // A bound of its own each: another is served meanwhile, and so is this one when its connections are gone.
    assert_eq!(dial(&app, outside.address, 80), "connected");
    server.stop();
}

#[test]
fn a_deployment_may_do_without() {
    let (outside, server) = (Outside::start(), start(&["--egress", "on"]));
    let closed = server.deploy_folder(files().with("vercel.json", r#"{ "egress": false }"#).path(), "closed");
    let open = server.deploy_folder(files().path(), "open");
    // From the shelf and from nothing.
    for _ in 0..3 {
        assert_eq!(dial(&closed, outside.address, 80), "ENETUNREACH");
        assert_eq!(dial(&closed, "169.254.1.1", 53), "ENETUNREACH");
        assert_eq!(dial(&open, outside.address, 80), "connected");
        let _ = server.cli(&["sleep", &closed.authority()]).ok();
        wait_until("it sleeps", Duration::from_secs(10), || server.instances_of(&closed, "api/dial").is_empty());
    }
    server.stop();
}

#[test]
fn a_machine_that_cannot_is_told_and_served_all_the_same() {
    use std::os::unix::fs::PermissionsExt as _;
    // Root without the right to administer networks.
    let (outside, scratch) = (Outside::start(), Scratch::new());
    let wrapper = scratch.path().join("dockless");
    let program = env!("CARGO_BIN_EXE_dockless");
    let text = format!("#!/bin/sh\nexec setpriv --inh-caps -net_admin --bounding-set -net_admin -- {program} \"$@\"\n");
    std::fs::write(&wrapper, text).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused =
        Server::refuse(&Options { arguments: vec!["--egress".to_owned(), "on".to_owned()], ..Options::new(&wrapper) });
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("error: cannot ") && refused.stderr.contains("not permitted"), "{refused:?}");
    let server = Server::start(Options::new(&wrapper));
    assert!(server.messages().contains("no way to the internet"), "{}", server.messages());
    let app = server.deploy(&files());
    assert_eq!(dial(&app, outside.address, 80), "ENETUNREACH");
    let doctor = server.cli(&["doctor"]).ok().stdout;
    assert!(doctor.lines().any(|line| line.starts_with("warn  egress")), "{doctor}");
    server.stop();
}

#[test]
fn without_egress_there_is_only_the_loopback() {
    let (outside, server) = (Outside::start(), start(&["--egress", "off"]));
    let app = server.deploy(&files());
    assert_eq!(dial(&app, outside.address, 80), "ENETUNREACH");
    assert!(!std::fs::read_dir("/sys/class/net").unwrap().flatten().any(|link| {
        let identity: String = server.run().file_name().unwrap().to_string_lossy().chars().take(12).collect();
        link.file_name().to_string_lossy() == format!("dkl{identity}")
    }));
    server.stop();
}

#[test]
fn nothing_of_it_is_left() {
    let (outside, server) = (Outside::start(), start(&["--egress", "on"]));
    let app = server.deploy(&files());
    assert_eq!(dial(&app, outside.address, 80), "connected");
    let census = server.census();
    server.stop();
    census.assert_nothing_left();
    // Killed, it cannot clean up: the kernel does.
    let server = start(&["--egress", "on"]);
    let app = server.deploy(&files());
    assert_eq!(dial(&app, outside.address, 80), "connected");
    let census = server.census();
    assert!(!census.network().is_empty(), "a link and a table");
    server.signal(rustix::process::Signal::KILL);
    wait_until("links and tables are gone", Duration::from_secs(20), || census.network().is_empty());
}

/// Every address of version 4 that this machine has.
fn own_addresses() -> Vec<String> {
    let local = std::fs::read_to_string("/proc/net/fib_trie").unwrap();
    let mut found: Vec<String> = Vec::new();
    let mut last = String::new();
    for line in local.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            address.clone_into(&mut last);
        } else if line.ends_with("/32 host LOCAL") && last.parse::<IpAddr>().is_ok() {
            found.push(last.clone());
        }
    }
    found.sort();
    found.dedup();
    found
}

//! What a sandbox may do to others through what they share of the network: the forwarder of names, the gateway of apps.

use dockless_testkit::{Deployment, Files, Options, Outside, Request, Scratch, Server, compile, wait_until};
use std::time::Duration;

const LOOKUP: &str = r"module.exports = (req, res) => require('node:dns').lookup(req.query.name, { family: 4 },
  (error, found) => res.json(error ? error.code : found));
";
/// Opens connections to the gateway of apps and keeps them; says how many the other end left open.
const HOLD: &str = r"const net = require('node:net');
module.exports = async (req, res) => {
  const all = [];
  for (let n = 0; n < Number(req.query.count); n++) {
    const one = { socket: net.connect({ host: '169.254.1.1', port: Number(req.query.port) }), open: false };
    one.settled = new Promise((done) => {
      one.socket.on('connect', () => { one.open = true; done(); });
      one.socket.on('close', () => { one.open = false; done(); });
      one.socket.on('error', () => {});
    });
    one.socket.resume();
    all.push(one);
  }
  await Promise.all(all.map((one) => one.settled));
  const open = () => all.filter((one) => one.open).length;
  for (let before = -1; before !== open(); ) {
    before = open();
    await new Promise((done) => setTimeout(done, 500));
  }
  res.write(JSON.stringify({ open: open() }));
  // Until the client has seen enough.
  req.socket.on('close', () => all.forEach((one) => one.socket.destroy()));
  setTimeout(() => res.end(), 20_000);
};
";

fn start(arguments: &[&str]) -> Server {
    let mut options = Options::new(env!("CARGO_BIN_EXE_dockless"));
    options.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    Server::start(options)
}

#[test]
fn a_flood_of_questions_leaves_the_neighbours_their_names() {
    let outside = Outside::start();
    let server = start(&["--egress", "on", "--egress-resolver", &outside.address.to_string()]);
    let programs = Scratch::new();
    let flood = compile(include_str!("../natives/flood.c"), &programs, "flood");
    let files =
        Files::new().with("api/run.js", include_str!("../apps/hostile/api/run.js")).with_program("bin/flood", &flood);
    let hostile = server.deploy_folder(files.path(), "hostile");
    let neighbour = server.deploy_folder(Files::new().with("api/lookup.js", LOOKUP).path(), "neighbour");
    let look_up = || neighbour.json("/api/lookup?name=world.test.example");
    assert!(look_up().as_str().is_some_and(|found| found.contains('.')), "{}", look_up());

    let flooding = std::thread::spawn(move || hostile.json("/api/run?arg=flood&arg=5"));
    let (mut asked, mut failed) = (0, Vec::new());
    while !flooding.is_finished() {
        let answer = look_up();
        asked += 1;
        if !answer.as_str().is_some_and(|found| found.contains('.')) {
            failed.push(answer);
        }
    }
    let done = flooding.join().expect("it does not panic");
    let sent: u64 = done["stdout"].as_str().and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    assert!(sent > 20_000, "no flood: {done}");
    assert!(asked >= 3, "{asked} questions while {sent} datagrams came");
    assert!(failed.is_empty(), "{} of {asked} questions failed while {sent} datagrams came: {failed:?}", failed.len());
    server.stop();
}

#[test]
fn many_questions_in_a_row_are_no_connections_that_add_up() {
    const MANY: &str = r"const { lookup } = require('node:dns').promises;
module.exports = async (req, res) => {
  const failed = {};
  for (let n = 0; n < 1500; n++) {
    try { await lookup('world.test.example', { family: 4 }); }
    catch (error) { failed[error.code] = (failed[error.code] || 0) + 1; }
  }
  res.json(failed);
};
";
    let outside = Outside::start();
    let server = start(&["--egress", "on", "--egress-resolver", &outside.address.to_string()]);
    let app = server.deploy(&Files::new().with("api/many.js", MANY));
    assert_eq!(app.json("/api/many"), serde_json::json!({}), "each has its answer");
    server.stop();
}

#[test]
fn one_sandbox_has_a_share_of_the_gateways_connections() {
    let outside = Outside::start();
    let server = start(&["--egress", "on", "--egress-resolver", &outside.address.to_string()]);
    let app = server.deploy(&Files::new().with("api/hold.js", HOLD).with("index.html", "here"));
    let path = format!("/api/hold?count=700&port={}", server.address().port());
    let holding: Deployment = app.clone();
    let mut connection = holding.open();
    connection.start(&Request::get(&path)).expect("it is sent");
    let head = connection.read_head("GET").expect("an answer");
    assert_eq!(head.status, 200, "{head:?}");
    let first = connection.read_some().expect("a piece").expect("a piece");
    let told: serde_json::Value = serde_json::from_slice(&first).expect("JSON");
    let open = told["open"].as_u64().expect("a count");
    assert!((200..=256).contains(&open), "{told}");
    assert_eq!(app.get("/").expect(200).text(), "here");
    drop(connection);
    wait_until("they are given back", Duration::from_secs(30), || {
        let metrics = server.api().get("/metrics").expect(200).text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("dockless_connections_open "));
        line.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count < 20)
    });
    server.stop();
}

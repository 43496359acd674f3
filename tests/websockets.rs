//! WebSockets over HTTP/2 (RFC 8441), from Node's client to a service from an image.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_model::InstanceState;
use dockless_testkit::{LayerTar, Options, PATIENCE, Registry, Scratch, Server, TestImage, compile, wait_until};
use std::process::{Command, Stdio};

/// Opens two sockets and asks for something else on one connection; says what came.
const CLIENT: &str = r"
const http2 = require('node:http2');
const [url, authority, ca] = process.argv.slice(1);
const client = http2.connect(url, ca ? { ca: require('node:fs').readFileSync(ca), servername: authority.split(':')[0] } : {});
client.on('error', (error) => { console.log(JSON.stringify({ error: String(error) })); process.exit(1); });
setTimeout(() => { console.log(JSON.stringify({ error: 'late' })); process.exit(1); }, 30000);
const open = (path, words) => new Promise((resolve) => {
  const seen = { status: 0, got: '' };
  const socket = client.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': url.split(':')[0], ':authority': authority, ':path': path,
    'sec-websocket-version': '13', origin: url,
  });
  socket.on('response', (headers) => { Object.assign(seen, { status: headers[':status'], headers }); socket.write(words); });
  socket.on('data', (data) => {
    seen.got += data;
    if (seen.got.length === words.length) socket.end();
  });
  socket.on('error', (error) => { seen.error = String(error); });
  socket.on('close', () => resolve(seen));
});
const get = (path) => new Promise((resolve) => {
  let body = '';
  const request = client.request({ ':authority': authority, ':path': path });
  request.on('data', (data) => { body += data; });
  request.on('end', () => resolve(body));
});
client.on('remoteSettings', async (settings) => {
  const all = await Promise.all([open('/socket', 'hello'), get('/plain'), open('/socket', 'x'.repeat(300000))]);
  console.log(JSON.stringify({ offered: settings.enableConnectProtocol, first: all[0], plain: all[1], capitals: /^X*$/.test(all[2].got) && all[2].got.length }));
  client.close();
  process.exit(0);
});
";

#[test]
fn sockets_share_a_connection_with_other_requests() {
    let scratch = Scratch::new();
    let program = compile(include_str!("natives/socket.c"), &scratch, "socket");
    let layer = LayerTar::new().program("server", &program).folder("tmp", 0o1777);
    let Some(registry) = Registry::start(None) else { return };
    TestImage::new().layer(layer).entrypoint(&["/server"]).push(registry.address(), "socket", "latest", None);
    let mut options = Options::new(env!("CARGO_BIN_EXE_dockless"));
    options.arguments = vec!["--tls-dev".to_owned()];
    options.listen = ["127.0.0.1:0", "127.0.0.1:0=apps+tls"].map(str::to_owned).into();
    let server = Server::start(options);
    let source = format!("{}/socket:latest", registry.address());
    let told = server.cli(&["deploy", "--image", &source, "--name", "socket", "--json"]).ok().json();
    let href = told["href"].as_str().unwrap().trim_end_matches('/').to_owned();
    let authority = href.split_once("://").unwrap().1.to_owned();
    let tls_port = authority.rsplit_once(':').unwrap().1.to_owned();
    let ca = server.data().join("tls/localhost/ca.pem");
    for (url, ca) in [
        (format!("http://{}", server.address()), None),
        (format!("https://127.0.0.1:{tls_port}"), Some(ca.to_str().unwrap())),
    ] {
        let mut command = Command::new("node");
        command.args(["-e", CLIENT, "--", &url, &authority]).args(ca);
        let output = command.stdin(Stdio::null()).output().expect("node is needed here");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let seen: serde_json::Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(seen["offered"], true, "{url}: {seen}");
        assert_eq!((&seen["first"]["status"], &seen["first"]["got"]), (&200.into(), &"HELLO".into()), "{url}: {seen}");
        let headers = &seen["first"]["headers"];
        assert_eq!(headers["x-key"], "yes", "the service is asked as HTTP/1 asks: {headers}");
        assert!(headers.get("upgrade").is_none() && headers.get("sec-websocket-accept").is_none(), "{headers}");
        assert_eq!(seen["capitals"], 300_000, "{url}: {seen}");
        assert_eq!(seen["plain"], "plain", "{url}: {seen}");
        wait_until("no socket is open", PATIENCE, || {
            server.instances().iter().all(|instance| instance.state == InstanceState::Ready)
        });
    }
    server.stop();
}

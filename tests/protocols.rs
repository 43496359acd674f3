//! HTTP/2 and HTTPS, with the clients that people have: curl, nghttp, h2load, openssl.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_testkit::{Files, Options, Scratch, Server, connect, wait_until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const ECHO: &str = r"module.exports = (req, res) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk));
  req.on('end', () => {
    const trailers = req.trailers;
    res.setHeader('content-type', 'application/json');
    res.setHeader('trailer', 'x-after, content-length');
    res.write(JSON.stringify({ method: req.method, url: req.url, headers: req.headers, trailers, body: Buffer.concat(chunks).toString() }));
    res.addTrailers({ 'x-after': 'all' });
    res.end();
  });
};
";

fn files() -> Files {
    Files::new().with("index.html", "<h1>hello</h1>").with("large.bin", vec![7; 1_000_000]).with("api/echo.js", ECHO)
}

fn start(arguments: &[&str], listen: &[&str]) -> Server {
    let mut options = Options::new(env!("CARGO_BIN_EXE_dockless"));
    options.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    options.listen = listen.iter().map(|&listen| listen.to_owned()).collect();
    Server::start(options)
}

/// A deployment's URL as the API tells it, and the way to it for curl: the name resolves nowhere.
struct Site {
    url: String,
    resolve: String,
}

fn deploy(server: &Server) -> Site {
    let source = files();
    let folder = source.path().to_str().unwrap();
    let told = server.cli(&["deploy", folder, "--name", "site", "--yes", "--json"]).ok().json();
    let url = told["href"].as_str().unwrap().trim_end_matches('/').to_owned();
    let authority = url.split_once("://").unwrap().1;
    let (host, port) = authority.split_once(':').unwrap();
    Site { resolve: format!("{host}:{port}:127.0.0.1"), url: url.clone() }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{program} is needed here ({error}): apt-get install curl nghttp2-client openssl")
    })
}

impl Site {
    /// curl's answer with its version of HTTP and status, `2 200 BODY`.
    fn curl(&self, path: &str, arguments: &[&str]) -> Result<String, i32> {
        let url = format!("{}{path}", self.url);
        let mut all = vec!["--silent", "--max-time", "30", "--resolve", &self.resolve];
        all.extend(["--write-out", "\n%{http_version} %{http_code}"]);
        all.extend(arguments);
        all.push(&url);
        let output = run("curl", &all);
        if !output.status.success() {
            return Err(output.status.code().unwrap_or(-1));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, about) = text.rsplit_once('\n').unwrap();
        Ok(format!("{about} {body}"))
    }

    fn json(&self, path: &str, arguments: &[&str]) -> serde_json::Value {
        let answer = self.curl(path, arguments).unwrap();
        let body = answer.splitn(3, ' ').nth(2).unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

#[test]
fn files_and_functions_answer_over_http_2_without_tls() {
    let server = start(&[], &["127.0.0.1:0"]);
    let site = deploy(&server);
    let h2 = "--http2-prior-knowledge";
    assert_eq!(site.curl("/", &[h2]).unwrap(), "2 200 <h1>hello</h1>");
    assert_eq!(site.curl("/", &["--http1.1"]).unwrap(), "1.1 200 <h1>hello</h1>");
    assert!(site.curl("/none", &[h2]).unwrap().starts_with("2 404"));
    assert!(site.curl("/", &[h2, "-X", "DELETE"]).unwrap().starts_with("2 405"));
    assert_eq!(site.curl("/", &[h2, "-r", "1-2"]).unwrap(), "2 206 h1");

    // A client that would like to upgrade is answered in the protocol it came with.
    let seen = site.json("/api/echo?x=1", &["--http2"]);
    assert!(seen["headers"].get("upgrade").is_none() && seen["headers"].get("http2-settings").is_none(), "{seen}");

    let seen = site.json("/api/echo?x=1", &[h2, "-d", "hello", "-H", "cookie: a=1", "-H", "te: trailers"]);
    assert_eq!(
        (&seen["method"], &seen["url"], &seen["body"]),
        (&"POST".into(), &"/api/echo?x=1".into(), &"hello".into())
    );
    let authority = site.url.split_once("://").unwrap().1;
    assert_eq!(seen["headers"]["host"], authority);
    assert_eq!(seen["headers"]["x-forwarded-proto"], "http");
    assert_eq!(seen["headers"]["te"], "trailers");
    // Larger than every window, and refused beyond the limit.
    let body = Scratch::new();
    let (fits, too_large) = (body.path().join("fits"), body.path().join("large"));
    std::fs::write(&fits, vec![b'x'; 3 << 20]).unwrap();
    std::fs::write(&too_large, vec![b'x'; 6 << 20]).unwrap();
    let seen = site.json("/api/echo", &[h2, "--data-binary", &format!("@{}", fits.display())]);
    assert_eq!(seen["body"].as_str().unwrap().len(), 3 << 20);
    let refused = site.curl("/api/echo", &[h2, "--data-binary", &format!("@{}", too_large.display())]);
    // 92: this curl takes the end of a stream that it still sends on for a failure, whatever the answer.
    assert!(refused == Err(92) || refused.as_ref().is_ok_and(|answer| answer.starts_with("2 413")), "{refused:?}");
    server.stop();
}

#[test]
fn trailers_reach_functions_and_clients() {
    let server = start(&[], &["127.0.0.1:0"]);
    let site = deploy(&server);
    let url = format!("http://127.0.0.1:{}/api/echo", server.address().port());
    let authority = site.url.split_once("://").unwrap().1;
    // nghttp sends trailers that it is given, and prints what it gets.
    let body = Scratch::new();
    let file = body.path().join("body");
    std::fs::write(&file, "abc").unwrap();
    let output = run(
        "nghttp",
        &[
            "-v",
            "-H",
            &format!(":authority: {authority}"),
            "--trailer",
            "x-before: some",
            "--trailer",
            "x-forwarded-for: 6.6.6.6",
            "--no-content-length",
            "-H",
            "trailer: x-before, x-forwarded-for",
            "-d",
            file.to_str().unwrap(),
            &url,
        ],
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(r#""trailers":{"x-before":"some"}"#), "{text}");
    assert!(text.contains("x-after: all"), "{text}");
    assert!(text.contains(r#""body":"abc""#), "{text}");

    // The same over HTTP/1.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /api/echo HTTP/1.1\r\nhost: {authority}\r\nconnection: close, te\r\nte: trailers\r\n\
         trailer: x-before\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-before: some\r\nhost: evil\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(r#""trailers":{"x-before":"some"}"#), "{answer}");
    assert!(answer.ends_with("0\r\nx-after: all\r\n\r\n"), "{answer}");
    server.stop();
}

#[test]
fn many_streams_of_many_connections_are_all_answered() {
    let server = start(&[], &["127.0.0.1:0"]);
    let site = deploy(&server);
    let authority = site.url.split_once("://").unwrap().1;
    let url = format!("http://127.0.0.1:{}", server.address().port());
    for (path, requests) in [("/", "20000"), ("/large.bin", "200"), ("/api/echo", "500")] {
        let authority = format!(":authority: {authority}");
        let url = format!("{url}{path}");
        let output = run("h2load", &["-n", requests, "-c", "8", "-m", "20", "-t", "1", "-H", &authority, &url]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{path}: {text}");
        assert!(text.contains(&format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout")), "{path}: {text}");
    }
    server.stop();
}

#[test]
fn the_development_authority_is_enough_for_browsers_and_commands() {
    let server = start(&["--tls-dev"], &["127.0.0.1:0"]);
    assert!(server.stdout().contains("dockless is ready on https://127.0.0.1:"), "{}", server.stdout());
    // The command line trusts it without being told.
    let site = deploy(&server);
    assert!(site.url.starts_with("https://"), "{}", site.url);
    let authority = server.data().join("tls/localhost/ca.pem");
    let told = server.messages();
    assert!(told.contains(authority.to_str().unwrap()) && told.contains("update-ca-certificates"), "{told}");
    let key = std::fs::metadata(server.data().join("tls/localhost/ca.key")).unwrap().permissions();
    assert_eq!(key.mode() & 0o777, 0o600);

    let trust = ["--cacert", authority.to_str().unwrap()];
    assert_eq!(site.curl("/", &trust).unwrap(), "2 200 <h1>hello</h1>", "by ALPN");
    assert_eq!(site.curl("/", &[&trust[..], &["--http1.1"]].concat()).unwrap(), "1.1 200 <h1>hello</h1>");
    let large = site.curl("/large.bin", &[&trust[..], &["-o", "/dev/null", "-w", "%{size_download}\n"]].concat());
    assert!(large.unwrap().contains("1000000"));
    // 60: the certificate cannot be verified.
    assert_eq!(site.curl("/", &[]), Err(60));
    let seen = site.json("/api/echo", &trust);
    assert_eq!(seen["headers"]["x-forwarded-proto"], "https");
    assert!(seen["headers"]["forwarded"].as_str().unwrap().ends_with("proto=https"), "{seen}");
    let head = site.curl("/", &[&trust[..], &["-I"]].concat()).unwrap().to_ascii_lowercase();
    assert!(!head.contains("strict-transport-security"), "{head}");

    // The API by number, and names that are not its own.
    let port = server.address().port();
    let api = Site { url: format!("https://127.0.0.1:{port}"), resolve: "x:1:127.0.0.1".into() };
    let token = format!("Authorization: Bearer {}", server.token());
    assert!(api.curl("/v1/status", &[&trust[..], &["-H", &token]].concat()).unwrap().starts_with("2 200"));
    let other = Site { url: format!("https://example.com:{port}"), resolve: format!("example.com:{port}:127.0.0.1") };
    assert_eq!(other.curl("/", &trust), Err(60));
    // Who comes without TLS is told.
    let plain = Site { url: format!("http://127.0.0.1:{port}"), resolve: "x:1:127.0.0.1".into() };
    let told = plain.curl("/", &[]).unwrap();
    assert!(told.starts_with("1.1 400") && told.contains("HTTPS"), "{told}");

    // Another start, the same authority.
    let before = std::fs::read(&authority).unwrap();
    let kept = server.stop_keeping_data();
    let mut options = Options::new(env!("CARGO_BIN_EXE_dockless"));
    options.data = Some(kept.data.clone());
    options.arguments = vec!["--tls-dev".to_owned()];
    let server = Server::start(options);
    assert_eq!(std::fs::read(&authority).unwrap(), before);
    assert_eq!(server.cli(&["ls"]).code, Some(0));
    server.stop();
}

/// A certificate of its own for this name, with the name's key, where only root can read it.
fn certificate(folder: &Path, name: &str) -> (String, String) {
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    let fresh = Scratch::new();
    let (new_chain, new_key) = (fresh.path().join("c"), fresh.path().join("k"));
    let subject = format!("/CN={name}");
    let names = format!("subjectAltName=DNS:{name},DNS:*.{name}");
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-addext",
            &names,
            "-keyout",
            new_key.to_str().unwrap(),
            "-out",
            new_chain.to_str().unwrap(),
        ],
    );
    assert!(made.status.success(), "{made:?}");
    std::fs::set_permissions(&new_key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // As renewal programs do it.
    std::fs::rename(new_key, &key).unwrap();
    std::fs::rename(new_chain, &chain).unwrap();
    (chain.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned())
}

/// The name in the certificate that is shown at this port.
fn shown(port: u16) -> String {
    let at = format!("127.0.0.1:{port}");
    let output = run("openssl", &["s_client", "-connect", &at, "-servername", "a.apps.test"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().to_owned()
}

#[test]
fn a_certificate_of_ones_own_is_used_and_read_again_when_it_changes() {
    let folder = Scratch::new();
    let (chain, key) = certificate(folder.path(), "apps.test");
    let mut options = Options::new(env!("CARGO_BIN_EXE_dockless"));
    options.arguments = ["--tls-cert", &chain, "--tls-key", &key].map(str::to_owned).into();
    options.listen = ["127.0.0.1:0", "127.0.0.1:0=apps+tls"].map(str::to_owned).into();
    options.domain = "apps.test".to_owned();
    let server = Server::start(options);
    let site = deploy(&server);
    let port: u16 = site.url.rsplit_once(':').unwrap().1.parse().unwrap();
    assert_ne!(port, server.address().port(), "the API stays without TLS beside it");
    assert_eq!(site.curl("/", &["--cacert", &chain]).unwrap(), "2 200 <h1>hello</h1>");
    assert!(shown(port).contains("apps.test"), "{}", shown(port));

    certificate(folder.path(), "renewed.test");
    wait_until("the new certificate", Duration::from_secs(60), || shown(port).contains("renewed.test"));
    // What is of no use is not used.
    std::fs::write(&chain, "nonsense").unwrap();
    wait_until("a warning", Duration::from_secs(60), || server.messages().contains("the old one stays"));
    assert!(shown(port).contains("renewed.test"));
    server.stop();
}

#[test]
fn certificates_that_cannot_be_used_are_refused_at_the_start() {
    let (one, other) = (Scratch::new(), Scratch::new());
    let (chain, key) = certificate(one.path(), "apps.test");
    let (_, wrong_key) = certificate(other.path(), "apps.test");
    for (arguments, listen, words) in [
        (vec!["--tls-cert", &chain, "--tls-key", &wrong_key], "127.0.0.1:0", "cannot be used together"),
        (vec!["--tls-cert", &chain, "--tls-key", "/nowhere"], "127.0.0.1:0", "cannot read --tls-key /nowhere"),
        (vec!["--tls-cert", &key, "--tls-key", &key], "127.0.0.1:0", "has no certificate"),
        (vec!["--tls-cert", &chain], "127.0.0.1:0", "--tls-key"),
        (vec![], "127.0.0.1:0+tls", "add --tls-cert and --tls-key, or --tls-dev"),
    ] {
        let mut options = Options::new(env!("CARGO_BIN_EXE_dockless"));
        options.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        options.listen = vec![listen.to_owned()];
        let refused = Server::refuse(&options);
        assert!(refused.code != Some(0) && refused.stderr.contains(words), "{words}: {refused:?}");
    }
}

#[test]
fn slow_handshakes_hold_up_nobody_and_end() {
    let server = start(&["--tls-dev"], &["127.0.0.1:0"]);
    let site = deploy(&server);
    let authority = server.data().join("tls/localhost/ca.pem");
    let begin = Instant::now();
    let slow: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            // Nothing, or the begin of a record.
            if n % 2 == 0 {
                stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
            }
            stream
        })
        .collect();
    assert_eq!(site.curl("/", &["--cacert", authority.to_str().unwrap()]).unwrap(), "2 200 <h1>hello</h1>");
    assert!(begin.elapsed() < Duration::from_secs(9), "it waited for the slow ones: {:?}", begin.elapsed());
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        assert!(matches!(stream.read(&mut [0; 16]), Ok(0)), "a slow handshake ends");
    }
    assert!(begin.elapsed() >= Duration::from_secs(9));
    // HTTP in the clear, and garbage, do no harm.
    let mut clear = connect(server.address(), "x").unwrap();
    clear.write(b"\x16\x03\x01\xff\xff garbage").unwrap();
    drop(clear);
    assert!(site.curl("/", &["--cacert", authority.to_str().unwrap()]).is_ok());
    server.stop();
}

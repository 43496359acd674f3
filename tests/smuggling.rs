//! Requests that two parties could read differently. Whatever a row sends, the function behind sees at most one request of
//! it, and never the one that is hidden inside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use dockless_testkit::{Deployment, Files, Options, Server, wait_until};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const RECORD: &str = r"module.exports = (req, res) => {
  let body = '';
  req.on('data', (chunk) => { body += chunk; });
  req.on('end', () => {
    console.log(`SEEN ${req.method} ${req.url}`);
    res.end(`body=${body};`);
  });
  req.on('error', () => {});
};
";

/// What becomes of a row.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// Answered with one of these, and the connection closed: nothing behind it is read as a request.
    Refused(&'static [u16]),
    /// Answered once, with this body; then the connection is closed, or what follows on it is read right.
    Once(&'static str),
    /// Closed in the middle, with or without a refusal; the function saw it broken off, or not at all.
    BrokenOff,
}
use Verdict::{BrokenOff, Once, Refused};

/// `{H}`: the host. `{R}`: this row's path. `{S}`: a path that nobody asks for.
const HIDDEN: &str = "GET {S} HTTP/1.1\r\nhost: {H}\r\n\r\n";

#[rustfmt::skip]
fn rows() -> Vec<(&'static str, String, Verdict)> {
    let post = |fields: &str, body: &str| format!("POST {{R}} HTTP/1.1\r\nhost: {{H}}\r\n{fields}\r\n\r\n{body}");
    let hidden = |fields: &str, before: &str| post(fields, &format!("{before}{HIDDEN}"));
    let get = |fields: &str| format!("GET {{R}} HTTP/1.1\r\n{fields}\r\n\r\n{HIDDEN}");
    vec![
        // Length against chunks.
        ("CL.TE", hidden("content-length: 6\r\ntransfer-encoding: chunked", "0\r\n\r\n"), Once("")),
        ("TE.CL", hidden("transfer-encoding: chunked\r\ncontent-length: 4", "3\r\nabc\r\n0\r\n\r\n"), Once("abc")),
        ("two lengths", hidden("content-length: 3\r\ncontent-length: 4", "abc"), Refused(&[400])),
        ("list of lengths", hidden("content-length: 3, 4", "abc"), Refused(&[400])),
        ("length with sign", hidden("content-length: +3", "abc"), Refused(&[400])),
        ("negative length", hidden("content-length: -3", "abc"), Refused(&[400])),
        ("length in hex", hidden("content-length: 0x3", "abc"), Refused(&[400])),
        ("length with space", hidden("content-length: 3 3", "abc"), Refused(&[400])),
        ("length beyond 64 bits", hidden("content-length: 18446744073709551619", "abc"), Refused(&[400])),
        ("empty length", hidden("content-length:", ""), Refused(&[400])),
        // Hidden chunks.
        ("coding unknown", hidden("transfer-encoding: xchunked\r\ncontent-length: 0", ""), Refused(&[400])),
        ("coding with vertical tab", hidden("transfer-encoding: \x0bchunked", ""), Refused(&[400])),
        ("coding quoted", hidden("transfer-encoding: \"chunked\"", ""), Refused(&[400])),
        ("coding not last", hidden("transfer-encoding: chunked, identity", "0\r\n\r\n"), Refused(&[400])),
        ("coding after another", hidden("transfer-encoding: chunked\r\ntransfer-encoding: x", "0\r\n\r\n"), Refused(&[400])),
        ("space before colon", hidden("transfer-encoding : chunked\r\ncontent-length: 5", "0\r\n\r\n"), Refused(&[400])),
        ("tab before colon", hidden("transfer-encoding\t: chunked", "0\r\n\r\n"), Refused(&[400])),
        ("name after space", hidden("x: y\r\n transfer-encoding: chunked", ""), Refused(&[400])),
        ("folded coding", hidden("transfer-encoding:\r\n chunked", "0\r\n\r\n"), Refused(&[400])),
        ("chunked in HTTP/1.0", format!("POST {{R}} HTTP/1.0\r\nhost: {{H}}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"), Refused(&[400])),
        ("field without colon", hidden("transfer-encoding chunked", ""), Refused(&[400])),
        ("nul in a value", hidden("x: a\0b", ""), Refused(&[400])),
        ("carriage return in a value", hidden("x: a\rtransfer-encoding: chunked", ""), Refused(&[400])),
        ("space in a name", hidden("x y: 1", ""), Refused(&[400])),
        ("empty name", hidden(": 1", ""), Refused(&[400])),
        // Chunks.
        ("chunk extension", hidden("transfer-encoding: chunked", "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n"), Once("abc")),
        ("line feed alone in an extension", hidden("transfer-encoding: chunked", "3;a\nabc\r\n0\r\n\r\n"), BrokenOff),
        ("line feed alone after a size", hidden("transfer-encoding: chunked", "3\nabc\r\n0\r\n\r\n"), BrokenOff),
        ("size beyond 64 bits", hidden("transfer-encoding: chunked", "10000000000000003\r\nabc\r\n0\r\n\r\n"), BrokenOff),
        ("size with sign", hidden("transfer-encoding: chunked", "+3\r\nabc\r\n0\r\n\r\n"), BrokenOff),
        ("size with prefix", hidden("transfer-encoding: chunked", "0x3\r\nabc\r\n0\r\n\r\n"), BrokenOff),
        ("no size", hidden("transfer-encoding: chunked", "\r\nabc\r\n0\r\n\r\n"), BrokenOff),
        ("chunk longer than said", hidden("transfer-encoding: chunked", "3\r\nabcd\r\n0\r\n\r\n"), BrokenOff),
        ("extension without end", post("transfer-encoding: chunked", &format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(256 * 1024))), BrokenOff),
        ("trailers without end", post("transfer-encoding: chunked", &format!("0\r\n{}\r\n", "x: y\r\n".repeat(50_000))), BrokenOff),
        // Heads.
        ("no host", get("x: y"), Refused(&[400])),
        ("two hosts", get("host: {H}\r\nhost: {H}"), Refused(&[400])),
        ("two different hosts", get("host: {H}\r\nhost: evil.localhost"), Refused(&[400])),
        ("host with path", get("host: {H}/x"), Refused(&[400])),
        ("host with user", get("host: x@{H}"), Refused(&[400])),
        ("target of another host", format!("GET http://evil.localhost{{R}} HTTP/1.1\r\nhost: {{H}}\r\n\r\n{HIDDEN}"), Refused(&[400])),
        ("HTTP/0.9", format!("GET {{R}}\r\n\r\n{HIDDEN}"), Refused(&[400])),
        ("HTTP/1.2", format!("GET {{R}} HTTP/1.2\r\nhost: {{H}}\r\n\r\n{HIDDEN}"), Refused(&[400, 505])),
        ("HTTP/2.0 in a line", format!("GET {{R}} HTTP/2.0\r\nhost: {{H}}\r\n\r\n{HIDDEN}"), Refused(&[400, 505])),
        ("two versions", format!("GET {{R}} HTTP/1.1 HTTP/1.1\r\nhost: {{H}}\r\n\r\n{HIDDEN}"), Refused(&[400])),
        ("space in a target", format!("GET {{R}} x HTTP/1.1\r\nhost: {{H}}\r\n\r\n{HIDDEN}"), Refused(&[400])),
        ("tabs in the line", format!("GET\t{{R}}\tHTTP/1.1\r\nhost: {{H}}\r\n\r\n{HIDDEN}"), Refused(&[400])),
        ("nul in the target", format!("GET {{R}}\0 HTTP/1.1\r\nhost: {{H}}\r\n\r\n{HIDDEN}"), Refused(&[400])),
        ("method with control characters", format!("GE\x01T {{R}} HTTP/1.1\r\nhost: {{H}}\r\n\r\n{HIDDEN}"), Refused(&[400])),
        ("half of the preface of HTTP/2", format!("PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n{HIDDEN}"), Refused(&[400, 505])),
        ("long target", format!("GET {{R}}&{} HTTP/1.1\r\nhost: {{H}}\r\n\r\n{HIDDEN}", "x".repeat(70 * 1024)), Refused(&[414, 431])),
        ("long field", get(&format!("host: {{H}}\r\nx: {}", "x".repeat(70 * 1024))), Refused(&[431])),
        ("many fields", get(&format!("host: {{H}}\r\n{}x: y", "x: y\r\n".repeat(100))), Refused(&[431])),
        // More than was announced.
        ("garbage behind", post("content-length: 3", "abc\x16\x03garbage\r\n\r\n"), Once("abc")),
        // A peer on the way could be told to forget these.
        ("connection names the length", post("content-length: 3\r\nconnection: content-length, host", "abc"), Once("abc")),
        ("upgrade to HTTP/2", post("content-length: 3\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__", "abc"), Once("abc")),
        ("line feeds for line ends", "POST {R} HTTP/1.1\nhost: {H}\ncontent-length: 3\n\nabc".to_owned(), Once("abc")),
        ("empty lines before", "\r\n\r\nPOST {R} HTTP/1.1\r\nhost: {H}\r\ncontent-length: 3\r\n\r\nabc".to_owned(), Once("abc")),
        ("target with its own host", "POST http://{H}{R} HTTP/1.1\r\nhost: {H}\r\ncontent-length: 3\r\n\r\nabc".to_owned(), Once("abc")),
    ]
}

/// Sends a row, and behind it an honest request if the connection is still there; what came back.
fn send(site: &Deployment, bytes: &[u8], then: &str) -> String {
    let mut stream = TcpStream::connect(site.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The other side may be through with us already.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let mut asked = false;
    loop {
        // After the first whole answer the honest one follows; the end of its answer ends the connection.
        if !asked && String::from_utf8_lossy(&answer).contains(";") {
            asked = true;
            let _ = stream.write_all(then.as_bytes());
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}; until then: {}", String::from_utf8_lossy(&answer)),
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn no_row_makes_two_requests_of_one() {
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let site = server.deploy(&Files::new().with("canary.txt", "canary").with("api/record.js", RECORD));
    let _ = site.get("/api/record?first").expect(200);
    let host = site.authority();
    let canary = format!("GET /canary.txt HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let mut failures = Vec::new();
    let rows = rows();
    for (n, (row, template, verdict)) in rows.iter().enumerate() {
        let fill = |text: &str| {
            text.replace("{H}", &host)
                .replace("{R}", &format!("/api/record?row={n}"))
                .replace("{S}", &format!("/api/record?hidden={n}"))
        };
        let answer = send(&site, fill(template).as_bytes(), &canary);
        let status: u16 = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let answers = answer.matches("HTTP/1.1 ").count();
        let good = match verdict {
            Refused(statuses) => statuses.contains(&status) && answers == 1,
            // The honest request, and nothing else, may have been answered behind it.
            Once(body) => status == 200 && answer.contains(&format!("body={body};")) && answers <= 3,
            BrokenOff => !answer.contains("body=abc;"),
        };
        if !good {
            failures.push(format!("{row}: expected {verdict:?}, got {answer:?}"));
        }
    }
    let _ = site.get("/api/record?last").expect(200);
    let seen = || -> Vec<String> {
        server.logs(&site).into_iter().map(|record| record.text).filter(|text| text.starts_with("SEEN")).collect()
    };
    wait_until("the last request in the log", Duration::from_secs(30), || {
        seen().iter().any(|text| text.ends_with("?last"))
    });
    let seen = seen();
    for (n, (row, _, verdict)) in rows.iter().enumerate() {
        let count = seen.iter().filter(|text| text.ends_with(&format!("?row={n}"))).count();
        let hidden = seen.iter().filter(|text| text.ends_with(&format!("?hidden={n}"))).count();
        let most = usize::from(!matches!(verdict, Refused(_)));
        // Behind a complete chunked request another one may follow: that is two requests of the client's own making.
        let own = usize::from(*row == "chunk extension");
        if count > most || hidden > own {
            failures.push(format!("{row}: seen {count} times, the hidden one {hidden} times"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    server.stop();
}

/// The same tricks where HTTP/2 becomes HTTP/1 on the way to the function.
#[test]
fn fields_of_http_2_cannot_break_out_of_their_line() {
    let server = Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")));
    let site = server.deploy(&Files::new().with("api/record.js", RECORD));
    let url = format!("http://127.0.0.1:{}/api/record?row=1", site.address().port());
    for field in ["transfer-encoding: chunked", "connection: close", "upgrade: h2c", "keep-alive: 1"] {
        let output = std::process::Command::new("nghttp")
            .args(["-v", "-H", &format!(":authority: {}", site.authority()), "-H", field, &url])
            .output()
            .expect("nghttp is needed here: apt-get install nghttp2-client");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("PROTOCOL_ERROR") && !text.contains(":status: 200"), "{field}: {text}");
    }
    assert!(server.logs(&site).iter().all(|record| !record.text.contains("SEEN")));
    server.stop();
}

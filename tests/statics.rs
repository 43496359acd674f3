//! Files of deployments: compressed, large, and many.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on ends, and says what it measured"
)]

use dockless_testkit::{Files, Options, Request, Server, process};
use std::process::{Command, Stdio};
use std::time::Instant;

fn start() -> Server {
    Server::start(Options::new(env!("CARGO_BIN_EXE_dockless")))
}

#[test]
fn files_are_compressed_once_and_clients_get_what_they_take() {
    let server = start();
    let page = "<p>the same words again and again</p>\n".repeat(3_000);
    let source = Files::new().with("index.html", &page).with("photo.jpg", vec![7; 100_000]).with("small.css", "a{}");
    let site = server.deploy(&source);
    let log = server.cli(&["logs", &site.url]);
    assert_eq!(log.code, Some(0), "{log:?}");
    for (coding, unpack) in [("gzip", "gzip"), ("br", "br"), ("zstd", "zstd")] {
        // curl takes them all and unpacks what it gets.
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--compressed", "-D", "-", "-H"])
            .arg(format!("Host: {}", site.authority()))
            .arg("-H")
            .arg(format!("Accept-Encoding: {coding}"))
            .arg(format!("http://{}/", site.address()))
            .stdin(Stdio::null())
            .output()
            .expect("curl is needed here: apt-get install curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("content-encoding: {unpack}")), "{coding}: {text}");
        assert!(text.ends_with(&page), "{coding}: {} {}", text.len(), String::from_utf8_lossy(&output.stderr));
    }
    for path in ["/photo.jpg", "/small.css"] {
        let seen = site.send(&Request::get(path).header("accept-encoding", "gzip, br, zstd")).expect(200);
        assert_eq!((seen.header("content-encoding"), seen.header("vary")), (None, None), "{path}");
    }
    // Nothing is lost when the deployment that was compressed first goes.
    let again = server.deploy(&source.with("more.txt", "more"));
    let _ = server.cli(&["rm", site.url.as_str(), "--yes"]).ok();
    let seen = again.send(&Request::get("/").header("accept-encoding", "br")).expect(200);
    assert_eq!(seen.header("content-encoding"), Some("br"));
    server.stop();
}

#[test]
fn a_hundred_thousand_files_are_one_deployment() {
    const COUNT: usize = 100_000;
    let server = start();
    let mut source = Files::new();
    for folder in 0..100 {
        std::fs::create_dir(source.path().join(format!("folder-{folder}"))).unwrap();
    }
    // As many names, few contents: what is tried here is the list, not the disk.
    for n in 0..COUNT {
        let path = source.path().join(format!("folder-{}/page-{n}.html", n % 100));
        std::fs::write(path, format!("<h1>page {}</h1>", n % 500)).unwrap();
    }
    source = source.with("index.html", "<h1>all</h1>");
    let memory = |what: &str| {
        let pid = server.servers().first().map(|process| process.pid).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        let kib: u64 = line("VmRSS:").split_whitespace().nth(1).unwrap().parse().unwrap();
        println!("{what}: {} MiB", kib / 1024);
        kib
    };
    let before = memory("server before");
    let begin = Instant::now();
    let site = server.deploy(&source);
    println!("deployed in {:?}", begin.elapsed());
    for n in [0, 1, 49_999, COUNT - 1] {
        let seen = site.get(&format!("/folder-{}/page-{n}.html", n % 100)).expect(200);
        assert_eq!(seen.text(), format!("<h1>page {}</h1>", n % 500));
    }
    let _ = site.get("/folder-1/none.html").expect(404);
    let after = memory("server with 100,000 files served");
    assert!(after.saturating_sub(before) < 400 * 1024, "from {before} to {after} KiB");
    // It must not make others slow: a look-up is a look-up.
    let begin = Instant::now();
    for n in 0..200 {
        let _ = site.get(&format!("/folder-{}/page-{n}.html", n % 100)).expect(200);
    }
    println!("200 requests in {:?}", begin.elapsed());
    assert!(!process::children(server.pid()).is_empty());
    server.stop();
}

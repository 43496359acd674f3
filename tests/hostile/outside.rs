//! What a stranger, or a tenant's answer, may do to other visitors from outside.

use dockless_testkit::{Files, Options, Outside, Request, Server, connect, wait_until};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[test]
fn cookies_of_an_app_stay_with_its_own_host() {
    const COOKIES: &str = r"module.exports = (req, res) => {
  res.setHeader('set-cookie', ['a=1; Domain=localhost; Path=/', 'b=2; Domain=' + req.headers.host.split(':')[0], 'c=3; Domain=.example.org']);
  res.end('set');
};
";
    let server = Server::start(Options {
        arguments: vec!["--alias-domain".to_owned(), "example.org".to_owned()],
        ..Options::new(env!("CARGO_BIN_EXE_dockless"))
    });
    let files = Files::new().with("api/cookies.js", COOKIES);
    let app = server.deploy(&files);
    let cookies = |host: &str, path: &str| {
        let answer = connect(server.address(), host).and_then(|mut open| open.send(&Request::get(path)));
        let head = answer.expect("an answer").expect(200);
        let all = head.head.headers().iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        all.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let own = format!("b=2; Domain={}", app.host);
    assert_eq!(cookies(app.host.as_str(), "/api/cookies"), ["a=1; Path=/", &own, "c=3"]);
    let _ = server.cli(&["alias", "set", &app.url, "shop.example.org"]).ok();
    assert_eq!(cookies("shop.example.org", "/api/cookies")[2], "c=3", "other accounts have names there too");
    server.stop();
}

#[test]
fn one_address_cannot_take_every_place_for_connections() {
    const MOST: usize = 2_500;
    // A shell's 1,024 descriptors are too few for this.
    dockless_sys::privileges::raise_open_files().expect("no more than the machine allows");
    let outside = Outside::start();
    let server = Server::start(Options {
        listen: vec!["127.0.0.1:0=api".to_owned(), "0.0.0.0:0=apps".to_owned()],
        ..Options::new(env!("CARGO_BIN_EXE_dockless"))
    });
    let files = Files::new().with("index.html", "here");
    let deployed = server.cli(&["deploy", &files.path().to_string_lossy(), "--name", "app", "--yes"]).ok();
    let url = deployed.lines()[0].to_owned();
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':').expect("a port");
    let port: u16 = port.parse().expect("a number");
    let target = SocketAddr::from((outside.machine, port));
    // A client of another network, whose sockets outlive the thread that made them.
    let held: Vec<TcpStream> = outside.within(move || {
        let connect = |_| TcpStream::connect(target).unwrap_or_else(|error| panic!("{target}: {error}"));
        (0..MOST + 200).map(connect).collect()
    });
    let open = || {
        let metrics = server.api().get("/metrics").expect(200).text();
        let count = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok());
            line.unwrap_or_else(|| panic!("{name} in {metrics}"))
        };
        (count("dockless_connections_open "), count("dockless_connections_refused_total "))
    };
    wait_until("those beyond its share are closed", Duration::from_secs(30), || open().1 >= held.len() - MOST);
    assert!(open().0 < MOST + 50, "{:?}", open());
    let visitor = connect((std::net::Ipv4Addr::LOCALHOST, port).into(), host);
    let page = visitor.and_then(|mut open| open.send(&Request::get("/"))).expect("others have places");
    assert_eq!(page.expect(200).text(), "here");
    drop(held);
    wait_until("its places are free", Duration::from_secs(30), || open().0 < 50);
    server.stop();
}

//! A stand-in for the internet: a network namespace with a public-looking address, joined to this machine.
//!
//! Addresses are of TEST-NET-2 (RFC 5737), which nobody has: four for each of these worlds, so that tests run beside each
//! other. Its servers are threads of the test that stand in the namespace.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// Worlds at once on one machine.
const MOST: u8 = 64;

/// A world outside. Dropping it takes its namespace and link away.
#[derive(Debug)]
pub struct Outside {
    name: String,
    /// Of the machine, on the link between.
    pub machine: Ipv4Addr,
    /// Of the world.
    pub address: Ipv4Addr,
    asked: Arc<Mutex<Vec<String>>>,
    _turn: UnixListener,
}

impl Outside {
    /// Makes it, with a web server at port 80 that says who asked for what, and a name server that knows every name below
    /// `test.example`: `world` is the world itself, `private` lies in 10.0.0.0/8, `long` has more addresses than fit into
    /// a datagram, `silent` is never answered.
    ///
    /// # Panics
    /// Not root, or no `ip` (iproute2).
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let (number, turn) = (0..MOST)
            .find_map(|number| {
                // A name that only one process can have, and that goes with it.
                let name = UnixAddr::from_abstract_name(format!("dockless-test-outside-{number}")).ok()?;
                Some((number, UnixListener::bind_addr(&name).ok()?))
            })
            .expect("a world is free");
        let name = format!("dlout{number}");
        let (machine, address) =
            (Ipv4Addr::new(198, 51, 100, 4 * number + 1), Ipv4Addr::new(198, 51, 100, 4 * number + 2));
        // Of a test that was killed.
        remove(&name);
        ip(&format!("netns add {name}"));
        ip(&format!("link add {name} type veth peer name eth0 netns {name}"));
        ip(&format!("addr add {machine}/30 dev {name}"));
        ip(&format!("link set {name} up"));
        for command in [format!("addr add {address}/30 dev eth0"), "link set eth0 up".into(), "link set lo up".into()] {
            ip(&format!("-n {name} {command}"));
        }
        let world = Self { machine, address, asked: Arc::default(), _turn: turn, name };
        world
            .within(move || {
                let web = TcpListener::bind(SocketAddrV4::new(address, 80)).expect("the world's port is free");
                let names = UdpSocket::bind(SocketAddrV4::new(address, 53)).expect("the world's port is free");
                let stream = TcpListener::bind(SocketAddrV4::new(address, 53)).expect("the world's port is free");
                (web, names, stream)
            })
            .serve(&world);
        world
    }

    /// Runs `ip` on this machine; what it makes must go with the link.
    ///
    /// # Panics
    /// It refuses.
    #[track_caller]
    pub fn ip(&self, command: &str) {
        ip(&format!("{command} dev {}", self.name));
    }

    /// Runs `ip` in the world.
    ///
    /// # Panics
    /// It refuses.
    #[track_caller]
    pub fn ip_inside(&self, command: &str) {
        ip(&format!("-n {} {command}", self.name));
    }

    /// Runs something in the world's network.
    ///
    /// # Panics
    /// It does.
    pub fn within<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let there = File::open(format!("/run/netns/{}", self.name)).expect("the namespace has a name");
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
            act()
        });
        thread.join().expect("it does not panic")
    }

    /// What was asked of its servers so far: `GET /path from 198.51.100.1`, `A name from …`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// The sockets of a world, served by threads that end with the test.
trait Serve {
    fn serve(self, world: &Outside);
}

impl Serve for (TcpListener, UdpSocket, TcpListener) {
    fn serve(self, world: &Outside) {
        let (web, names, stream) = self;
        let (asked, address) = (world.asked.clone(), world.address);
        std::thread::spawn(move || {
            for client in web.incoming().flatten() {
                let asked = asked.clone();
                std::thread::spawn(move || page(&client, &asked));
            }
        });
        let asked = world.asked.clone();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = names.recv_from(&mut question) {
                if let Some(answer) = answer(&question[..length], address, 512, &asked) {
                    let _ = names.send_to(&answer, from);
                }
            }
        });
        let asked = world.asked.clone();
        std::thread::spawn(move || {
            for client in stream.incoming().flatten() {
                let _ = questions(client, address, &asked);
            }
        });
    }
}

fn page(mut client: &TcpStream, asked: &Mutex<Vec<String>>) {
    let mut line = String::new();
    let from = client.peer_addr().map(|from| from.ip().to_string()).unwrap_or_default();
    let mut lines = BufReader::new(client);
    if lines.read_line(&mut line).is_err() {
        return;
    }
    let mut other = String::new();
    while lines.read_line(&mut other).is_ok_and(|length| length > 2) {
        other.clear();
    }
    let path = line.split(' ').nth(1).unwrap_or_default();
    let text = format!("GET {path} from {from}");
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(text.clone());
    let _ = write!(client, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
}

fn questions(mut client: TcpStream, address: Ipv4Addr, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    use std::io::Read as _;
    loop {
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        client.read_exact(&mut question)?;
        if let Some(answer) = answer(&question, address, usize::from(u16::MAX), asked) {
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
            client.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    }
}

/// RFC 1035 §4: the question again, and addresses of version 4 behind it.
fn answer(question: &[u8], address: Ipv4Addr, room: usize, asked: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while let Some(length @ 1..) = question.get(at).copied() {
        let end = at + 1 + usize::from(length);
        labels.push(String::from_utf8_lossy(question.get(at + 1..end)?).into_owned());
        at = end;
    }
    let name = labels.join(".");
    let end = at + 5;
    let is_address = question.get(at + 1..at + 3)? == [0, 1];
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(format!("{} {name}", if is_address { "A" } else { "other" }));
    let found = match name.strip_suffix(".test.example") {
        Some("world") => vec![address],
        Some("private") => vec![Ipv4Addr::new(10, 1, 2, 3)],
        Some("long") => (0..100).map(|number| Ipv4Addr::new(203, 0, 113, number)).collect(),
        Some("silent") => return None,
        _ => Vec::new(),
    };
    let found = if is_address { found } else { Vec::new() };
    let known = name.ends_with(".test.example");
    let cut = end + 16 * found.len() > room;
    let count = if cut { 0 } else { u16::try_from(found.len()).ok()? };
    let mut answer = question.get(..2)?.to_vec();
    answer.push(0x81 | if cut { 2 } else { 0 });
    answer.push(0x80 | if known { 0 } else { 3 });
    answer.extend([0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend([0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    if !cut {
        for address in found {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
            answer.extend(address.octets());
        }
    }
    Some(answer)
}

fn remove(name: &str) {
    for command in [["link", "del", name], ["netns", "del", name]] {
        let _ = Command::new("ip").args(command).output();
    }
}

#[track_caller]
fn ip(command: &str) {
    let output = Command::new("ip")
        .args(command.split(' '))
        .output()
        .unwrap_or_else(|error| panic!("ip does not run (apt install iproute2): {error}"));
    assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
}

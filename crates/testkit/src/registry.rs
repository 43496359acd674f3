//! A real registry (Debian's `docker-registry`), and a proxy before it that makes mistakes.

use crate::files::Scratch;
use crate::wait::{PATIENCE, wait_until};
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A registry on a free port of the loopback, killed when dropped.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    process: Child,
    _scratch: Scratch,
}

impl Registry {
    /// Starts one; with a login it takes nobody without. `None`, said on stderr, where it cannot be installed.
    ///
    /// # Panics
    /// It is installed and does not start.
    #[must_use]
    pub fn start(login: Option<(&str, &str)>) -> Option<Self> {
        if !installed("docker-registry", "docker-registry")
            || (login.is_some() && !installed("htpasswd", "apache2-utils"))
        {
            return None;
        }
        let scratch = Scratch::new();
        let folder = scratch.path();
        // The port is free now; who takes it in between makes this test fail loudly.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"{address}\", secret: test}}\n",
            folder.join("data").display()
        );
        if let Some((user, password)) = login {
            let output = Command::new("htpasswd").args(["-Bbn", user, password]).output().expect("htpasswd runs");
            let file = folder.join("htpasswd");
            std::fs::write(&file, output.stdout).expect("the folder is writable");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display());
        }
        std::fs::write(folder.join("config.yml"), config).expect("the folder is writable");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry runs");
        let registry = Self { address, process, _scratch: scratch };
        wait_until("the registry", PATIENCE, || TcpStream::connect(address).is_ok());
        Some(registry)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a program is there, by apt if need be. Says so where it is not.
pub fn installed(program: &str, package: &str) -> bool {
    let there =
        || Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|o| o.status.success());
    if there() {
        return true;
    }
    let install = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends";
    let _ = Command::new("sh").args(["-c", &format!("{install} {package}")]).output();
    if there() {
        return true;
    }
    let _ = io::stderr()
        .write_all(format!("SKIPPED: {program} is not here and {package} cannot be installed\n").as_bytes());
    false
}

/// What a proxy does to one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers this status with these header lines and passes nothing on.
    Answer(u16, Vec<String>),
    /// Passes so many bytes of the answer's body, then cuts the connection.
    CutAfter(usize),
    /// Replaces the first byte of the body.
    Spoil,
    /// Waits this long in the middle of the body.
    Slow(Duration),
}

type Rule = dyn FnMut(&str, &str) -> Option<Fault> + Send;

/// A proxy on a free port that asks `rule` about each request: `(line, whole head)`, e.g. `GET /v2/ HTTP/1.1`.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl FaultProxy {
    /// Starts one before `target`. Its thread ends with the test's process.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(target: SocketAddr, rule: impl FnMut(&str, &str) -> Option<Fault> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, rule): (_, Arc<Mutex<Box<Rule>>>) = (Arc::clone(&seen), Arc::new(Mutex::new(Box::new(rule))));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (rule, log) = (Arc::clone(&rule), Arc::clone(&log));
                std::thread::spawn(move || {
                    // A client that goes away is no failure of the proxy.
                    let _ = serve(&client, target, &rule, &log);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, seen }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Heads of all requests so far.
    ///
    /// # Panics
    /// A thread of it panicked.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no thread panicked").clone()
    }
}

fn head(reader: &mut impl io::BufRead) -> io::Result<String> {
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    Ok(head)
}

/// One request of a connection: the client is told to come anew for the next.
fn serve(client: &TcpStream, target: SocketAddr, rule: &Mutex<Box<Rule>>, log: &Mutex<Vec<String>>) -> io::Result<()> {
    let request = head(&mut BufReader::new(client))?;
    let Some(line) = request.lines().next() else { return Ok(()) };
    let poisoned = |_| io::Error::other("another thread panicked");
    log.lock().map_err(|_| io::Error::other("another thread panicked"))?.push(request.clone());
    let fault = (rule.lock().map_err(poisoned)?)(line, &request);
    let mut client = client;
    if let Some(Fault::Answer(status, lines)) = &fault {
        let more: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        write!(client, "HTTP/1.1 {status} Fault\r\ncontent-length: 0\r\nconnection: close\r\n{more}\r\n")?;
        return Ok(());
    }
    let mut upstream = TcpStream::connect(target)?;
    let host = target.to_string();
    for line in request.lines() {
        let lower = line.to_ascii_lowercase();
        match () {
            () if lower.starts_with("host:") => write!(upstream, "host: {host}\r\n")?,
            () if lower.starts_with("connection:") || line.is_empty() => {}
            () => write!(upstream, "{line}\r\n")?,
        }
    }
    write!(upstream, "connection: close\r\n\r\n")?;
    let mut answers = BufReader::new(upstream);
    client.write_all(head(&mut answers)?.as_bytes())?;
    let mut body = Vec::new();
    answers.read_to_end(&mut body)?;
    match fault {
        Some(Fault::CutAfter(bytes)) => client.write_all(&body[..bytes.min(body.len())]),
        Some(Fault::Spoil) => {
            if let Some(first) = body.first_mut() {
                *first ^= 0xFF;
            }
            client.write_all(&body)
        }
        Some(Fault::Slow(pause)) => {
            let (first, second) = body.split_at(body.len() / 2);
            client.write_all(first)?;
            std::thread::sleep(pause);
            client.write_all(second)
        }
        _ => client.write_all(&body),
    }
}

/// Whether npm itself reaches its registry from here, by whatever way this machine is configured. Says so if not.
#[must_use]
pub fn npm_answers(test: &str) -> bool {
    let answer = Command::new("npm").args(["view", "ms", "version"]).current_dir("/").output();
    let reached = answer.is_ok_and(|answer| answer.status.success());
    if !reached {
        let _ =
            io::stderr().write_all(format!("SKIPPED {test}: npm does not reach its registry from here\n").as_bytes());
    }
    reached
}

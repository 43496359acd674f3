//! A gateway on a free port of the loopback, in front of deployments made of files.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test file uses its part")]

pub mod raw2;

use bytes::Bytes;
use dockless_blob::BlobStore;
use dockless_gateway::{
    ApiService, BoxFuture, Deployment, Directory, Drained, Gateway, GatewayConfig, LoadError, Peer, Role, Tls,
};
use dockless_model::{
    AccountId, DeploymentId, Host, OsEntropy, Output, RequestId, SourcePath,
    output::{Coding, Encoded, StaticFile},
};
use dockless_node::{Node, NodeConfig};
use dockless_pool::{Pool, PoolConfig};
use dockless_routing::Table;
use dockless_sandbox::protocol::{self, Answer, FreezerKind, FromWarden, Refusal, Reply, Verb, Welcome};
use http::Response;
use http_body_util::{BodyExt as _, Full};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Hosts and what they lead to; counts loads, and can hold them back.
pub struct Hosts {
    pub deployments: Mutex<HashMap<Host, Arc<Deployment>>>,
    pub loads: AtomicUsize,
    pub gate: Semaphore,
    pub fails: Mutex<bool>,
}

impl Directory for Hosts {
    fn load<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Option<Arc<Deployment>>, LoadError>> {
        Box::pin(async move {
            self.loads.fetch_add(1, Ordering::SeqCst);
            let found = self.deployments.lock().unwrap().get(host).cloned();
            let _pass = self.gate.acquire().await.unwrap();
            if *self.fails.lock().unwrap() {
                return Err(LoadError("the disk is gone".into()));
            }
            Ok(found)
        })
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub gateway: Gateway,
    pub hosts: Arc<Hosts>,
    pub blobs: BlobStore,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<std::io::Result<Drained>>,
    /// The API answers `/slow` when a permit comes.
    pub slow: Arc<Semaphore>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub async fn start(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::start_with(None, change).await
    }

    pub async fn start_with(tls: Option<Tls>, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(&folder.path().join("blobs")).unwrap();
        let pool = pool_of_an_empty_node(&folder, &blobs).await;
        let hosts = Arc::new(Hosts {
            deployments: Mutex::default(),
            loads: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            fails: Mutex::new(false),
        });
        let mut config = GatewayConfig::new("localhost".parse().unwrap());
        change(&mut config);
        let slow = Arc::new(Semaphore::new(0));
        let gateway = Gateway::new(hosts.clone(), pool, blobs.clone(), api(slow.clone()), config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn({
            let (gateway, shutdown) = (gateway.clone(), shutdown.clone());
            async move { gateway.serve(listener, Role::Both, tls, shutdown).await }
        });
        Self { address, gateway, hosts, blobs, shutdown, served, slow, _folder: folder }
    }

    /// The same with codings of one file.
    pub async fn deploy_encoded(&self, label: &str, files: &[(&str, &[u8])], of: &str, codings: &[(Coding, &[u8])]) {
        let mut deployment = copy(&*self.deploy(label, files).await);
        let mut output = (*deployment.output).clone();
        let file = output.files.get_mut(of).unwrap();
        for (coding, bytes) in codings {
            let stored = self.blobs.put(bytes).await.unwrap();
            file.encodings.push(Encoded { coding: *coding, blob: stored.digest, size: stored.size });
        }
        deployment.output = Arc::new(output);
        self.hosts.deployments.lock().unwrap().insert(deployment.host.clone(), Arc::new(deployment));
    }

    /// A deployment of these files at `LABEL.localhost`.
    pub async fn deploy(&self, label: &str, files: &[(&str, &[u8])]) -> Arc<Deployment> {
        let mut output = Output {
            version: Output::VERSION,
            routes: vec![],
            egress: true,
            files: BTreeMap::new(),
            functions: BTreeMap::new(),
            services: BTreeMap::new(),
            listing: false,
        };
        for (path, content) in files {
            let stored = self.blobs.put(content).await.unwrap();
            let content_type = if path.ends_with(".html") { "text/html; charset=utf-8" } else { "text/plain" };
            let file = StaticFile::new(stored.digest, stored.size, content_type.into());
            output.files.insert(path.parse::<SourcePath>().unwrap(), file);
        }
        let host: Host = format!("{label}.localhost").parse().unwrap();
        let deployment = Arc::new(Deployment {
            id: DeploymentId::random(&OsEntropy),
            account: AccountId::random(&OsEntropy),
            project: "site".parse().unwrap(),
            host: host.clone(),
            output: Arc::new(output),
            routes: Arc::new(Table::default()),
            programs: BTreeMap::new(),
            disabled: false,
            counters: Arc::default(),
            scale: dockless_model::Scale::default(),
        });
        self.hosts.deployments.lock().unwrap().insert(host, Arc::clone(&deployment));
        deployment
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes and reads until the server closes.
    pub async fn raw(&self, request: impl AsRef<[u8]>) -> Seen {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        Seen::parse(&bytes)
    }

    /// One request on a connection of its own; `headers` are lines with their ends.
    pub async fn ask(&self, method: &str, host: &str, path: &str, headers: &str) -> Seen {
        self.raw(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n")).await
    }

    pub async fn get(&self, host: &str, path: &str) -> Seen {
        self.ask("GET", host, path, "").await
    }
}

/// An answer taken apart; not de-chunked.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn parse(bytes: &[u8]) -> Self {
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, body) = split.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 4..]));
        let head = String::from_utf8_lossy(head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body: body.to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads one answer with a content-length and leaves the connection open.
pub async fn read_one(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    loop {
        let reply = Seen::parse(&bytes);
        let length = reply.header("content-length").and_then(|length| length.parse::<usize>().ok());
        if bytes.windows(4).any(|window| window == b"\r\n\r\n")
            && length.is_some_and(|length| reply.body.len() >= length)
        {
            return reply;
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "the connection ended in the middle of an answer: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// Says what it was asked, in its body.
fn api(slow: Arc<Semaphore>) -> ApiService {
    Arc::new(move |request| {
        let slow = Arc::clone(&slow);
        Box::pin(async move {
            assert!(request.extensions().get::<RequestId>().is_some() && request.extensions().get::<Peer>().is_some());
            let (head, body) = request.into_parts();
            if head.uri.path() == "/slow" {
                slow.acquire().await.unwrap().forget();
            }
            let body = body.collect().await.map_or_else(|_| "broken".into(), |body| body.to_bytes());
            let text = format!("api {} {} {}", head.method, head.uri.path(), String::from_utf8_lossy(&body));
            Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync())
        })
    })
}

/// A real pool on a real node whose warden has no runtimes: enough for everything but functions.
async fn pool_of_an_empty_node(folder: &tempfile::TempDir, blobs: &BlobStore) -> Pool {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    std::thread::spawn(move || {
        let theirs: OwnedFd = theirs;
        let mut packet = vec![0; protocol::MAX_MESSAGE];
        while let Ok((count, _)) = recv(&theirs, &mut packet[..], RecvFlags::empty()) {
            if count == 0 {
                break;
            }
            let request: protocol::Request = serde_json::from_slice(&packet[..count]).unwrap();
            let result = match request.verb {
                Verb::Hello { .. } => Ok(Answer::Welcome(Box::new(Welcome {
                    version: protocol::VERSION,
                    session: 1,
                    succeeds: false,
                    runtimes: vec![],
                    cgroup_layout: "v2".into(),
                    freezer: FreezerKind::V2,
                }))),
                Verb::Serving => Ok(Answer::Done),
                Verb::List => Ok(Answer::Instances { instances: vec![] }),
                _ => Err(Refusal::Unsupported("nothing runs here".into())),
            };
            let reply = FromWarden::Reply(Reply { id: request.id, result });
            if send(&theirs, &serde_json::to_vec(&reply).unwrap(), SendFlags::NOSIGNAL).is_err() {
                break;
            }
        }
    });
    let config = NodeConfig::new(folder.path().join("logs"));
    let (node, _events) = Node::connect(ours, blobs.clone(), config, CancellationToken::new()).await.unwrap();
    Pool::new(node, PoolConfig::default(), CancellationToken::new())
}

pub fn copy(deployment: &Deployment) -> Deployment {
    Deployment {
        id: deployment.id.clone(),
        account: deployment.account.clone(),
        project: deployment.project.clone(),
        host: deployment.host.clone(),
        output: Arc::clone(&deployment.output),
        routes: Arc::clone(&deployment.routes),
        programs: deployment.programs.clone(),
        disabled: deployment.disabled,
        counters: Arc::clone(&deployment.counters),
        scale: deployment.scale,
    }
}

/// Until it holds, or the test fails after ten seconds.
pub async fn wait_until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("it holds within ten seconds");
}

/// Until nobody listens at the address any more.
pub async fn wait_until_refused(address: SocketAddr) {
    let wait = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("the listener closes");
}

//! The pool and the node over real launchers, real sockets and real files. Needs Node and root (for a mount
//! namespace, in which /var/task is the function's own).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod peer;

use bytes::Bytes;
use dockless_blob::BlobStore;
use dockless_model::output::{BundleFile, Function};
use dockless_model::{
    AccountId, Code, DeploymentId, FunctionLimits, InstanceState, MemoryMib, OsEntropy, RequestId, Secret, SourcePath,
};
use dockless_node::{Node, NodeConfig, NodeEvent, NodeEvents, ShelfConfig};
use dockless_pool::{InvocationBody, Lease, Pool, PoolConfig, Program, Replay, RequestBody, SendFailure, Spec, Start};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use peer::Peer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    pool: Pool,
    peer: Peer,
    blobs: BlobStore,
    events: NodeEvents,
    /// Last, so that it goes after what lives in it.
    folder: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.peer.close();
    }
}

impl World {
    async fn new(shelf: usize) -> Self {
        Self::with(shelf, PoolConfig::default()).await
    }

    async fn with(shelf: usize, config: PoolConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::new(folder.path().join("run"));
        let blobs = BlobStore::open(&folder.path().join("blobs")).unwrap();
        let (pool, events) = server(&peer, &blobs, folder.path().join("logs"), shelf, config).await;
        Self { pool, peer, blobs, events, folder }
    }

    /// A function of one file, `api/f.js`.
    async fn function(&self, source: &str, change: impl FnOnce(&mut FunctionLimits)) -> Arc<Spec> {
        self.function_with(source, change, BTreeMap::new()).await
    }

    async fn function_with(
        &self,
        source: &str,
        change: impl FnOnce(&mut FunctionLimits),
        env: BTreeMap<String, Secret>,
    ) -> Arc<Spec> {
        let stored = self.blobs.put(source.as_bytes()).await.unwrap();
        let entrypoint: SourcePath = "api/f.js".parse().unwrap();
        let file = BundleFile { blob: stored.digest, size: stored.size, executable: false };
        let files = BTreeMap::from([(entrypoint.clone(), file)]);
        let manifest = dockless_sandbox::bundle::TreeManifest {
            files: files
                .iter()
                .map(|(path, file)| {
                    let tree =
                        dockless_sandbox::bundle::TreeFile { digest: file.blob, size: file.size, executable: false };
                    (path.clone(), tree)
                })
                .collect(),
        };
        let mut limits = FunctionLimits { memory: MemoryMib::default(), ..FunctionLimits::default() };
        change(&mut limits);
        Arc::new(Spec {
            deployment: DeploymentId::random(&OsEntropy),
            account: AccountId::random(&OsEntropy),
            project: "test".parse().unwrap(),
            name: "api/f".parse().unwrap(),
            program: Program::Function(Arc::new(Function {
                entrypoint,
                // Not imported: the first start finds it missing and makes it from the blobs.
                bundle: manifest.digest(),
                bundle_bytes: stored.size,
                files,
                runtime: peer::runtime(),
                limits,
                main: None,
                helpers: true,
            })),
            env: Arc::new(env),
            scale: dockless_model::Scale::default(),
            egress: true,
            region: "dev1",
            url: "test-abc.localhost".parse().unwrap(),
        })
    }

    async fn shelf_is_full(&self, count: usize) {
        until("the shelf is full", || self.pool.node().shelf().values().sum::<usize>() == count).await;
    }

    fn states(&self) -> Vec<InstanceState> {
        self.pool.instances().into_iter().map(|info| info.state).collect()
    }

    async fn log(&self, spec: &Spec) -> Vec<(Option<Arc<str>>, String)> {
        let tail = self.pool.node().logs().tail(&spec.deployment, 100, None).await.unwrap();
        tail.lines.iter().map(|line| (line.request.clone(), line.text.clone())).collect()
    }
}

async fn server(
    peer: &Peer,
    blobs: &BlobStore,
    logs: std::path::PathBuf,
    shelf: usize,
    config: PoolConfig,
) -> (Pool, NodeEvents) {
    let shelf = ShelfConfig { per_class: shelf, memory_percent: 50 };
    let settings = NodeConfig { shelf, ..NodeConfig::new(logs) };
    let shutdown = CancellationToken::new();
    let (node, events) = Node::connect(peer.connect(), blobs.clone(), settings, shutdown.clone()).await.unwrap();
    (Pool::new(node, config, shutdown), events)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn request(path: &str, body: &str) -> Request<RequestBody> {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed();
    let request = Request::builder().method("POST").uri(path).header("host", "test-abc.localhost");
    request.extension(RequestId::random(&OsEntropy)).body(body).unwrap()
}

async fn send(lease: Lease, path: &str) -> Result<Response<InvocationBody>, SendFailure> {
    lease.send(request(path, "ping")).await
}

async fn text(response: Response<InvocationBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn ask(world: &World, spec: &Arc<Spec>) -> (String, Start) {
    let lease = world.pool.acquire(spec).await.unwrap();
    let start = lease.timings().start;
    (text(send(lease, "/api/f").await.unwrap()).await, start)
}

const COUNTER: &str = "let n = 0; module.exports = (req, res) => { console.log('call', ++n); res.end(String(n)); }";

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_taken_from_the_shelf_reused_frozen_and_thawed() {
    let world = World::new(1).await;
    let spec = world.function(COUNTER, |_| {}).await;
    world.shelf_is_full(1).await;
    let (answer, start) = ask(&world, &spec).await;
    assert_eq!(answer, "1");
    assert!(matches!(start, Start::Boot { shelf: true, .. }), "{start:?}");
    assert_eq!(ask(&world, &spec).await, ("2".into(), Start::Warm));
    let id = world.pool.instances()[0].id.clone();
    until("it is frozen", || world.states() == [InstanceState::Frozen]).await;
    assert_eq!(world.peer.freezer(&id), "FROZEN");
    let (answer, start) = ask(&world, &spec).await;
    assert_eq!(answer, "3");
    assert!(matches!(start, Start::Thaw(_)), "{start:?}");
    assert_eq!(world.peer.freezer(&id), "THAWED");
    world.shelf_is_full(1).await;
    assert_eq!(world.pool.instances_measured().await[0].memory_bytes, Some(7));
    let lines = world.log(&spec).await;
    assert_eq!(lines.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["call 1", "call 2", "call 3"]);
    assert!(lines.iter().all(|(request, _)| request.as_ref().is_some_and(|id| id.starts_with("req_"))));
    assert_eq!(world.pool.sleep(&spec.deployment).await, 1);
    until("nothing is left", || world.pool.instances().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_the_same_time_gets_an_instance_of_its_own() {
    let world = World::new(0).await;
    let slow = "module.exports = (req, res) => setTimeout(() => res.end(String(process.pid)), 200)";
    let spec = world.function(slow, |_| {}).await;
    let (first, second) = tokio::join!(ask(&world, &spec), ask(&world, &spec));
    assert_ne!(first.0, second.0);
    assert!(matches!(first.1, Start::Boot { shelf: false, .. }));
    assert_eq!(world.pool.instances().len(), 2);
    let (third, start) = ask(&world, &spec).await;
    assert!(!matches!(start, Start::Boot { .. }));
    assert!(third == first.0 || third == second.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_throws_fails_and_its_instance_goes_on() {
    let world = World::new(0).await;
    let source =
        "let n = 0; module.exports = (req, res) => { if (++n === 1) throw new Error('no'); res.end(String(n)); }";
    let spec = world.function(source, |_| {}).await;
    let failure = send(world.pool.acquire(&spec).await.unwrap(), "/api/f").await.unwrap_err();
    assert_eq!(failure.code, Code::FunctionFailed);
    assert!(matches!(failure.replay, Replay::No));
    assert_eq!(ask(&world, &spec).await.0, "2");
    assert!(world.log(&spec).await.iter().any(|(_, line)| line.contains("Error: no")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_exits_is_named_in_the_log_and_replaced() {
    let world = World::new(0).await;
    let source = "module.exports = (req, res) => { if (req.url === '/exit') process.exit(3); res.end('ok'); }";
    let spec = world.function(source, |_| {}).await;
    let failure = send(world.pool.acquire(&spec).await.unwrap(), "/exit").await.unwrap_err();
    assert_eq!((failure.code, failure.detail.as_str()), (Code::InstanceDied, "exited with code 3"));
    assert!(matches!(failure.replay, Replay::MaybeSeen));
    assert_eq!(ask(&world, &spec).await.0, "ok");
    let lines = world.log(&spec).await;
    assert!(lines.iter().any(|(request, line)| line == "exited with code 3" && request.is_some()), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_never_answers_is_ended_at_its_limit() {
    let world = World::new(0).await;
    let spec = world.function("module.exports = () => {}", |limits| limits.duration_ms = 300).await;
    let failure = send(world.pool.acquire(&spec).await.unwrap(), "/api/f").await.unwrap_err();
    assert_eq!(failure.code, Code::FunctionTimeout);
    until("it is gone", || world.pool.instances().is_empty()).await;
    let told = |lines: Vec<(Option<Arc<str>>, String)>| {
        lines.iter().any(|(request, line)| line == "function timed out after 0.3 s" && request.is_some())
    };
    // Lines reach the log by a task of its own.
    for _ in 0..100 {
        if told(world.log(&spec).await) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the log does not say that it timed out");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_end_is_cut_at_the_limit() {
    let world = World::new(0).await;
    let source = "module.exports = (req, res) => { res.write('begun') }";
    let spec = world.function(source, |limits| limits.duration_ms = 500).await;
    let response = send(world.pool.acquire(&spec).await.unwrap(), "/api/f").await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert!(matches!(error, dockless_pool::BodyError::TimedOut), "{error:?}");
    until("it is gone", || world.pool.instances().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_does_not_load_fails_the_boot_and_the_log_says_why() {
    let world = World::new(0).await;
    let broken = world.function("module.exports = (", |_| {}).await;
    let endless = world.function("while (true);", |limits| limits.boot_ms = 1000).await;
    for (name, spec) in [("broken", broken), ("endless", endless)] {
        let lease = world.pool.acquire(&spec).await.unwrap();
        let failure = send(lease, "/api/f").await.unwrap_err();
        assert_eq!(failure.code, Code::BootFailed, "{name}: {}", failure.detail);
        until("it is gone", || world.pool.instances().is_empty()).await;
        let lines = world.log(&spec).await;
        let told = |line: &str| line.contains("SyntaxError") || line == "not ready after 1 s";
        assert!(lines.iter().any(|(_, line)| told(line)), "{name}: {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_abandons_the_instance_until_its_program_is_done() {
    let world = World::new(0).await;
    let source = "let n = 0; module.exports = (req, res) => {
        if (req.url !== '/stream') return res.end(String(n));
        res.on('close', () => { n += 1 });
        res.write('begun');
    }";
    let spec = world.function(source, |_| {}).await;
    let response = send(world.pool.acquire(&spec).await.unwrap(), "/stream").await.unwrap();
    assert_eq!(world.states(), [InstanceState::Busy]);
    drop(response);
    until("it is idle again", || matches!(world.states()[..], [InstanceState::Ready | InstanceState::Frozen])).await;
    assert_eq!(ask(&world, &spec).await.0, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_instance_is_noticed_before_a_request_is_given_to_it() {
    let world = World::new(0).await;
    let spec = world.function("module.exports = (req, res) => res.end(String(process.pid))", |_| {}).await;
    let (first, _) = ask(&world, &spec).await;
    world.peer.murder(&world.pool.instances()[0].id);
    // Whether it is already known or not: nothing was sent, or the request may be sent again.
    let lease = world.pool.acquire(&spec).await.unwrap();
    let second = match send(lease, "/api/f").await {
        Ok(response) => text(response).await,
        Err(failure) => {
            assert!(!matches!(failure.replay, Replay::No), "{failure}");
            ask(&world, &spec).await.0
        }
    };
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_cap_requests_wait_and_beyond_the_queue_they_are_refused() {
    let config = PoolConfig { queue: 1, queue_wait: Duration::from_millis(100), ..PoolConfig::default() };
    let world = World::with(0, config).await;
    let source = "module.exports = (req, res) => setTimeout(() => res.end('ok'), 50)";
    let change = |limits: &mut FunctionLimits| (limits.max_instances, limits.boot_ms) = (1, 2000);
    let spec = world.function(source, change).await;
    let busy = world.pool.acquire(&spec).await.unwrap();
    let mut waiting = Box::pin(world.pool.acquire(&spec));
    // Polled once, it is in the queue.
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("two leases on one instance"),
        () = std::future::ready(()) => {}
    }
    let refusal = world.pool.acquire(&spec).await.unwrap_err();
    assert_eq!(refusal.code, Code::CapReached);
    assert_eq!(text(send(busy, "/api/f").await.unwrap()).await, "ok");
    let busy = waiting.await.unwrap();
    let refusal = world.pool.acquire(&spec).await.unwrap_err();
    assert_eq!(refusal.code, Code::QueueTimeout);
    drop(busy);
    assert_eq!(ask(&world, &spec).await.0, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_act_at_process_start_miss_the_shelf_and_act() {
    let world = World::new(1).await;
    world.shelf_is_full(1).await;
    let env = BTreeMap::from([
        ("NODE_OPTIONS".to_owned(), Secret::new("--title=titled")),
        ("GREETING".to_owned(), Secret::new("hello")),
        ("HOME".to_owned(), Secret::new("/elsewhere")),
    ]);
    let source = "module.exports = (req, res) => res.json([process.title, process.env.GREETING, process.env.HOME, process.env.DOCKLESS_URL])";
    let spec = world.function_with(source, |_| {}, env).await;
    let (answer, start) = ask(&world, &spec).await;
    assert_eq!(answer, r#"["titled","hello","/tmp","test-abc.localhost"]"#);
    assert!(matches!(start, Start::Boot { shelf: false, .. }), "{start:?}");
    assert!(world.peer.prepared().iter().any(|env| env.keys().eq(["NODE_OPTIONS"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_hands_its_instances_over_and_nothing_starts_again() {
    let mut world = World::new(1).await;
    let spec = world.function(COUNTER, |_| {}).await;
    let slow = "module.exports = (req, res) => setTimeout(() => res.end('late'), 400)";
    let slow = world.function(slow, |_| {}).await;
    world.shelf_is_full(1).await;
    ask(&world, &spec).await;
    until("it is frozen", || world.states() == [InstanceState::Frozen]).await;
    world.shelf_is_full(1).await;
    let late = send(world.pool.acquire(&slow).await.unwrap(), "/api/f");
    let late = tokio::spawn(async move { text(late.await.unwrap()).await });

    let logs = world.folder.path().join("logs");
    let (successor, mut events) = server(&world.peer, &world.blobs, logs, 1, PoolConfig::default()).await;
    world.peer.tell(1, dockless_sandbox::protocol::Happening::Drain);
    assert!(matches!(world.events.next().await, Some(NodeEvent::Drain)));
    world.pool.drain().await;
    assert!(world.pool.instances().is_empty());
    assert_eq!(late.await.unwrap(), "late");
    for _ in 0..2 {
        match events.next().await {
            Some(NodeEvent::Adopted { instance, busy: None }) => successor.adopt(instance, None),
            other => panic!("{other:?}"),
        }
    }
    let lease = successor.acquire(&spec).await.unwrap();
    assert!(!matches!(lease.timings().start, Start::Boot { .. }));
    assert_eq!(text(send(lease, "/api/f").await.unwrap()).await, "2");
}

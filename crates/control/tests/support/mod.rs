//! A small machine for tests: builds static files and pretend functions out of stored bytes, without sandboxes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses another part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use dockless_blob::BlobStore;
use dockless_control::{
    BuildFailure, BuildJob, Control, ControlConfig, CreateOptions, Error, LogQuery, LogStream, MetricsFormat, Platform,
    PublicUrl, Running, SecretKeys, Stream, Trouble, UpgradeFailure,
};
use dockless_model::{
    Clock, DeploymentId, Digest, OsEntropy, Output, Plan, RuntimeId, Secret, Timestamp, WireDigest,
    output::{Function, StaticFile},
};
use dockless_store::Db;
use dockless_wire::{LogRecord, RuntimeStatus};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// The machine. What a source's files are called decides how its build goes: `fail` fails it, `broken` is our fault,
/// `wait` waits for [`Workshop::gate`].
pub struct Workshop {
    pub gate: Semaphore,
    pub begun: watch::Sender<usize>,
    pub forgotten: Mutex<Vec<DeploymentId>>,
    pub forgotten_trees: Mutex<Vec<Digest>>,
    pub stored_trees: Mutex<Vec<Digest>>,
    pub tree_in_use: AtomicBool,
    pub running: Mutex<Vec<Running>>,
    pub logs: watch::Sender<Vec<LogRecord>>,
    pub build_env: Mutex<std::collections::BTreeMap<String, Secret>>,
}

impl Workshop {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(0),
            begun: watch::Sender::new(0),
            forgotten: Mutex::default(),
            forgotten_trees: Mutex::default(),
            stored_trees: Mutex::default(),
            tree_in_use: AtomicBool::new(false),
            running: Mutex::default(),
            logs: watch::Sender::new(Vec::new()),
            build_env: Mutex::default(),
        })
    }

    pub fn log(&self, text: &str) {
        self.logs.send_modify(|logs| {
            let id = u64::try_from(logs.len()).unwrap() + 1;
            logs.push(LogRecord {
                id,
                date: Timestamp(1),
                kind: "stdout".to_owned(),
                text: text.to_owned(),
                function: None,
                instance: None,
                request: None,
            });
        });
    }
}

/// The machine, as control holds it.
pub struct Machine(pub Arc<Workshop>);

impl Platform for Machine {
    fn is_reserved_variable(&self, name: &str) -> bool {
        name == "PATH"
    }

    fn check_image(&self, image: &str, login: Option<&Secret>) -> Result<(), (&'static str, String)> {
        match login {
            _ if image == "Bad" => Err(("image", "expected a name in lower case".to_owned())),
            Some(login) if login.expose() != "good" => Err(("login", "expected a good one".to_owned())),
            _ => Ok(()),
        }
    }

    fn build(&self, job: BuildJob) -> BoxFuture<'static, Result<Output, BuildFailure>> {
        self.0.build_env.lock().unwrap().clone_from(&job.env);
        let shop = Arc::clone(&self.0);
        async move {
            job.log.write(Stream::Command, "building");
            shop.begun.send_modify(|begun| *begun += 1);
            let has = |name: &str| job.source.keys().any(|path| path.as_str() == name);
            if has("wait") {
                shop.gate.acquire().await.unwrap().forget();
            }
            if has("fail") {
                return Err(BuildFailure::Source { message: "fail is not allowed".into(), step: Some("fail".into()) });
            }
            if has("broken") {
                return Err(BuildFailure::Internal(Trouble::new("secret internals")));
            }
            let mut output = Output {
                version: Output::VERSION,
                routes: Vec::new(),
                egress: true,
                files: [].into(),
                functions: [].into(),
                services: [].into(),
                listing: false,
            };
            for (path, file) in &job.source {
                if let Some(name) = path.as_str().strip_suffix(".js") {
                    let bundle = Digest::of(file.blob.as_bytes());
                    let function = Function {
                        entrypoint: path.clone(),
                        main: None,
                        bundle,
                        bundle_bytes: file.size,
                        files: [(path.clone(), file.clone())].into(),
                        runtime: RuntimeId::compose("node", "20.1.0", &bundle).unwrap(),
                        limits: dockless_model::FunctionLimits::default(),
                        helpers: true,
                    };
                    output.functions.insert(name.parse().unwrap(), function);
                } else {
                    let content_type = "text/plain".to_owned();
                    output.files.insert(path.clone(), StaticFile::new(file.blob, file.size, content_type));
                }
            }
            job.log.write(Stream::Stdout, &format!("built {} files", job.source.len()));
            Ok(output)
        }
        .boxed()
    }

    fn stored_trees(&self, _age: Duration) -> BoxFuture<'_, Result<Vec<Digest>, Trouble>> {
        async { Ok(self.0.stored_trees.lock().unwrap().clone()) }.boxed()
    }

    fn forget_tree(&self, tree: Digest) -> BoxFuture<'_, Result<(), Trouble>> {
        async move {
            if self.0.tree_in_use.load(Ordering::SeqCst) {
                return Err(Trouble::new("in use"));
            }
            self.0.forgotten_trees.lock().unwrap().push(tree);
            Ok(())
        }
        .boxed()
    }

    fn sleep(&self, deployment: DeploymentId) -> BoxFuture<'_, usize> {
        let mut running = self.0.running.lock().unwrap();
        let before = running.len();
        running.retain(|running| running.instance.deployment != deployment);
        let retired = before - running.len();
        async move { retired }.boxed()
    }

    fn switch_off(&self, deployment: DeploymentId) -> BoxFuture<'_, usize> {
        self.sleep(deployment)
    }

    fn forget(&self, deployment: DeploymentId) -> BoxFuture<'_, Result<(), Trouble>> {
        self.0.forgotten.lock().unwrap().push(deployment);
        async { Ok(()) }.boxed()
    }

    fn instances(&self) -> Vec<Running> {
        self.0.running.lock().unwrap().clone()
    }

    fn measured(&self) -> BoxFuture<'_, Vec<Running>> {
        async { self.instances() }.boxed()
    }

    fn logs(&self, _: DeploymentId, query: LogQuery) -> BoxFuture<'_, Result<LogStream, Trouble>> {
        let since = query.since.unwrap_or(0);
        let past: Vec<_> = self.0.logs.borrow().iter().filter(|record| record.id > since).cloned().collect();
        let skip = query.limit.map_or(0, |limit| past.len().saturating_sub(limit));
        let last = past.last().map_or(since, |record| record.id);
        let past = stream::iter(past.into_iter().skip(skip).collect::<Vec<_>>());
        let changes = self.0.logs.subscribe();
        let future = stream::unfold((changes, last), |(mut changes, last)| async move {
            let next = changes.wait_for(|logs| logs.iter().any(|record| record.id > last)).await.ok()?;
            let record = next.iter().find(|record| record.id > last).cloned()?;
            drop(next);
            let last = record.id;
            Some((record, (changes, last)))
        });
        let stream = if query.follow { past.chain(future).boxed() } else { past.boxed() };
        async { Ok(stream) }.boxed()
    }

    fn metrics(&self, _: MetricsFormat) -> BoxFuture<'_, Result<String, Trouble>> {
        Box::pin(async { Ok("# EOF\n".to_owned()) })
    }

    fn service_shelf(&self) -> usize {
        1
    }

    fn runtimes(&self) -> Vec<RuntimeStatus> {
        vec![RuntimeStatus { id: "node-20.1.0-0000000000000000".to_owned(), shelf: 2 }]
    }

    fn upgrade(&self) -> BoxFuture<'_, Result<(), UpgradeFailure>> {
        async { Ok(()) }.boxed()
    }
}

/// A data folder and one server process on it; [`Server::join`] adds another.
pub struct Server {
    pub folder: Arc<TempDir>,
    pub clock: Arc<HandClock>,
    pub shop: Arc<Workshop>,
    pub control: Control,
    pub shutdown: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
}

pub fn config() -> ControlConfig {
    ControlConfig {
        min_free_bytes: 0,
        max_file_bytes: 1000,
        max_layer_bytes: 1000,
        parallel_builds: 4,
        lease: Duration::from_secs(1),
        keep_alive: Duration::from_millis(50),
        ..ControlConfig::new("localhost".parse().unwrap(), PublicUrl { https: false, port: 3000 }, keys())
    }
}

/// The same for all: servers of a test share a database.
pub fn keys() -> SecretKeys {
    SecretKeys::parse(&key_line()).unwrap()
}

pub fn key_line() -> Secret {
    static LINE: std::sync::LazyLock<Secret> = std::sync::LazyLock::new(|| SecretKeys::random_line(&OsEntropy));
    LINE.clone()
}

impl Server {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: ControlConfig) -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(1_000_000_000)));
        Self::on(Arc::new(tempfile::tempdir().unwrap()), clock, config).await
    }

    /// Another process on the same data.
    pub async fn join(&self) -> Self {
        self.join_with(config()).await
    }

    pub async fn join_with(&self, config: ControlConfig) -> Self {
        Self::on(Arc::clone(&self.folder), Arc::clone(&self.clock), config).await
    }

    async fn on(folder: Arc<TempDir>, clock: Arc<HandClock>, config: ControlConfig) -> Self {
        let db = Db::open(&folder.path().join("test.db")).await.unwrap();
        let blobs = BlobStore::open(&folder.path().join("blobs")).unwrap();
        let shop = Workshop::new();
        let platform = Arc::new(Machine(Arc::clone(&shop)));
        let (time, entropy) = (Arc::clone(&clock) as _, Arc::new(OsEntropy));
        let control = Control::open(db, blobs, platform, config, time, entropy).await.unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (control, shutdown) = (control.clone(), shutdown.clone());
            async move { control.run(shutdown).await }
        });
        Self { folder, clock, shop, control, shutdown, task }
    }

    pub async fn account(&self, name: &str) -> (dockless_control::Caller, Secret) {
        let (_, token) = self.control.create_account(name, Plan::Owner).await.unwrap();
        (self.control.authenticate(&token).await.unwrap().unwrap(), token)
    }

    pub fn blob_count(&self) -> usize {
        let count = |path: &Path| std::fs::read_dir(path).unwrap().count();
        let shards = std::fs::read_dir(self.folder.path().join("blobs")).unwrap().map(|entry| entry.unwrap().path());
        shards.filter(|path| path.file_name().is_some_and(|name| name.len() == 2)).map(|path| count(&path)).sum()
    }

    pub fn temporaries(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("blobs/tmp")).unwrap().count()
    }
}

/// The body of a creation with contents inline.
pub fn body(name: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let files: Vec<_> = files.iter().map(|(path, data)| serde_json::json!({ "file": path, "data": data })).collect();
    serde_json::json!({ "version": 2, "name": name, "files": files }).to_string().into_bytes()
}

pub fn forced() -> CreateOptions {
    CreateOptions { force_new: true, ..CreateOptions::default() }
}

pub async fn upload(
    control: &Control,
    caller: &dockless_control::Caller,
    digest: WireDigest,
    size: Option<u64>,
    bytes: &[u8],
) -> Result<(), Error> {
    let mut upload = control.upload(caller, digest, size).await?;
    for piece in bytes.chunks(7) {
        upload.write(piece).await?;
    }
    upload.finish().await.map(drop)
}

/// Waits until something is so, at most ten seconds.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within ten seconds");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

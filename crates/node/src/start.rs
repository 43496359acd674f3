//! From a specification to an instance that a request can be sent to.
//!
//! ```text
//! hit:   warden go ∥ thaw ─────────────────────────────► go frame ─► (the caller's request follows at once)
//! miss:  prepare ─► warden go ∥ connect ∥ process boots ─► go frame ─► (the same)
//! ```
//! The way of services is in `service`.

use crate::node::Tools;
use crate::prepare::{Unfinished, prepare};
use crate::shelf::{Shelf, ShelfClass};
use crate::tag::Tag;
use crate::{CallError, Instance, KillReason, Program, Spec, StartError, Started, environment, groups, service};
use dockless_model::output::Function;
use dockless_sandbox::CODE_ROOT;
use dockless_sandbox::frames::{Go, ToLauncher};
use dockless_sandbox::protocol::{Refusal, Verb, Work};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long the story of a failed boot is waited for.
const STORY: Duration = Duration::from_millis(200);

/// See [`crate::Node::start`].
pub(crate) async fn start(
    tools: &Arc<Tools>,
    shelf: &Shelf,
    boots: &Semaphore,
    spec: &Arc<Spec>,
) -> Result<Instance, StartError> {
    let began = Instant::now();
    if !tools.memory.has_room() {
        return Err(StartError::NoRoom("memory".into()));
    }
    tools.memory.note_boot();
    match &spec.program {
        Program::Function(function) => start_function(tools, shelf, boots, spec, function, began).await,
        Program::Service(service) => {
            let _busy = shelf.busy();
            service::start(tools, shelf, boots, spec, service).await
        }
    }
}

async fn start_function(
    tools: &Arc<Tools>,
    shelf: &Shelf,
    boots: &Semaphore,
    spec: &Arc<Spec>,
    function: &Arc<Function>,
    began: Instant,
) -> Result<Instance, StartError> {
    let class = ShelfClass::Runtime(function.runtime.clone(), function.limits.memory);
    let _busy = shelf.busy();
    let env = environment::at_start(spec);
    // Sandboxes that died on the shelf are met here first; a boot from nothing is the last try.
    if env.is_empty() {
        while let Some(instance) = shelf.take(&class) {
            match hit(tools, Unfinished::new(instance), spec, function, began).await {
                Err(error @ (StartError::Warden(CallError::Refused(_)) | StartError::Io { .. })) => {
                    tracing::warn!(%error, "a sandbox of the shelf was of no use");
                }
                settled => return settled,
            }
        }
    }
    // Only closed with the node.
    let _permit = boots.acquire().await.map_err(|_| StartError::Warden(CallError::Gone))?;
    let booting = async {
        let instance = prepare(tools, &function.runtime, function.limits.memory, env).await?;
        miss(tools, instance, spec, function, began).await
    };
    match tokio::time::timeout(function.limits.boot(), booting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(StartError::BootFailed { death: None }),
    }
}

async fn hit(
    tools: &Arc<Tools>,
    instance: Unfinished,
    spec: &Arc<Spec>,
    function: &Arc<Function>,
    began: Instant,
) -> Result<Instance, StartError> {
    // The order leaves with the first poll; the thaw is written while the warden works on it.
    let (ordered, thawed) = tokio::join!(go(tools, &instance, spec, function), async { instance.thaw() });
    ordered?;
    thawed.map_err(|error| StartError::Io { step: "thaw", source: std::io::Error::other(error) })?;
    finish(tools, instance, spec, function, Started { shelf: true, took: began.elapsed() }).await
}

async fn miss(
    tools: &Arc<Tools>,
    instance: Unfinished,
    spec: &Arc<Spec>,
    function: &Arc<Function>,
    began: Instant,
) -> Result<Instance, StartError> {
    // The socket listened before the process began: connecting does not wait for it.
    let connected = async {
        let other = |error| StartError::Io { step: "connect", source: std::io::Error::other(error) };
        instance.connect().await.map_err(other)
    };
    let listening =
        async { if instance.listens().await { Ok(()) } else { Err(StartError::BootFailed { death: None }) } };
    if let Err(error) = tokio::try_join!(go(tools, &instance, spec, function), connected, listening) {
        if instance.is_alive() {
            return Err(error);
        }
        let death = tokio::time::timeout(STORY, instance.death()).await.ok();
        return Err(StartError::BootFailed { death });
    }
    finish(tools, instance, spec, function, Started { shelf: false, took: began.elapsed() }).await
}

/// Has the warden mount the code and set owner and limits. A tree that was evicted is made again, once.
async fn go(tools: &Arc<Tools>, instance: &Instance, spec: &Spec, function: &Function) -> Result<(), StartError> {
    let limits = &function.limits;
    cut(tools, instance, spec).await?;
    let verb = || Verb::Go {
        instance: instance.id().clone(),
        work: Work::Bundle(function.bundle),
        groups: groups::of(spec),
        cpu_weight: limits.memory.cpu_weight(),
        tag: Tag::of(spec, tools.clock.now()),
    };
    match tools.warden.order(verb()).await {
        Err(CallError::Refused(Refusal::Unknown(_))) if instance.is_alive() => {
            tools.imports.import(&function.files).await?;
            Ok(tools.warden.order(verb()).await?)
        }
        other => Ok(other?),
    }
}

/// Takes the way out away from an instance that is to have none, before any code of its owner runs.
pub(crate) async fn cut(tools: &Arc<Tools>, instance: &Instance, spec: &Spec) -> Result<(), StartError> {
    if spec.egress {
        return Ok(());
    }
    Ok(tools.warden.order(Verb::Cut { instance: instance.id().clone() }).await?)
}

/// Gives it the go, and until the boot limit to load its code.
async fn finish(
    tools: &Arc<Tools>,
    instance: Unfinished,
    spec: &Arc<Spec>,
    function: &Arc<Function>,
    started: Started,
) -> Result<Instance, StartError> {
    instance.identify(spec, tools.clock.now(), started);
    let message = ToLauncher::Go(Go {
        entry: function.main.as_ref().unwrap_or(&function.entrypoint).to_string(),
        source_maps: function.main.is_some() && function.runtime.language() == "node",
        root: CODE_ROOT.into(),
        env: environment::whole(spec),
        helpers: function.helpers,
        aws_handler: None,
        query_style: "today".into(),
        wait_until_ms: function.limits.duration_ms,
    });
    instance.tell(&message).await?;
    let limit = function.limits.boot();
    let watched = Instance::clone(&instance);
    tokio::spawn(async move {
        let mut life = watched.life();
        let settled = life.wait_for(|life| life.loaded || life.hung_up || life.death.is_some());
        if tokio::time::timeout(limit.saturating_sub(started.took), settled).await.is_err() {
            watched.kill(KillReason::Boot(limit));
        }
    });
    instance.done().ok_or(StartError::BootFailed { death: None })
}

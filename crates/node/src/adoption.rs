//! Sandboxes that another server left behind, because it died or hands over to us.

use crate::instance::{Birth, LauncherState};
use crate::link::Link;
use crate::node::{NodeEvent, Tools};
use crate::shelf::Shelf;
use crate::tag::Tag;
use crate::warden::PreparedFds;
use crate::{CallError, Instance, KillReason, Started};
use dockless_sandbox::protocol::{Answer, Listed, Origin, Refusal, Verb};
use std::io::{Read as _, Seek as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a process that runs may take to say what it does.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How soon one that loads its code is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A handle to the task that adopts.
#[derive(Debug, Clone)]
pub(crate) struct Adoption {
    wake: Arc<Notify>,
    /// Frozen instances of the first look are taken in.
    settled: watch::Sender<bool>,
    closed: CancellationToken,
}

impl Adoption {
    /// Adopts everything that nobody owns, now and whenever [`Self::look`] is called.
    pub(crate) fn begin(tools: &Arc<Tools>, shelf: Shelf, news: mpsc::Sender<NodeEvent>) -> Self {
        let adoption =
            Self { wake: Arc::default(), settled: watch::Sender::new(false), closed: tools.shutdown.child_token() };
        let (tools, wake, closed) = (tools.clone(), adoption.wake.clone(), adoption.closed.clone());
        let settled = adoption.settled.clone();
        tokio::spawn(async move {
            let work = async {
                loop {
                    adopt_all(&tools, &shelf, &news, &settled).await;
                    settled.send_replace(true);
                    wake.notified().await;
                }
            };
            closed.run_until_cancelled(work).await;
        });
        adoption
    }

    /// Something was released.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }

    /// Ends when the first look is over for everything that can be taken in at once: what is frozen, and services.
    pub(crate) async fn settled(&self) {
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Nothing is adopted any more: what is released is for our successor.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }
}

async fn adopt_all(tools: &Arc<Tools>, shelf: &Shelf, news: &mpsc::Sender<NodeEvent>, settled: &watch::Sender<bool>) {
    let listed = match list(tools).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::error!(%error, "cannot see what there is to adopt");
            return;
        }
    };
    let mut adopting = JoinSet::new();
    let mut quick = 0_usize;
    for one in listed.into_iter().filter(|one| one.session.is_none() && !tools.registry.contains(&one.instance)) {
        let (tools, shelf, news) = (tools.clone(), shelf.clone(), news.clone());
        // What is frozen needs no answer of its own, and a service's first process gives one at once.
        let is_quick = one.frozen || one.origin == Origin::Image;
        quick += usize::from(is_quick);
        adopting.spawn(async move {
            let id = one.instance.clone();
            match adopt(&tools, &shelf, &news, one).await {
                Ok(outcome) => tracing::info!(instance = %id, outcome, "adoption"),
                // It ended meanwhile, or somebody else was faster.
                Err(CallError::Refused(Refusal::Unknown(_) | Refusal::InUse(_))) => tools.registry.remove(&id),
                Err(error) => {
                    tools.registry.remove(&id);
                    tracing::error!(instance = %id, %error, "an instance was not adopted");
                }
            }
            is_quick
        });
    }
    while quick > 0
        && let Some(one) = adopting.join_next().await
    {
        // One that panicked counts for nothing: then the rest is waited for.
        quick -= usize::from(one.unwrap_or(false));
    }
    settled.send_replace(true);
    while adopting.join_next().await.is_some() {}
}

/// What a launcher does, once it has loaded its code.
async fn state(instance: &Instance) -> Option<LauncherState> {
    let limit = instance.spec().boot();
    let settled = async {
        loop {
            match instance.ask(ANSWER_WITHIN).await {
                Some(LauncherState::Loading) => tokio::time::sleep(ASK_AGAIN).await,
                settled => return settled,
            }
        }
    };
    tokio::time::timeout(limit, settled).await.ok().flatten()
}

/// A list that is too long for a message comes in a memory file beside it.
async fn list(tools: &Arc<Tools>) -> Result<Vec<Listed>, CallError> {
    let (answer, fds) = tools.warden.call(Verb::List, &[]).await?;
    let Answer::Instances { instances } = answer else {
        return Err(CallError::Confused("something else than a list"));
    };
    let Some(file) = fds.into_iter().next() else { return Ok(instances) };
    let mut json = Vec::new();
    let mut file = std::fs::File::from(file);
    file.rewind().and_then(|()| file.read_to_end(&mut json)).map_err(CallError::Send)?;
    serde_json::from_slice(&json).map_err(|_| CallError::Confused("with a list that is none"))
}

/// Takes one over; says what became of it.
async fn adopt(
    tools: &Arc<Tools>,
    shelf: &Shelf,
    news: &mpsc::Sender<NodeEvent>,
    listed: Listed,
) -> Result<&'static str, CallError> {
    let id = listed.instance.clone();
    tools.registry.expect(&id);
    let fds = tools.warden.sandbox(Verb::Adopt { instance: id.clone() }).await?;
    let Origin::Runtime { runtime, .. } = listed.origin.clone() else {
        return adopt_service(tools, shelf, news, listed, fds).await;
    };
    let birth = Birth { id, origin: listed.origin, frozen: true };
    let instance = Instance::new(tools, birth, fds).map_err(CallError::Send)?;
    tools.registry.enter(&instance);
    let lost = |why| {
        instance.kill(KillReason::Lost);
        Ok(why)
    };
    if !listed.gone {
        if !listed.frozen || instance.connect().await.is_err() {
            return lost("half-made: ended");
        }
        instance.set_listening();
        shelf.put(instance);
        return Ok("shelf");
    }
    let Some(tag) = Tag::read(&listed.tag) else { return lost("of unknown owner: ended") };
    let started = tag.started();
    let Some(spec) = tag.into_spec(Some(runtime)) else { return lost("of another kind: ended") };
    instance.identify(&spec, started, Started::default());
    let busy = if listed.frozen {
        instance.doubt();
        None
    } else {
        // The one before may have been about to freeze it.
        if instance.thaw().is_err() {
            return lost("gone: ended");
        }
        match state(&instance).await {
            Some(LauncherState::Idle) => None,
            Some(LauncherState::Busy(serial)) => Some(serial),
            Some(LauncherState::Waiting | LauncherState::Loading) | None => return lost("without answer: ended"),
        }
    };
    if busy.is_none() && instance.connect().await.is_err() {
        return lost("out of reach: ended");
    }
    instance.set_loaded();
    instance.resume(busy.unwrap_or(0));
    let outcome = if busy.is_some() { "busy" } else { "idle" };
    if news.send(NodeEvent::Adopted { instance: instance.clone(), busy }).await.is_err() {
        return lost("nobody takes it: ended");
    }
    Ok(outcome)
}

/// Takes a service over: it runs on as it is. Requests that were on their way are not: their connections were the former
/// server's.
async fn adopt_service(
    tools: &Arc<Tools>,
    shelf: &Shelf,
    news: &mpsc::Sender<NodeEvent>,
    listed: Listed,
    fds: PreparedFds,
) -> Result<&'static str, CallError> {
    let id = listed.instance;
    let link = Link::new(id.clone(), tools.warden.clone(), Vec::new());
    let birth = Birth { id, origin: listed.origin, frozen: listed.frozen };
    let instance = Instance::new_service(tools, birth, fds, link).map_err(CallError::Send)?;
    tools.registry.enter(&instance);
    let lost = |why| {
        instance.kill(KillReason::Lost);
        Ok(why)
    };
    if !listed.gone {
        shelf.put(instance);
        return Ok("shelf");
    }
    let Some(tag) = Tag::read(&listed.tag) else { return lost("of unknown owner: ended") };
    let started = tag.started();
    let Some(spec) = tag.into_spec(None) else { return lost("of another kind: ended") };
    instance.identify(&spec, started, Started::default());
    if instance.thaw().is_err() || state(&instance).await.is_none() {
        return lost("without answer: ended");
    }
    // The status is told after the ports.
    let declared = instance.spec().service().map(|service| service.image.process.ports.clone()).unwrap_or_default();
    let aim = {
        let life = instance.peek();
        let declared = life.listening.iter().find(|address| declared.contains(&address.port()));
        declared.or(life.listening.first()).copied()
    };
    let Some(address) = aim else { return lost("not listening yet: ended") };
    instance.aim(address);
    if instance.connect().await.is_err() {
        return lost("out of reach: ended");
    }
    instance.set_loaded();
    if news.send(NodeEvent::Adopted { instance: instance.clone(), busy: None }).await.is_err() {
        return lost("nobody takes it: ended");
    }
    Ok("service")
}

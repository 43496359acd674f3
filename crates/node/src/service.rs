//! From a service's specification to an instance that listens.
//!
//! ```text
//! hit:   ┐
//! miss:  └ prepare ─► blank sandbox ─► go{image} ∥ program boots ─► listening{port} ─► connect ─► throttle
//! ```

use crate::instance::Birth;
use crate::link::Link;
use crate::node::Tools;
use crate::prepare::{Expected, Unfinished};
use crate::shelf::{Shelf, ShelfClass};
use crate::tag::Tag;
use crate::{CallError, Instance, Spec, StartError, Started, environment, groups};
use dockless_model::InstanceId;
use dockless_model::image::Process;
use dockless_model::output::Service;
use dockless_sandbox::protocol::{ImageWork, Origin, Refusal, Verb, Work};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A program may listen on an administrative port before the declared one: how long a declared port is waited for.
const DECLARED_WITHIN: Duration = Duration::from_millis(100);
/// How long the story of a failed boot is waited for.
const STORY: Duration = Duration::from_millis(500);

/// See [`crate::Node::start`].
pub(crate) async fn start(
    tools: &Arc<Tools>,
    shelf: &Shelf,
    boots: &Semaphore,
    spec: &Arc<Spec>,
    service: &Arc<Service>,
) -> Result<Instance, StartError> {
    let began = Instant::now();
    // Only closed with the node.
    let _permit = boots.acquire().await.map_err(|_| StartError::Warden(CallError::Gone))?;
    let booting = async {
        let (instance, hit) = match shelf.take(&ShelfClass::Service) {
            Some(blank) => (Unfinished::new(blank), true),
            None => (prepare(tools).await?, false),
        };
        instance.identify(spec, tools.clock.now(), Started::default());
        // The program may listen before the warden has answered.
        let listens = async { Ok(listening(&instance, &ports(spec, service)).await) };
        let (address, ()) = tokio::try_join!(listens, go(tools, &instance, spec, service))?;
        let Some(address) = address else {
            let death = tokio::time::timeout(STORY, instance.death()).await.ok();
            return Err(StartError::BootFailed { death });
        };
        instance.aim(address);
        instance.connect().await.map_err(|error| StartError::Io {
            step: "connect to the port that the service listens on",
            source: std::io::Error::other(error),
        })?;
        Ok((instance, hit))
    };
    let (instance, hit) = match tokio::time::timeout(service.limits.boot(), booting).await {
        Ok(outcome) => outcome?,
        Err(_) => return Err(StartError::NeverListened { within: service.limits.boot() }),
    };
    let instance = instance.done().ok_or(StartError::BootFailed { death: None })?;
    instance.set_loaded();
    instance.set_started(Started { shelf: hit, took: began.elapsed() });
    throttle(tools, &instance, service);
    Ok(instance)
}

/// Boots have the processor to themselves; from the first port on the slot counts.
fn throttle(tools: &Arc<Tools>, instance: &Instance, service: &Service) {
    let verb = Verb::Throttle { instance: instance.id().clone(), millicores: service.slot.millicores() };
    let (tools, id) = (tools.clone(), instance.id().clone());
    tokio::spawn(async move {
        match tools.warden.order(verb).await {
            Ok(()) | Err(CallError::Gone) => {}
            Err(error) => tracing::warn!(instance = %id, %error, "the processor of an instance was not limited"),
        }
    });
}

/// Asks the warden for a sandbox that waits for an image.
pub(crate) async fn prepare(tools: &Arc<Tools>) -> Result<Unfinished, StartError> {
    let id = InstanceId::random(tools.entropy.as_ref());
    let expected = Expected::announce(tools, &id);
    let (fds, sockets) = tools.warden.service(Verb::PrepareService { instance: id.clone() }).await?;
    let birth = Birth { id: id.clone(), origin: Origin::Image, frozen: false };
    let link = Link::new(id.clone(), tools.warden.clone(), sockets);
    let instance = Instance::new_service(tools, birth, fds, link).map_err(StartError::during("use the descriptors"))?;
    expected.given();
    tools.registry.enter(&instance);
    Ok(Unfinished::new(instance))
}

/// Has the warden give it its root, set owner and limits, and start the program. Trees of layers that are not there any
/// more are made again from their blobs, once.
async fn go(tools: &Arc<Tools>, instance: &Instance, spec: &Spec, service: &Service) -> Result<(), StartError> {
    crate::start::cut(tools, instance, spec).await?;
    let image = || ImageWork {
        layers: service.image.layers.iter().map(|layer| layer.diff_id).collect(),
        process: Process { env: environment::of_service(spec, service), ..service.image.process.clone() },
        memory_bytes: service.slot.memory_bytes(),
    };
    let verb = || Verb::Go {
        instance: instance.id().clone(),
        work: Work::Image(Box::new(image())),
        groups: groups::of(spec),
        cpu_weight: service.slot.cpu_weight(),
        tag: Tag::of(spec, tools.clock.now()),
    };
    match tools.warden.order(verb()).await {
        Err(CallError::Refused(Refusal::Unknown(missing))) if instance.is_alive() => {
            tracing::info!(deployment = %spec.deployment, missing, "layers are unpacked again");
            for layer in &service.image.layers {
                crate::layers::unpack(tools, layer).await.map_err(|error| StartError::Io {
                    step: "unpack a layer of the image again",
                    source: std::io::Error::other(error),
                })?;
            }
            Ok(tools.warden.order(verb()).await?)
        }
        other => Ok(other?),
    }
}

/// The ports that are taken before all others: what the program is told to use, and what its image declares.
fn ports(spec: &Spec, service: &Service) -> Vec<u16> {
    let mut ports = vec![environment::port(spec, service)];
    ports.extend(&service.image.process.ports);
    ports
}

/// Where requests go: the first port that is declared, or after a moment the first of all. `None` if it ended instead.
async fn listening(instance: &Instance, declared: &[u16]) -> Option<SocketAddr> {
    let mut life = instance.life();
    let first = {
        let found = life.wait_for(|life| !life.listening.is_empty() || life.hung_up || life.death.is_some());
        *found.await.ok()?.listening.first()?
    };
    if declared.contains(&first.port()) {
        return Some(first);
    }
    let is_declared = |address: &&SocketAddr| declared.contains(&address.port());
    let found = life.wait_for(|life| life.listening.iter().any(|address| is_declared(&address)) || life.hung_up);
    match tokio::time::timeout(DECLARED_WITHIN, found).await {
        Ok(Ok(life)) => life.listening.iter().find(is_declared).copied().or(Some(first)),
        _ => Some(first),
    }
}

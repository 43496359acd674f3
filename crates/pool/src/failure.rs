//! A request that got no answer, and why.

use crate::running::Running;
use dockless_model::Code;
use dockless_node::{BodyError, Instance, KillReason, Life, RequestBody};
use http::Request;
use std::time::Duration;

/// How long the story of a broken connection is waited for.
const STORY: Duration = Duration::from_millis(200);

/// How long a service that has ended may take until its end is known.
const BURIAL: Duration = Duration::from_secs(1);

/// No answer.
#[derive(Debug)]
pub struct SendFailure {
    /// For the client.
    pub code: Code,
    /// For the log alone.
    pub detail: String,
    /// Whether the request may be sent again.
    pub replay: Replay,
}

/// What an instance may have seen of a request that failed.
#[derive(Debug)]
pub enum Replay {
    /// Nothing: any method may be sent again. Here it is, as it was prepared.
    Untouched(Box<Request<RequestBody>>),
    /// Some of it, and no byte of an answer came: methods without effect may be sent again.
    MaybeSeen,
    /// The failure is the answer.
    No,
}

impl SendFailure {
    pub(crate) fn new(code: Code, detail: impl Into<String>, replay: Replay) -> Self {
        Self { code, detail: detail.into(), replay }
    }
}

impl std::fmt::Display for SendFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for SendFailure {}

/// The launcher answered for the function: it threw, or there is none because its code did not load. The two are told
/// apart on the control channel, which may be a moment behind.
pub(crate) async fn verdict(instance: &Instance) -> SendFailure {
    let mut life = instance.life();
    let told = life.wait_for(|life| life.loaded || life.fatal.is_some() || life.hung_up || life.death.is_some());
    drop(tokio::time::timeout(STORY, told).await);
    let life = instance.peek();
    if life.loaded {
        return SendFailure::new(Code::FunctionFailed, "the function threw", Replay::No);
    }
    let detail = life.fatal.clone().unwrap_or_else(|| "its code did not load".into());
    SendFailure::new(Code::BootFailed, detail, Replay::No)
}

/// The connection ended before an answer: finds out why, and ends the lease as that deserves.
pub(crate) async fn explain(mut running: Running, error: hyper::Error) -> SendFailure {
    // The request's own body failed: the instance is abandoned with what it got of it.
    match BodyError::behind(&error) {
        Some(BodyError::TooLarge { limit }) => {
            return SendFailure::new(Code::BodyTooLarge, format!("the body is over {limit} bytes"), Replay::No);
        }
        Some(cause) => return SendFailure::new(Code::BadRequest, cause.to_string(), Replay::No),
        None => {}
    }
    let instance = running.instance();
    let mut life = instance.life();
    let serial = running.serial();
    let told = life.wait_for(|life| life.death.is_some() || (life.has_ended(serial) && !life.hung_up));
    // Without the story the facts so far have to do.
    drop(tokio::time::timeout(STORY, told).await);
    let life = instance.peek().clone();
    let failure = classify(&life, serial, &error.to_string());
    if life.death.is_none() && !life.hung_up {
        if life.has_ended(serial) {
            running.finish();
        }
        // Else it is abandoned by being dropped.
        instance.disconnect();
    }
    failure
}

/// The connection to a service ended before an answer: finds out why.
pub(crate) async fn explain_service(instance: &Instance, error: &hyper::Error, repeatable: bool) -> SendFailure {
    if let Some(cause) = BodyError::behind(error) {
        return SendFailure::new(Code::BadRequest, cause.to_string(), Replay::No);
    }
    // A process that ends closes its connections a moment before its end is told, and is buried when its memory is free.
    let mut life = instance.life();
    let told = life.wait_for(|life| life.exited || life.hung_up || life.death.is_some());
    // Out of memory, a slot's share of the processor makes a process end slowly. Whoever is asked again need not wait.
    let patience = if repeatable { STORY } else { BURIAL };
    drop(tokio::time::timeout(patience, told).await);
    if !instance.is_alive() {
        drop(tokio::time::timeout(BURIAL, life.wait_for(|life| life.death.is_some())).await);
    }
    let life = instance.peek();
    let code = match &life.death {
        Some(death) if death.oom => Code::OutOfMemory,
        _ => Code::InstanceDied,
    };
    let detail = life.death.as_ref().map_or_else(|| error.to_string(), ToString::to_string);
    SendFailure::new(code, detail, Replay::MaybeSeen)
}

/// Names a failure by what is known of the instance.
fn classify(life: &Life, serial: u64, error: &str) -> SendFailure {
    let failed = life.ended.as_ref().filter(|ended| ended.request == serial).and_then(|ended| ended.error.as_ref());
    let killed = life.death.as_ref().and_then(|death| death.killed);
    let detail = match (&life.death, &life.fatal) {
        (Some(death), Some(fatal)) => format!("{death}: {fatal}"),
        (Some(death), None) => death.to_string(),
        (None, Some(fatal)) => fatal.clone(),
        (None, None) => error.to_owned(),
    };
    let (code, replay) = if life.death.as_ref().is_some_and(|death| death.oom) {
        (Code::OutOfMemory, Replay::No)
    } else if matches!(killed, Some(KillReason::Deadline(_))) {
        (Code::FunctionTimeout, Replay::No)
    } else if failed.is_some() {
        (Code::FunctionFailed, Replay::No)
    } else if !life.loaded && (life.fatal.is_some() || killed.is_some()) {
        (Code::BootFailed, Replay::No)
    } else if !life.loaded {
        // It went before it had its code, by itself or by somebody's hand: another may do better.
        (Code::BootFailed, Replay::MaybeSeen)
    } else if life.death.is_none() && !life.hung_up {
        // It lives, so that its code closed the connection.
        (Code::FunctionFailed, Replay::No)
    } else {
        (Code::InstanceDied, Replay::MaybeSeen)
    };
    SendFailure::new(code, detail, replay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_node::{Death, Ended};
    use dockless_sandbox::frames::UserError;
    use dockless_sandbox::protocol::{ExitStatus, Usage};
    use std::sync::Arc;

    #[test]
    fn each_story_has_its_code() {
        let death = |status, oom, killed| {
            Some(Arc::new(Death { status: Some(status), oom, killed, usage: Usage::default(), tail: vec![] }))
        };
        let life =
            |loaded, death: Option<Arc<Death>>| Life { loaded, hung_up: death.is_some(), death, ..Life::default() };
        let uncaught = UserError { kind: "uncaught".into(), message: "no".into() };
        let ended = Some(Ended { request: 7, error: Some(uncaught) });
        let exit = death(ExitStatus::Code(1), false, None);
        let deadline = KillReason::Deadline(Duration::from_secs(1));
        let boot = KillReason::Boot(Duration::from_secs(1));
        let rows = [
            ("oom", life(true, death(ExitStatus::Signal(9), true, None)), Code::OutOfMemory, false),
            ("deadline", life(true, death(ExitStatus::Signal(9), false, Some(deadline))), Code::FunctionTimeout, false),
            ("exit", life(true, exit.clone()), Code::InstanceDied, true),
            ("kill -9", life(true, death(ExitStatus::Signal(9), false, None)), Code::InstanceDied, true),
            (
                "threw, then went",
                Life { ended: ended.clone(), ..life(true, exit.clone()) },
                Code::FunctionFailed,
                false,
            ),
            (
                "no code",
                Life { fatal: Some("SyntaxError".into()), ..life(false, exit.clone()) },
                Code::BootFailed,
                false,
            ),
            ("loads for ever", life(false, death(ExitStatus::Signal(9), false, Some(boot))), Code::BootFailed, false),
            ("killed while loading", life(false, exit), Code::BootFailed, true),
            ("closed its socket", life(true, None), Code::FunctionFailed, false),
            ("about to be buried", Life { hung_up: true, ..life(true, None) }, Code::InstanceDied, true),
        ];
        for (name, life, code, replay) in rows {
            let failure = classify(&life, 7, "broken");
            assert_eq!(failure.code, code, "{name}");
            assert_eq!(matches!(failure.replay, Replay::MaybeSeen), replay, "{name}");
        }
        let other = Life { ended, loaded: true, hung_up: true, ..Life::default() };
        assert_eq!(classify(&other, 8, "broken").code, Code::InstanceDied, "an error of another request");
    }
}

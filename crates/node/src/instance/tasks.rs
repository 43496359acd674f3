//! What goes on around an instance without anybody asking: its frames and its output are read, its end is recorded.

use super::{Ended, Instance, LauncherState, TAIL};
use crate::control::FrameReader;
use crate::logs::{Entry, Level, Source};
use crate::output::{Output, Taken};
use crate::{Death, KillReason};
use dockless_sandbox::frames::FromLauncher;
use dockless_sandbox::protocol::{ExitStatus, Usage};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Ports of a service that are remembered.
const MOST_PORTS: usize = 32;
/// How long after its control channel closed an instance may still be there.
const BURIED_WITHIN: Duration = Duration::from_secs(1);

/// Starts the readers. They end with the streams, or when the instance is over.
pub(super) fn spawn(instance: &Instance) {
    let over = instance.0.over.clone();
    let reader = read_control(instance.clone());
    instance.0.tasks.spawn(async move {
        over.run_until_cancelled(reader).await;
    });
    for index in 0..instance.0.outputs.len() {
        let over = instance.0.over.clone();
        let reader = read_output(instance.clone(), index);
        instance.0.tasks.spawn(async move {
            over.run_until_cancelled(reader).await;
        });
    }
}

async fn read_control(instance: Instance) {
    let mut frames = FrameReader::new();
    let mut chunk = [0; 4096];
    // An error is the end too: the far side is gone.
    while let Ok(()) = instance.0.control.readable().await {
        let length = match instance.0.control.try_read(&mut chunk) {
            Ok(length @ 1..) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => break,
        };
        match frames.push(&chunk[..length], Instant::now()) {
            Ok(frames) => {
                for frame in frames {
                    instance.hear(frame).await;
                }
            }
            Err(rule) => {
                tracing::warn!(instance = %instance.id(), rule, "instance broke the rules of the control channel");
                instance.kill(KillReason::Protocol(rule));
                break;
            }
        }
    }
    instance.0.life.send_modify(|life| life.hung_up = true);
    // A process that ends closes the channel too, and is buried a moment later. One that only closed the channel can
    // not be told from one that serves for ever.
    if tokio::time::timeout(BURIED_WITHIN, instance.death()).await.is_err() {
        instance.kill(KillReason::Protocol("the end was closed"));
    }
}

async fn read_output(instance: Instance, index: usize) {
    let output = &instance.0.outputs[index];
    loop {
        match output.read().await {
            Ok(taken) => {
                let (ended, pause) = (taken.ended, taken.pause);
                for entry in instance.entries(output, taken) {
                    instance.0.tools.logs.append_patiently(entry).await;
                }
                if ended {
                    return;
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            Err(error) => {
                tracing::warn!(instance = %instance.id(), %error, "cannot read the output of an instance");
                return;
            }
        }
    }
}

/// Records the end once the last output is read; what `None` means is that nobody can say how it ended.
pub(super) fn bury(instance: &Instance, end: Option<(ExitStatus, Usage)>) {
    let instance = instance.clone();
    tokio::spawn(async move {
        instance.drain().await;
        let killed = instance.0.killed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (killed, served) = killed.map_or((None, None), |(reason, served)| (Some(reason), served));
        let tail = instance.0.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let signalled = instance.0.life.borrow().signalled;
        let end = match (end, signalled) {
            // What the program did, where its first process can only give a code.
            (Some((_, usage)), Some(signal)) => Some((ExitStatus::Signal(signal), usage)),
            (end, _) => end,
        };
        let death = match end {
            Some((status, usage)) => Death::new(status, usage, killed, tail),
            None => Death::unknown(killed, tail),
        };
        if killed != Some(KillReason::Retired) {
            let fatal = instance.0.life.borrow().fatal.clone();
            let text = match fatal {
                Some(fatal) if killed.is_none() && !fatal.is_empty() => format!("{death}: {fatal}"),
                _ => death.to_string(),
            };
            let request = instance.serving().clone().or(served);
            instance.note(Level::Error, &text, request.clone());
            tracing::info!(instance = %instance.id(), request = request.as_deref(), end = text, "instance ended");
        }
        instance.0.life.send_modify(|life| life.death = Some(Arc::new(death)));
        instance.0.over.cancel();
        instance.disconnect();
    });
}

impl Instance {
    async fn hear(&self, frame: FromLauncher) {
        let life = &self.0.life;
        match frame {
            FromLauncher::ServerStarted { .. } => life.send_modify(|life| life.started = true),
            FromLauncher::HandlerLoaded { .. } => life.send_modify(|life| life.loaded = true),
            FromLauncher::End { context, error } => {
                // A number that was never given is not believed: it would end requests to come.
                let request = context.request_id;
                if request > self.0.issued.load(Ordering::Relaxed) {
                    return;
                }
                // What it printed belongs to this request, and is in its log before the next one begins.
                self.drain().await;
                self.serving().take_if(|serving| **serving == *context.invocation_id);
                life.send_modify(|life| {
                    if !life.has_ended(request) {
                        life.ended = Some(Ended { request, error });
                    }
                });
            }
            FromLauncher::UnrecoverableError { message, .. } => {
                life.send_modify(|life| life.fatal = Some(message));
            }
            FromLauncher::Listening { address } => life.send_modify(|life| {
                life.started = true;
                // More than any init of ours tells: it is believed no further.
                if life.listening.len() < MOST_PORTS && !life.listening.contains(&address) {
                    life.listening.push(address);
                }
            }),
            FromLauncher::NotStarted { step, error } => {
                life.send_modify(|life| life.fatal = Some(format!("cannot {step}: {error}")));
            }
            FromLauncher::Exited { signal, .. } => life.send_modify(|life| {
                life.exited = true;
                life.signalled = signal;
            }),
            FromLauncher::Status { state, request_id, .. } => {
                let state = match (state.as_str(), request_id) {
                    ("waiting", _) => LauncherState::Waiting,
                    ("idle", _) => LauncherState::Idle,
                    (_, Some(serial)) => LauncherState::Busy(serial),
                    (_, None) => LauncherState::Loading,
                };
                let asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(asked) = asked {
                    // Whoever asked may have stopped waiting.
                    let _: Result<(), LauncherState> = asked.send(state);
                }
            }
        }
    }

    /// Puts what it has printed so far into the log, without waiting for the disk.
    pub(super) async fn drain(&self) {
        for output in &self.0.outputs {
            match output.drain().await {
                Ok(taken) => {
                    for entry in self.entries(output, taken) {
                        self.0.tools.logs.append(entry);
                    }
                }
                Err(error) => tracing::debug!(instance = %self.id(), %error, "cannot drain the output of an instance"),
            }
        }
    }

    /// Lines as entries of the log; before `go` there is no log, only the memory of the last lines.
    fn entries(&self, output: &Output, taken: Taken) -> Vec<Entry> {
        if taken.lines.is_empty() {
            return Vec::new();
        }
        {
            let mut tail = self.0.tail.lock().unwrap_or_else(PoisonError::into_inner);
            for line in taken.lines.iter().skip(taken.lines.len().saturating_sub(TAIL)) {
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line.clone());
            }
        }
        let Some(identity) = self.0.identity.get() else {
            for line in taken.lines {
                tracing::debug!(instance = %self.id(), line, "a sandbox without function printed");
            }
            return Vec::new();
        };
        let request = self.serving().clone();
        let at = self.0.tools.clock.now();
        let level = if output.source == Source::Stderr { Level::Error } else { Level::Info };
        let entry = |text: String| {
            let (origin, request) = (identity.origin.clone(), request.clone());
            Entry { origin, at, request, source: output.source, level, text }
        };
        taken.lines.into_iter().map(entry).collect()
    }
}

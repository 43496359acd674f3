//! This process as the host sees it: waiting, then a function, idle or busy with one request.

use crate::control::{Control, Frames};
use dockless_sandbox::frames::{Context, FromLauncher, Go, ToLauncher, UserError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::watch;
use tokio::time::Instant;

/// Clones share it. `B` is what answers.
#[derive(Debug)]
pub(crate) struct Instance<B>(Rc<Inner<B>>);

impl<B> Clone for Instance<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Inner<B> {
    control: Control,
    begun: Instant,
    go: watch::Sender<Option<Rc<Go>>>,
    /// When it became a function.
    went: Cell<Option<Instant>>,
    /// Requests whose end was not told, in order of arrival.
    in_flight: RefCell<Vec<Context>>,
    backend: B,
}

impl<B> Instance<B> {
    pub(crate) fn new(control: Control, backend: B) -> Self {
        Self(Rc::new(Inner {
            control,
            begun: Instant::now(),
            go: watch::Sender::new(None),
            in_flight: RefCell::default(),
            went: Cell::new(None),
            backend,
        }))
    }

    /// What answers.
    pub(crate) fn backend(&self) -> &B {
        &self.0.backend
    }

    /// Says that requests are accepted.
    pub(crate) fn started(&self, runtime: &str) {
        let init_duration = self.0.begun.elapsed().as_secs_f64() * 1000.0;
        self.0.control.send(&FromLauncher::ServerStarted { init_duration, runtime: runtime.to_owned() });
    }

    /// Does what the host orders; ends when it breaks the protocol, with how.
    pub(crate) async fn obey(&self, mut frames: Frames) -> String {
        loop {
            match frames.next().await {
                Ok(Some(ToLauncher::Go(go))) => {
                    if self.0.go.borrow().is_some() {
                        return "a second go".to_owned();
                    }
                    self.0.went.set(Some(Instant::now()));
                    self.0.go.send_replace(Some(Rc::new(go)));
                }
                Ok(Some(ToLauncher::Status)) => self.tell_status(),
                Ok(Some(ToLauncher::Signal { .. })) => {}
                // Its process may have been replaced; this one ends with the sandbox.
                Ok(None) => std::future::pending().await,
                Err(reason) => return reason,
            }
        }
    }

    /// Says that the function can answer.
    pub(crate) fn loaded(&self, shape: &str) {
        let load_duration = self.0.went.get().map_or(0.0, |went| went.elapsed().as_secs_f64() * 1000.0);
        self.0.control.send(&FromLauncher::HandlerLoaded { load_duration, shape: shape.to_owned() });
    }

    fn tell_status(&self) {
        let in_flight = self.0.in_flight.borrow();
        let state = match (self.0.go.borrow().is_some(), in_flight.first()) {
            (false, _) => "waiting",
            (true, Some(_)) => "busy",
            (true, None) => "idle",
        };
        self.0.control.send(&FromLauncher::Status {
            state: state.to_owned(),
            invocation_id: in_flight.first().map(|context| context.invocation_id.clone()),
            request_id: in_flight.first().map(|context| context.request_id),
        });
    }

    /// Whose function this is, if it is known.
    pub(crate) fn function(&self) -> Option<Rc<Go>> {
        self.0.go.borrow().clone()
    }

    /// Whose function this is, as soon as it is known.
    pub(crate) async fn known_function(&self) -> Option<Rc<Go>> {
        let mut known = self.0.go.subscribe();
        known.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// An invocation begins.
    pub(crate) fn begin(&self, context: &Context) {
        self.0.in_flight.borrow_mut().push(context.clone());
    }

    /// It is over: from now on the host may freeze the process at any moment.
    pub(crate) fn end(&self, context: Context, error: Option<UserError>) {
        self.0.in_flight.borrow_mut().retain(|known| *known != context);
        self.0.control.send(&FromLauncher::End { context, error });
    }
}

/// Writes to the log of the function.
pub(crate) fn tell(text: &str) {
    // Nobody reads our log any more: nobody to tell either.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

//! This process as the host sees it: waiting, then a function, idle or busy with one request.

use crate::control::{Control, Frames};
use crate::exchange::Interpreter;
use dockless_sandbox::frames::{Context, FromLauncher, Go, ToLauncher, UserError};
use std::cell::RefCell;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Instance(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    control: Control,
    begun: Instant,
    go: watch::Sender<Option<Rc<Go>>>,
    /// Requests whose end was not told, in order of arrival.
    in_flight: RefCell<Vec<Context>>,
    /// It answers one request at a time.
    interpreter: Mutex<Interpreter>,
}

impl Instance {
    pub(crate) fn new(control: Control, address: SocketAddr) -> Self {
        Self(Rc::new(Inner {
            control,
            begun: Instant::now(),
            go: watch::Sender::new(None),
            in_flight: RefCell::default(),
            interpreter: Mutex::new(Interpreter::at(address)),
        }))
    }

    /// Says that requests are accepted.
    pub(crate) fn started(&self) {
        let init_duration = self.0.begun.elapsed().as_secs_f64() * 1000.0;
        self.0.control.send(&FromLauncher::ServerStarted { init_duration, runtime: "php".to_owned() });
    }

    /// Does what the host orders; ends when it breaks the protocol, with how.
    pub(crate) async fn obey(&self, mut frames: Frames) -> String {
        loop {
            match frames.next().await {
                Ok(Some(ToLauncher::Go(go))) => {
                    if self.0.go.borrow().is_some() {
                        return "a second go".to_owned();
                    }
                    self.become_function(go);
                }
                Ok(Some(ToLauncher::Status)) => self.tell_status(),
                Ok(Some(ToLauncher::Signal { .. })) => {}
                // Its process may have been replaced; this one ends with the sandbox.
                Ok(None) => std::future::pending().await,
                Err(reason) => return reason,
            }
        }
    }

    fn become_function(&self, go: Go) {
        let begun = Instant::now();
        if !Path::new(&go.root).join(&go.entry).is_file() {
            tell(&format!("{} is not part of the bundle\n", go.entry));
        }
        self.0.go.send_replace(Some(Rc::new(go)));
        let load_duration = begun.elapsed().as_secs_f64() * 1000.0;
        self.0.control.send(&FromLauncher::HandlerLoaded { load_duration, shape: "fastcgi".to_owned() });
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

    /// The interpreter, when it is nobody's.
    pub(crate) async fn interpreter(&self) -> tokio::sync::MutexGuard<'_, Interpreter> {
        self.0.interpreter.lock().await
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

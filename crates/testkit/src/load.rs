//! Constant load: requests begin when the clock says, whether or not earlier ones were answered.

use crate::deployment::Deployment;
use crate::http::{Connection, Request, connect};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a prober uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// A new one for each request.
    Fresh,
    /// One for as long as the server keeps it. A closed one is noticed before the next request is written; nothing is
    /// ever sent twice.
    Kept,
}

/// One kind of request, sent by so many threads in turn.
#[derive(Debug, Clone)]
pub struct Load {
    /// Whom.
    pub deployment: Deployment,
    /// What.
    pub request: Request,
    /// How.
    pub connections: Connections,
    /// Threads; each has at most one request in flight.
    pub threads: u32,
    /// Between two requests of a thread.
    pub every: Duration,
}

/// What became of it all.
#[derive(Debug, Default)]
pub struct Report {
    /// Complete answers by status and, for the platform's own, code.
    pub answers: BTreeMap<String, usize>,
    /// Bodies of answers with status 200.
    pub bodies: Vec<String>,
    /// Requests without a complete answer.
    pub lost: Vec<Loss>,
}

/// A request without a complete answer.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Of which method.
    pub method: String,
    /// When its connection was asked for, or its first byte written.
    pub began: Instant,
    /// When it was known to be lost.
    pub ended: Instant,
    /// How.
    pub kind: LossKind,
    /// In words.
    pub error: String,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossKind {
    /// No connection: the one thing that never may happen.
    Refused,
    /// The connection broke without an answer, or within it.
    Broken,
}

/// A running load.
#[derive(Debug)]
pub struct RunningLoad {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Report>>,
}

impl Load {
    /// Starts it.
    #[must_use]
    pub fn start(self) -> RunningLoad {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..self.threads)
            .map(|number| {
                let (load, stop) = (self.clone(), Arc::clone(&stop));
                std::thread::spawn(move || load.run(number, &stop))
            })
            .collect();
        RunningLoad { stop, threads }
    }

    fn run(&self, number: u32, stop: &AtomicBool) -> Report {
        let mut report = Report::default();
        let mut kept: Option<Connection> = None;
        // Spread over the interval, so that probers do not march in step.
        let mut next = Instant::now() + self.every * number / self.threads.max(1);
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if next > now {
                std::thread::sleep(next - now);
            }
            next += self.every;
            self.once(&mut kept, &mut report);
        }
        report
    }

    fn once(&self, kept: &mut Option<Connection>, report: &mut Report) {
        let began = Instant::now();
        let lose = |report: &mut Report, kind, error: &io::Error| {
            report.lost.push(Loss {
                method: self.request.method.clone(),
                began,
                ended: Instant::now(),
                kind,
                error: error.to_string(),
            });
        };
        let open = || connect(self.deployment.address(), &self.deployment.authority());
        let reused = kept.take().filter(|_| self.connections == Connections::Kept);
        let mut connection = match reused.map(|mut connection| (connection.is_stale(), connection)) {
            Some((false, connection)) => connection,
            _ => match open() {
                Ok(connection) => connection,
                Err(error) => return lose(report, LossKind::Refused, &error),
            },
        };
        match connection.send(&self.request) {
            Ok(response) => {
                let name = match response.code() {
                    Some(code) => format!("{} {code}", response.status()),
                    None => response.status().to_string(),
                };
                *report.answers.entry(name).or_default() += 1;
                if response.status() == 200 {
                    report.bodies.push(response.text());
                }
                if !response.head.closes() {
                    *kept = Some(connection);
                }
            }
            Err(error) => lose(report, LossKind::Broken, &error),
        }
    }
}

impl RunningLoad {
    /// Stops it; every request in flight is waited for.
    ///
    /// # Panics
    /// A prober has panicked.
    #[must_use]
    pub fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Report::default();
        for thread in self.threads {
            all.add(thread.join().expect("a prober does not panic"));
        }
        all
    }
}

impl Report {
    /// Adds another's counts to these.
    pub fn add(&mut self, other: Self) {
        for (name, count) in other.answers {
            *self.answers.entry(name).or_default() += count;
        }
        self.bodies.extend(other.bodies);
        self.lost.extend(other.lost);
    }

    /// Answers with status 200.
    #[must_use]
    pub fn good(&self) -> usize {
        self.answers.get("200").copied().unwrap_or(0)
    }

    /// Answers with any other status.
    #[must_use]
    pub fn bad(&self) -> usize {
        self.answers.values().sum::<usize>() - self.good()
    }

    /// Connections that were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.lost.iter().filter(|loss| loss.kind == LossKind::Refused).count()
    }
}

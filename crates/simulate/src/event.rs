//! What happens, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the beginning of the story.
pub(crate) type Micros = u64;

pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;

/// One thing that happens. Numbers are indices: of functions, requests, processes, servers, keepers, starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// Clients of a function come.
    Arrive { function: usize },
    /// A request was in the queue for as long as an `end` is waited for.
    Settled { request: usize, attempt: u32 },
    /// A request has waited long enough.
    PatienceOver { request: usize, attempt: u32 },
    /// Whoever got a lease goes to the instance.
    Ready { request: usize, attempt: u32 },
    /// The answer is complete.
    Answered { request: usize, attempt: u32 },
    /// The function has run for as long as it may.
    Deadline { request: usize, attempt: u32 },
    /// The client has had enough.
    ClientLeaves { request: usize },
    /// The connection broke, and the story of that is known or waited for in vain.
    BrokenOff { request: usize, attempt: u32 },
    /// A start comes to the warden.
    StartGo { start: usize },
    /// A start has come to its end.
    StartOver { start: usize },
    /// The program has loaded its code.
    Loaded { process: usize },
    /// The program is done with a request.
    ProgramEnds { process: usize, serial: u64 },
    /// The server hears of it.
    EndTold { process: usize, serial: u64 },
    /// A process ends.
    Dies { process: usize },
    /// The server sees the control channel close.
    HangsUp { process: usize },
    /// The warden buries it.
    Buried { process: usize },
    /// The server hears of that.
    DeathTold { process: usize },
    /// A keeper looks.
    Look { keeper: usize, turn: u64 },
    /// The freezer's thread writes.
    FreezeWritten { keeper: usize },
    /// The kernel has confirmed it, or not.
    FreezeOver { keeper: usize },
    /// The warden has taken an instance back.
    Released { keeper: usize },
    /// A server looks for what there is to adopt.
    Adopt { server: usize },
    /// An adopted instance has said what it does.
    Adopted { process: usize, server: usize },
    /// A start that was refused may be tried again.
    LookAgain { server: usize, desk: usize, index: usize },
    /// Memory is looked at.
    Housekeeping { server: usize },
    /// A server hears how many instances of a deployment are to be kept.
    Keep { server: usize, desk: usize },
    /// A server that hands over looks whether it is done.
    DrainLook { server: usize },
    /// Something goes wrong, or an operator does something.
    Trouble,
}

/// Events to come, in order; of those at the same time the first to be planned.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    serial: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Micros, event: Event) {
        self.serial += 1;
        self.heap.push(Reverse((at, self.serial, event)));
    }

    pub(crate) fn next(&mut self) -> Option<(Micros, Event)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}

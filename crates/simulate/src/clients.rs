//! Requests, from their coming to their end: what gateway and lease do.

use crate::bug::Bug;
use crate::event::{Event, MS, Micros, SECOND};
use crate::promise::{Broken, Promise};
use crate::world::{At, End, Freezer, Request, Seat, State, Ticket, World};
use dockless_pool::plan::Phase;
use std::sync::Arc;
use std::time::Duration;

/// Instances that may turn out to be gone before a request gives up.
const TRIES: u32 = 5;

impl World {
    /// Clients come: one, or many at once.
    pub(crate) fn arrive(&mut self, function: usize) -> Result<(), Broken> {
        if !self.busy {
            return Ok(());
        }
        let many = if self.random.once_in(40) { self.random.within(2, 60) } else { 1 };
        for _ in 0..many {
            self.one_comes(function)?;
        }
        let pause = self.town.shops[function].pause;
        let pause = if self.random.once_in(50) { 12 * SECOND } else { 2 * pause };
        self.later(0, pause, Event::Arrive { function });
        Ok(())
    }

    fn one_comes(&mut self, shop: usize) -> Result<(), Broken> {
        let mut server = self.newest();
        // Over a connection that was open before the hand-over.
        if server > 0 && self.servers[server - 1].alive && self.random.once_in(5) {
            server -= 1;
        }
        let request = self.requests.len();
        self.tally.requests += 1;
        self.servers[server].open += 1;
        self.requests.push(Request {
            shop,
            server,
            state: State::Waiting,
            attempt: 0,
            tries: 0,
            replayed: false,
            seen: 0,
            safe: self.random.once_in(2),
            gone: std::rc::Rc::default(),
            came: self.now,
            began: self.now,
            seat: None,
            serial: 0,
            deadline: 0,
        });
        if self.random.once_in(12) {
            self.later(0, 400 * MS, Event::ClientLeaves { request });
        }
        self.acquire(request)
    }

    /// Asks for a lease.
    fn acquire(&mut self, request: usize) -> Result<(), Broken> {
        let now = self.instant();
        let one = &mut self.requests[request];
        one.state = State::Waiting;
        one.attempt += 1;
        one.began = self.now;
        one.gone = std::rc::Rc::default();
        let (attempt, server, gone) = (one.attempt, one.server, one.gone.clone());
        let shop = &self.town.shops[one.shop];
        let (spec, account, desk) =
            (shop.spec.clone(), self.servers[server].accounts[shop.account].clone(), shop.deployment);
        let ticket = Ticket { request, attempt, gone };
        let (index, place, todo) = self.servers[server].desks[desk].enqueue(&spec, || account, ticket, now);
        let at = At { server, desk, index };
        if place.is_ok() {
            self.check_queue(at, request)?;
        }
        self.perform(at, todo)?;
        if place.is_err() {
            return self.end(request, End::Refused);
        }
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let (settle, patience) = (micros(self.config.settle), micros(self.config.patience(&spec)));
        self.later(settle, settle, Event::Settled { request, attempt });
        self.later(patience, patience, Event::PatienceOver { request, attempt });
        Ok(())
    }

    fn is_waiting(&self, request: usize, attempt: u32) -> bool {
        let one = &self.requests[request];
        one.state == State::Waiting && one.attempt == attempt
    }

    fn is_sent(&self, request: usize, attempt: u32) -> bool {
        let one = &self.requests[request];
        one.state == State::Sent && one.attempt == attempt
    }

    pub(crate) fn place_of(&self, request: usize) -> Option<At> {
        let one = &self.requests[request];
        let shop = &self.town.shops[one.shop];
        let groups = self.servers[one.server].desks[shop.deployment].groups();
        let index = groups.iter().position(|group| Arc::ptr_eq(group.spec(), &shop.spec))?;
        Some(At { server: one.server, desk: shop.deployment, index })
    }

    pub(crate) fn settled(&mut self, request: usize, attempt: u32) -> Result<(), Broken> {
        match self.place_of(request) {
            Some(at) if self.is_waiting(request, attempt) => self.look_again(at),
            _ => Ok(()),
        }
    }

    pub(crate) fn patience_over(&mut self, request: usize, attempt: u32) -> Result<(), Broken> {
        if !self.is_waiting(request, attempt) {
            return Ok(());
        }
        self.check_starved(request)?;
        self.end(request, End::Refused)
    }

    /// Makes the instance ready, and sends.
    pub(crate) fn ready(&mut self, request: usize, attempt: u32) -> Result<(), Broken> {
        if self.requests[request].state != State::Leased || self.requests[request].attempt != attempt {
            return Ok(());
        }
        let Some(seat) = self.requests[request].seat.clone() else { return Ok(()) };
        self.thaw(&seat);
        let news = seat.guest.0.news.get();
        if news.dead || news.hung_up {
            self.requests[request].tries += 1;
            self.discard(&seat)?;
            return if self.requests[request].tries < TRIES {
                self.acquire(request)
            } else {
                self.end(request, End::Died)
            };
        }
        let process = seat.guest.0.process;
        if !self.processes[process].alive {
            // Nobody accepts: no byte was written.
            self.discard(&seat)?;
            return self.replay(request);
        }
        self.send(request, attempt, &seat)
    }

    fn thaw(&mut self, seat: &Seat) {
        let view = &seat.guest.0;
        match view.freezer.get() {
            Freezer::Written => self.processes[view.process].frozen = false,
            Freezer::Asked if self.bug == Some(Bug::FreezeInUse) => return,
            Freezer::Running | Freezer::Asked => {}
        }
        view.freezer.set(Freezer::Running);
    }

    fn send(&mut self, request: usize, attempt: u32, seat: &Seat) -> Result<(), Broken> {
        let number = seat.guest.0.process;
        let (shop, now) = (self.requests[request].shop, self.now);
        let spec = self.town.shops[shop].spec.clone();
        let process = &mut self.processes[number];
        if process.frozen {
            return Err(Broken::new(
                Promise::NotFrozen,
                format!("request {request} is sent to frozen process {number}"),
            ));
        }
        if let Some(serial) = process.busy {
            let detail = format!("request {request} comes to process {number}, which works on its request {serial}");
            return Err(Broken::new(
                if process.requests.is_empty() { Promise::Done } else { Promise::OneAtATime },
                detail,
            ));
        }
        process.requests.push(request);
        if process.requests.len() > usize::try_from(spec.concurrency()).unwrap_or(1) {
            let detail = format!("{} requests are in process {number}", process.requests.len());
            return Err(Broken::new(Promise::OneAtATime, detail));
        }
        process.serial += 1;
        let serial = process.serial;
        let one = &mut self.requests[request];
        (one.state, one.serial, one.tries) = (State::Sent, serial, 0);
        one.seen += 1;
        let work = self.work(shop);
        if let Some(limit) = spec.invocation_limit() {
            self.processes[number].busy = Some(serial);
            let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
            self.requests[request].deadline = now + limit;
            self.later(limit, limit, Event::Deadline { request, attempt });
            if self.random.once_in(60) {
                // It never ends, and may not even answer.
                if self.random.once_in(2) {
                    self.later(work, work, Event::Answered { request, attempt });
                }
                return Ok(());
            }
            // The end comes by another way than the answer: sooner, later, or much later.
            let end = match self.random.index(20) {
                0 => work + self.random.within(0, 2 * SECOND),
                1..6 => work.saturating_sub(self.random.within(0, 500)),
                _ => work + self.random.within(0, 500),
            };
            self.later(end, end, Event::ProgramEnds { process: number, serial });
        } else if self.random.once_in(50) {
            // A stream that ends with its client, or never.
            if self.random.once_in(2) {
                self.later(0, 20 * SECOND, Event::ClientLeaves { request });
            }
            return Ok(());
        }
        self.later(work, work, Event::Answered { request, attempt });
        Ok(())
    }

    fn work(&mut self, shop: usize) -> Micros {
        let usual = self.town.shops[shop].work;
        if self.random.once_in(50) { self.random.within(0, 3 * SECOND) } else { self.random.within(50, usual) }
    }

    /// The answer is complete.
    pub(crate) fn answered(&mut self, request: usize, attempt: u32) -> Result<(), Broken> {
        if !self.is_sent(request, attempt) {
            return Ok(());
        }
        let one = &self.requests[request];
        if one.deadline > 0 && self.now > one.deadline && self.now > self.late_until {
            return Err(Broken::new(Promise::Patience, format!("request {request} is answered after its duration")));
        }
        let (serial, deadline) = (one.serial, self.origin + Duration::from_micros(one.deadline));
        let Some(seat) = self.leave_process(request) else { return Ok(()) };
        self.end(request, End::Answered)?;
        let shop = self.requests[request].shop;
        if self.town.shops[shop].spec.service().is_some() {
            if self.bug == Some(Bug::PlaceFreedTwice) && self.random.once_in(20) {
                self.leave(&seat)?;
            }
            return self.leave(&seat);
        }
        if !self.is_seated(&seat) {
            return Ok(());
        }
        let now = self.instant();
        let todo = self.books(seat.at).finished(seat.at.index, seat.key, serial, deadline, now);
        self.perform(seat.at, todo)
    }

    /// Too long: the instance is ended.
    pub(crate) fn deadline(&mut self, request: usize, attempt: u32) -> Result<(), Broken> {
        if !self.is_sent(request, attempt) {
            return Ok(());
        }
        let Some(seat) = self.leave_process(request) else { return Ok(()) };
        self.end(request, End::TimedOut)?;
        self.discard(&seat)
    }

    pub(crate) fn client_leaves(&mut self, request: usize) -> Result<(), Broken> {
        let state = self.requests[request].state;
        if state == State::Over {
            return Ok(());
        }
        let seat = self.leave_process(request);
        self.end(request, End::Left)?;
        match (state, seat) {
            (State::Sent | State::Broken, Some(seat)) => self.abandon(request, &seat),
            (State::Leased, Some(seat)) => self.leave(&seat),
            _ => Ok(()),
        }
    }

    /// The lease ends without its answer.
    fn abandon(&mut self, request: usize, seat: &Seat) -> Result<(), Broken> {
        let one = &self.requests[request];
        if self.town.shops[one.shop].spec.service().is_some() {
            return self.leave(seat);
        }
        let phase =
            Phase::Abandoned { serial: one.serial, deadline: self.origin + Duration::from_micros(one.deadline) };
        self.become_(seat, phase)?;
        self.books(seat.at).wake(seat.at.index, seat.key);
        self.perform_deeds()
    }

    /// Why a connection broke is known, or was waited for in vain.
    pub(crate) fn broken_off(&mut self, request: usize, attempt: u32) -> Result<(), Broken> {
        if self.requests[request].state != State::Broken || self.requests[request].attempt != attempt {
            return Ok(());
        }
        if let Some(seat) = self.leave_process(request) {
            self.abandon(request, &seat)?;
        }
        if self.requests[request].safe || self.bug == Some(Bug::ReplayAlways) {
            self.replay(request)
        } else {
            self.end(request, End::Died)
        }
    }

    /// Once more, once.
    fn replay(&mut self, request: usize) -> Result<(), Broken> {
        let one = &mut self.requests[request];
        one.tries = 0;
        if std::mem::replace(&mut one.replayed, true) { self.end(request, End::Died) } else { self.acquire(request) }
    }

    /// Takes a request out of its instance; gives back its seat.
    pub(crate) fn leave_process(&mut self, request: usize) -> Option<Seat> {
        let seat = self.requests[request].seat.take()?;
        self.processes[seat.guest.0.process].requests.retain(|other| *other != request);
        Some(seat)
    }
}

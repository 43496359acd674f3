//! Servers: what the pool does around its books, in the order in which it does it.

use crate::bug::Bug;
use crate::event::{Event, MS, SECOND};
use crate::promise::{Broken, Promise};
use crate::world::{At, End, Guest, Seat, Server, Start, State, Ticket, World};
use dockless_pool::books::{Books, Todo};
use dockless_pool::plan::{Phase, Warmth};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Idle instances that go at once when memory is short.
const AT_ONCE: usize = 4;

impl World {
    pub(crate) fn new_server(&mut self) -> usize {
        let server = self.servers.len();
        let draining = Arc::default();
        let books = |_| Books::new(self.config, Arc::clone(&draining));
        let desks = (0..self.town.deployments).map(books).collect();
        let accounts = (0..self.town.accounts).map(|_| Arc::default()).collect();
        self.servers.push(Server { alive: true, draining, desks, accounts, open: 0 });
        self.later(500 * MS, 500 * MS, Event::Housekeeping { server });
        self.later(MS, 50 * MS, Event::Adopt { server });
        for desk in 0..self.town.deployments {
            self.later(20 * MS, 100 * MS, Event::Keep { server, desk });
        }
        server
    }

    pub(crate) fn books(&mut self, at: At) -> &mut Books<Guest, Ticket> {
        &mut self.servers[at.server].desks[at.desk]
    }

    /// Does what a plan left to be done.
    pub(crate) fn perform(&mut self, at: At, todo: Todo<Guest, Ticket>) -> Result<(), Broken> {
        self.check(at, todo.starts)?;
        self.perform_deeds()?;
        for _ in 0..todo.starts {
            self.begin_start(at);
        }
        for (_, guest) in todo.releases {
            if let Some(keeper) = guest.0.keeper.get() {
                // The connection is closed, the output drained, the warden asked.
                self.later(0, 500, Event::Released { keeper });
            }
        }
        for (ticket, _) in todo.refusals {
            if !ticket.gone.get() {
                self.end(ticket.request, End::Refused)?;
            }
        }
        for grant in todo.grants {
            let seat = Seat { at, key: grant.key, guest: grant.occupant };
            if grant.waiter.gone.get() {
                self.leave(&seat)?;
                continue;
            }
            let Ticket { request, attempt, .. } = grant.waiter;
            let one = &mut self.requests[request];
            if one.state != State::Waiting || one.attempt != attempt {
                return Err(Broken::new(Promise::AnsweredOnce, format!("request {request} got a lease unasked")));
            }
            one.state = State::Leased;
            one.seat = Some(seat.clone());
            let patience = self.config.patience(&self.town.shops[one.shop].spec).as_micros();
            let waited = u128::from(self.now - one.began);
            if waited > patience && self.now > self.late_until {
                return Err(Broken::new(Promise::Patience, format!("request {request} waited {waited} µs")));
            }
            self.later(0, 200, Event::Ready { request, attempt });
            if self.bug == Some(Bug::LeaseTwice) && self.random.once_in(50) {
                self.leave(&seat)?;
            }
        }
        if todo.short > 0 { self.make_room(at, todo.short) } else { Ok(()) }
    }

    /// A lease ends and its instance is as it was.
    pub(crate) fn leave(&mut self, seat: &Seat) -> Result<(), Broken> {
        if !self.is_seated(seat) {
            return Ok(());
        }
        let now = self.instant();
        let shop = self.processes[seat.guest.0.process].shop;
        let todo = if self.town.shops[shop].spec.service().is_some() {
            self.books(seat.at).leave(seat.at.index, seat.key, now)
        } else {
            let phase = Phase::Idle { since: now, warmth: Warmth::Running };
            self.books(seat.at).become_(seat.at.index, seat.key, phase, now)
        };
        self.perform(seat.at, todo)
    }

    /// Whether its instance is still in the books; otherwise nothing is planned.
    pub(crate) fn is_seated(&mut self, seat: &Seat) -> bool {
        self.books(seat.at).occupant(seat.at.index, seat.key).is_some()
    }

    pub(crate) fn become_(&mut self, seat: &Seat, phase: Phase) -> Result<(), Broken> {
        if !self.is_seated(seat) {
            return Ok(());
        }
        let now = self.instant();
        let todo = self.books(seat.at).become_(seat.at.index, seat.key, phase, now);
        self.perform(seat.at, todo)
    }

    /// The instance is of no use.
    pub(crate) fn discard(&mut self, seat: &Seat) -> Result<(), Broken> {
        self.kill(&seat.guest);
        self.become_(seat, Phase::Draining)
    }

    pub(crate) fn look_again(&mut self, at: At) -> Result<(), Broken> {
        if !self.servers[at.server].alive {
            return Ok(());
        }
        let now = self.instant();
        let todo = self.books(at).look(at.index, now);
        self.perform(at, todo)
    }

    /// Plans everything of a server again.
    pub(crate) fn look_everywhere(&mut self, server: usize) -> Result<(), Broken> {
        let now = self.instant();
        for desk in 0..self.servers[server].desks.len() {
            let todos = self.servers[server].desks[desk].look_all(now);
            for (index, todo) in todos {
                self.perform(At { server, desk, index }, todo)?;
            }
        }
        Ok(())
    }

    /// An instance is gone: functions of the same account that are at its cap may start one, whoever waits longest first.
    pub(crate) fn freed(&mut self, server: usize, account: usize) -> Result<(), Broken> {
        if !self.servers[server].accounts[account].gone() {
            return Ok(());
        }
        let id = self.town.account(account);
        let desks = self.servers[server].desks.iter().enumerate();
        let queues = desks.flat_map(|(desk, books)| books.queues(&id).map(move |(since, index)| (since, desk, index)));
        let mut queues: Vec<_> = queues.collect();
        queues.sort_unstable();
        for (_, desk, index) in queues {
            self.look_again(At { server, desk, index })?;
        }
        Ok(())
    }

    /// Idle instances of an account make room for as many starts, those on their way out counted.
    fn make_room(&mut self, at: At, starts: usize) -> Result<(), Broken> {
        let account = self.town.shops.iter().find(|shop| shop.deployment == at.desk).map_or(0, |shop| shop.account);
        let id = self.town.account(account);
        let going: usize = self.servers[at.server].desks.iter().map(|books| books.going(&id)).sum();
        for _ in going..starts {
            if !self.evict(at.server, Some(account))? {
                break;
            }
        }
        Ok(())
    }

    /// Retires the idle instance that was not used for longest; says whether there was one.
    pub(crate) fn evict(&mut self, server: usize, account: Option<usize>) -> Result<bool, Broken> {
        let account = account.map(|account| self.town.account(account));
        let desks = self.servers[server].desks.iter().enumerate();
        let candidates = desks.filter_map(|(desk, books)| {
            books.stalest(account.as_ref()).map(|(since, index, key)| (since, desk, index, key))
        });
        let Some((_, desk, index, key)) = candidates.min() else { return Ok(false) };
        let at = At { server, desk, index };
        let now = self.instant();
        let todo = self.books(at).evict(index, key, now);
        self.perform(at, todo)?;
        Ok(true)
    }

    /// A server hears how many are to be kept.
    pub(crate) fn keep_told(&mut self, server: usize, desk: usize) -> Result<(), Broken> {
        if !self.servers[server].alive {
            return Ok(());
        }
        let (kept, now) = (self.kept[desk], self.instant());
        let shops = self.town.shops.iter().filter(|shop| shop.deployment == desk);
        let shops: Vec<_> = shops.map(|shop| (shop.spec.clone(), shop.account)).collect();
        for (spec, account) in shops {
            let account = self.servers[server].accounts[account].clone();
            let (index, todo) = self.servers[server].desks[desk].keep(&spec, || account, kept, now);
            self.perform(At { server, desk, index }, todo)?;
        }
        Ok(())
    }

    /// Owners want none kept any more.
    pub(crate) fn keep_none(&mut self) -> Result<(), Broken> {
        self.kept.fill(0);
        let now = self.instant();
        for server in 0..self.servers.len() {
            for desk in 0..self.town.deployments {
                if self.servers[server].alive {
                    let todos = self.servers[server].desks[desk].keep_none(now);
                    for (index, todo) in todos {
                        self.perform(At { server, desk, index }, todo)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn begin_start(&mut self, at: At) {
        let spec = self.servers[at.server].desks[at.desk].groups()[at.index].spec();
        let shop = self.town.shops.iter().position(|shop| Arc::ptr_eq(&shop.spec, spec)).unwrap_or(0);
        self.tally.starts += 1;
        let start = self.starts.len();
        self.starts.push(Start { at, shop, process: None, failure: None });
        self.later(100, 5 * MS, Event::StartGo { start });
    }

    pub(crate) fn housekeeping(&mut self, server: usize) -> Result<(), Broken> {
        if !self.servers[server].alive {
            return Ok(());
        }
        for _ in 0..AT_ONCE {
            if self.now >= self.short_of_memory_until || !self.evict(server, None)? {
                break;
            }
        }
        self.check_all(server)?;
        self.later(500 * MS, 500 * MS, Event::Housekeeping { server });
        Ok(())
    }

    /// A server that hands over leaves once nothing is left.
    pub(crate) fn drain_look(&mut self, server: usize) -> Result<(), Broken> {
        if !self.servers[server].alive {
            return Ok(());
        }
        self.look_everywhere(server)?;
        let one = &mut self.servers[server];
        if one.open == 0 && one.desks.iter().all(Books::is_empty) {
            one.alive = false;
            return self.check_accounts(server);
        }
        self.later(20 * MS, 20 * MS, Event::DrainLook { server });
        Ok(())
    }

    /// The server that new connections reach.
    pub(crate) fn newest(&self) -> usize {
        self.servers.len() - 1
    }

    /// Something goes wrong, or an operator does something.
    pub(crate) fn trouble(&mut self) -> Result<(), Broken> {
        if !self.busy {
            return Ok(());
        }
        self.later(5 * MS, 2 * SECOND, Event::Trouble);
        self.tally.troubles += 1;
        let newest = self.newest();
        let alone = self.servers.iter().filter(|server| server.alive).count() == 1;
        match self.random.index(11) {
            0 if alone => {
                self.new_server();
                self.servers[newest].draining.store(true, Ordering::Relaxed);
                self.later(0, 20 * MS, Event::DrainLook { server: newest });
            }
            1 if self.random.once_in(2) => self.crash(newest)?,
            2 | 3 if !self.processes.is_empty() => {
                let recent = self.processes.len().min(20);
                let process = self.processes.len() - 1 - self.random.index(recent);
                self.dies(process);
            }
            4 => {
                let desk = self.random.index(self.town.deployments);
                let now = self.instant();
                let (_, _, todos) = self.servers[newest].desks[desk].dismiss(now);
                for (index, todo) in todos {
                    self.perform(At { server: newest, desk, index }, todo)?;
                }
            }
            5 => self.short_of_memory_until = self.now + self.random.within(10 * MS, SECOND),
            6 => {
                // The machine stood still.
                self.now += self.random.within(MS, 3 * SECOND);
                self.late_until = self.now + 2 * SECOND;
            }
            9 | 10 => {
                let desk = self.random.index(self.town.deployments);
                self.kept[desk] = self.random.pick(&[0, 1, 2, 4]);
                self.later(0, 20 * MS, Event::Keep { server: newest, desk });
            }
            7 => self.wall_offset += i64::try_from(self.random.within(0, 7_200_000)).unwrap_or(0) - 3_600_000,
            _ => {}
        }
        Ok(())
    }

    /// A server is killed, and another is started.
    fn crash(&mut self, server: usize) -> Result<(), Broken> {
        self.servers[server].alive = false;
        for request in 0..self.requests.len() {
            if self.requests[request].server == server && self.requests[request].state != State::Over {
                self.leave_process(request);
                self.end(request, End::Crashed)?;
            }
        }
        for process in &mut self.processes {
            if process.server == Some(server) {
                process.server = None;
                process.guest = None;
            }
        }
        self.new_server();
        Ok(())
    }
}

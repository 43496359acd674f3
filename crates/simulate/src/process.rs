//! Starts, programs and their deaths: what warden, kernel and launchers do.

use crate::bug::Bug;
use crate::event::{Event, MS, SECOND};
use crate::promise::{Broken, Promise};
use crate::world::{Freezer, Guest, Process, State, View, World};
use dockless_node::KillReason;
use dockless_pool::books::{Failure, News};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How long the story of a broken connection is waited for.
const STORY: u64 = 200 * MS;

impl World {
    /// A start comes to the warden: counted, or refused.
    pub(crate) fn start_go(&mut self, start: usize) -> Result<(), Broken> {
        let (at, shop) = (self.starts[start].at, self.starts[start].shop);
        if !self.servers[at.server].alive {
            return Ok(());
        }
        let mut failure = None;
        let mut takes = self.random.within(MS, 30 * MS);
        if self.now < self.short_of_memory_until {
            let gone = self.evict(at.server, None)?;
            failure = Some(if gone { Failure::Crowded } else { Failure::NoRoom });
        } else if self.bug != Some(Bug::CapRace) && self.groups.join(&self.town.shops[shop].groups).is_err() {
            let account = self.town.shops[shop].account;
            self.evict(at.server, Some(account))?;
            failure = Some(Failure::Capped);
        } else {
            let process = self.processes.len();
            self.starts[start].process = Some(process);
            self.count_in(shop)?;
            self.processes.push(Process {
                shop,
                server: Some(at.server),
                alive: true,
                counted: true,
                started: false,
                frozen: false,
                busy: None,
                requests: Vec::new(),
                serial: 0,
                born: self.wall(),
                guest: None,
            });
            self.hold(process, at.server, Freezer::Running);
            let limit = u64::try_from(self.town.shops[shop].spec.boot().as_micros()).unwrap_or(u64::MAX);
            let broken = self.town.shops[shop].broken;
            if self.busy && broken > 0 && self.random.once_in(broken) {
                failure = Some(Failure::Boot);
                if self.random.once_in(3) {
                    takes = limit;
                } else {
                    self.later(0, takes, Event::Dies { process });
                }
            } else if self.random.once_in(20) {
                takes = self.random.within(0, limit - 1);
            }
        }
        if failure.is_some() && self.starts[start].process.is_none() {
            takes = 200;
        }
        self.starts[start].failure = failure;
        self.later(takes, takes, Event::StartOver { start });
        Ok(())
    }

    /// A start has come to its end.
    pub(crate) fn start_over(&mut self, start: usize) -> Result<(), Broken> {
        let at = self.starts[start].at;
        if !self.servers[at.server].alive {
            return Ok(());
        }
        let now = self.instant();
        let guest = self.starts[start].process.and_then(|process| self.processes[process].guest.clone());
        let mut failure = self.starts[start].failure;
        if let Some(guest) = &guest
            && !self.processes[guest.0.process].alive
            && self.random.once_in(2)
        {
            failure = Some(Failure::Boot);
        }
        if let (None, Some(guest)) = (failure, guest.clone()) {
            let process = guest.0.process;
            self.processes[process].started = true;
            let (index, entering) = (at.index, guest.clone());
            if self.town.shops[self.starts[start].shop].spec.service().is_some() {
                self.tell(process, |news| news.loaded = true);
            } else {
                self.later(0, 20 * MS, Event::Loaded { process });
            }
            let (key, todo) = self.books(at).started(index, now, |_| entering);
            self.keep(at, key, guest);
            return self.perform(at, todo);
        }
        if let Some(guest) = guest {
            self.kill(&guest);
        }
        if self.bug == Some(Bug::FailureForgotten) {
            return Ok(());
        }
        let (retry, todo) = self.books(at).failed(at.index, failure.unwrap_or(Failure::Internal), "no", now);
        self.perform(at, todo)?;
        self.freed(at.server, self.town.shops[self.starts[start].shop].account)?;
        if let Some(retry) = retry {
            let after = u64::try_from(retry.saturating_duration_since(now).as_micros()).unwrap_or(0);
            let event = Event::LookAgain { server: at.server, desk: at.desk, index: at.index };
            self.later(after, after, event);
        }
        Ok(())
    }

    /// A server holds a process from now on.
    pub(crate) fn hold(&mut self, process: usize, server: usize, freezer: Freezer) -> Guest {
        let view = View {
            process,
            server,
            keeper: Cell::new(None),
            news: Cell::new(News::default()),
            freezer: Cell::new(freezer),
            killed: Cell::new(false),
            deeds: self.deeds.clone(),
            believes: self.bug == Some(Bug::EndOfAnother),
        };
        let guest = Guest(Rc::new(view));
        self.processes[process].server = Some(server);
        self.processes[process].guest = Some(guest.clone());
        guest
    }

    fn count_in(&mut self, shop: usize) -> Result<(), Broken> {
        let account = self.town.shops[shop].account;
        self.of_shop[shop] += 1;
        self.of_account[account] += 1;
        let most = self.town.shops[shop].spec.max_instances();
        if self.of_shop[shop] > most || self.of_account[account] > self.town.account_instances {
            let detail = format!(
                "{} instances of function {shop} (at most {most}), {} of account {account} (at most {})",
                self.of_shop[shop], self.of_account[account], self.town.account_instances
            );
            return Err(Broken::new(Promise::Caps, detail));
        }
        Ok(())
    }

    pub(crate) fn program_ends(&mut self, process: usize, serial: u64) {
        let one = &mut self.processes[process];
        if !one.alive || one.busy != Some(serial) {
            return;
        }
        one.busy = None;
        let late = if self.random.once_in(100) { 100 * MS } else { 300 };
        self.later(0, late, Event::EndTold { process, serial });
    }

    /// Ends an instance whatever it does.
    pub(crate) fn kill(&mut self, guest: &Guest) {
        let view = &guest.0;
        if !view.killed.replace(true) && self.processes[view.process].server == Some(view.server) {
            self.later(0, 2 * MS, Event::Dies { process: view.process });
        }
    }

    /// The books end an instance.
    pub(crate) fn told_to_end(&mut self, guest: &Guest, reason: KillReason) -> Result<(), Broken> {
        let process = &self.processes[guest.0.process];
        let sent = process.requests.iter().find(|request| self.requests[**request].state == State::Sent);
        if let Some(request) = sent
            && process.alive
            && reason == KillReason::Retired
        {
            let said = self.leaving_since(guest);
            if said.is_none_or(|since| self.instant() < since + self.config.farewell) {
                let detail = format!("process {} is ended with request {request} in it", guest.0.process);
                return Err(Broken::new(Promise::Farewell, detail));
            }
        }
        if self.town.shops[process.shop].spec.service().is_some() && self.random.once_in(10) {
            // It takes its time after the signal.
            guest.0.killed.set(true);
            self.later(0, 10 * SECOND, Event::Dies { process: guest.0.process });
        } else {
            self.kill(guest);
        }
        Ok(())
    }

    fn leaving_since(&self, guest: &Guest) -> Option<tokio::time::Instant> {
        let keeper = &self.keepers[guest.0.keeper.get()?];
        let books = &self.servers[keeper.at.server].desks[keeper.at.desk];
        let members = &books.groups()[keeper.at.index].fleet().members;
        members.iter().find(|member| member.key == keeper.key)?.leaving
    }

    /// A process ends: who is in it sees the connection break.
    pub(crate) fn dies(&mut self, process: usize) {
        if !self.processes[process].alive {
            return;
        }
        let one = &mut self.processes[process];
        (one.alive, one.frozen, one.busy) = (false, false, None);
        for request in one.requests.clone() {
            let one = &mut self.requests[request];
            if one.state == State::Sent {
                one.state = State::Broken;
                let attempt = one.attempt;
                self.later(0, STORY, Event::BrokenOff { request, attempt });
            }
        }
        self.later(0, MS, Event::HangsUp { process });
        self.later(0, 5 * MS, Event::Buried { process });
    }

    /// The warden buries it and says so, sometimes a second time because the first was lost.
    pub(crate) fn buried(&mut self, process: usize) {
        let shop = self.processes[process].shop;
        if !std::mem::take(&mut self.processes[process].counted) {
            return;
        }
        self.of_shop[shop] -= 1;
        self.of_account[self.town.shops[shop].account] -= 1;
        if self.bug != Some(Bug::CapRace) {
            self.groups.leave(&self.town.shops[shop].groups);
        }
        if self.random.once_in(30) {
            self.later(SECOND, SECOND, Event::DeathTold { process });
        } else {
            self.later(0, 5 * MS, Event::DeathTold { process });
            if self.random.once_in(30) {
                self.later(0, SECOND, Event::DeathTold { process });
            }
        }
    }

    /// How old an instance is by the wall clock, which jumps.
    pub(crate) fn age(&self, process: usize) -> Duration {
        let age = self.wall().saturating_sub(self.processes[process].born);
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }
}

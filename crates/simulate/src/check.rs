//! What is checked after each event: the books against the truth, by rules of their own.

use crate::event::{MS, SECOND};
use crate::promise::{Broken, Promise};
use crate::world::{At, State, World};
use dockless_pool::books::AT_LEAST_EVERY;
use dockless_pool::plan::{self, Demand, Member, Phase};
use std::time::Duration;

/// Dates are kept to within the time that an event takes to be told.
const TOLERANCE: Duration = Duration::from_millis(25);

impl World {
    /// After each plan of a function.
    pub(crate) fn check(&self, at: At, started: usize) -> Result<(), Broken> {
        let books = &self.servers[at.server].desks[at.desk];
        let group = &books.groups()[at.index];
        let (fleet, limits, now) = (group.fleet(), books.limits(at.index), self.instant());
        let waiting = group.waiting().len();
        let need = waiting.div_ceil(limits.concurrency);
        let before = fleet.booting - started;
        let replaced = fleet.members.iter().filter(|member| member.replaced && member.leaving.is_none()).count();
        let staying = plan::staying(fleet, now);
        let missing = limits.kept.saturating_sub(before + staying);
        if started > need.saturating_sub(before).max(missing) + replaced {
            let detail =
                format!("{started} starts beside {before} for {waiting} that wait, {} at once", limits.concurrency);
            return Err(Broken::new(Promise::Starts, detail));
        }
        let settling = fleet.members.iter().filter(|member| matches!(member.phase, Phase::Finishing { .. })).count();
        let may = limits.start_after.is_none_or(|after| now >= after);
        let room = limits.room.min(limits.max_instances.saturating_sub(fleet.booting + fleet.members.len()));
        if may && room > 0 && fleet.booting + settling < need {
            let detail = format!("{} starts for {waiting} that wait, room for {room} more", fleet.booting);
            return Err(Broken::new(Promise::Starts, detail));
        }
        if may && room > 0 && !limits.draining && fleet.booting + staying < limits.kept {
            let detail = format!("{} starts and {staying} instances where {} are kept", fleet.booting, limits.kept);
            return Err(Broken::new(Promise::Kept, detail));
        }
        let rest = plan::plan(Demand { waiting }, fleet, &limits, now);
        if !rest.is_empty() {
            return Err(Broken::new(Promise::Whole, format!("planned again at once: {rest:?}")));
        }
        for member in &fleet.members {
            self.check_member(at, member, &limits)?;
        }
        self.check_account(at)
    }

    fn check_member(&self, at: At, member: &Member<crate::world::Guest>, limits: &plan::Limits) -> Result<(), Broken> {
        let view = &member.with.0;
        let process = &self.processes[view.process];
        if let Some(due) = plan::due(member, limits)
            && self.instant() > due + AT_LEAST_EVERY + TOLERANCE
            && self.now > self.late_until
        {
            let detail = format!("process {} should have been looked at: {:?}", view.process, member.phase);
            return Err(Broken::new(Promise::Dates, detail));
        }
        if process.alive && process.server != Some(at.server) && member.phase != Phase::Draining {
            return Err(Broken::new(Promise::Books, format!("process {} is another's", view.process)));
        }
        if matches!(member.phase, Phase::Idle { .. })
            && process.alive
            && let Some(serial) = process.busy
        {
            let detail = format!("process {} is called idle and works on its request {serial}", view.process);
            return Err(Broken::new(Promise::Done, detail));
        }
        Ok(())
    }

    /// The server's count of an account is the sum of its books.
    fn check_account(&self, at: At) -> Result<(), Broken> {
        let account = self.town.shops.iter().find(|shop| shop.deployment == at.desk).map_or(0, |shop| shop.account);
        let mut counted = 0;
        for shop in self.town.shops.iter().filter(|shop| shop.account == account) {
            let groups = self.servers[at.server].desks[shop.deployment].groups();
            let own = groups.iter().find(|group| std::sync::Arc::ptr_eq(group.spec(), &shop.spec));
            counted += own.map_or(0, |group| group.fleet().booting + group.fleet().members.len());
        }
        let said = self.servers[at.server].accounts[account].instances();
        if said == counted {
            return Ok(());
        }
        Err(Broken::new(Promise::Books, format!("account {account} is counted as {said}, the books have {counted}")))
    }

    /// Now and then: everything of a server.
    pub(crate) fn check_all(&self, server: usize) -> Result<(), Broken> {
        for (desk, books) in self.servers[server].desks.iter().enumerate() {
            for (index, group) in books.groups().iter().enumerate() {
                let (at, limits) = (At { server, desk, index }, books.limits(index));
                for member in &group.fleet().members {
                    self.check_member(at, member, &limits)?;
                    self.check_seats(at, member)?;
                }
            }
        }
        Ok(())
    }

    /// Leases in the books are leases in somebody's hands.
    fn check_seats(&self, at: At, member: &Member<crate::world::Guest>) -> Result<(), Broken> {
        let held = self
            .requests
            .iter()
            .filter(|request| request.seat.as_ref().is_some_and(|seat| seat.at == at && seat.key == member.key));
        let held = held.count();
        let said = match member.phase {
            Phase::Busy { .. } => 1,
            Phase::Serving { active } => active,
            Phase::Idle { .. } | Phase::Finishing { .. } => 0,
            Phase::Abandoned { .. } | Phase::Draining => return Ok(()),
        };
        if held == said {
            return Ok(());
        }
        let detail = format!("process {} has {held} leases, the books say {:?}", member.with.0.process, member.phase);
        Err(Broken::new(Promise::Books, detail))
    }

    /// A request was let into the queue.
    pub(crate) fn check_queue(&self, at: At, request: usize) -> Result<(), Broken> {
        let books = &self.servers[at.server].desks[at.desk];
        let waits = books.groups()[at.index].waiting().any(|(ticket, _)| ticket.request == request);
        let excess: usize = books.groups().iter().map(dockless_pool::books::Group::excess).sum();
        if waits && books.groups()[at.index].excess() > 0 && excess > self.config.queue {
            return Err(Broken::new(Promise::Queue, format!("{excess} requests wait at deployment {}", at.desk)));
        }
        Ok(())
    }

    /// A request has waited in vain: was it passed over?
    pub(crate) fn check_starved(&self, request: usize) -> Result<(), Broken> {
        let Some(at) = self.place_of(request) else { return Ok(()) };
        let one = &self.requests[request];
        let books = &self.servers[at.server].desks[at.desk];
        let (group, limits) = (&books.groups()[at.index], books.limits(at.index));
        let full = group.fleet().booting + group.fleet().members.len() >= limits.max_instances;
        let held_back = limits.start_after.is_some_and(|after| self.instant() < after);
        if full || held_back || self.now <= self.late_until || limits.draining {
            return Ok(());
        }
        if group.fleet().booting > 0 {
            // A start is slow.
            return Ok(());
        }
        if limits.room > 0 {
            let detail = format!("request {request} waited in vain though there is room for {}", limits.room);
            return Err(Broken::new(Promise::Starvation, detail));
        }
        // Only the account stands in the way, and nothing is about to end.
        let account = &group.spec().account;
        if self.servers[at.server].desks.iter().any(|books| books.going(account) > 0) {
            return Ok(());
        }
        for (desk, other) in self.servers[at.server].desks.iter().enumerate() {
            if let Some((since, index, _)) = other.stalest(Some(account))
                && self.instant() > since + Duration::from_millis(100)
            {
                let waited = (self.now - one.began) / MS;
                let detail = format!(
                    "request {request} of {}/{} waited {waited} ms for room that an idle instance of {desk}/{index} has",
                    at.desk, at.index
                );
                return Err(Broken::new(Promise::Starvation, detail));
            }
        }
        Ok(())
    }

    /// The counts of a server that has gone.
    pub(crate) fn check_accounts(&self, server: usize) -> Result<(), Broken> {
        for (account, count) in self.servers[server].accounts.iter().enumerate() {
            let count = count.instances();
            if count > 0 {
                return Err(Broken::new(Promise::Books, format!("account {account} keeps {count} instances")));
            }
        }
        Ok(())
    }

    /// Traffic and trouble have stopped, and there was time for everything to end.
    pub(crate) fn check_end(&self) -> Result<(), Broken> {
        let ends = |detail: String| Err(Broken::new(Promise::Ends, detail));
        if let Some(request) = self.requests.iter().position(|request| request.state != State::Over) {
            let one = &self.requests[request];
            return ends(format!("request {request}, which came at {} ms, has no end: {:?}", one.came / MS, one.state));
        }
        if let Some(process) = self.processes.iter().position(|process| process.alive || process.counted) {
            let one = &self.processes[process];
            return ends(format!("process {process} of server {:?} is left over", one.server));
        }
        for (number, server) in self.servers.iter().enumerate().filter(|(_, server)| server.alive) {
            if number != self.newest() {
                return ends(format!("server {number} handed over and has not left"));
            }
            if let Some(desk) = server.desks.iter().position(|books| !books.is_empty()) {
                return ends(format!("the books of deployment {desk} are not empty"));
            }
            self.check_accounts(number)?;
        }
        Ok(())
    }

    /// How long everything may take to end.
    pub(crate) fn patience_at_the_end() -> u64 {
        90 * SECOND
    }
}

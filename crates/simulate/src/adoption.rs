//! Hand-over: what one server lets go, another takes.

use crate::bug::Bug;
use crate::event::{Event, MS, SECOND};
use crate::promise::Broken;
use crate::world::{At, Freezer, World};
use dockless_pool::books::Inheritance;

impl World {
    /// The warden has taken an instance back; its heir is told, late if the first message was lost.
    pub(crate) fn released(&mut self, keeper: usize) -> Result<(), Broken> {
        let one = &self.keepers[keeper];
        let (at, key, guest) = (one.at, one.key, one.guest.clone());
        if !self.servers[at.server].alive {
            return Ok(());
        }
        let process = guest.0.process;
        if self.processes[process].alive && self.processes[process].server == Some(at.server) {
            self.processes[process].server = None;
            self.processes[process].guest = None;
            let heir = self.newest();
            if self.bug != Some(Bug::ReleaseUnheard) {
                let lost = self.random.once_in(30);
                let (least, most) = if lost { (SECOND, SECOND) } else { (0, 2 * MS) };
                self.later(least, most, Event::Adopt { server: heir });
            }
        } else {
            // It will not be heard of any more.
            self.keepers[keeper].guest.0.news.update(|news| dockless_pool::books::News { dead: true, ..news });
        }
        let now = self.instant();
        let todo = self.books(at).released(at.index, key, now);
        self.perform(at, todo)
    }

    /// Takes everything that nobody owns.
    pub(crate) fn adopt_all(&mut self, server: usize) {
        if !self.servers[server].alive {
            return;
        }
        for process in 0..self.processes.len() {
            if !self.processes[process].alive || self.processes[process].server.is_some() {
                continue;
            }
            let frozen = self.processes[process].frozen;
            let guest = self.hold(process, server, if frozen { Freezer::Written } else { Freezer::Running });
            guest.0.news.update(|news| dockless_pool::books::News { loaded: true, ..news });
            if self.processes[process].started {
                self.later(0, 3 * MS, Event::Adopted { process, server });
            } else {
                // Half-made.
                self.kill(&guest);
            }
        }
    }

    /// An adopted instance has said what it does.
    pub(crate) fn adopted(&mut self, process: usize, server: usize) -> Result<(), Broken> {
        let Some(guest) = self.processes[process].guest.clone() else { return Ok(()) };
        if !self.servers[server].alive || guest.0.server != server || !self.processes[process].alive {
            return Ok(());
        }
        let shop = &self.town.shops[self.processes[process].shop];
        let (spec, desk) = (shop.spec.clone(), shop.deployment);
        let account = self.servers[server].accounts[shop.account].clone();
        let frozen = guest.0.freezer.get() == Freezer::Written;
        if !frozen && self.processes[process].frozen {
            // It does not answer.
            self.kill(&guest);
            return Ok(());
        }
        self.tally.adopted += 1;
        let inheritance = Inheritance { busy: self.processes[process].busy, frozen, age: self.age(process) };
        let now = self.instant();
        let entering = guest.clone();
        let books = &mut self.servers[server].desks[desk];
        let (index, key, todo) = books.adopted(&spec, || account, inheritance, now, |_| entering);
        let at = At { server, desk, index };
        self.keep(at, key, guest);
        self.perform(at, todo)
    }
}

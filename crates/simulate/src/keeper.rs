//! What looks after each instance: the loop of the pool's keepers, and the thread that freezes.

use crate::event::{Event, MS};
use crate::promise::{Broken, Promise};
use crate::world::{At, Freezer, Guest, Keeper, World};
use dockless_pool::books::{Step, look_again};

impl World {
    pub(crate) fn keep(&mut self, at: At, key: u64, guest: Guest) {
        let keeper = self.keepers.len();
        guest.0.keeper.set(Some(keeper));
        self.keepers.push(Keeper { at, key, guest, turn: 0, freezing: false, rung: true, over: false });
        self.later(0, 50, Event::Look { keeper, turn: 0 });
    }

    /// It looks soon; a second ring before that changes nothing.
    pub(crate) fn ring(&mut self, keeper: usize) {
        let one = &mut self.keepers[keeper];
        if one.over || std::mem::replace(&mut one.rung, true) || one.freezing {
            return;
        }
        one.turn += 1;
        let turn = one.turn;
        self.later(0, 100, Event::Look { keeper, turn });
    }

    pub(crate) fn look(&mut self, keeper: usize, turn: u64) -> Result<(), Broken> {
        let one = &mut self.keepers[keeper];
        if one.over || one.freezing || one.turn != turn || !self.servers[one.at.server].alive {
            return Ok(());
        }
        one.rung = false;
        let (at, key, guest) = (one.at, one.key, one.guest.clone());
        let now = self.instant();
        let (step, todo) = self.books(at).step(at.index, key, now);
        self.perform(at, todo)?;
        match step {
            Step::Over => {
                self.keepers[keeper].over = true;
                let account = self.town.shops[self.processes[guest.0.process].shop].account;
                self.freed(at.server, account)
            }
            Step::Freeze => {
                self.keepers[keeper].freezing = true;
                // What it printed is read first, and the thread has others to freeze.
                let most = if self.random.once_in(20) { 20 * MS } else { 300 };
                self.later(0, most, Event::FreezeWritten { keeper });
                Ok(())
            }
            Step::Wait(due) => {
                if let Some(due) = due
                    && due <= now
                {
                    let late = now.duration_since(due);
                    let detail = format!("keeper {keeper} waits for a date {late:?} ago: it would look without end");
                    return Err(Broken::new(Promise::Dates, detail));
                }
                if self.keepers[keeper].rung {
                    return Ok(());
                }
                let until = look_again(due, guest.0.freezer.get() == Freezer::Written, now);
                let after = u64::try_from(until.duration_since(now).as_micros()).unwrap_or(u64::MAX);
                self.keepers[keeper].turn += 1;
                let turn = self.keepers[keeper].turn;
                self.later(after, after, Event::Look { keeper, turn });
                Ok(())
            }
        }
    }

    /// The thread writes, unless a lease came first.
    pub(crate) fn freeze_written(&mut self, keeper: usize) -> Result<(), Broken> {
        let (server, guest) = (self.keepers[keeper].at.server, self.keepers[keeper].guest.clone());
        if !self.servers[server].alive {
            return Ok(());
        }
        let number = guest.0.process;
        if guest.0.freezer.get() == Freezer::Asked {
            guest.0.freezer.set(Freezer::Written);
            let process = &mut self.processes[number];
            if process.alive {
                process.frozen = true;
                self.tally.freezes += 1;
                if !process.requests.is_empty() || process.busy.is_some() {
                    let detail = format!("process {number} is frozen with requests {:?} in it", process.requests);
                    return Err(Broken::new(Promise::NotFrozen, detail));
                }
            }
        }
        self.later(0, MS, Event::FreezeOver { keeper });
        Ok(())
    }

    /// The kernel has confirmed it, or it took too long.
    pub(crate) fn freeze_over(&mut self, keeper: usize) -> Result<(), Broken> {
        let one = &self.keepers[keeper];
        let (at, key, guest) = (one.at, one.key, one.guest.clone());
        if !self.servers[at.server].alive {
            return Ok(());
        }
        let thawed = guest.0.freezer.get() != Freezer::Written;
        let failed = self.random.once_in(100);
        if failed && !thawed {
            self.kill(&guest);
        }
        let now = self.instant();
        self.books(at).frozen(at.index, key, !thawed && !failed, now);
        let one = &mut self.keepers[keeper];
        (one.freezing, one.rung) = (false, false);
        one.turn += 1;
        let turn = one.turn;
        self.look(keeper, turn)
    }
}

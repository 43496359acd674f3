//! Everything there is, and the hour.

use crate::bug::Bug;
use crate::event::{Agenda, Event, MS, Micros, SECOND};
use crate::promise::{Broken, Promise};
use crate::random::Random;
use crate::town::Town;
use dockless_node::KillReason;
use dockless_pool::PoolConfig;
use dockless_pool::books::{Account, Books, News, Occupant, Waiter};
use dockless_warden::Groups;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::Instant;

/// Events that are remembered to be told.
const MEMORY: usize = 60;

/// A place in the books: whose, of which deployment, which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) server: usize,
    pub(crate) desk: usize,
    pub(crate) index: usize,
}

/// A server process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) alive: bool,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) desks: Vec<Books<Guest, Ticket>>,
    pub(crate) accounts: Vec<Arc<Account>>,
    /// Requests that have not ended.
    pub(crate) open: usize,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) shop: usize,
    pub(crate) server: usize,
    pub(crate) state: State,
    /// Leases asked for.
    pub(crate) attempt: u32,
    /// Of those since it was last sent.
    pub(crate) tries: u32,
    pub(crate) replayed: bool,
    /// Programs that saw it.
    pub(crate) seen: u32,
    /// Its method has no effect.
    pub(crate) safe: bool,
    pub(crate) gone: Rc<Cell<bool>>,
    pub(crate) came: Micros,
    pub(crate) began: Micros,
    pub(crate) seat: Option<Seat>,
    pub(crate) serial: u64,
    pub(crate) deadline: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Leased,
    Sent,
    /// The connection broke.
    Broken,
    Over,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    Refused,
    TimedOut,
    Died,
    Left,
    /// Its server was killed.
    Crashed,
}

#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) at: At,
    pub(crate) key: u64,
    pub(crate) guest: Guest,
}

/// A sandbox with its program: the truth.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) shop: usize,
    /// Its owner, as the warden knows it.
    pub(crate) server: Option<usize>,
    pub(crate) alive: bool,
    /// It is counted in its groups.
    pub(crate) counted: bool,
    pub(crate) started: bool,
    pub(crate) frozen: bool,
    /// The request that a function's program works on.
    pub(crate) busy: Option<u64>,
    /// Requests that are in it.
    pub(crate) requests: Vec<usize>,
    pub(crate) serial: u64,
    pub(crate) born: i64,
    /// What its owner holds.
    pub(crate) guest: Option<Guest>,
}

/// A start under way.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) at: At,
    pub(crate) shop: usize,
    pub(crate) process: Option<usize>,
    pub(crate) failure: Option<dockless_pool::books::Failure>,
}

/// What looks after an instance.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) at: At,
    pub(crate) key: u64,
    pub(crate) guest: Guest,
    pub(crate) turn: u64,
    pub(crate) freezing: bool,
    pub(crate) rung: bool,
    pub(crate) over: bool,
}

/// A server's view of a process.
#[derive(Debug, Clone)]
pub(crate) struct Guest(pub(crate) Rc<View>);

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) process: usize,
    pub(crate) server: usize,
    pub(crate) keeper: Cell<Option<usize>>,
    pub(crate) news: Cell<News>,
    pub(crate) freezer: Cell<Freezer>,
    pub(crate) killed: Cell<bool>,
    pub(crate) deeds: Rc<RefCell<Vec<Deed>>>,
    /// A planted mistake.
    pub(crate) believes: bool,
}

/// The freezer of an instance, as its server wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freezer {
    Running,
    Asked,
    Written,
}

/// What the books did to an instance.
#[derive(Debug)]
pub(crate) enum Deed {
    Ring(usize),
    End(Guest, KillReason),
}

impl Occupant for Guest {
    fn news(&self) -> News {
        let news = self.0.news.get();
        News { ended: if self.0.believes { news.ended.map(|_| u64::MAX) } else { news.ended }, ..news }
    }

    fn ask_freeze(&self) {
        if self.0.freezer.get() == Freezer::Running {
            self.0.freezer.set(Freezer::Asked);
        }
    }

    fn wake(&self) {
        if let Some(keeper) = self.0.keeper.get() {
            self.0.deeds.borrow_mut().push(Deed::Ring(keeper));
        }
    }

    fn end(&self, reason: KillReason) {
        self.0.deeds.borrow_mut().push(Deed::End(self.clone(), reason));
    }
}

/// A request in a queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) request: usize,
    pub(crate) attempt: u32,
    pub(crate) gone: Rc<Cell<bool>>,
}

impl Waiter for Ticket {
    fn is_gone(&self) -> bool {
        self.gone.get()
    }
}

/// What a story was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that came.
    pub requests: u64,
    /// Answered.
    pub answered: u64,
    /// Refused, for the queue, a cap, room or a failed boot.
    pub refused: u64,
    /// Cut at their function's duration.
    pub timed_out: u64,
    /// Lost with their instance.
    pub died: u64,
    /// Given up by their client.
    pub left: u64,
    /// Lost with their server, which was killed.
    pub crashed: u64,
    /// Starts.
    pub starts: u64,
    /// Freezes.
    pub freezes: u64,
    /// Instances taken over from another server.
    pub adopted: u64,
    /// Things that went wrong on purpose.
    pub troubles: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) town: Town,
    pub(crate) random: Random,
    pub(crate) agenda: Agenda,
    pub(crate) now: Micros,
    pub(crate) origin: Instant,
    pub(crate) config: PoolConfig,
    pub(crate) servers: Vec<Server>,
    pub(crate) requests: Vec<Request>,
    pub(crate) processes: Vec<Process>,
    pub(crate) starts: Vec<Start>,
    pub(crate) keepers: Vec<Keeper>,
    /// The warden's own.
    pub(crate) groups: Groups,
    /// The truth beside it: living instances of functions and of accounts.
    pub(crate) of_shop: Vec<u32>,
    pub(crate) of_account: Vec<u32>,
    /// How many instances of each function of a deployment its owner wants kept.
    pub(crate) kept: Vec<u32>,
    pub(crate) deeds: Rc<RefCell<Vec<Deed>>>,
    pub(crate) bug: Option<Bug>,
    /// Requests come and things go wrong.
    pub(crate) busy: bool,
    /// Until then nothing is on time: the machine stood still.
    pub(crate) late_until: Micros,
    pub(crate) short_of_memory_until: Micros,
    pub(crate) wall_offset: i64,
    pub(crate) tally: Tally,
    pub(crate) told: VecDeque<(Micros, Event)>,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = Random::new(seed);
        let town = Town::build(&mut random);
        let config = PoolConfig {
            farewell: Duration::from_millis(random.within(200, 2000)),
            queue: random.pick(&[2, 10, 30]),
            queue_wait: Duration::from_millis(random.within(200, 2000)),
            account_instances: usize::try_from(town.account_instances).unwrap_or(1),
            ..PoolConfig::default()
        };
        let mut world = Self {
            of_shop: vec![0; town.shops.len()],
            of_account: vec![0; town.accounts],
            kept: vec![0; town.deployments],
            town,
            random,
            agenda: Agenda::default(),
            now: 0,
            // Only differences count.
            origin: Instant::now() + Duration::from_secs(1_000_000),
            config,
            servers: Vec::new(),
            requests: Vec::new(),
            processes: Vec::new(),
            starts: Vec::new(),
            keepers: Vec::new(),
            groups: Groups::default(),
            deeds: Rc::default(),
            bug,
            busy: true,
            late_until: 0,
            short_of_memory_until: 0,
            wall_offset: 0,
            tally: Tally::default(),
            told: VecDeque::new(),
        };
        world.new_server();
        for function in 0..world.town.shops.len() {
            world.later(0, 50 * MS, Event::Arrive { function });
        }
        world.later(0, SECOND, Event::Trouble);
        world
    }

    /// Lets the next event happen; `false` if there is none before `until`.
    pub(crate) fn step(&mut self, until: Micros) -> Result<bool, Broken> {
        let Some((at, event)) = self.agenda.next() else { return Ok(false) };
        if at > until {
            return Ok(false);
        }
        self.now = self.now.max(at);
        if self.told.len() == MEMORY {
            self.told.pop_front();
        }
        self.told.push_back((self.now, event));
        self.happen(event)?;
        self.perform_deeds()?;
        Ok(true)
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Arrive { function } => self.arrive(function),
            Event::Settled { request, attempt } => self.settled(request, attempt),
            Event::PatienceOver { request, attempt } => self.patience_over(request, attempt),
            Event::Ready { request, attempt } => self.ready(request, attempt),
            Event::Answered { request, attempt } => self.answered(request, attempt),
            Event::Deadline { request, attempt } => self.deadline(request, attempt),
            Event::ClientLeaves { request } => self.client_leaves(request),
            Event::BrokenOff { request, attempt } => self.broken_off(request, attempt),
            Event::StartGo { start } => self.start_go(start),
            Event::StartOver { start } => self.start_over(start),
            Event::Loaded { process } => {
                self.tell(process, |news| news.loaded = true);
                Ok(())
            }
            Event::ProgramEnds { process, serial } => {
                self.program_ends(process, serial);
                Ok(())
            }
            Event::EndTold { process, serial } => {
                self.tell(process, |news| news.ended = news.ended.max(Some(serial)));
                Ok(())
            }
            Event::Dies { process } => {
                self.dies(process);
                Ok(())
            }
            Event::HangsUp { process } => {
                self.tell(process, |news| news.hung_up = true);
                Ok(())
            }
            Event::Buried { process } => {
                self.buried(process);
                Ok(())
            }
            Event::DeathTold { process } => {
                self.tell(process, |news| news.dead = true);
                Ok(())
            }
            Event::Look { keeper, turn } => self.look(keeper, turn),
            Event::FreezeWritten { keeper } => self.freeze_written(keeper),
            Event::FreezeOver { keeper } => self.freeze_over(keeper),
            Event::Released { keeper } => self.released(keeper),
            Event::Adopt { server } => {
                self.adopt_all(server);
                Ok(())
            }
            Event::Adopted { process, server } => self.adopted(process, server),
            Event::LookAgain { server, desk, index } => self.look_again(At { server, desk, index }),
            Event::Housekeeping { server } => self.housekeeping(server),
            Event::Keep { server, desk } => self.keep_told(server, desk),
            Event::DrainLook { server } => self.drain_look(server),
            Event::Trouble => self.trouble(),
        }
    }

    /// Plans an event between so many microseconds from now.
    pub(crate) fn later(&mut self, least: Micros, most: Micros, event: Event) {
        let after = self.random.within(least, most);
        self.agenda.add(self.now + after, event);
    }

    /// The hour as the pool sees it.
    pub(crate) fn instant(&self) -> Instant {
        self.origin + Duration::from_micros(self.now)
    }

    /// Milliseconds of the wall clock.
    pub(crate) fn wall(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.now / MS).unwrap_or(0) + self.wall_offset
    }

    /// Tells the owner of a process something, and its keeper.
    pub(crate) fn tell(&mut self, process: usize, fact: impl FnOnce(&mut News)) {
        let Some(guest) = self.processes[process].guest.clone() else { return };
        let mut news = guest.0.news.get();
        fact(&mut news);
        guest.0.news.set(news);
        let unheard = self.bug == Some(Bug::DeathUnheard) && (news.dead || news.hung_up);
        if let Some(keeper) = guest.0.keeper.get()
            && !unheard
        {
            self.ring(keeper);
        }
        if unheard {
            guest.0.news.set(News { dead: false, hung_up: false, ..news });
        }
    }

    /// Ends a request.
    pub(crate) fn end(&mut self, request: usize, end: End) -> Result<(), Broken> {
        let one = &mut self.requests[request];
        if one.state == State::Over {
            return Err(Broken::new(Promise::AnsweredOnce, format!("request {request} ends a second time: {end:?}")));
        }
        one.state = State::Over;
        one.gone.set(true);
        let (server, seen, safe) = (one.server, one.seen, one.safe);
        self.servers[server].open -= 1;
        let tally = &mut self.tally;
        *match end {
            End::Answered => &mut tally.answered,
            End::Refused => &mut tally.refused,
            End::TimedOut => &mut tally.timed_out,
            End::Died => &mut tally.died,
            End::Left => &mut tally.left,
            End::Crashed => &mut tally.crashed,
        } += 1;
        if seen > 2 || (seen > 1 && !safe) {
            return Err(Broken::new(Promise::Replay, format!("request {request} was seen by {seen} programs")));
        }
        Ok(())
    }

    /// Does what the books did to instances.
    pub(crate) fn perform_deeds(&mut self) -> Result<(), Broken> {
        loop {
            let Some(deed) = self.deeds.borrow_mut().pop() else { return Ok(()) };
            match deed {
                Deed::Ring(keeper) => self.ring(keeper),
                Deed::End(guest, reason) => self.told_to_end(&guest, reason)?,
            }
        }
    }
}

//! What to do next for one function or service. Pure: no clock, no sockets, nothing but its arguments.
//!
//! ```text
//!            lease                answered              end
//! Idle ─────────────────► Busy ─────────────► Finishing ───► Idle
//!  │ grace: freeze          │ client left                     ▲
//!  │ idle timeout: retire   └───────────────► Abandoned ──────┘
//!  └─► Draining ◄──────────── deadline ────────────┘
//! ```
//! An instance of a service goes between Idle and Serving instead, with as many leases as its concurrency. When its life
//! is over a replacement is started, and it takes requests until that is there; then it leaves, and what is still open
//! after the farewell is cut. One that nobody has used for a while is retired instead.
//!
//! So many as its owner wants kept are started though nobody waits, and are not retired for being idle.

use std::cmp::Reverse;
use std::time::Duration;
use tokio::time::Instant;

/// An instance that was used so recently counts as in use at the end of its life: between two requests it is idle too.
const RECENTLY: Duration = Duration::from_secs(10);

/// How long past its deadline a busy instance is left to its lease, which ends it with a better answer.
const SLACK: Duration = Duration::from_secs(1);

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Requests that wait.
    pub waiting: usize,
}

/// What there is of one function. `T` is whatever the caller keeps beside each member.
#[derive(Debug, Clone)]
pub struct Fleet<T> {
    /// Starts under way.
    pub booting: usize,
    /// Instances.
    pub members: Vec<Member<T>>,
}

/// One instance.
#[derive(Debug, Clone)]
pub struct Member<T> {
    /// Its name in [`Action`]s.
    pub key: u64,
    /// What it does.
    pub phase: Phase,
    /// Its code is loaded; until then it is not frozen.
    pub loaded: bool,
    /// When it was started or adopted: what its life is counted from.
    pub born: Instant,
    /// Its life is over and another one is on its way.
    pub replaced: bool,
    /// Since when it takes no more requests: it is retired as soon as it is idle.
    pub leaving: Option<Instant>,
    /// The caller's.
    pub with: T,
}

/// What an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle {
        /// Since when.
        since: Instant,
        /// Whether it is or becomes frozen.
        warmth: Warmth,
    },
    /// It serves a request.
    Busy {
        /// When it must be done.
        deadline: Instant,
    },
    /// It serves requests, of a service.
    Serving {
        /// How many; never 0.
        active: usize,
    },
    /// Its answer is complete, its `end` is not here yet.
    Finishing {
        /// Serial number of the request.
        serial: u64,
        /// When the answer was complete.
        since: Instant,
        /// When it must be done.
        deadline: Instant,
    },
    /// The client left, the program still runs.
    Abandoned {
        /// Serial number of the request.
        serial: u64,
        /// When it must be done.
        deadline: Instant,
    },
    /// It is being ended or released.
    Draining,
}

/// How quickly an idle instance can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warmth {
    /// At once.
    Running,
    /// Somebody is freezing it; a lease cancels that.
    Freezing,
    /// After a thaw.
    Frozen,
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests at once in an instance.
    pub concurrency: usize,
    /// Most instances of the function, those on their way in and out included.
    pub max_instances: usize,
    /// Instances that its account may still start.
    pub room: usize,
    /// Instances that are kept though nobody asks.
    pub kept: usize,
    /// Idle instances to give up, for others of the account who have waited for longer.
    pub yields: usize,
    /// Nothing is started before.
    pub start_after: Option<Instant>,
    /// How long an idle instance runs on before it is frozen.
    pub grace: Duration,
    /// How long an idle instance is kept.
    pub idle_timeout: Duration,
    /// How long an instance takes requests; for ever where there is none.
    pub life: Option<Duration>,
    /// What is still open so long after an instance began to leave is cut.
    pub farewell: Duration,
    /// Idle instances are frozen.
    pub freezes: bool,
    /// How long the `end` after an answer is waited for before a second instance is started instead.
    pub settle: Duration,
    /// This server hands over: idle instances are let go for its successor.
    pub draining: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Give this instance to the request that waits longest.
    Lease(u64),
    /// Start one.
    Start,
    /// Its life is over: a start that follows takes its place.
    Replace(u64),
    /// Its life is over and there is no room for another: it takes no more requests.
    Leave(u64),
    /// It is idle for too long and one of those that are kept: its time begins anew.
    Keep(u64),
    /// Freeze it.
    Freeze(u64),
    /// End it: idle for too long, or told to leave.
    Retire(u64),
    /// End it: over its deadline.
    Expire(u64),
    /// Let go of it, for another server.
    Release(u64),
}

/// Decides. Doing all of it makes the next plan at the same time empty, but for demand that nothing can be done about.
#[must_use]
pub fn plan<T>(demand: Demand, fleet: &Fleet<T>, limits: &Limits, now: Instant) -> Vec<Action> {
    let given_up = given_up(fleet, limits, now);
    let mut actions: Vec<_> = given_up.iter().copied().map(Action::Retire).collect();
    let mut waiting = demand.waiting;
    while waiting > 0 {
        let given = |key| actions.iter().filter(|action| **action == Action::Lease(key)).count();
        let usable = fleet.members.iter().filter(|member| member.leaving.is_none() && !given_up.contains(&member.key));
        // The fewest requests first; of idle ones the most recently used, so that what is idle for long can be frozen and
        // retired.
        let candidates = usable.filter_map(|member| {
            let (active, since) = match member.phase {
                Phase::Idle { since, .. } => (0, since),
                Phase::Serving { active } => (active, now),
                _ => return None,
            };
            let load = active + given(member.key);
            (load < limits.concurrency.max(1)).then_some((Reverse(load), since, member.key))
        });
        let Some((.., key)) = candidates.max() else { break };
        actions.push(Action::Lease(key));
        waiting -= 1;
    }
    let starts = starts(waiting, fleet, limits, now);
    actions.extend(std::iter::repeat_n(Action::Start, starts));
    let mut free = room(fleet, limits) - starts;
    let mut spare = spare(fleet, limits, now).saturating_sub(given_up.len());
    let may_start = limits.start_after.is_none_or(|after| now >= after);
    for member in &fleet.members {
        let key = member.key;
        let is_leased = actions.contains(&Action::Lease(key));
        let is_over = limits.life.is_some_and(|life| now >= member.born + life);
        let is_kept = spare == 0 && !limits.draining && member.leaving.is_none() && !given_up.contains(&key);
        let serves = match member.phase {
            Phase::Serving { .. } => true,
            Phase::Idle { since, .. } => {
                // What was never used is as old as its life: one replacement does not follow another.
                is_leased || is_kept || (since > member.born && now < since + RECENTLY.min(limits.idle_timeout))
            }
            _ => is_leased,
        };
        if serves && is_over && !member.replaced && member.leaving.is_none() {
            // A server that hands over has its successor start what is needed.
            let idle = matches!(member.phase, Phase::Idle { .. }) && !is_leased;
            if let Phase::Idle { since, .. } = member.phase
                && idle
                && is_kept
                && free > 0
                && now >= since + limits.idle_timeout
            {
                actions.push(Action::Keep(key));
            }
            if idle && (free == 0 || limits.draining) {
                actions.push(if limits.draining { Action::Release(key) } else { Action::Retire(key) });
            } else if free == 0 || limits.draining {
                actions.push(Action::Leave(key));
            } else if may_start {
                free -= 1;
                actions.extend([Action::Replace(key), Action::Start]);
            }
            continue;
        }
        if is_leased || given_up.contains(&key) {
            continue;
        }
        actions.extend(match member.phase {
            Phase::Idle { .. } if limits.draining && member.leaving.is_none() => Some(Action::Release(key)),
            Phase::Idle { since, .. }
                if member.leaving.is_some() || (is_over && !member.replaced) || now >= since + limits.idle_timeout =>
            {
                let is_timely = (member.replaced || !is_over) && member.leaving.is_none();
                if is_kept && is_timely {
                    Some(Action::Keep(key))
                } else {
                    spare = spare.saturating_sub(usize::from(member.leaving.is_none()));
                    Some(Action::Retire(key))
                }
            }
            Phase::Idle { since, warmth: Warmth::Running }
                if limits.freezes && member.loaded && now >= since + limits.grace =>
            {
                Some(Action::Freeze(key))
            }
            Phase::Serving { .. } if member.leaving.is_some_and(|since| now >= since + limits.farewell) => {
                Some(Action::Expire(key))
            }
            Phase::Busy { deadline } if now >= deadline + SLACK => Some(Action::Expire(key)),
            Phase::Finishing { deadline, .. } | Phase::Abandoned { deadline, .. } if now >= deadline => {
                Some(Action::Expire(key))
            }
            _ => None,
        });
    }
    actions
}

/// Idle instances that go though they could be used: those that were not used for longest.
fn given_up<T>(fleet: &Fleet<T>, limits: &Limits, now: Instant) -> Vec<u64> {
    if limits.yields == 0 {
        return Vec::new();
    }
    let idle = fleet.members.iter().filter_map(|member| match member.phase {
        Phase::Idle { since, .. } if member.leaving.is_none() && !limits.draining => Some((since, member.key)),
        _ => None,
    });
    let mut idle: Vec<_> = idle.collect();
    idle.sort_unstable();
    idle.into_iter().take(limits.yields.min(spare(fleet, limits, now))).map(|(_, key)| key).collect()
}

/// How many to start for the requests that got no idle instance.
fn starts<T>(waiting: usize, fleet: &Fleet<T>, limits: &Limits, now: Instant) -> usize {
    if limits.start_after.is_some_and(|after| now < after) {
        return 0;
    }
    let settling = |member: &&Member<T>| {
        matches!(member.phase, Phase::Finishing { since, deadline, .. } if now < deadline.min(since + limits.settle))
            && member.leaving.is_none()
    };
    let coming = fleet.booting + fleet.members.iter().filter(settling).count();
    let wanted = waiting.div_ceil(limits.concurrency.max(1)).saturating_sub(coming);
    let kept = if limits.draining { 0 } else { limits.kept };
    let missing = kept.saturating_sub(fleet.booting + staying(fleet, now));
    wanted.max(missing).min(room(fleet, limits))
}

/// Instances that are neither on their way out nor about to be.
#[must_use]
pub fn staying<T>(fleet: &Fleet<T>, now: Instant) -> usize {
    let stays = |member: &&Member<T>| {
        member.leaving.is_none()
            && match member.phase {
                Phase::Idle { .. } | Phase::Serving { .. } => true,
                Phase::Busy { deadline } => now < deadline + SLACK,
                Phase::Finishing { deadline, .. } | Phase::Abandoned { deadline, .. } => now < deadline,
                Phase::Draining => false,
            }
    };
    fleet.members.iter().filter(stays).count()
}

/// Instances beyond those that are kept.
#[must_use]
pub fn spare<T>(fleet: &Fleet<T>, limits: &Limits, now: Instant) -> usize {
    staying(fleet, now).saturating_sub(limits.kept)
}

/// How many more would be started if the account had room for them.
#[must_use]
pub fn short<T>(demand: Demand, fleet: &Fleet<T>, limits: &Limits, now: Instant) -> usize {
    // What is kept pushes nobody out.
    let unbounded = Limits { room: usize::MAX, kept: 0, ..*limits };
    if limits.room > 0 { 0 } else { starts(demand.waiting, fleet, &unbounded, now) }
}

/// Instances that may still be started.
fn room<T>(fleet: &Fleet<T>, limits: &Limits) -> usize {
    limits.max_instances.saturating_sub(fleet.booting + fleet.members.len()).min(limits.room)
}

/// When something will be due for this instance though nothing happens; `None` if it waits for an event alone.
#[must_use]
pub fn due<T>(member: &Member<T>, limits: &Limits) -> Option<Instant> {
    match member.phase {
        Phase::Idle { since, warmth: Warmth::Running } if member.loaded && limits.freezes => {
            Some(since + limits.grace.min(limits.idle_timeout))
        }
        Phase::Idle { since, .. } => {
            let idle = since + limits.idle_timeout;
            match limits.life {
                // No replacement is started before it may be.
                Some(life) if !member.replaced => {
                    Some(idle.min((member.born + life).max(limits.start_after.unwrap_or(member.born))))
                }
                _ => Some(idle),
            }
        }
        Phase::Serving { .. } => match member.leaving {
            Some(since) => Some(since + limits.farewell),
            None if member.replaced => None,
            // No replacement is started before, so that there is nothing to look at either.
            None => limits.life.map(|life| (member.born + life).max(limits.start_after.unwrap_or(member.born))),
        },
        Phase::Busy { deadline } => Some(deadline + SLACK),
        Phase::Finishing { deadline, .. } | Phase::Abandoned { deadline, .. } => Some(deadline),
        Phase::Draining => None,
    }
}

#[cfg(test)]
mod tests;
